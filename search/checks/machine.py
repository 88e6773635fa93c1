"""Whether this machine, its database, its outbox, its cache and its data will do."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import torch

from objectives.data.choosing import choose_source
from objectives.data.data_source import SourceKind
from objectives.data.sources import has_split
from objectives.hardware import choose_hardware, usable_cores
from search.checks.installation import Check, State
from search.command_line.words import in_bytes
from spaces.catalogue import load_catalogue
from spaces.errors import DataError, StorageError
from storage.checkpoints import CheckpointCache
from storage.examination import NETWORK_FILE_SYSTEMS, examine_database, file_system_of
from storage.opening import outbox_for
from storage.urls import embedded_folder, parse_url, redacted, sqlite_file

LEAST_FREE = 5 * 10**9
"""Bytes of a disk."""
CLOCK_SECONDS = 2.0
"""Beyond it the times of artifacts and of trials say little; leases go by the database's."""
SLOW_SECONDS = 0.2
SPARE_CONNECTIONS = 10


def check_machine(storage: str, cache: str, data: str) -> Iterator[Check]:
    """All checks of the machine, in order; each is made when it is asked for.

    Raises:
        StorageError: The URL is none.
    """
    yield _device()
    yield from _storage(storage)
    yield from _outbox(storage)
    yield from _cache(cache)
    yield from _data(data)


def _check(name: str, line: str, advice: str) -> Check:
    """A warning where there is advice, else all is well."""
    return Check(name, State.WARNING if advice else State.OK, line, advice)


def _device() -> Check:
    chosen = choose_hardware()
    cards = torch.cuda.device_count()
    line = f"torch {torch.__version__}, {chosen.name}, {chosen.precision}"
    if cards:
        total = sum(torch.cuda.get_device_properties(i).total_memory for i in range(cards))
        line += f", {cards} CUDA device(s) with {in_bytes(total)} in all"
        return Check("device", State.OK, line)
    line += f", {usable_cores()} cores, no CUDA device"
    return _check("device", line, "real encoders want a GPU; pocket studies do not")


def _storage(url: str) -> Iterator[Check]:
    parse_url(url)  # no URL at all is an error of the command
    shown = redacted(url)
    file, folder = sqlite_file(url), embedded_folder(url)
    place = file or folder
    if file and (kind := file_system_of(file.absolute().parent)) in NETWORK_FILE_SYSTEMS:
        yield Check(
            "storage",
            State.WARNING,
            f"{shown} lies on a network file system ({kind}), where SQLite's locks fail",
            "use a local folder, PostgreSQL, or --storage embedded",
        )
    if place is not None and not place.exists():
        parent = place.absolute().parent
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            advice = "make the folder, or name another one"
            line = f"{shown}: its folder {parent} cannot be written"
            yield Check("storage", State.PROBLEM, line, advice)
            return
        yield Check("storage", State.OK, f"{shown} is not there yet; the first run makes it")
        return
    try:
        database = examine_database(url)
    except StorageError as error:
        yield Check("storage", State.PROBLEM, str(error))
        return
    line = f"{shown}: {database.name}, a transaction takes {1000 * database.seconds:.1f} ms"
    slow = database.seconds > SLOW_SECONDS
    yield _check("storage", line, "put the workers nearer to the database" if slow else "")
    if database.most_connections is not None and database.connections is not None:
        few = database.most_connections - database.connections < SPARE_CONNECTIONS
        line = f"{database.connections} of {database.most_connections} in use"
        advice = "raise max_connections: a worker has up to four" if few else ""
        yield _check("connections", line, advice)
    ahead = database.clock_ahead
    line = f"the database's is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this one"
    off = abs(ahead) > CLOCK_SECONDS
    advice = "leases do not depend on it, times shown do: use NTP" if off else ""
    yield _check("clock", line, advice)


def _outbox(url: str) -> Iterator[Check]:
    outbox = outbox_for(url)
    if not outbox.folder.is_dir():
        yield Check("outbox", State.OK, "empty")
        return
    mode = stat.S_IMODE(outbox.folder.stat().st_mode)
    left, unfinished = outbox.left(), outbox.unfinished()
    if mode & 0o077:
        line = f"{outbox.folder} is open to other users (mode {mode:03o})"
        yield Check("outbox", State.PROBLEM, line, f"chmod 700 {outbox.folder}")
    if left:
        line = f"{len(left)} result(s) of workers that died wait for the database"
        advice = "the next worker that starts here brings them"
        yield Check("outbox", State.WARNING, line, advice)
    else:
        rest = f", {len(unfinished)} half-written file(s) of no use" if unfinished else ""
        if strange := outbox.set_aside():
            rest += f", {len(strange)} file(s) that are none of its own set aside"
        yield Check("outbox", State.OK, f"nothing waits in it{rest}")


def _cache(location: str) -> Iterator[Check]:
    if "://" in location:
        yield Check(
            "cache", State.WARNING, f"{location} is remote; only a run shows if it will do"
        )
        return
    folder = Path(location)
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    if not os.access(there, os.W_OK):
        yield Check("cache", State.PROBLEM, f"{there} cannot be written", "name another --cache")
        return
    free = shutil.disk_usage(there).free
    advice = "free some, or bound it with --cache-limit" if free < LEAST_FREE else ""
    if not folder.is_dir():
        line = f"{location} is not there yet; {in_bytes(free)} free"
        yield _check("cache", line, advice)
        return
    cache = CheckpointCache(location)
    entries, damaged, leftovers = len(cache.entries()), cache.damaged(), cache.leftovers()
    line = f"{location}: {entries} entries, {in_bytes(free)} free"
    yield _check("cache", line, advice)
    if damaged:
        line = f"{len(damaged)} damaged entries, the first {damaged[0]}"
        advice = "they are made anew when a trial needs them; look after the disk"
        yield Check("cache", State.WARNING, line, advice)
    if leftovers:
        line = f"{in_bytes(sum(leftovers.values()))} left by {len(leftovers)} killed processes"
        yield Check("cache", State.WARNING, line, "python -m search.cache gc removes it")


def _data(option: str) -> Iterator[Check]:
    try:
        source = choose_source(option)
    except DataError as error:
        yield Check("data", State.PROBLEM, str(error))
        return
    shown = f"{source}, because {source.reason}"
    if source.kind is SourceKind.POCKET:
        advice = "" if option == SourceKind.POCKET else "scores on them say nothing of languages"
        yield _check("data", shown, advice)
        return
    if source.kind is SourceKind.HUB or not source.folders:
        yield Check("data", State.OK, shown)
        return
    real = [task for task in load_catalogue() if not task.pocket]
    there = sum(any(has_split(x, y, "validation", source) for y in x.languages) for x in real)
    line = f"{shown}: {there} of the catalogue's {len(real)} tasks can be scored"
    if there:
        yield Check("data", State.OK, line)
    else:
        advice = "python -m search.data show TASK shows the files that a task is read from"
        yield Check("data", State.PROBLEM, line, advice)
