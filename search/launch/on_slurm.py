"""Workers as jobs of Slurm, by submitit: submitted and left to the queue.

Each task of the array is one worker, which pulls trials from the study's database; none knows of
the others. submitit keeps what a job is to do as a pickle in its folder, which is this user's
alone; there is no password in it. The storage's URL comes by the environment, which sbatch hands
on unless told otherwise.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from search.command_line.options import STORAGE_VARIABLE, study_words
from search.launch.hosted_worker import HostedWorker, Order, worker_words
from spaces.errors import SpecError, StorageError
from spaces.studies import StudySpec
from storage.urls import is_of_one_machine, redacted

FOLDER = "transfer-search.slurm"
# Between submitit's signal and the end of the job, for the update that a worker is at.
SIGNAL_DELAY_SECONDS = 90
CHECKPOINT_SECONDS = 75.0
LOCAL_MINUTES = 24 * 60
# Each time that a job reaches its time limit counts; a study may go on for weeks.
REQUEUES = 1000
POLL_SECONDS = 0.5


class SlurmWorker:
    """A worker of a study in a job of submitit's.

    Args:
        order: What to do.
        shown_url: Of the storage, without its password: the environment must have the same.
    """

    def __init__(self, order: Order, shown_url: str) -> None:
        self._order = order
        self._shown_url = shown_url
        self._worker: HostedWorker | None = None

    def __call__(self) -> int:
        """Work; the exit code is the job's."""
        url = os.environ.get(STORAGE_VARIABLE, "")
        if not url or redacted(url) != self._shown_url:
            print(
                f"error: {STORAGE_VARIABLE}: expected {self._shown_url} of the launcher, found "
                f"{redacted(url) if url else 'nothing'}; submit with --slurm export=ALL",
                file=sys.stderr,
            )
            raise SystemExit(2)
        worker = self._worker = HostedWorker(self._order, url)

        def end(number: int, frame: types.FrameType | None) -> None:
            worker.end()

        # scancel and preemption: submitit would let it pass.
        signal.signal(signal.SIGTERM, end)
        worker.start()
        while (code := worker.wait(POLL_SECONDS)) is None:
            pass
        if code:
            raise SystemExit(code)
        return code

    def checkpoint(self) -> Any:
        """End before the job is preempted or its time is up, and be queued again."""
        from submitit.helpers import DelayedSubmission

        if self._worker is not None:
            self._worker.end()
            self._worker.wait(CHECKPOINT_SECONDS)
        return DelayedSubmission(SlurmWorker(self._order, self._shown_url))


def launch_on_slurm(spec: StudySpec, options: argparse.Namespace) -> int:
    """Submit a study's workers, say where they are, and return.

    Args:
        spec: A checked study.
        options: From `search.run.parser`.

    Returns:
        0.

    Raises:
        SpecError: submitit is not installed, there is no Slurm, or it takes no such job.
        StorageError: The storage is one of this machine.
    """
    if options.workers_per_gpu is not None:
        raise SpecError(
            "--workers-per-gpu: expected --workers with --launcher slurm, which shares out cards"
        )
    parameters = parse_parameters(options.slurm)
    is_local = parameters.pop("cluster", "slurm") == "local"
    if not is_local and is_of_one_machine(options.storage):
        raise StorageError(
            f"storage {redacted(options.storage)}: expected a database that all nodes reach, "
            f"found one of this machine; use postgresql+psycopg://USER@HOST/DATABASE"
        )
    os.environ[STORAGE_VARIABLE] = options.storage
    worker = SlurmWorker(Order(tuple(worker_words(options.words))), redacted(options.storage))
    ids = _submitted(worker, options.workers or 1, parameters, is_local)
    end = ["kill", "-TERM", *ids] if is_local else ["scancel", ids[0].partition("_")[0]]
    print(f"submitted {len(ids)} workers of {options.name or spec.name!r}: {' '.join(ids)}")
    print(f"logs:    {FOLDER}/")
    print(f"status:  {study_words('status', options)}")
    print(f"end:     {shlex.join(end)}")
    return 0


def parse_parameters(words: Sequence[str]) -> dict[str, Any]:
    """What `--slurm KEY=VALUE` says, under submitit's names.

    Args:
        words: KEY=VALUE each, as sbatch has it.

    Raises:
        SpecError: One of them is none, or the time is no time.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise SpecError(f"--slurm: expected KEY=VALUE as in partition=gpu, found {word!r}")
        key = key.removeprefix("--").replace("-", "_")
        if key == "time":
            found[key] = _minutes(value)
        else:
            found[key] = int(value) if value.isdecimal() else value
    if found.get("cluster", "slurm") not in {"slurm", "local"}:
        raise SpecError(f"--slurm cluster: expected slurm or local, found {found['cluster']!r}")
    if found.get("cluster") != "local" and "time" not in found:
        raise SpecError(
            "--slurm: expected time=TIME, as in time=12:00:00, after which a worker is queued "
            "again"
        )
    return found


def _submitted(
    worker: SlurmWorker, workers: int, parameters: Mapping[str, Any], is_local: bool
) -> list[str]:
    """The ids of the jobs."""
    try:
        import submitit
        from submitit.core.utils import FailedJobError
        from submitit.slurm.slurm import _get_default_parameters
    except ImportError as error:
        raise SpecError(
            "--launcher slurm: expected the package submitit, found none; install it with "
            "pip install 'transfer-search[slurm]'"
        ) from error
    Path(FOLDER).mkdir(mode=0o700, exist_ok=True)
    folder = str(Path(FOLDER).absolute() / "%j")
    try:
        if is_local:
            executor: Any = submitit.LocalExecutor(folder, max_num_timeout=REQUEUES)
            minutes = parameters.get("time", LOCAL_MINUTES)
            rest = {k: v for k, v in parameters.items() if k in {"gpus_per_node"}}
            executor.update_parameters(timeout_min=minutes, signal_delay_s=30, **rest)
        else:
            executor = submitit.SlurmExecutor(folder, max_num_timeout=REQUEUES)
            known = _get_default_parameters()
            executor.update_parameters(
                **{
                    "job_name": "transfer-search",
                    "signal_delay_s": SIGNAL_DELAY_SECONDS,
                    "array_parallelism": workers,
                    **{k: v for k, v in parameters.items() if k in known},
                    "additional_parameters": {
                        "requeue": True,
                        **{k: v for k, v in parameters.items() if k not in known},
                    },
                }
            )
        with _without_output() if is_local else nullcontext(), executor.batch():
            jobs = [executor.submit(worker) for _ in range(workers)]
    except (RuntimeError, ValueError, FailedJobError, OSError) as error:
        found = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise SpecError(
            f"--launcher slurm: expected Slurm to take the job, found: {found}; --slurm "
            f"cluster=local runs it on this machine"
        ) from error
    return [job.job_id for job in jobs]


@contextmanager
def _without_output() -> Iterator[None]:
    """Have processes that are started within write nowhere.

    Local jobs outlive this command; with its output they would keep a pipe open, and `... | tee`
    would wait for them.
    """
    sys.stdout.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for number, descriptor in enumerate(kept, 1):
            os.dup2(descriptor, number)
        for descriptor in (*kept, nowhere):
            os.close(descriptor)


def _minutes(text: str) -> int:
    """Of a time as sbatch has it: MINUTES, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    https://slurm.schedmd.com/sbatch.html#OPT_time
    """
    if re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", text) is None:
        raise SpecError(f"--slurm time: expected a time as in 12:00:00, found {text!r}")
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if dash:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    elif len(parts) == 1:
        hours, minutes, seconds = 0, parts[0], 0
    elif len(parts) == 2:
        hours, minutes, seconds = 0, *parts
    else:
        hours, minutes, seconds = parts
    whole = 24 * 60 * int(days or 0) + 60 * hours + minutes + (1 if seconds else 0)
    if whole == 0:
        raise SpecError(f"--slurm time: expected a time above 0, found {text!r}")
    return whole
