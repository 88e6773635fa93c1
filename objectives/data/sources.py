"""Reading a split of a task: from the Hub, from local folders, or from the pocket corpora.

All three give the same columns (`TaskKind.columns`) with labels as text, checked against the
catalogue record. Labels that a test split hides are None, never a placeholder.

A test split is read by `load_test_split` alone, for one of three purposes. A test lists the
modules that may call it, so that no search comes to read one by mistake.

Of a halved task one part of its only evaluation split is the validation split, and the rest the
test split. A group of rows falls into either part by the SHA-256 of its number: a passage with
its questions, a text with all that it is paired with, a sentence with its translation, otherwise
a row. So parallel content, which has the same number in every language, is in the same part in
all of them, and the parts do not depend on how long a file is.
"""

from __future__ import annotations

import hashlib
import math
import os
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from objectives.data.files import Columns, SplitFiles, expected_files, find_files, read_files
from objectives.data.groups import example_groups
from objectives.data.hub import hub_place, hub_problem, in_hub_cache, read_hub
from objectives.pocket import POCKET_VERSION, pocket_split
from spaces.errors import DataError
from spaces.task import Task, TaskKind
from storage.fingerprint import fingerprint

if TYPE_CHECKING:
    import datasets

DATA_VARIABLE = "TRANSFER_SEARCH_DATA"
SEARCH_SPLITS = ("train", "validation")


class SourceKind(StrEnum):
    """Where corpora come from."""

    HUB = "hub"
    LOCAL = "local"
    POCKET = "pocket"


class TestPurpose(StrEnum):
    """What a test split is read for."""

    __test__ = False
    """It is no test, whatever pytest makes of its name."""

    CONFIRM = "confirm"
    """What our search did not see: of a halved task the test part."""
    BENCHMARK = "benchmark"
    """What the benchmark scores on, to compare with published scores: of a halved task all of it,
    the part that a search has seen included."""
    OVERLAP = "overlap"
    """All of it, to look for its examples in training splits."""


@dataclass(frozen=True)
class DataSource:
    """Where the corpora of a run come from, and why.

    Attributes:
        kind: The Hub, folders, or the pocket corpora.
        folder: First folder of a local source.
        reason: Reason for the choice, for the first line of a run.
        further: Folders that are tried in turn after `folder`.
    """

    kind: SourceKind
    folder: Path | None = None
    reason: str = ""
    further: tuple[Path, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders of a local source, in the order in which they are tried."""
        return (self.folder, *self.further) if self.folder else ()

    def __str__(self) -> str:
        if self.kind is SourceKind.POCKET:
            return f"pocket corpora (generated, version {POCKET_VERSION})"
        if self.kind is SourceKind.HUB:
            return "Hugging Face hub"
        return f"local folder{'s' * bool(self.further)} {', '.join(map(str, self.folders))}"


def choose_source(
    option: str, needed: Sequence[tuple[Task, str]] = (), backbones: Sequence[str] = ()
) -> DataSource:
    """The data source for `--data OPTION`.

    Args:
        option: Value of the option: auto, hub, pocket, or a folder; several folders are joined
            by `os.pathsep`.
        needed: Tasks and languages of a study, for `auto`.
        backbones: Encoders of the study, for `auto`.

    Raises:
        DataError: A folder that does not exist.
    """
    if option == SourceKind.POCKET:
        return DataSource(SourceKind.POCKET, reason="asked for with --data pocket")
    if option == SourceKind.HUB:
        return DataSource(SourceKind.HUB, reason="asked for with --data hub")
    if option != "auto":
        return _local(option, "--data")
    if needed and all(task.pocket for task, _ in needed):
        return DataSource(SourceKind.POCKET, reason="the study names pocket tasks only")
    if named := os.environ.get(DATA_VARIABLE, "").strip():
        return _local(named, DATA_VARIABLE)
    unset = f"{DATA_VARIABLE} is not set"
    if elsewhere := sorted({task.name for task, x in needed if hub_place(task, x) is None}):
        reason = f"{unset} and the catalogue knows no Hub copy of {', '.join(elsewhere)}"
        return DataSource(SourceKind.POCKET, reason=reason)
    problem = hub_problem()
    if not problem:
        return DataSource(SourceKind.HUB, reason=f"{unset} and the Hub answers")
    if needed and in_hub_cache(needed, backbones):
        reason = f"{unset}, {problem}, but its cache holds what the study needs"
        return DataSource(SourceKind.HUB, reason=reason)
    return DataSource(SourceKind.POCKET, reason=f"{unset} and {problem}")


def check_named(option: str) -> None:
    """Check a value of `--data` as far as that takes neither the Hub nor a study.

    Raises:
        DataError: It names a folder that does not exist.
    """
    if option not in ("auto", *SourceKind):
        _local(option, "--data")


def _local(names: str, option: str) -> DataSource:
    folders = list[Path]()
    parts = [part for part in names.strip("\ufeff \t\r\n").split(os.pathsep) if part]
    while parts:
        # A folder's own name may hold what joins folders: the longest that is there is one.
        for length in range(len(parts), 0, -1):
            folder = Path(os.pathsep.join(parts[:length]))
            with suppress(RuntimeError):  # a user who has no home here
                folder = folder.expanduser()
            if folder.is_dir():
                break
        else:
            raise DataError(option, "auto, hub, pocket or a folder", f"{parts[0]!r}")
        folders.append(folder)
        parts = parts[length:]
    if not folders:
        raise DataError(option, "auto, hub, pocket or a folder", repr(names))
    first, *further = [folder.resolve() for folder in folders]
    return DataSource(SourceKind.LOCAL, first, f"named by {option}", tuple(further))


def load_split(task: Task, language: str, split: str, source: DataSource) -> datasets.Dataset:
    """One split of a task in one language, as a search may read it.

    Args:
        task: Catalogue record of the task.
        language: ISO 639-3 code.
        split: Name of the split: train or validation.
        source: Data source that the split is read from.

    Returns:
        The columns of `task.kind`, labels as text.

    Raises:
        DataError: The source has no such split, or it is broken; with file and line.
        ValueError: The split is none that a search may read; a bug in the caller.
    """
    if split not in SEARCH_SPLITS:
        raise ValueError(
            f"expected train or validation, found {split!r}; load_test_split reads test splits"
        )
    return _load(task, language, split, source, whole=False)


def load_test_split(
    task: Task, language: str, source: DataSource, purpose: TestPurpose
) -> datasets.Dataset:
    """The test split of a task in one language.

    Args:
        task: Catalogue record of the task.
        language: ISO 639-3 code.
        source: Data source that the split is read from.
        purpose: Purpose of the reading, which says how much of a halved task's split is read.

    Returns:
        The columns of `task.kind`, labels as text; the last one is None in every row where the
        labels are hidden (for retrieval on the side of the language).

    Raises:
        DataError: The source has no such split, or it is broken; with file and line.
    """
    return _load(task, language, "test", source, whole=purpose is not TestPurpose.CONFIRM)


def has_split(task: Task, language: str, split: str, source: DataSource) -> bool:
    """Whether local folders or the pocket corpora have a split.

    The Hub is not asked: True where the catalogue knows a copy in that language.
    """
    if source.kind is SourceKind.HUB:
        return hub_place(task, language) is not None
    try:
        if source.kind is SourceKind.LOCAL:
            _find(task, language, split, source)
        else:
            _pocket_columns(task, language, split)
    except DataError:
        return False
    return True


def check_folders(needed: Iterable[tuple[Task, str, str]], source: DataSource) -> None:
    """Check that folders have a file for each split; nothing is read.

    Args:
        needed: Task, language and split of each.
        source: Data source of the study; of the Hub and the pocket corpora nothing is asked.

    Raises:
        DataError: Of the first split that none of the folders has.
    """
    if source.kind is SourceKind.LOCAL:
        for task, language, split in needed:
            _find(task, language, split, source)


def corpus_key(dataset: datasets.Dataset) -> str:
    """Fingerprint of a split's content.

    Not the one of `datasets`, which names the way a table was made (and is random where that
    way cannot be hashed): equal rows must have equal keys on every machine.
    """
    return fingerprint({name: dataset[name][:] for name in dataset.column_names})


# --- one split


def _load(
    task: Task, language: str, split: str, source: DataSource, *, whole: bool
) -> datasets.Dataset:
    halved = task.halved and split != "train" and source.kind is not SourceKind.POCKET
    if source.kind is SourceKind.POCKET:
        columns = _pocket_columns(task, language, split)
        where = f"pocket corpora, {task.name} {language} {split}"
    elif source.kind is SourceKind.LOCAL:
        files, halved = _find(task, language, split, source)
        columns = read_files(files, task, hidden_allowed=halved or split == "test")
        where = str(files)
    else:
        columns, where = read_hub(task, language, split)
    _check(columns, task, where, hidden_allowed=halved or split == "test")
    if halved and not whole:
        columns = _part(columns, task.kind, split)
    if split == "validation" and any(value is None for value in columns[task.kind.columns[-1]]):
        raise DataError(
            where,
            f"{task.kind.columns[-1]} for the {language} validation split",
            "them hidden",
            "name a source that has them with --data",
        )
    if not columns[task.kind.columns[0]]:
        raise DataError(where, "examples", "none")
    return _table(columns, task.kind)


def _table(columns: Columns, kind: TaskKind) -> datasets.Dataset:
    import datasets  # takes a second, which whoever asks where a split lies does not need

    features = None
    if kind is TaskKind.QA:
        # Without it the column of a split in which all answers are hidden would have no type.
        answer = {"text": datasets.Value("string"), "start": datasets.Value("int64")}
        texts = {name: datasets.Value("string") for name in ("id", "question", "context")}
        features = datasets.Features({**texts, "answers": datasets.List(answer)})
    return datasets.Dataset.from_dict(columns, features=features)


def _pocket_columns(task: Task, language: str, split: str) -> Columns:
    missing = DataError(
        "pocket corpora", f"the {language} {split} split of task {task.name!r}", "none"
    )
    if not task.pocket or language not in task.languages:
        raise missing
    try:
        return pocket_split(task.pocket, language, split)
    except KeyError as error:
        raise missing from error


def _find(task: Task, language: str, split: str, source: DataSource) -> tuple[SplitFiles, bool]:
    """The files of a split, and whether they have to be halved.

    Those of a halved task do not, where there are two evaluation files after all.
    """
    halved = task.halved and split != "train"
    names = ("test", "validation") if halved else (split,)
    by_split = {x: at for x in names if (at := find_files(task, language, x, source.folders))}
    if not by_split:
        folders = " and ".join(map(str, source.folders))
        named = dict.fromkeys(expected_files(task, language, x) for x in names)
        raise DataError(
            folders,
            f"the {language} {split} split of task {task.name!r} "
            f"({' or '.join(filter(None, named)) or 'a file of that language'})",
            "none",
        )
    if len({files.paths for files in by_split.values()}) > 1:
        return by_split[split], False
    return next(iter(by_split.values())), halved


# --- halves


def _part(columns: Columns, kind: TaskKind, split: str) -> Columns:
    """The rows of a halved task's validation or test part."""
    kept = [
        row
        for row, group in enumerate(_groups(columns, kind))
        if _in_validation(group) is (split == "validation")
    ]
    return {name: [values[row] for row in kept] for name, values in columns.items()}


def _in_validation(group: int) -> bool:
    return hashlib.sha256(str(group).encode()).digest()[0] % 2 == 0


def _groups(columns: Columns, kind: TaskKind) -> list[int]:
    """The number of the group that each row is in."""
    if kind is not TaskKind.RETRIEVAL:
        together = example_groups(columns, kind)
        return list(range(len(columns[kind.columns[0]]))) if together is None else [*together]
    groups: list[int] = []
    group_of: dict[str, int] = {}  # by English id
    counts = {"language": 0, "english": 0}
    for name, side, match in zip(columns["id"], columns["side"], columns["match"], strict=True):
        number = counts[side]
        counts[side] += 1
        if side == "english":
            groups.append(group_of.get(name, number))
        else:
            groups.append(group_of.setdefault(match, number) if match else number)
    return groups


# --- checks that hold for every source


def _check(columns: Columns, task: Task, where: str, *, hidden_allowed: bool) -> None:
    """Raise where a label is unknown, an answer is not in its context, or only some are hidden.

    Raises:
        DataError: With the example.
    """
    last = task.kind.columns[-1]
    values = columns[last]
    if task.kind is TaskKind.RETRIEVAL:
        values = [x for x, side in zip(values, columns["side"], strict=True) if side != "english"]
    hidden = sum(value is None for value in values)
    if hidden and not hidden_allowed:
        first = values.index(None)
        raise DataError(f"{where}: example {first}", last, "it hidden")
    if 0 < hidden < len(values):
        raise DataError(
            where,
            f"{last} in all examples or none",
            f"it in {len(values) - hidden} of {len(values)}",
        )
    if task.kind is TaskKind.QA:
        _check_answers(columns, where)
    elif task.kind is TaskKind.SIMILARITY and not hidden:
        for number, value in enumerate(values):
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise DataError(f"{where}: example {number}", "a number", f"{value!r}")
    elif task.labels and not hidden:
        known = {*task.tags, *task.unscored_labels}
        for number, value in enumerate(values):
            for label in value if isinstance(value, list) else [value]:
                if label not in known:
                    raise DataError(
                        f"{where}: example {number}",
                        f"a label of {task.name} ({', '.join(task.tags)})",
                        f"{label!r}",
                    )


def _check_answers(columns: Columns, where: str) -> None:
    seen: set[str] = set()
    for name, context, answers in zip(
        columns["id"], columns["context"], columns["answers"], strict=True
    ):
        if name in seen:
            raise DataError(where, "each question id once", f"{name!r} again")
        seen.add(name)
        for answer in answers or []:
            text, start = answer["text"], answer["start"]
            shown = context[start : start + len(text)] if start >= 0 else ""
            if not text or shown != text:
                form = unicodedata.normalize("NFC", shown) == unicodedata.normalize("NFC", text)
                raise DataError(
                    f"{where}: question {name}",
                    f"the answer {text[:60]!r} at character {start} of the context",
                    f"{shown[:60]!r}",
                    "they differ in their Unicode form only: write both in NFC" if form else "",
                )
