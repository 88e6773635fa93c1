"""Examples that belong together: questions of a passage, pairs that share their first text.

They are not independent, so that statistics resample them together, and no passage of a halved
task is in both of its parts. Where the corpus has no such text, an example is a group of its own:
none of the layouts that are read says which sentences are of one document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spaces.task import TaskKind

if TYPE_CHECKING:
    import datasets

    from objectives.data.file_formats import Columns


def example_groups(
    examples: datasets.Dataset | Columns, kind: TaskKind
) -> NDArray[np.int32] | None:
    """The group of each example, by the number of its passage or first text in the file.

    A text that comes again has the number of where it came first, and those after it keep theirs:
    so translations have the same numbers, also where two passages have one wording in one of them.

    Args:
        examples: Rows with the columns of `kind`.
        kind: Kind of the task.

    Returns:
        [examples]; None where each is a group of its own.
    """
    if kind is TaskKind.QA:
        # By text: files may have a paragraph for each question, and not one after the other.
        return _numbers(examples["context"][:])
    if "text_a" in kind.columns:
        return _numbers(examples["text_a"][:])
    return None


def _numbers(texts: Sequence[str]) -> NDArray[np.int32]:
    """The number of each text; texts that differ in space alone are the same, [texts]."""
    numbers: list[int] = []
    first: dict[str, int] = {}
    before, number = None, -1
    for text in (" ".join(text.split()) for text in texts):
        number += text != before
        numbers.append(first.setdefault(text, number))
        before = text
    return np.array(numbers, np.int32)
