"""Checks of a split's rows that hold whatever source they are from."""

from __future__ import annotations

import math
import unicodedata

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
