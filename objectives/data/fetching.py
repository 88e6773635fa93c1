"""Getting a corpus: from the Hub or from raw files into a folder that `--data` reads.

A corpus is written as `TASK/LANGUAGE/SPLIT.jsonl`, whole or not at all, with what it was made from
beside it. Two processes that want the same one wait for each other, and the second finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from objectives.data.data_source import DataSource
from objectives.data.files import SplitFiles
from objectives.data.origins import Origin
from spaces.task import Task

OnBytes = Callable[[str, int, int], None]
"""Called with a download's name, its bytes so far and in all (0: not known)."""


def fetch_corpus(
    task: Task,
    language: str,
    splits: Sequence[str],
    folder: Path,
    on_bytes: OnBytes | None = None,
) -> Origin:
    """Write splits of a task in one language below a folder, from the Hub or from raw files.

    Splits that are there already are left alone.

    Args:
        task: Catalogue record of the task.
        language: ISO 639-3 code.
        splits: Names of the splits: train, validation or test.
        folder: Data folder, made where there is none.
        on_bytes: Told of downloads of raw files as they go on.

    Returns:
        Where it came from, with the revision that was taken.

    Raises:
        DataError: There is no such split, or it cannot be had, or it is not what was pinned.
    """
    raise NotImplementedError


def fetched_split(
    task: Task, language: str, split: str, source: DataSource
) -> tuple[SplitFiles, bool]:
    """The files of a split for a run, and whether they have to be halved; fetched where missing.

    Raises:
        DataError: As `fetch_corpus`.
    """
    raise NotImplementedError
