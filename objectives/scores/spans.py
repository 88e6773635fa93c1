"""Spans of tagged words, as seqeval (https://github.com/chakki-works/seqeval) reads them.

Where a span begins and ends depends on two neighbouring tags alone. So seqeval is asked once for
each pair of tags that there are, and a split of any size is looked up, in place of its loop over
words.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

_OUTSIDE = "O"


def span_counts(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> NDArray[np.intp]:
    """Right, predicted and gold spans of each example, [examples, 3].

    A span belongs to the example that it ends in. seqeval reads a split as one sequence with an O
    after each example, and what it makes of POS tags depends on the examples before; so does this.

    Args:
        gold: Tags of each word, [examples][words].
        predicted: As many tags of each word.
    """
    # It loads sklearn, which takes a good part of a second: the first update needs neither.
    from seqeval.metrics.sequence_labeling import end_of_chunk, start_of_chunk

    names = sorted({_OUTSIDE, *chain(*gold), *chain(*predicted)})
    parts = [(name[0], name[1:].split("-", maxsplit=1)[-1] or "_") for name in names]
    kinds = sorted({"", *(kind for _, kind in parts)})
    # The pair of a tag and the one before it, of which the first has a type of its own: "".
    before = [*parts, (_OUTSIDE, "")]
    tables = [
        np.array([[check(a, b, x, y) for b, y in parts] for a, x in before], bool)
        for check in (end_of_chunk, start_of_chunk)
    ]
    kind_of = np.array([kinds.index(kind) for _, kind in before])
    numbers = {name: number for number, name in enumerate(names)}
    known, guessed = (_spans(tags, numbers, tables, kind_of) for tags in (gold, predicted))
    # No two spans of one reading end at the same word.
    right = (known[0] >= 0) & (known == guessed).all(0)
    # The word before which a span ends is of the same example, or the O after it.
    rows = np.repeat(np.arange(len(gold)), [len(tags) + 1 for tags in gold])
    marks = right, guessed[0] >= 0, known[0] >= 0
    return np.array([np.bincount(rows[each], minlength=len(gold)) for each in marks]).T


def span_f1(counts: NDArray[np.intp]) -> float:
    """Micro F1 of spans, in [0, 1], by the formula of seqeval; 0 where no span is right.

    Args:
        counts: Right, predicted and gold spans, [examples, 3].
    """
    right, predicted, gold = counts.sum(axis=0).tolist()
    if not right:
        return 0.0
    precision, recall = right / predicted, right / gold
    return float(2 * precision * recall / (precision + recall))


def _spans(
    tags: Sequence[Sequence[str]],
    numbers: dict[str, int],
    tables: Sequence[NDArray[np.bool_]],
    kind_of: NDArray[Any],
) -> NDArray[np.intp]:
    """Beginning and type of the span that ends before each word, -1 if none does, [2, words]."""
    words = chain.from_iterable((*of_example, _OUTSIDE) for of_example in tags)
    here = np.fromiter(map(numbers.__getitem__, words), np.intp)
    before = np.concatenate([[len(kind_of) - 1], here[:-1]])
    ends, starts = (table[before, here] for table in tables)
    begun = np.maximum.accumulate(np.where(starts, np.arange(len(here)), 0))
    begun = np.concatenate([[0], begun[:-1]])
    return np.where(ends, np.array([begun, kind_of[before]]), -1)
