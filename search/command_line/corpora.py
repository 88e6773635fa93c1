"""Getting a study's corpora: where from is said first, licences are asked, then bars are shown."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from objectives.data.data_source import DataSource, SourceKind, cached_folder
from objectives.data.fetching import fetch_all
from objectives.data.licences import accept, unaccepted, unaccepted_licences
from objectives.data.origins import Origin, Place, origin_of, splits_by_corpus
from search.command_line.words import in_bytes
from spaces.errors import DataError
from spaces.task import Task

Needed = Iterable[tuple[Task, str, str]]
"""Task, language and split of each."""


def get_corpora(
    needed: Needed,
    wished: Needed,
    source: DataSource,
    console: Console,
    *,
    accepts: bool,
    get: str,
    folder_of: Callable[[Task], Path] = cached_folder,
) -> None:
    """Download what a study needs and does not have, after its licences were accepted.

    Args:
        needed: Splits that the study reads.
        wished: Splits that it reads where they exist.
        source: Data source of the run; nothing is downloaded but for real corpora.
        console: Console that what comes from where is shown on.
        accepts: Whether the user accepts the licences that want a yes.
        get: Command that gets what is needed.
        folder_of: The data folder that a task is written to.

    Raises:
        DataError: A task can be had nowhere, its licence is not accepted, or a download failed.
    """
    if source.kind not in {SourceKind.REAL, SourceKind.HUB}:
        return
    also: dict[tuple[str, str], list[str]] = {}
    for task, language, split in wished:
        also.setdefault((task.name, language), []).append(split)
    corpora = splits_by_corpus(needed)
    origins = [origin_of(*x, source) for x in corpora]
    _check_all_somewhere(origins)
    if (licences := unaccepted(origins)) and not accepts:
        _ask(licences, console, f"{get} --accept-licences")
    accept(licences)
    if source.kind is SourceKind.HUB:
        return
    missing = [
        (task, language, splits, also.get((task.name, language), ()))
        for (task, language, splits), origin in zip(corpora, origins, strict=True)
        if origin.place.is_remote
    ]
    if not missing:
        return
    _say_what_comes([x for x in origins if x.place.is_remote], console)
    with DownloadBars(console) as bars:
        fetch_all(missing, folder_of, bars.on_bytes, bars.on_corpus)


def _check_all_somewhere(origins: Iterable[Origin]) -> None:
    nowhere: dict[str, list[str]] = {}
    for origin in origins:
        if origin.place is Place.NOWHERE:
            nowhere.setdefault(origin.task, []).append(origin.language)
    if nowhere:
        raise DataError(
            "the study's corpora",
            "each in a folder, or a copy of it that the catalogue knows",
            f"neither for {', '.join(nowhere)}",
            "name a folder that has them with --data",
            tuple(f"{task}: {', '.join(languages)}" for task, languages in nowhere.items()),
        )


def _ask(licences: dict[str, str], console: Console, command: str) -> None:
    """Ask for a yes at a terminal; elsewhere say which command says it."""
    if console.quiet or not (sys.stdin.isatty() and console.is_terminal):
        raise unaccepted_licences(licences, command)
    for task, licence in licences.items():
        console.print(f"licence of {task}: {licence}", markup=False, highlight=False)
    console.print("These are not stated, or forbid passing the corpora on.")
    try:
        said = console.input("Get them? \\[y/N] ")
    except EOFError:
        said = ""
    if said.strip().lower() not in {"y", "yes"}:
        raise unaccepted_licences(licences, command)


def lines_of_missing(needed: Needed, source: DataSource) -> list[str]:
    """What a study needs and would have to download, a line for each task; nothing is fetched.

    Raises:
        DataError: A task can be had nowhere.
    """
    if source.kind is not SourceKind.REAL:
        return []
    origins = [origin_of(*x, source) for x in splits_by_corpus(needed)]
    _check_all_somewhere(origins)
    return _what_comes([x for x in origins if x.place.is_remote])


def _say_what_comes(origins: Sequence[Origin], console: Console) -> None:
    for line in _what_comes(origins):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _what_comes(origins: Sequence[Origin]) -> list[str]:
    """A line for each task: from where, how much, under which licence."""
    lines = list[str]()
    by_task: dict[tuple[str, str], list[Origin]] = {}
    for origin in origins:
        by_task.setdefault((origin.task, str(origin)), []).append(origin)
    for (task, where), of_task in by_task.items():
        languages = [x.language for x in of_task]
        shown = ", ".join(languages) if len(languages) < 10 else f"{len(languages)} languages"
        sizes = [x.size for x in of_task]
        size = f", {in_bytes(sum(sizes))}" if all(sizes) else ""
        lines.append(f"get: {task} ({shown}) from {where}{size}; licence: {of_task[0].licence}")
    return lines


class DownloadBars:
    """A bar for each file that is being downloaded: bytes and time left; on terminals only.

    Args:
        console: Console to show them on.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._ids: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def on_bytes(self, name: str, done: int, size: int) -> None:
        """Show how far a file is, from any thread."""
        with self._lock:
            if name not in self._ids:
                self._ids[name] = self._bars.add_task(name, total=size or None)
            self._bars.update(self._ids[name], completed=done, total=size or None)
            if done == size:
                self._bars.remove_task(self._ids.pop(name))

    def on_corpus(self, origin: Origin) -> None:
        """Say that a corpus is here now."""
        line = f"got: {origin.task} {origin.language}"
        self._console.print(line, markup=False, highlight=False)
