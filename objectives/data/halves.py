"""The halves of a task with one evaluation split: one validates, the other is the test split.

A group of rows falls into either part by the SHA-256 of its number: a passage with its questions,
a text with all that it is paired with, a sentence with its translation, otherwise a row. So
parallel content, which has the same number in every language, is in the same part in all of them,
and the parts do not depend on how long a file is.
"""

from __future__ import annotations

import hashlib

from objectives.data.file_formats import Columns
from objectives.data.groups import example_groups
from spaces.task import TaskKind


def half_of(columns: Columns, kind: TaskKind, split: str) -> Columns:
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
