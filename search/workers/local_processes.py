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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch

from search.command_line.options import STORAGE_VARIABLE
from search.command_line.run_options import RunOptions, further_worker, worker_words
from search.command_line.stop_signal import StopSignal
from search.workers.card_sharing import workers_by_memory
from spaces.errors import SpecError

# Workers that start together wait for each other's first reading of the study.
STAGGER_SECONDS = 0.25
RESTARTS = 10

_log = logging.getLogger(__name__)


def count_workers(
    workers: int | None,
    per_gpu: int | Literal["auto"] | None,
    backbones: Sequence[str] = (),
    on_line: Callable[[str], None] = lambda line: None,
) -> int:
    """How many workers a run has, itself included.

    Args:
        workers: Number that was asked for.
        per_gpu: Number for each card, where no number is asked for; auto: as many as its memory
            has room for.
        backbones: Encoders of the study.
        on_line: Listener told, in a line, what auto came to.

    Raises:
        SpecError: Workers per GPU, and no GPU.
    """
    if workers is not None or per_gpu is None:
        return workers or 1
    cards = torch.cuda.device_count()
    if cards == 0:
        raise SpecError(
            "--workers-per-gpu",
            expected="a CUDA device",
            found="none",
            advice="use --workers on a CPU",
        )
    if per_gpu == "auto":
        per_gpu, reason = workers_by_memory(backbones, cards)
        on_line(f"{per_gpu} workers on each card: {reason}")
    return per_gpu * cards


def device_environment(worker: int, device: str) -> dict[str, str]:
    """What a worker's process finds in its environment: where there are cards, one of them."""
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


@contextmanager
def fellow_workers(
    options: RunOptions, workers: int, threads: int, stop: StopSignal
) -> Iterator[None]:
    """Have further workers while the context is entered, and wait for them at its end.

    Args:
        options: Options of this run. The storage's URL goes to the others by their environment,
            as it may hold a password, and anybody may read command lines.
        workers: Number of workers on this machine, this process included.
        threads: CPU threads of each worker.
        stop: Whether this run was asked to end; passed on to them.
    """
    share = device_share(workers, options.device)
    further = further_worker(options, threads, options.device, share)
    command = [sys.executable, "-m", "search.run", *worker_words(further)]
    ended = threading.Event()

    def keep(number: int) -> None:
        if ended.wait(STAGGER_SECONDS * number):
            return
        environment = {
            **os.environ,
            STORAGE_VARIABLE: options.storage,
            **device_environment(number, options.device),
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
