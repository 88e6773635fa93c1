"""A worker of a study inside a process that another program owns: Ray's, or submitit's.

It is `search.run` as anywhere, in a thread: the main thread and the signals are the owner's. What
it is told holds no password, as others write it into files and show it in process lists; the
storage's URL goes its own way.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from search.command_line.options import STORAGE_VARIABLE

if TYPE_CHECKING:
    from search.workers.heartbeat import StopSignal

VARIABLES = "TRANSFER_SEARCH_"
# Options of the launcher, which its workers must not have.
_NOT_FOR_WORKERS = ("--storage", "--launcher", "--address", "--slurm")


def worker_words(words: Sequence[str]) -> list[str]:
    """The options of a run that its other workers have too, without storage and launcher.

    Args:
        words: The options of the run.
    """
    options = argparse.ArgumentParser(add_help=False)
    for name in _NOT_FOR_WORKERS:
        options.add_argument(name)
    options.add_argument("--end", action="store_true")
    return [*options.parse_known_args(list(words))[1], "--fellow", "--workers", "1"]


def variables() -> dict[str, str]:
    """Our own environment variables but for the storage, for workers that do not inherit them."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(VARIABLES) and name != STORAGE_VARIABLE
    }


@dataclass(frozen=True)
class Order:
    """What a worker elsewhere is to do.

    Attributes:
        words: Options of `search.run`, without the storage.
        folder: In which relative paths are meant.
        variables: Environment variables of ours.
    """

    words: tuple[str, ...]
    folder: str = field(default_factory=lambda: str(Path.cwd()))
    variables: Mapping[str, str] = field(default_factory=variables)


class HostedWorker:
    """One run of `search.run`, to be started once.

    Args:
        order: What to do.
        storage_url: On which storage; kept in this process's environment alone.
    """

    def __init__(self, order: Order, storage_url: str) -> None:
        self._order = order
        self._storage_url = storage_url
        self._stop: StopSignal | None = None
        self._code = 1  # of a bug, whose traceback the thread shows
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        from search.workers.heartbeat import StopSignal

        self._stop = StopSignal()
        self._thread.start()

    def end(self) -> None:
        """Have it end as by SIGTERM: its trial goes back, and others take it."""
        if self._stop is not None:
            self._stop.ask()

    def wait(self, seconds: float | None) -> int | None:
        """Its exit code; None while it is still at work after so many seconds."""
        self._thread.join(seconds)
        return None if self._thread.is_alive() else self._code

    def _run(self) -> None:
        from search.run import main

        os.environ.update({**self._order.variables, STORAGE_VARIABLE: self._storage_url})
        try:
            os.chdir(self._order.folder)
        except OSError as error:
            print(
                f"error: {socket.gethostname()}: expected the launcher's folder "
                f"{self._order.folder}, found none ({error.strerror}); start the launcher in a "
                f"folder that all machines have",
                file=sys.stderr,
            )
            self._code = 2
            return
        try:
            self._code = main(list(self._order.words), self._stop)
        except SystemExit as ended:
            self._code = ended.code if isinstance(ended.code, int) else 1
