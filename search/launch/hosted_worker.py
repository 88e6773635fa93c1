"""A worker of a study inside a process that another program owns, such as an actor of Ray's.

It is a run as anywhere, in a thread: the main thread and the signals are the owner's.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from search.command_line.options import STORAGE_VARIABLE, fail_in_one_line
from search.command_line.run_options import RunOptions
from search.command_line.stop_signal import StopSignal
from search.studies.study_file import read_study_file
from search.workers.starting import start_run
from spaces.errors import SpecError

VARIABLES = "TRANSFER_SEARCH_"


def variables() -> dict[str, str]:
    """Our own environment variables but for the storage, for workers that do not inherit them."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(VARIABLES) and name != STORAGE_VARIABLE
    }


@dataclass(frozen=True)
class HostedRun:
    """A run in a process elsewhere.

    Attributes:
        options: What the run is asked for.
        folder: Folder in which relative paths are meant.
        variables: Environment variables of this program, but for the storage.
    """

    options: RunOptions
    folder: str = field(default_factory=lambda: str(Path.cwd()))
    variables: Mapping[str, str] = field(default_factory=variables)


class HostedWorker:
    """A run in a thread, to be started once."""

    def __init__(self, run: HostedRun) -> None:
        self._hosted = run
        self._stop = StopSignal()
        self._code = 1  # of a bug, whose traceback the thread shows
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """End the run as SIGTERM does: its trial goes back, and other workers take it."""
        self._stop.ask()

    def wait(self, seconds: float | None) -> int | None:
        """Its exit code; None while it is still at work after so many seconds."""
        self._thread.join(seconds)
        return None if self._thread.is_alive() else self._code

    def _work(self) -> None:
        options, folder = self._hosted.options, self._hosted.folder
        os.environ.update(self._hosted.variables)
        try:
            with fail_in_one_line():
                _enter(folder)
                file = read_study_file(options.study, options.overrides)
                self._code = start_run(options, file, self._stop)
        except SystemExit as ended:
            self._code = ended.code if isinstance(ended.code, int) else 1


def _enter(folder: str) -> None:
    """Go to the folder of the run that this worker is one of; relative paths start there."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise SpecError(
            socket.gethostname(),
            f"the launcher's folder {folder}",
            f"none ({error.strerror})",
            "start the launcher in a folder that all machines have",
        ) from error
