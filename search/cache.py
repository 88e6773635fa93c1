"""`python -m search.cache`: what the checkpoint cache holds, whether it is whole, making room."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from search.command_line.options import add_cache, add_storage, default_cache, fail_in_one_line
from search.command_line.parser import CommandParser
from search.command_line.words import in_bytes

if TYPE_CHECKING:
    from storage.checkpoints import CheckpointCache


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.cache", description=__doc__)
    commands = options.add_subparsers(dest="command", required=True)
    for name, does in (
        ("ls", "list the entries, the least recently used first"),
        ("du", "show how much they take, by task"),
        ("verify", "read every file again; exit code 1 if an entry is damaged"),
        ("gc", "remove what killed processes left and, above --cache-limit, the oldest entries"),
    ):
        command = commands.add_parser(name, help=does, description=does)
        add_storage(command)
        add_cache(command, limit=name == "gc")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        cache = _opened(options)
        if options.command == "gc":
            return _gc(cache, options.cache_limit)
        return {"ls": _ls, "du": _du, "verify": _verify}[options.command](cache)


def _opened(options: argparse.Namespace) -> CheckpointCache:
    from spaces.errors import CacheError
    from storage.checkpoints import CheckpointCache
    from storage.opening import open_storage
    from storage.urls import sqlite_file

    location = options.cache or default_cache(options.storage)
    if "://" not in location and not Path(location).is_dir():
        raise CacheError(f"checkpoint cache {location}", "a folder", "none there")
    file = sqlite_file(options.storage)
    if options.command != "gc" or (file is not None and not file.is_file()):
        return CheckpointCache(location)  # no database, so no running trial either
    from search.studies.opening import running_since

    storage = open_storage(options.storage, create=False)
    return CheckpointCache(location, needed_since=lambda: running_since(storage))


def _ls(cache: CheckpointCache) -> int:
    print(f"{'key':<12} {'task':<22} {'epochs':>6} {'rate':>8} {'seed':>4} {'size':>9}  last used")
    for entry in cache.entries():
        stage = entry.inputs.get("stage", {})
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used_at))
        print(
            f"{entry.key[:12]} {entry.notes.get('task', '?'):<22} {stage.get('epochs', '?'):>6} "
            f"{stage.get('learning_rate', 0):>8.3g} {entry.inputs.get('seed', '?'):>4} "
            f"{in_bytes(entry.size):>9}  {used}"
        )
    return 0


def _du(cache: CheckpointCache) -> int:
    by_task: dict[str, list[int]] = defaultdict(list)
    for entry in cache.entries():
        by_task[entry.notes.get("task", "?")].append(entry.size)
    leftovers = cache.leftovers()
    for task, sizes in sorted(by_task.items(), key=lambda item: -sum(item[1])):
        print(f"{in_bytes(sum(sizes)):>9}  {len(sizes):>4} {task}")
    if leftovers:
        print(
            f"{in_bytes(sum(leftovers.values())):>9}  {len(leftovers):>4} left by killed processes"
        )
    sizes = [size for sizes in by_task.values() for size in sizes] + list(leftovers.values())
    print(f"{in_bytes(sum(sizes)):>9}  {len(sizes):>4} in all, {cache.location}")
    return 0


def _verify(cache: CheckpointCache) -> int:
    damaged = cache.damaged()
    for place in damaged:
        print(f"damaged: {place}")
    print(f"{len(cache.entries())} entries, {len(damaged)} damaged, {cache.location}")
    return 1 if damaged else 0


def _gc(cache: CheckpointCache, limit: int | None) -> int:
    done = cache.collect(limit)
    print(
        f"removed {done.evicted} entries and {done.leftovers} leftovers, {in_bytes(done.freed)}; "
        f"{in_bytes(done.kept)} stay, {cache.location}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
