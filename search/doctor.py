"""`python -m search.doctor`: whether this machine, its storage, cache and data will do.

A line per check: ok, warning or problem, what was found, and what to do. With `--chaos` a small
study is run as well, while its workers are killed and paused, its database restarted and killed,
its disk filled and its checkpoints torn; then it is checked that nothing was lost and nothing
doubled. It works in a temporary folder, on a database of its own, and touches no study of yours.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from search.command_line.options import (
    add_cache,
    add_data,
    add_storage,
    default_cache,
    fail_in_one_line,
)
from search.command_line.words import in_bytes
from spaces.errors import DataError, StorageError

LEAST_FREE = 5 * 10**9
CLOCK_SECONDS = 2.0
"""Beyond it the times of artifacts and of trials say little; leases go by the database's."""
SLOW_SECONDS = 0.2
SPARE_CONNECTIONS = 10
EPILOG = """\
Exit code 0; 1 where there is a problem or an invariant does not hold.
"""


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """One line.

    Attributes:
        name: Of what was looked at.
        state: How it is.
        found: In words.
        advice: What to do; empty where nothing is to be done.
    """

    name: str
    state: State
    found: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8} {self.name:<13} {self.found}" + (
            f"; {self.advice}" if self.advice else ""
        )


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.doctor", description=__doc__, epilog=EPILOG
    )
    add_storage(options)
    add_cache(options, limit=False)
    add_data(options)
    options.add_argument(
        "--chaos",
        nargs="?",
        const="postgresql",
        choices=("postgresql", "sqlite"),
        help="run a study through faults, on a PostgreSQL of its own or on SQLite",
    )
    options.add_argument("--trials", type=int, default=24, help="of the chaos; default: 24")
    options.add_argument("--workers", type=int, default=2, help="of the chaos; default: 2")
    options.add_argument("--faults", type=int, default=8, help="of the chaos; default: 8")
    options.add_argument("--seed", type=int, default=0, help="of the chaos; default: 0")
    options.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where all that the chaos leaves is kept"
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        states = set()
        for check in all_checks(options):
            print(check, flush=True)
            states.add(check.state)
        held = _run_chaos(options) if options.chaos else True
    return 1 if State.PROBLEM in states or not held else 0


def all_checks(options: argparse.Namespace) -> Iterator[Check]:
    """All checks, in order; each is made when it is asked for."""
    yield from _installation()
    yield from _device()
    yield from _storage(options.storage)
    yield from _outbox(options.storage)
    yield from _cache(options.cache or default_cache(options.storage))
    yield from _data(options.data)


def _run_chaos(options: argparse.Namespace) -> bool:
    from search.checks.chaos import ChaosPlan, chaos_lines, run_chaos

    plan = ChaosPlan(
        options.trials,
        options.workers,
        options.faults,
        storage=options.chaos,
        seed=options.seed,
    )
    print(f"chaos: {plan.trials} trials, {plan.workers} workers, {plan.faults} faults", flush=True)
    result = run_chaos(plan, lambda line: print(line, flush=True), options.keep)
    print("\n".join(chaos_lines(result)))
    return result.is_held


# --- the checks


def _installation() -> Iterator[Check]:
    from packaging.requirements import Requirement

    python = platform.python_version()
    wrong, checked = [], 0
    try:
        wanted = importlib.metadata.requires("transfer-search") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check(
            "installation",
            State.PROBLEM,
            f"Python {python}, but transfer-search is not installed",
            "pip install it; from a checkout: pip install -e .",
        )
        return
    for requirement in map(Requirement, wanted):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue  # of an extra
        checked += 1
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is not {requirement.specifier}")
    own = importlib.metadata.version("transfer-search")
    if wrong:
        advice = "pip install --upgrade transfer-search"
        yield Check("installation", State.PROBLEM, "; ".join(wrong), advice)
    else:
        found = f"transfer-search {own}, Python {python}, {checked} packages as required"
        yield Check("installation", State.OK, found)


def _device() -> Iterator[Check]:
    import torch

    from objectives.hardware import choose_hardware, usable_cores

    chosen = choose_hardware()
    cards = torch.cuda.device_count()
    found = f"torch {torch.__version__}, {chosen.name}, {chosen.precision}"
    if cards:
        total = sum(torch.cuda.get_device_properties(i).total_memory for i in range(cards))
        found += f", {cards} CUDA device(s) with {in_bytes(total)} in all"
        yield Check("device", State.OK, found)
        return
    found += f", {usable_cores()} cores, no CUDA device"
    advice = "real encoders want a GPU; pocket studies do not"
    yield Check("device", State.WARNING, found, advice)


def _storage(url: str) -> Iterator[Check]:
    from storage.examination import NETWORK_FILE_SYSTEMS, examine_database, file_system_of
    from storage.urls import embedded_folder, parse_url, redacted, sqlite_file

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
            found = f"{shown}: its folder {parent} cannot be written"
            yield Check("storage", State.PROBLEM, found, advice)
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
    advice = "put the workers nearer to the database" if slow else ""
    yield Check("storage", State.WARNING if slow else State.OK, line, advice)
    if database.most_connections is not None and database.connections is not None:
        few = database.most_connections - database.connections < SPARE_CONNECTIONS
        line = f"{database.connections} of {database.most_connections} in use"
        advice = "raise max_connections: a worker has up to four" if few else ""
        yield Check("connections", State.WARNING if few else State.OK, line, advice)
    ahead = database.clock_ahead
    line = f"the database's is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this one"
    off = abs(ahead) > CLOCK_SECONDS
    advice = "leases do not depend on it, times shown do: use NTP" if off else ""
    yield Check("clock", State.WARNING if off else State.OK, line, advice)


def _outbox(url: str) -> Iterator[Check]:
    from storage.opening import outbox_for

    outbox = outbox_for(url)
    if not outbox.folder.is_dir():
        yield Check("outbox", State.OK, "empty")
        return
    mode = stat.S_IMODE(outbox.folder.stat().st_mode)
    left, unfinished = outbox.left(), outbox.unfinished()
    if mode & 0o077:
        found = f"{outbox.folder} is open to other users (mode {mode:03o})"
        yield Check("outbox", State.PROBLEM, found, f"chmod 700 {outbox.folder}")
    if left:
        found = f"{len(left)} result(s) of workers that died wait for the database"
        advice = "the next worker that starts here brings them"
        yield Check("outbox", State.WARNING, found, advice)
    else:
        rest = f", {len(unfinished)} half-written file(s) of no use" if unfinished else ""
        yield Check("outbox", State.OK, f"nothing waits in it{rest}")


def _cache(location: str) -> Iterator[Check]:
    from storage.checkpoints import CheckpointCache

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
    little = free < LEAST_FREE
    advice = "free some, or bound it with --cache-limit" if little else ""
    if not folder.is_dir():
        found = f"{location} is not there yet; {in_bytes(free)} free"
        yield Check("cache", State.WARNING if little else State.OK, found, advice)
        return
    cache = CheckpointCache(location)
    entries, damaged, leftovers = len(cache.entries()), cache.damaged(), cache.leftovers()
    found = f"{location}: {entries} entries, {in_bytes(free)} free"
    yield Check("cache", State.WARNING if little else State.OK, found, advice)
    if damaged:
        found = f"{len(damaged)} damaged entries, the first {damaged[0]}"
        advice = "they are made anew when a trial needs them; look after the disk"
        yield Check("cache", State.WARNING, found, advice)
    if leftovers:
        found = f"{in_bytes(sum(leftovers.values()))} left by {len(leftovers)} killed processes"
        yield Check("cache", State.WARNING, found, "python -m search.cache gc removes it")


def _data(option: str) -> Iterator[Check]:
    from objectives.data.sources import SourceKind, choose_source, has_split
    from spaces.catalogue import load_catalogue

    try:
        source = choose_source(option)
    except DataError as error:
        yield Check("data", State.PROBLEM, str(error))
        return
    shown = f"{source}, because {source.reason}"
    if source.kind is SourceKind.POCKET:
        advice = "" if option == SourceKind.POCKET else "scores on them say nothing of languages"
        yield Check("data", State.WARNING if advice else State.OK, shown, advice)
        return
    if source.kind is not SourceKind.LOCAL:
        yield Check("data", State.OK, shown)
        return
    real = [task for task in load_catalogue() if not task.pocket]
    there = sum(any(has_split(x, y, "validation", source) for y in x.languages) for x in real)
    found = f"{shown}: {there} of the catalogue's {len(real)} tasks can be scored"
    if there:
        yield Check("data", State.OK, found)
    else:
        advice = "python -m search.tasks TASK shows the files that a task is read from"
        yield Check("data", State.PROBLEM, found, advice)


if __name__ == "__main__":
    sys.exit(main())
