"""A data folder looked through: all that is missing or broken in it, with file and line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objectives.data.file_formats import read_table, read_tagged, table_rows, tagged_lines
from objectives.data.files import ROWS, SplitFiles, find_split, missing_splits, read_files
from objectives.data.row_checks import check_rows, check_scorable
from spaces.errors import DataError
from spaces.task import Task, TaskKind

# Broken lines of a file that are named; a file of another format has one in each.
SHOWN_PROBLEMS = 20
_LINE = re.compile(r":(\d+)$")
_IGNORED = {"origin.json", "MANIFEST.tsv"}


@dataclass(frozen=True)
class FolderReport:
    """What a data folder holds.

    Attributes:
        splits: Number of splits that were read.
        problems: What is wrong in them, each with file and line.
        missing: Splits that are asked for and not there, by task.
        unread: Files that no task of the catalogue is read from.
    """

    splits: int
    problems: tuple[str, ...]
    missing: tuple[str, ...]
    unread: tuple[str, ...]


def check_folder(
    folder: Path, known: Iterable[tuple[Task, str]], needed: Sequence[tuple[Task, str, str]] = ()
) -> FolderReport:
    """Read all corpora of a folder, test splits too, and say what is wrong with each.

    Args:
        folder: The data folder.
        known: Tasks and languages that are looked for.
        needed: Task, language and split of what has to be there.
    """
    problems: dict[str, None] = {}
    read: set[Path] = set()
    splits = 0
    for task, language in known:
        for split in ("train", "validation", "test"):
            try:
                files, halved = find_split(task, language, split, [folder])
            except DataError:
                continue
            paths = {*files.paths, *([files.pairs] if files.pairs else [])}
            if halved and paths <= read:  # the one evaluation split of a halved task
                continue
            splits += 1
            read |= paths
            hidden_allowed = halved or split == "test"
            for problem in _problems(files, task, hidden_allowed=hidden_allowed):
                problems[str(problem).replace(f"{folder}/", "")] = None
    everything = {x for x in folder.rglob("*") if x.is_file() and x.name not in _IGNORED}
    unread = sorted(str(x.relative_to(folder)) for x in everything - read if _is_corpus(x))
    return FolderReport(splits, tuple(problems), missing_splits(needed, [folder]), tuple(unread))


def _is_corpus(file: Path) -> bool:
    """Whether a file may be meant for a task: locks, hidden files and notes are not."""
    return not file.name.startswith(".") and file.suffix not in {".md", ".lock", ".part"}


def _problems(files: SplitFiles, task: Task, *, hidden_allowed: bool) -> Iterator[DataError]:
    try:
        columns = read_files(files, task, hidden_allowed=hidden_allowed)
        check_rows(columns, task, str(files), hidden_allowed=hidden_allowed)
        if task.kind is not TaskKind.RETRIEVAL:
            check_scorable(columns[task.kind.columns[-1]], task, str(files))
    except DataError as error:
        yield error
        yield from _behind(error, files, task, hidden_allowed=hidden_allowed)
        return
    if not columns[task.kind.columns[0]]:
        yield DataError(str(files), "examples", "none")


def _behind(
    error: DataError, files: SplitFiles, task: Task, *, hidden_allowed: bool
) -> Iterator[DataError]:
    """The further broken lines of a file of lines."""
    lined = task.kind.is_tagging or task.kind.is_classification
    if files.template == ROWS or not (lined or task.kind is TaskKind.SIMILARITY):
        return
    file = files.paths[0]
    has_header = not (task.kind.is_tagging or files.template.columns)
    template = files.template
    try:
        lines: list[tuple[int, Any]]
        lines = list(tagged_lines(file) if task.kind.is_tagging else table_rows(file, template))
    except DataError:
        return
    header = lines[:1] if has_header else []
    read = read_tagged if task.kind.is_tagging else read_table
    for _ in range(SHOWN_PROBLEMS - 1):
        line = _LINE.search(error.subject)
        if line is None or (has_header and line[1] == "1"):
            return
        lines = _after(int(line[1]), lines, by_sentence=task.kind.is_tagging)
        try:
            read([*header, *lines], file, task, template, hidden_allowed=hidden_allowed)
        except DataError as further:
            error = further
            yield error
        else:
            return
    yield DataError(str(file), found=f"{SHOWN_PROBLEMS} broken lines, and more of them")


def _after(
    number: int, lines: list[tuple[int, Any]], *, by_sentence: bool
) -> list[tuple[int, Any]]:
    """The lines behind a broken one, or behind its sentence."""
    rest = [(at, line) for at, line in lines if at > number]
    if by_sentence:
        ends = (place for place, (_, line) in enumerate(rest) if not line.strip())
        rest = rest[next(ends, len(rest)) :]
    return rest
