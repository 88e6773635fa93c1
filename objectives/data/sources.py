"""Reading a split of a task: from folders, the cache, the Hub, or the pocket corpora.

All give the same columns (`TaskKind.columns`) with labels as text, checked against the
catalogue record. Labels that a test split hides are None, never a placeholder.

A test split is read by `load_test_split` alone, for one of three purposes. A test lists the
modules that may call it, so that no search comes to read one by mistake.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from objectives.data.data_source import DataSource, SourceKind
from objectives.data.fetching import fetched_split
from objectives.data.file_formats import Columns
from objectives.data.files import find_split, read_files
from objectives.data.halves import half_of
from objectives.data.hub import hub_place, read_hub
from objectives.data.origins import Place, origin_of
from objectives.data.row_checks import check_rows
from objectives.pocket import pocket_split
from spaces.errors import DataError
from spaces.task import Task, TaskKind
from storage.fingerprint import fingerprint

if TYPE_CHECKING:
    import datasets

SEARCH_SPLITS = ("train", "validation")


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

    The network is not asked: True where the catalogue knows a copy in that language.
    """
    if source.kind is SourceKind.HUB:
        return hub_place(task, language) is not None
    if source.kind is SourceKind.REAL:
        return origin_of(task, language, (split,), source).place is not Place.NOWHERE
    try:
        if source.kind is SourceKind.LOCAL:
            find_split(task, language, split, source.folders)
        else:
            _pocket_columns(task, language, split)
    except DataError:
        return False
    return True


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
        files, halved = find_split(task, language, split, source.folders)
        columns = read_files(files, task, hidden_allowed=halved or split == "test")
        where = str(files)
    elif source.kind is SourceKind.REAL:
        files, halved = fetched_split(task, language, split, source)
        columns = read_files(files, task, hidden_allowed=halved or split == "test")
        where = str(files)
    else:
        columns, where = read_hub(task, language, split)
    check_rows(columns, task, where, hidden_allowed=halved or split == "test")
    if halved and not whole:
        columns = half_of(columns, task.kind, split)
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
