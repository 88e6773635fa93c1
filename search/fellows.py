"""More workers of one run on this machine: further processes of the same command.

They share the study through its database, like workers on other machines; this module only
starts them and waits for them. A run that dies leaves them at work.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from search.worker import StopSignal
from spaces.errors import SpecError


def count_workers(workers: int | None, per_gpu: int | None) -> int:
    """How many workers a run has, itself included.

    Args:
        workers: `--workers`; where it is given, nothing else counts.
        per_gpu: `--workers-per-gpu`.

    Raises:
        SpecError: Workers per GPU, and no GPU.
    """
    if workers is not None or per_gpu is None:
        return workers or 1
    cards = torch.cuda.device_count()
    if cards == 0:
        raise SpecError(
            "--workers-per-gpu: expected a CUDA device, found none; use --workers on a CPU"
        )
    return per_gpu * cards


def device_of(worker: int, device: str) -> str:
    """The device of a worker: where there are several cards, they are dealt round."""
    cards = torch.cuda.device_count()
    if device == "cpu" or ":" in device or cards == 0:
        return device
    return f"cuda:{worker % cards}"


@contextmanager
def fellow_workers(
    words: Sequence[str], count: int, device: str, threads: int, stop: StopSignal
) -> Iterator[None]:
    """Have `count` further workers while the context is entered, and wait for them at its end.

    Args:
        words: The options of this run.
        count: How many besides this process.
        device: `--device` of this run.
        threads: CPU threads of each.
        stop: Passed on to them.
    """
    command = [sys.executable, "-m", "search.run", *words, "--quiet", "--workers", "1"]
    started = [
        subprocess.Popen(
            [*command, "--threads", str(threads), "--device", device_of(number, device)],
            stdout=subprocess.DEVNULL,
        )
        for number in range(1, count + 1)
    ]
    try:
        yield
    finally:
        for process in started:
            if stop.number:
                process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait()
