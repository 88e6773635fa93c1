"""The workers of a study in a chaos run: started, killed, paused and told to end."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass
class Fleet:
    """The workers of a study; those that are lost are replaced.

    Attributes:
        forks: Starts the workers.
        words: Options of each worker.
        logs: Folder with a file of the output of each worker.
        paused: Process number of a stopped worker -> when it goes on, by `time.monotonic`.
        errors: Exit code and last line of each worker that failed though no fault hit it.
    """

    forks: ForkedWorkers
    words: Sequence[str]
    logs: Path
    paused: dict[int, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    _running: dict[int, Path] = field(default_factory=dict)
    _told: dict[int, Path] = field(default_factory=dict)
    _started: int = 0

    def start(self) -> int:
        """Start another worker; returns its process number."""
        self._started += 1
        log = self.logs / f"worker-{self._started:03}.log"
        log.touch()
        pid = self.forks.start(self.words, log)
        self._running[pid] = log
        return pid

    @property
    def pids(self) -> list[int]:
        """Process numbers of workers that are neither paused nor told to end."""
        self.look_after()
        return [pid for pid in self._running if pid not in self.paused]

    @property
    def busy_pids(self) -> list[int]:
        """The `pids` that have begun a trial; a worker that still starts has little to lose."""
        return [pid for pid in self.pids if "\ntrial " in self._log_of(pid)]

    @property
    def is_starting(self) -> bool:
        """Whether one of the `pids` has begun no training yet."""
        logs = [self._log_of(pid) for pid in self.pids]
        return not all("\ntrial " in log or "\ndirect training " in log for log in logs)

    def _log_of(self, pid: int) -> str:
        return self._running[pid].read_text(encoding="utf-8")

    @property
    def is_gone(self) -> bool:
        """Whether no worker is left."""
        self.look_after()
        return not self._running and not self._told

    def kill(self, pid: int) -> None:
        """Kill a worker (-9) and wait until it is gone."""
        self.forks.kill(pid)
        self._running.pop(pid, None)
        self.paused.pop(pid, None)

    def terminate(self, pid: int) -> None:
        """Tell a worker to end (SIGTERM), as a batch system does."""
        self.forks.send(pid, signal.SIGTERM)
        self._told[pid] = self._running.pop(pid)

    def pause(self, pid: int, seconds: float) -> None:
        """Stop a worker (SIGSTOP); `look_after` lets it go on after so many seconds."""
        self.forks.send(pid, signal.SIGSTOP)
        self.paused[pid] = time.monotonic() + seconds

    def look_after(self) -> None:
        """Continue workers whose pause is over, and note those that ended."""
        for pid, until in list(self.paused.items()):
            if time.monotonic() > until:
                self.forks.send(pid, signal.SIGCONT)
                del self.paused[pid]
        # A worker that was just starting has no handler for the signal yet.
        told = {0, 128 + signal.SIGTERM, -signal.SIGTERM}
        for group, right in ((self._running, {0}), (self._told, told)):
            for pid, log in list(group.items()):
                code = self.forks.exit_code(pid)
                if code is not None:
                    del group[pid]
                    if code not in right:
                        lines = log.read_text(encoding="utf-8").strip().splitlines()
                        last = lines[-1] if lines else ""
                        self.errors.append(f"{log.name}: exit code {code}: {last}")

    def rest(self, seconds: float) -> None:
        """Sleep for so many seconds, and look after the workers meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look_after()
            time.sleep(0.05)


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
        """Start `python -m search.run WORDS`; returns its process number."""
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
    from objectives.pocket.encoder import save_untrained_encoder

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
