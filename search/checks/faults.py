"""Faults that happen to a study's workers, its database and its disk, done on purpose.

Each is drawn from a seeded generator and says in words what it did. The workers are processes of
`search.run`, the database and the disk are the study's own: nothing else on the machine is harmed.
"""

from __future__ import annotations

import errno
import json
import random
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from search.checks.chaos_plan import Fault
from search.checks.fleet import Fleet
from storage.embedded import EmbeddedServer
from storage.outbox import Outbox

CATCH_SECONDS = 15.0
"""The longest wait for a worker that has a result in its outbox."""
FULL_SECONDS = 20.0
"""The longest time for which a disk stays full."""
DISK_BYTES = 64 << 20
PAUSE_LEASES = 1.7
"""Length of a pause, in leases."""
START_SECONDS = 4.0
"""About how long a forked worker takes from its start to its first trial."""


class SmallDisk:
    """A small file system in memory, which can be filled without harm to anything else.

    Args:
        folder: A new folder, at which it is mounted.

    Raises:
        OSError: This user may not mount here, or the system has no tmpfs; says why.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", folder)

    def fill(self) -> None:
        """Take all free space."""
        with (self.folder / "filler").open("ab", buffering=0) as file:
            for block in (b"\0" * (1 << 20), b"\0" * (1 << 12)):
                try:
                    while file.write(block) == len(block):
                        continue
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Give the space back."""
        (self.folder / "filler").unlink()

    def close(self) -> None:
        """Unmount the file system."""
        self._run("umount", "-l", self.folder)

    def _run(self, *words: str | Path) -> None:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(done.stderr.strip() or f"{words[0]}: exit code {done.returncode}")


@dataclass(frozen=True)
class Injected:
    """A fault that was injected.

    Attributes:
        fault: What it came to: a worker may begin or end a trial in the moment of its kill.
        said: What happened, in words.
    """

    fault: Fault
    said: str


@dataclass
class Site:
    """Where the faults happen.

    Attributes:
        fleet: The study's workers.
        rng: Source of every random choice.
        lease_seconds: Seconds after which a silent worker's trial is another's.
        cache: Folder of the workers' checkpoints.
        outbox: Folder of results that are not in the database yet.
        server: The study's database server; None for SQLite, which is a file.
        disk: The file system that the cache lies on; None where none could be mounted.
        count_passing: Returns how many trials failed by a fault of the machine so far.
        trial_of: Returns the trial that a process is within, or was when it was killed, in words;
            an empty text: in none.
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
    trial_of: Callable[[int], str]
    torn: set[str] = field(default_factory=set)

    def inject(self, fault: Fault) -> Injected | None:
        """Inject a fault; None where there was nothing to hit."""
        if fault in {Fault.KILL, Fault.KILL_IDLE}:
            return self._kill(within=fault is Fault.KILL)
        said = {
            Fault.PAUSE: self._pause,
            Fault.TEAR: self._tear,
            Fault.RESTART: self._restart,
            Fault.UNDELIVERED: self._kill_with_result,
            Fault.DISK_FULL: self._fill_disk,
            Fault.TERMINATE: self._terminate,
            Fault.CRASH: self._crash,
        }[fault]()
        return None if said is None else Injected(fault, said)

    def _any_worker(self) -> int | None:
        """A worker that has begun a trial; None where there is none."""
        pids = self.fleet.busy_pids
        return self.rng.choice(pids) if pids else None

    def _kill(self, *, within: bool) -> Injected | None:
        """Kill a worker within a trial; or one without a trial, which starts or is between two."""
        pids = [pid for pid in self.fleet.pids if bool(self.trial_of(pid)) is within]
        if not pids:
            return None
        pid = self.rng.choice(pids)
        self.fleet.rest(self.rng.uniform(0.0, 1.0 if within else START_SECONDS))
        if pid not in self.fleet.pids or bool(self.trial_of(pid)) is not within:
            return None
        self.fleet.kill(pid)
        trial = self.trial_of(pid)
        said = f"process {pid}, {trial or 'in no trial'}; {self.fleet.start()} started"
        return Injected(Fault.KILL if trial else Fault.KILL_IDLE, said)

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
        """Kill a worker whose result is on disk and not yet in the database."""
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
                kind, _ = Outbox(self.outbox).read(file)
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
        if self.fleet.is_starting:  # which a full disk ends in one line, before any trial
            return None
        before, began = self.count_passing(), time.monotonic()
        with ExitStack() as stack:
            stack.callback(self.disk.free)
            self.disk.fill()
            while time.monotonic() - began < FULL_SECONDS and self.count_passing() == before:
                self.fleet.rest(0.2)
        hit = self.count_passing() - before
        return f"for {time.monotonic() - began:.1f} s; {hit} trial(s) met it"

    def _tear(self) -> str | None:
        """Damage a checkpoint as a power cut does: half a manifest, half a file, or one bit."""
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
