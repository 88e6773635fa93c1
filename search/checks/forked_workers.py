"""Workers that are there at once: processes of `search.run`, forked from one with torch loaded.

The chaos starts dozens of workers, and loading torch, transformers and SciPy takes longer than a
trial of its study. `multiprocessing`'s fork server loads them once. A worker is still a process of
its own: it runs `python -m search.run` with its options, environment, log and exit code, and takes
any signal.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Self

_PRELOADED = (
    "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert",
    "search.workers.session",
)
_forks = multiprocessing.get_context("forkserver")


class ForkedWorkers:
    """Starts workers, and knows how each ended. Leaving its context kills those still there.

    Args:
        environment: Variables of the workers; all others are as in this process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}
        self._started: dict[int, ForkServerProcess] = {}

    def __enter__(self) -> Self:
        """Start the fork server, which loads its modules while this process goes on."""
        # Read when torch is loaded, as in `search.run`: inherited by the server.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        _forks.set_forkserver_preload(list(_PRELOADED))
        forkserver.ensure_running()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pid, process in self._started.items():
            self.kill(pid)
            process.close()
        self._started.clear()

    def save_encoder(self, folder: Path) -> None:
        """Write the untrained encoder of the pocket corpora into a folder, by a forked process."""
        process = _forks.Process(target=_save_encoder, args=(folder,), daemon=True)
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"no encoder was saved: exit code {process.exitcode}")
        process.close()

    def start(self, words: Sequence[str], log: Path) -> int:
        """Start `python -m search.run WORDS`; returns its process number.

        Args:
            words: Options of the command.
            log: File to which its output and its errors are added.
        """
        process = _forks.Process(
            target=_run, args=(tuple(words), log, self._environment), daemon=True
        )
        process.start()
        assert process.pid is not None
        self._started[process.pid] = process
        return process.pid

    def exit_code(self, pid: int) -> int | None:
        """How a worker ended, with a signal's number negated; None while it has not."""
        return self._started[pid].exitcode

    def send(self, pid: int, number: signal.Signals) -> None:
        """Send a worker a signal, unless it has just ended."""
        # The fork server reaps at once, so that there may be no process of that number.
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def kill(self, pid: int) -> None:
        """Kill a worker (-9), also one that is stopped, and wait until it is gone."""
        self._started[pid].kill()
        self._started[pid].join()


def _save_encoder(folder: Path) -> None:
    # Here, so that only the fork server loads torch.
    from objectives.models.encoders import quiet_libraries
    from objectives.pocket import save_untrained_encoder

    quiet_libraries()
    save_untrained_encoder(folder)


def _run(words: tuple[str, ...], log: Path, environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = ["search.run", *words]
    runpy.run_module("search.run", run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    """End this worker when the process that started it is gone, however that one ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
