"""`python -m search.run`: create, resume or extend a study, and run its trials."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import TYPE_CHECKING

from search.command_line.options import add_cache, add_data, add_storage, count, fail_in_one_line

if TYPE_CHECKING:
    from search.workers.heartbeat import StopSignal

EPILOG = """\
Run the same command again to resume a study, or with more --trials to extend it. Several
processes may run it on one storage at the same time.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.run", description=__doc__, epilog=EPILOG
    )
    what = options.add_mutually_exclusive_group(required=True)
    what.add_argument("--study", help="a shipped study (see --list), or the path of a .toml file")
    what.add_argument("--list", action="store_true", help="show the shipped studies")
    options.add_argument("--name", help="name in the storage; default: that of the study file")
    options.add_argument(
        "--trials", type=count, metavar="N", help="trials in all; default: the study file's"
    )
    options.add_argument(
        "--gpu-hours",
        type=_positive,
        metavar="H",
        help="device time of all trials in all, over all workers and runs; on a CPU a worker's",
    )
    options.add_argument(
        "--timeout",
        type=_duration,
        metavar="TIME",
        help="as in 12h or 30min: the time in which any worker is there, over all runs",
    )
    add_data(options)
    options.add_argument(
        "--backbone", metavar="NAME", help="encoder: a folder, or a name on the Hub"
    )
    add_storage(options)
    options.add_argument(
        "--patient",
        action="store_true",
        help="wait for a database that is away when the run starts, as in a job's script",
    )
    options.add_argument(
        "--lease",
        type=_positive,
        default=60.0,
        metavar="SECONDS",
        help="after which the trial of a silent worker is another's; default: 60",
    )
    add_cache(options, limit=True)
    options.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    options.add_argument(
        "--threads", type=count, metavar="N", help="CPU threads; cores divided by workers"
    )
    options.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="processes on this machine, default: 1; with --launcher ray actors, default: as many "
        "as the cluster has room for; with --launcher slurm tasks of a job array, default: 1",
    )
    options.add_argument(
        "--workers-per-gpu",
        type=count,
        metavar="K",
        help="without --workers: K on each CUDA device, for encoders that do not fill one",
    )
    options.add_argument(
        "--launcher",
        choices=("local", "ray", "slurm"),
        default="local",
        help="where the workers are: on this machine (default), on a Ray cluster (waits for "
        "them), or jobs of Slurm (returns when they are submitted)",
    )
    options.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="with --launcher ray: the cluster to join; default: start one on this machine",
    )
    options.add_argument(
        "--end",
        action="store_true",
        help="with --launcher ray: end the study's workers on the cluster, trials go back",
    )
    options.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="with --launcher slurm: an option of sbatch, as in partition=gpu, time=12:00:00, "
        "gpus_per_node=1; cluster=local runs the jobs on this machine, to try it out",
    )
    options.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a field of the study file, as in target.examples=400 (a TOML value)",
    )
    # Of one more worker of a run, which its run starts.
    options.add_argument("--fellow", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--device-share", type=float, default=1.0, help=argparse.SUPPRESS)
    options.add_argument("--quiet", action="store_true", help="show the result only")
    return options


def main(arguments: list[str] | None = None, stop: StopSignal | None = None) -> int:
    """Run the command; returns the exit code.

    Args:
        arguments: Default: those of the process.
        stop: By which the process that this one is a part of may end the run.
    """
    words = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(words)
    options.words = words
    # Read when torch is loaded. Threads that wait by spinning slow each other down tenfold as
    # soon as the machine has anything else to do, and gain next to nothing when it has not.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with fail_in_one_line():
        return _list() if options.list else _run(options, stop)


def _list() -> int:
    from spaces.studies import load_study, study_files

    for name in study_files():
        print(f"{name:<20} {load_study(name).question}")
    return 0


def _run(options: argparse.Namespace, stop: StopSignal | None) -> int:
    from spaces.catalogue import load_catalogue
    from spaces.studies import load_study
    from spaces.study_checks import check_study
    from storage.urls import parse_url

    # What can be wrong without torch is found before torch is loaded.
    spec = load_study(options.study, options.set)
    catalogue = load_catalogue().extended(spec.tasks, f"study {spec.name!r}")
    check_study(spec, catalogue)
    parse_url(options.storage)
    _check_launcher(options)
    if options.launcher == "ray":
        from search.launch.on_ray import launch_on_ray

        return launch_on_ray(spec, options)
    if options.launcher == "slurm":
        from search.launch.on_slurm import launch_on_slurm

        return launch_on_slurm(spec, options)

    from search.workers.session import run_study

    return run_study(spec, catalogue, options, stop)


def _check_launcher(options: argparse.Namespace) -> None:
    from spaces.errors import SpecError

    for option, launcher in (("address", "ray"), ("end", "ray"), ("slurm", "slurm")):
        if getattr(options, option) and options.launcher != launcher:
            raise SpecError(f"--{option}: expected --launcher {launcher} with it")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return value


def _duration(text: str) -> float:
    """Seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h|d)", text.replace(" ", ""))
    if found is None or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(
            f"expected a time as in 12h, 30min or 90s, found {text!r}"
        )
    return float(found[1]) * {"s": 1, "min": 60, "h": 3600, "d": 86400}[found[2]]


if __name__ == "__main__":
    sys.exit(main())
