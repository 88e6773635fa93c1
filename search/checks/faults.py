"""Faults that happen to a study's workers, its database and its disk, done on purpose.

Each is drawn from a seeded generator and says in words what it did. The workers are processes of
`search.run`, the database and the disk are the study's own: nothing else on the machine is harmed.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote

from search.checks.forked_workers import ForkedWorkers
from storage.embedded import EmbeddedServer

CATCH_SECONDS = 15.0
"""For how long a worker is waited for that has a result in its outbox."""
FULL_SECONDS = 20.0
DISK_BYTES = 64 << 20
PAUSE_LEASES = 1.7


class Fault(StrEnum):
    """What happens. The order is that of the first round.

    A full disk is met by stages that are saved: by intermediate ones, which a study has all soon.
    """

    DISK_FULL = "disk full"
    KILL = "worker killed"
    PAUSE = "worker paused past its lease"
    TEAR = "checkpoint torn"
    RESTART = "database restarted"
    UNDELIVERED = "worker killed with a result undelivered"
    TERMINATE = "worker told to end"
    CRASH = "database killed"


@dataclass
class Fleet:
    """The workers of a study; those that are lost are replaced.

    Attributes:
        forks: Starts them.
        words: Options of each.
        logs: Folder of what they write, a file each.
        paused: Those that are stopped: process number -> when they go on, by `time.monotonic`.
        errors: What ended workers that nobody harmed, otherwise than well.
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
        """Have one worker more; returns its process number."""
        self._started += 1
        log = self.logs / f"worker-{self._started:03}.log"
        log.touch()
        pid = self.forks.start(self.words, log)
        self._running[pid] = log
        return pid

    @property
    def pids(self) -> list[int]:
        """Those at work, which are neither paused nor about to end."""
        self.look_after()
        return [pid for pid in self._running if pid not in self.paused]

    @property
    def busy_pids(self) -> list[int]:
        """Those of `pids` that have begun a trial; one that still starts has little to lose."""
        return [
            pid
            for pid in self.pids
            if "\ntrial " in self._running[pid].read_text(encoding="utf-8")
        ]

    @property
    def is_gone(self) -> bool:
        """Whether none is left."""
        self.look_after()
        return not self._running and not self._told

    def kill(self, pid: int) -> None:
        """Kill it (-9) and wait until it is gone."""
        self.forks.kill(pid)
        self._running.pop(pid, None)
        self.paused.pop(pid, None)

    def terminate(self, pid: int) -> None:
        """Tell it to end, as a batch system does."""
        os.kill(pid, signal.SIGTERM)
        self._told[pid] = self._running.pop(pid)

    def pause(self, pid: int, seconds: float) -> None:
        """Stop it now; `look_after` lets it go on."""
        os.kill(pid, signal.SIGSTOP)
        self.paused[pid] = time.monotonic() + seconds

    def look_after(self) -> None:
        """Let go on whose pause is over, and note who ended."""
        for pid, until in list(self.paused.items()):
            if time.monotonic() > until:
                os.kill(pid, signal.SIGCONT)
                del self.paused[pid]
        # One that was just starting knows nothing yet of how to end well.
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
        """Sleep, and look after the workers meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look_after()
            time.sleep(0.05)


class SmallDisk:
    """A file system of its own in memory, which can be filled without harm to anything else.

    Args:
        folder: Where it is mounted.

    Raises:
        OSError: This user may not mount here, or the system has no tmpfs; says why.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", folder)

    def fill(self) -> None:
        """Take all that is free."""
        with (self.folder / "filler").open("ab", buffering=0) as file:
            for block in (b"\0" * (1 << 20), b"\0" * (1 << 12)):
                try:
                    while file.write(block) == len(block):
                        continue
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Give it back."""
        (self.folder / "filler").unlink()

    def close(self) -> None:
        """Unmount it."""
        self._run("umount", "-l", self.folder)

    def _run(self, *words: str | Path) -> None:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(done.stderr.strip() or f"{words[0]}: exit code {done.returncode}")


@dataclass
class Site:
    """Where the faults happen.

    Attributes:
        fleet: The workers.
        rng: All is drawn from it.
        lease_seconds: Of the workers.
        cache: Their checkpoints.
        outbox: What they have not brought to the database.
        server: Their database; None for SQLite, which is a file.
        disk: Under the cache; None where none could be mounted.
        count_passing: How many trials failed by a fault of the machine so far.
        torn: Keys of the checkpoints that were torn.
    """

    fleet: Fleet
    rng: random.Random
    lease_seconds: float
    cache: Path
    outbox: Path
    server: EmbeddedServer | None
    disk: SmallDisk | None
    count_passing: Callable[[], int]
    torn: set[str] = field(default_factory=set)

    def inject(self, fault: Fault) -> str | None:
        """Let a fault happen; returns it in words, None where there was nothing it could hit."""
        return {
            Fault.KILL: self._kill,
            Fault.PAUSE: self._pause,
            Fault.TEAR: self._tear,
            Fault.RESTART: self._restart,
            Fault.UNDELIVERED: self._kill_with_result,
            Fault.DISK_FULL: self._fill_disk,
            Fault.TERMINATE: self._terminate,
            Fault.CRASH: self._crash,
        }[fault]()

    def _any_worker(self) -> int | None:
        """One that is at work; None while all of them are starting."""
        pids = self.fleet.busy_pids
        return self.rng.choice(pids) if pids else None

    def _kill(self) -> str | None:
        pid = self._any_worker()
        if pid is None:
            return None
        self.fleet.kill(pid)
        return f"process {pid}; {self.fleet.start()} started"

    def _terminate(self) -> str | None:
        pid = self._any_worker()
        if pid is None:
            return None
        self.fleet.terminate(pid)
        return f"process {pid}; {self.fleet.start()} started"

    def _pause(self) -> str | None:
        pid = self._any_worker()
        if pid is None:
            return None
        seconds = PAUSE_LEASES * self.lease_seconds
        self.fleet.pause(pid, seconds)
        return f"process {pid} for {seconds:.1f} s"

    def _restart(self) -> str | None:
        assert self.server is not None
        self.server.stop()
        return self._away(self.server, self.rng.uniform(0.5, 3.0))

    def _crash(self) -> str | None:
        assert self.server is not None
        self.server.kill()
        return self._away(self.server, self.rng.uniform(0.0, 2.0))

    def _away(self, server: EmbeddedServer, seconds: float) -> str:
        began = time.monotonic()
        self.fleet.rest(seconds)
        server.start()
        return f"away for {time.monotonic() - began:.1f} s"

    def _kill_with_result(self) -> str | None:
        """Catch a worker between its result on disk and the database's answer, and kill it."""
        until = time.monotonic() + CATCH_SECONDS
        while time.monotonic() < until:
            for file in self.outbox.glob("*.json"):
                pid = int(unquote(file.stem.rpartition("-")[0]).rsplit("/", 2)[1])
                if pid not in self.fleet.pids:
                    continue
                self.fleet.pause(pid, CATCH_SECONDS)
                if not file.exists():  # it was quicker
                    self.fleet.paused[pid] = 0.0
                    continue
                kind = json.loads(file.read_text(encoding="utf-8"))["kind"]
                return self._kill_caught(pid, kind)
            time.sleep(0.002)
        return None

    def _kill_caught(self, pid: int, kind: str) -> str:
        if self.server is None:
            self.fleet.kill(pid)
            return f"process {pid}, {kind}; {self.fleet.start()} started"
        self.server.stop()
        self.fleet.kill(pid)
        away = self._away(self.server, self.rng.uniform(0.0, 1.0))
        return f"process {pid}, {kind}, database {away}; {self.fleet.start()} started"

    def _fill_disk(self) -> str | None:
        assert self.disk is not None
        before, began = self.count_passing(), time.monotonic()
        with ExitStack() as stack:
            stack.callback(self.disk.free)
            self.disk.fill()
            while time.monotonic() - began < FULL_SECONDS and self.count_passing() == before:
                self.fleet.rest(0.2)
        hit = self.count_passing() - before
        return f"for {time.monotonic() - began:.1f} s; {hit} trial(s) met it"

    def _tear(self) -> str | None:
        """Leave half of a manifest or of a file, or one bit wrong, as after a power cut."""
        manifests = sorted(self.cache.glob("[0-9a-f][0-9a-f]/*.json"))
        # Those that further trials are likely to ask for again.
        shared = [x for x in manifests if '"pocket_ner"' not in x.read_text(encoding="utf-8")]
        if not (shared or manifests):
            return None
        manifest = self.rng.choice(shared or manifests)
        if manifest.stem in self.torn:
            return None
        how = self.rng.choice(("half its manifest", "half a file", "a bit of a file"))
        target = manifest
        if how != "half its manifest":
            content = json.loads(manifest.read_text(encoding="utf-8"))
            name = self.rng.choice(sorted(content["files"]))
            target = manifest.parent / content["folder"] / name
        whole = target.read_bytes()
        place = len(whole) // 2
        flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        # A new file in its place: one that is being read is not changed under its reader.
        torn = target.with_name(f"{target.name}.torn")
        torn.write_bytes(flipped if how == "a bit of a file" else whole[:place])
        torn.replace(target)
        self.torn.add(manifest.stem)
        return f"{manifest.stem[:12]}: {how}"
