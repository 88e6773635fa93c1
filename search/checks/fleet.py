"""The workers of a study in a chaos run: started, killed, paused and told to end."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from search.checks.forked_workers import ForkedWorkers


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
        return [
            pid
            for pid in self.pids
            if "\ntrial " in self._running[pid].read_text(encoding="utf-8")
        ]

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
