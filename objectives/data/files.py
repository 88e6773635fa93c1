"""Corpus files below a data folder: which files a split lies in, and what they hold.

A file lies where a template of the task's record says, or else where `search.data get` puts it:
`TASK/LANGUAGE/SPLIT.jsonl`. Every file may be compressed: the names with `.gz` and `.xz` are tried
after the name itself. `objectives.data.file_formats` reads them. This module reads what it is told
to; who may read a test split is for `objectives.data.sources` to say.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from objectives.data.file_formats import (
    Columns,
    numbered_lines,
    read_table,
    read_tagged,
    table_rows,
    tagged_lines,
)
from objectives.data.question_files import read_questions
from objectives.data.row_files import read_rows
from objectives.data.sentence_files import read_sentences
from spaces.errors import DataError
from spaces.task import FileTemplate, Task, TaskKind

FILE_SPLITS = {"train": "train", "validation": "dev", "test": "test"}
_ENDINGS = ("", ".gz", ".xz")
ROWS = FileTemplate(path="TASK/LANGUAGE/SPLIT.jsonl")
"""Template of what the program itself writes, whose rows hold the columns of the task's kind."""


@dataclass(frozen=True)
class SplitFiles:
    """The files that one split lies in.

    Attributes:
        template: Layout that the files follow.
        paths: One file; for retrieval the sentences of the language, then the English ones.
        pairs: File of gold pairs of ids, for retrieval; None where they are hidden.
    """

    template: FileTemplate
    paths: tuple[Path, ...]
    pairs: Path | None = None

    def __str__(self) -> str:
        return " and ".join(map(str, self.paths))


def find_files(
    task: Task, language: str, split: str, folders: Sequence[Path]
) -> SplitFiles | None:
    """Where a split lies: in the first folder that has it, by the first template that fits.

    A split that `search.data get` wrote comes after those.

    Args:
        task: Catalogue record of the task.
        language: ISO 639-3 code.
        split: Name of the split: train, validation or test.
        folders: Data folders, tried in turn.
    """
    for folder in folders:
        for template in _templates(task, split):
            names = task.file_names(template, language, FILE_SPLITS[split])
            paths = [file for name in names if (file := _existing(folder, name))]
            if names and len(paths) == len(names):
                pairs = task.fill(template.pairs, language, FILE_SPLITS[split])
                gold = _existing(folder, pairs) if pairs else None
                return SplitFiles(template, tuple(paths), gold)
        if file := _existing(folder, rows_name(task, language, split)):
            return SplitFiles(ROWS, (file,))
    return None


def rows_name(task: Task, language: str, split: str) -> str:
    """The name below a data folder of a split that the program has written."""
    return f"{task.name}/{language}/{FILE_SPLITS[split]}.jsonl"


def find_split(
    task: Task, language: str, split: str, folders: Sequence[Path]
) -> tuple[SplitFiles, bool]:
    """The files of a split, and whether they have to be halved.

    Those of a halved task do not, where there are two evaluation files after all.

    Raises:
        DataError: None of the folders has it.
    """
    halved = task.halved and split != "train"
    names = ("test", "validation") if halved else (split,)
    by_split = {x: at for x in names if (at := find_files(task, language, x, folders))}
    if not by_split:
        named = dict.fromkeys(expected_files(task, language, x) for x in names)
        raise DataError(
            " and ".join(map(str, folders)),
            f"the {language} {split} split of task {task.name!r} "
            f"({' or '.join(filter(None, named)) or 'a file of that language'})",
            "none",
        )
    if len({files.paths for files in by_split.values()}) > 1:
        return by_split[split], False
    return next(iter(by_split.values())), halved


def missing_splits(
    needed: Iterable[tuple[Task, str, str]], folders: Sequence[Path]
) -> tuple[str, ...]:
    """A line for each task and split that none of the folders has, with its languages.

    Args:
        needed: Task, language and split of what is asked for.
        folders: Data folders, tried in turn.
    """
    lacking: dict[tuple[str, str], list[str]] = {}
    files: dict[tuple[str, str], str] = {}
    for task, language, split in needed:
        try:
            find_split(task, language, split, folders)
        except DataError:
            place = (task.name, split)
            lacking.setdefault(place, []).append(language)
            named = expected_files(task, language, split) or rows_name(task, language, split)
            files.setdefault(place, named)
    return tuple(
        f"{task} {split}: {' '.join(languages)} ({'as ' * (len(languages) > 1)}"
        f"{files[task, split]})"
        for (task, split), languages in lacking.items()
    )


def expected_files(task: Task, language: str, split: str) -> str:
    """The names that `find_files` looks for, for a message."""
    layouts = _templates(task, split)
    alternatives = [task.file_names(x, language, FILE_SPLITS[split]) for x in layouts]
    return " or ".join(" and ".join(names) for names in alternatives if names)


def read_files(files: SplitFiles, task: Task, *, hidden_allowed: bool) -> Columns:
    """The columns of `task.kind`; the last one is None where labels are hidden.

    Args:
        files: Files of the split, as `find_files` returns them.
        task: Catalogue record of the task.
        hidden_allowed: Whether labels may be hidden, as in a test split.

    Raises:
        DataError: A file is broken; with its name and, where there is one, the line.
    """
    file = files.paths[0]
    if files.template == ROWS:
        return read_rows(file, task)
    if task.kind is TaskKind.RETRIEVAL:
        may_have_ids = bool(files.template.pairs)
        return read_sentences(
            files.paths, files.pairs, may_have_ids=may_have_ids, hidden_allowed=hidden_allowed
        )
    if task.kind is TaskKind.QA:
        return read_questions(file, hidden_allowed=hidden_allowed)
    if task.kind is TaskKind.MLM:
        return {"text": [text for _, line in numbered_lines(file) if (text := line.strip())]}
    template = files.template
    if task.kind.is_tagging:
        lines = tagged_lines(file)
        return read_tagged(lines, file, task, template, hidden_allowed=hidden_allowed)
    rows = table_rows(file, template)
    return read_table(rows, file, task, template, hidden_allowed=hidden_allowed)


def write_whole(file: Path, lines: Iterable[str]) -> None:
    """Write a file whole or not at all."""
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("w", encoding="utf-8") as opened:
            opened.writelines(lines)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


# --- where


def _templates(task: Task, split: str) -> Iterator[FileTemplate]:
    """The layouts that can hold the split.

    One without `{split}` would give the same examples for every split. It is the only evaluation
    split of a halved task, or else a corpus to train on that has no other split.
    """
    for layout in task.layouts:
        if "{split}" in layout.path or (split == "train") is not task.halved:
            yield layout


def _existing(folder: Path, name: str) -> Path | None:
    """The file of a name, in whichever Unicode form the folder's disk has it."""
    names = dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))))
    paths = (folder / (each + ending) for each in names for ending in _ENDINGS)
    return next((path for path in paths if path.is_file()), None)
