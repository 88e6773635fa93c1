"""Checks of a split's rows that hold whatever source they are from."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

from objectives.data.file_formats import Columns
from spaces.errors import DataError
from spaces.task import Task, TaskKind


def check_rows(columns: Columns, task: Task, where: str, *, hidden_allowed: bool) -> None:
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


def check_scorable(values: Sequence[Any], task: Task, where: str, advice: str = "") -> None:
    """Raise where every model has the same score on a split, whatever it predicts.

    Args:
        values: The last column of the split; with None for what is hidden.
        task: Its task.
        where: What is named as the split.
        advice: What to do about it.

    Raises:
        DataError: With what the split has none of.
    """
    known = [x for x in values if x is not None]
    if not known:
        return
    expected, found = "", ""
    if task.kind is TaskKind.NER:
        if not any(tag != "O" for tags in known for tag in tags):
            expected = "at least one entity"
            found = "only O tags, so that no recipe can have a span F1 but 0"
    elif task.kind is TaskKind.QA:
        if not (task.unanswerable or any(known)):
            expected = "at least one answer"
            found = "questions without one, so that no recipe can have an F1 but 0"
    elif task.kind is TaskKind.SIMILARITY:
        if all(x == known[0] for x in known):
            expected = "scores that differ"
            found = f"{known[0]} for all, so that there is no rank correlation"
    elif task.kind.is_classification and not {*known} & {*task.labels}:
        expected = f"at least one of the labels {', '.join(task.labels)}"
        found = "only labels that the source language has not, which are not scored"
    if expected:
        raise DataError(where, expected, found, advice)


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
