"""What a run is asked for: read from a command line once, or made by a notebook."""

from __future__ import annotations

import argparse
import unicodedata
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Literal

from search.command_line.next_commands import StudyAddress, check_new_name, file_stem
from search.command_line.options import (
    add_cache,
    add_data,
    add_graphs,
    add_hardware,
    add_licences,
    add_overrides,
    add_storage,
    default_storage,
)
from search.command_line.parser import (
    MOST_THREADS,
    MOST_WORKERS,
    CommandParser,
    count,
    count_to,
    duration,
    positive,
)
from spaces.errors import SpecError

EPILOG = """\
Run the same command again to resume a study, or with more --trials to extend it. Several
processes may run it on one storage at the same time.
"""


@dataclass(frozen=True)
class RunOptions:
    """A run of a study, as it was asked for.

    Attributes:
        study: Name of a shipped study, or path of a .toml file.
        name: Name of the study in the storage; None for that of its file.
        overrides: Changes to the study file, `KEY=VALUE` each, in order.
        trials: Number of trials in all, direct trainings not counted; None for the study file's.
        gpu_hours: Limit of device time in hours, over all workers and runs; None for no limit.
        timeout: Limit of the time in which any worker is there, in seconds; None for no limit.
        until: Expected points between the recommended recipe and the best one below which the
            search ends; None for no such end.
        data: Source of the corpora, as `--data` names it.
        accept_licences: Whether corpora may be downloaded whose licence wants a yes.
        backbone: Encoder to use instead of the study file's: a folder, or a name on the Hub.
        storage: URL of the storage, which may hold a password; left out of `repr`.
        patient: Whether to wait for a database that is away at the start.
        lease: Seconds of silence after which a worker's trial is taken over.
        cache: Folder or URL of checkpoints; None for the place beside the storage.
        cache_limit: Bytes of checkpoints above which the least recently used are removed.
        device: auto, cpu, cuda or cuda:N.
        precision: auto, float32 or bfloat16.
        graphs: Whether updates are CUDA graphs: auto, on or off.
        threads: CPU threads of each worker; None for cores divided by workers.
        workers: Number of workers that the run starts, itself included; None for the launcher's
            default.
        workers_per_gpu: Number of workers on each CUDA device, where `workers` is None; auto: as
            many as its memory has room for.
        launcher: Where the workers are: on this machine, or on a Ray cluster.
        ray_address: Address of the Ray cluster; None starts one on this machine.
        end: Whether the study's workers on the Ray cluster are to end.
        fellow: Whether this is a further worker, started by another run.
        device_share: Share of its device that this worker has, in (0, 1].
        quiet: Whether only the result is shown.
        dry_run: Whether what the study will take is said, and nothing is run.

    Raises:
        SpecError: An option of Ray's without the launcher "ray", or a number of workers that
            must be known before there is a card.
    """

    study: str
    name: str | None = None
    overrides: tuple[str, ...] = ()
    trials: int | None = None
    gpu_hours: float | None = None
    timeout: float | None = None
    until: float | None = None
    data: str = "auto"
    accept_licences: bool = False
    backbone: str | None = None
    storage: str = field(default_factory=default_storage, repr=False)
    patient: bool = False
    lease: float = 60.0
    cache: str | None = None
    cache_limit: int | None = None
    device: str = "auto"
    precision: str = "auto"
    graphs: str = "auto"
    threads: int | None = None
    workers: int | None = None
    workers_per_gpu: int | Literal["auto"] | None = None
    launcher: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    end: bool = False
    fellow: bool = False
    device_share: float = 1.0
    quiet: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.name is None:
            check_new_name(file_stem(self.study), "--study without --name")
        else:
            check_new_name(self.name, "--name")
        for option, value in (("--address", self.ray_address), ("--end", self.end)):
            if value and self.launcher != "ray":
                raise SpecError(option, expected="--launcher ray with it", found="none")
        if self.workers_per_gpu == "auto" and self.launcher == "ray":
            raise SpecError(
                "--workers-per-gpu",
                expected="a number with --launcher ray, whose cards are elsewhere",
                found="auto",
            )

    def study_address(self, name: str, data: str) -> StudyAddress:
        """How commands reach the study of the run."""
        return StudyAddress(
            self.study, name, self.storage, data, self.backbone, self.overrides, self.cache
        )


def read_run_options(words: Sequence[str]) -> RunOptions | None:
    """The run that a command line asks for; None where it asks for the list of studies.

    Raises:
        SystemExit: The words are no options of `search.run`, or ask for its help.
        SpecError: They contradict each other.
    """
    given = vars(parser().parse_args(words))
    if given["list"]:
        return None
    given["overrides"] = tuple(given["overrides"])
    given["name"] = given["name"] and unicodedata.normalize("NFC", given["name"])
    return RunOptions(**{each.name: given[each.name] for each in fields(RunOptions)})


def parser() -> argparse.ArgumentParser:
    """The options of `search.run`."""
    options = CommandParser(
        prog="python -m search.run",
        description="`python -m search.run`: create, resume or extend a study, and run its "
        "trials.",
        epilog=EPILOG,
    )
    _add_study(options)
    _add_limits(options)
    add_data(options)
    add_licences(options)
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
        type=positive,
        default=60.0,
        metavar="SECONDS",
        help="silence after which a worker's trial may be taken over; default: 60",
    )
    add_cache(options, limit=True)
    add_hardware(options, "auto, float32 or bfloat16")
    add_graphs(options)
    options.add_argument(
        "--threads",
        type=count_to(MOST_THREADS),
        metavar="N",
        help="CPU threads; cores divided by workers",
    )
    _add_workers(options)
    options.add_argument("--quiet", action="store_true", help="show the result only")
    options.add_argument(
        "--dry-run",
        action="store_true",
        help="say what the study will take: data, stages, time on this device, disk, and the gain "
        "that could be found; nothing is kept",
    )
    return options


def _add_study(options: argparse.ArgumentParser) -> None:
    what = options.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--study",
        help="a shipped study (see --list), or the path of a .toml file; the option's name may be "
        "left out",
    )
    what.add_argument("--list", action="store_true", help="show the shipped studies")
    options.add_argument("--name", help="name in the storage; default: that of the study file")
    add_overrides(options, "target.examples=400 (a TOML value)")


def _add_limits(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--trials",
        type=count,
        metavar="N",
        help="trials in all, after the direct trainings that they are held against; default: the "
        "study file's",
    )
    options.add_argument(
        "--gpu-hours",
        type=positive,
        metavar="H",
        help="device time of all trials in all, over all workers and runs; on a CPU a worker's",
    )
    options.add_argument(
        "--timeout",
        type=duration,
        metavar="TIME",
        help="as in 12h or 30min: the time in which any worker is there, over all runs",
    )
    options.add_argument(
        "--until",
        type=positive,
        metavar="POINTS",
        help="end when the recommended recipe is expected to be within so many points of the best",
    )


def _add_workers(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--workers",
        type=count_to(MOST_WORKERS),
        metavar="N",
        help="processes on this machine, default: 1; with --launcher ray actors, default: as many "
        "as the cluster has room for",
    )
    options.add_argument(
        "--workers-per-gpu",
        type=_count_or_auto,
        metavar="K",
        help="without --workers: K on each CUDA device, for encoders that do not fill one; auto: "
        "as many as its free memory has room for",
    )
    options.add_argument(
        "--launcher",
        choices=("local", "ray"),
        default="local",
        help="where the workers are: on this machine (default), or on a Ray cluster (waits for "
        "them); Slurm and Kubernetes need no launcher, see search/README.md",
    )
    options.add_argument(
        "--address",
        dest="ray_address",
        metavar="HOST:PORT",
        help="with --launcher ray: the cluster to join; default: start one on this machine",
    )
    options.add_argument(
        "--end",
        action="store_true",
        help="with --launcher ray: end the study's workers on the cluster, trials go back",
    )
    # Of a further worker, which its run starts (`search.command_line.run_options`).
    options.add_argument("--fellow", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--device-share", type=float, default=1.0, help=argparse.SUPPRESS)


def _count_or_auto(text: str) -> int | Literal["auto"]:
    return "auto" if text == "auto" else count_to(MOST_WORKERS)(text)


# Never on a command line: its URL may hold a password, and anybody may read command lines.
_BY_ENVIRONMENT = "storage"
_SPELLED = {"study": "--study", "overrides": "--set", "ray_address": "--address"}


def further_worker(
    options: RunOptions, threads: int | None, device: str, device_share: float
) -> RunOptions:
    """The options of one more worker of a run: the run's own, without its launcher."""
    return replace(
        options,
        threads=threads,
        workers=1,
        workers_per_gpu=None,
        launcher="local",
        ray_address=None,
        end=False,
        device=device,
        device_share=device_share,
        fellow=True,
    )


def worker_words(options: RunOptions) -> list[str]:
    """The words after `search.run` that ask for these options, but for the storage.

    A worker finds the storage's URL in its environment (`TRANSFER_SEARCH_STORAGE`).
    """
    words = list[str]()
    for each in fields(options):
        value = getattr(options, each.name)
        if each.name == _BY_ENVIRONMENT or (each.default is not MISSING and value == each.default):
            continue
        option = _SPELLED.get(each.name, f"--{each.name.replace('_', '-')}")
        if each.name == "timeout":
            value = f"{value:f}s"
        if value is True:
            words.append(option)
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"{option}={one}" for one in values]
    return words
