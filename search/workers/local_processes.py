"""More workers of one run: further processes of the same command, here.

They share the study through its database, like workers on other machines; this module only
starts them, starts one again that was killed, and waits for them. A run that dies leaves them at
work.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from search.command_line.options import STORAGE_VARIABLE
from search.launch.hosted_worker import worker_words
from search.workers.heartbeat import StopSignal
from spaces.errors import SpecError

# Workers that start together wait for each other's first reading of the study.
STAGGER_SECONDS = 0.25
RESTARTS = 10

_log = logging.getLogger(__name__)


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


def device_environment(worker: int, device: str) -> dict[str, str]:
    """What a worker's process finds in its environment: where there are cards, one of them.

    Args:
        worker: Its number on this machine.
        device: `--device` of the run; a card that is named there is every worker's.
    """
    cards = torch.cuda.device_count()
    if device == "cpu" or ":" in device or cards == 0:
        return {}
    known = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(cards)))
    return {"CUDA_VISIBLE_DEVICES": known.split(",")[worker % cards]}


def device_share(workers: int, device: str) -> float:
    """How much of a device a worker has, where so many on this machine share its cards."""
    cards = torch.cuda.device_count()
    if device == "cpu" or cards == 0:
        return 1.0
    return min(1.0, (1 if ":" in device else cards) / workers)


def fellow_command(words: Sequence[str], threads: int, share: float, device: str) -> list[str]:
    """The command of one more worker of a run.

    Args:
        words: The options of the run.
        threads: CPU threads of each worker.
        share: Of a device, as `device_share` tells.
        device: `--device` of the run.
    """
    own = ["--threads", str(threads), "--device", device, "--device-share", str(share)]
    return [sys.executable, "-m", "search.run", *worker_words(words), *own]


@contextmanager
def fellow_workers(
    words: Sequence[str],
    storage_url: str,
    workers: int,
    device: str,
    threads: int,
    stop: StopSignal,
) -> Iterator[None]:
    """Have further workers while the context is entered, and wait for them at its end.

    Args:
        words: The options of this run.
        storage_url: Goes to them by their environment, as it may hold a password, and anybody may
            read command lines.
        workers: How many there are on this machine, this process included.
        device: `--device` of this run.
        threads: CPU threads of each.
        stop: Passed on to them.
    """
    command = fellow_command(words, threads, device_share(workers, device), device)
    ended = threading.Event()

    def keep(number: int) -> None:
        if ended.wait(STAGGER_SECONDS * number):
            return
        environment = {
            **os.environ,
            STORAGE_VARIABLE: storage_url,
            **device_environment(number, device),
        }
        for _ in range(1 + RESTARTS):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
            running[number] = process
            code = process.wait()
            if code >= 0 or stop.number or ended.is_set():
                return  # it ended by itself, or as it was told
            _log.warning("worker %d was killed (signal %d); started again", number, -code)

    running: dict[int, subprocess.Popen[bytes]] = {}
    threads_of = [
        threading.Thread(target=keep, args=(number,), daemon=True) for number in range(1, workers)
    ]
    for thread in threads_of:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        told = set[int]()
        while any(thread.is_alive() for thread in threads_of):
            # Also where the signal comes while this run only waits for its fellows.
            for process in list(running.values()):
                if stop.number and process.poll() is None and process.pid not in told:
                    told.add(process.pid)
                    process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
