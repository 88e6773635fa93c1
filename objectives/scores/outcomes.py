"""What a metric needs to know of each example, so that a score can be taken over resampled ones.

A score over a split hides how much each example had its part in it. The outcomes keep that, a few
numbers per example from which the score follows by summing (or, for `spearman`, by ranking), so
that the score of thousands of resampled splits costs a product of two matrices.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.scores.answers import exact_match_and_f1
from objectives.scores.spans import span_counts
from spaces.errors import DataError
from spaces.task import AnswerNormalisation, Metric

Outcomes = NDArray[np.float32]
"""[examples, k]; what the k columns are, `example_outcomes` says."""
Groups = NDArray[np.int32]
"""Number of the group that each example belongs to, [examples], as of its passage."""
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class LanguageScore:
    """The score of a model in one language.

    Attributes:
        score: Value of the task's metric, in [0, 1], or in [-1, 1] for correlations.
        outcomes: Contribution of each example to the score, [examples, k].
    """

    score: float
    outcomes: Outcomes


def example_outcomes(
    metric: Metric | str,
    gold: Sequence[Any],
    predicted: Sequence[Any],
    answers: AnswerNormalisation | None = None,
    language: str = "",
    *,
    sentences: Sequence[str] = (),
) -> Outcomes:
    """Contribution of each example to the score of a split.

    Args:
        metric: Metric, or its name.
        gold: Right labels, as for `objectives.scores.metrics.compute_score`.
        predicted: Predictions, as for `objectives.scores.metrics.compute_score`.
        answers: Normalisation of answers, for `em_f1`.
        language: ISO 639-3 code of the answers' language, for `em_f1`.
        sentences: Ids of the language's sentences in the order of the split, for `bucc_f1`: they
            are its examples, those that are in no pair among them.

    Returns:
        [examples, k], the columns being

        - `span_f1`, `bucc_f1`: right, predicted, gold. A span belongs to the example it ends in.
        - `accuracy`: right, 1; of tags: right words, words.
        - `macro_f1`: right, predicted, gold for each class in turn, of those in gold or
          predictions, sorted; k differs where the predictions know other classes.
        - `em_f1`: exact match, F1, 1.
        - `spearman`: gold, predicted.

    Raises:
        DataError: Nothing to score, hidden labels, or lengths that differ.
        ValueError: No such metric, or something that it needs was not given.
    """
    metric = Metric(metric)
    if metric is Metric.EM_F1:
        if answers is None:
            raise ValueError("em_f1: expected how answers are normalised")
        return _of_answers(gold, predicted, answers, language)
    if not gold or any(value is None for value in gold):
        raise DataError(
            "outcomes", "gold labels", "none", "name a source in which they are not hidden"
        )
    if metric is Metric.BUCC_F1:
        return _of_pairs(gold, predicted, sentences)
    if len(gold) != len(predicted):
        raise DataError("outcomes", f"{len(gold)} predictions", str(len(predicted)))
    if metric is Metric.SPEARMAN:
        return np.array([gold, predicted], np.float32).T
    of_words = isinstance(gold[0], list)
    if of_words:
        for row, (tags, guesses) in enumerate(zip(gold, predicted, strict=True)):
            if len(tags) != len(guesses):
                raise DataError(f"outcomes: example {row}", f"{len(tags)} tags", str(len(guesses)))
    if metric is Metric.SPAN_F1:
        return span_counts(gold, predicted).astype(np.float32)
    sizes = [len(tags) for tags in gold] if of_words else [1] * len(gold)
    rows = np.repeat(np.arange(len(gold)), sizes)
    if of_words:
        gold, predicted = list(chain(*gold)), list(chain(*predicted))
    right = np.array([a == b for a, b in zip(gold, predicted, strict=True)], bool)
    if metric is Metric.ACCURACY:
        return np.array([_counts(rows[right], len(sizes)), sizes], np.float32).T
    assert metric is Metric.MACRO_F1, metric
    places = {label: place for place, label in enumerate(sorted({*gold, *predicted}))}
    counts = np.zeros((len(sizes), len(places), 3), np.float32)
    ours = np.array([places[label] for label in predicted], np.intp)
    theirs = np.array([places[label] for label in gold], np.intp)
    np.add.at(counts[..., 0], (rows[right], theirs[right]), 1)
    np.add.at(counts[..., 1], (rows, ours), 1)
    np.add.at(counts[..., 2], (rows, theirs), 1)
    return counts.reshape(len(sizes), -1)


def packed(outcomes: Outcomes, groups: Groups | None = None) -> bytes:
    """For a database: two arrays in numpy's file format, compressed.

    Args:
        outcomes: Contributions of the examples.
        groups: Examples that belong together; None where each is a group of its own.
    """
    assert groups is None or len(groups) == len(outcomes), "a group for each example"
    file = io.BytesIO()
    np.save(file, outcomes, allow_pickle=False)
    np.save(file, np.empty(0, np.int32) if groups is None else groups, allow_pickle=False)
    return zlib.compress(file.getvalue())


def unpacked(data: bytes) -> tuple[Outcomes, Groups | None]:
    """The outcomes and groups that were `packed`; nothing in it is run."""
    file = io.BytesIO(zlib.decompress(data))
    outcomes: Outcomes = np.load(file, allow_pickle=False)
    groups: Groups = np.load(file, allow_pickle=False)
    return outcomes, groups if len(groups) else None


def score_of(
    metric: Metric | str, outcomes: Outcomes, weights: NDArray[np.floating[Any]] | None = None
) -> Scores:
    """The score of a split, or of the same split with its examples weighted.

    Without weights it is what `objectives.scores.metrics.compute_score` says (of `em_f1` to 1e-7,
    since F1 is kept in single precision). With whole weights it is the score of the split in which
    each example stands that many times. Only the proportions of weights matter, and a class that
    none of the weighted examples has is left out of `macro_f1`, as scikit-learn does.

    Args:
        metric: Metric, or its name.
        outcomes: Contributions of the examples, as `example_outcomes` returns them, [examples, k].
        weights: Weights of the examples, not negative, [B, examples].

    Returns:
        [] without weights, else [B], in [0, 1], or in [-1, 1] for `spearman`.
    """
    metric = Metric(metric)
    if metric is Metric.SPEARMAN:
        return _spearman(outcomes, weights)
    if weights is None:
        sums = outcomes.sum(axis=0, dtype=np.float64)
    else:
        sums = (weights @ outcomes).astype(np.float64)
    if metric is Metric.ACCURACY:
        return _share(sums[..., 0], sums[..., 1])
    if metric is Metric.EM_F1:
        return _share(sums[..., 0] + sums[..., 1], 2 * sums[..., 2])
    counts = sums.reshape(*sums.shape[:-1], -1, 3)
    met = counts[..., 1] + counts[..., 2]
    f1 = _share(2 * counts[..., 0], met)
    if metric is Metric.MACRO_F1:
        return _share(f1.sum(axis=-1), (met > 0).sum(axis=-1))
    return f1[..., 0]


def _of_answers(
    gold: Sequence[Any], predicted: Sequence[Any], answers: AnswerNormalisation, language: str
) -> Outcomes:
    if len(gold) != len(predicted) or not gold:
        exact_match_and_f1(gold, predicted, answers, language)  # says what is wrong
    return np.array(
        [
            (*exact_match_and_f1([right], [answer], answers, language), 1)
            for right, answer in zip(gold, predicted, strict=True)
        ],
        np.float32,
    )


def _of_pairs(
    gold: Sequence[tuple[str, str]], predicted: Sequence[tuple[str, str]], sentences: Sequence[str]
) -> Outcomes:
    if not sentences:
        raise ValueError("bucc_f1: expected the ids of the language's sentences")
    places = {name: place for place, name in enumerate(sentences)}
    known, guessed = set(gold), set(predicted)
    if strange := sorted({name for name, _ in known | guessed} - places.keys()):
        raise DataError(
            "outcomes", f"pairs of the {len(places)} sentences given", f"{strange[0]!r}"
        )
    columns = [[places[name] for name, _ in pairs] for pairs in (known & guessed, guessed, known)]
    return np.array([_counts(rows, len(sentences)) for rows in columns], np.float32).T


def _counts(rows: Sequence[int] | NDArray[np.intp], size: int) -> NDArray[np.intp]:
    return np.bincount(np.asarray(rows, np.intp), minlength=size)


def _share(part: Scores, whole: NDArray[Any]) -> Scores:
    """`part / whole`, 0 where the whole is 0."""
    share: Scores = np.zeros(np.shape(part))
    np.divide(part, whole, out=share, where=np.asarray(whole) > 0)
    return share


def _spearman(outcomes: Outcomes, weights: NDArray[np.floating[Any]] | None) -> Scores:
    one = weights is None
    # [examples, B], as what is sorted by example is copied in whole rows.
    w = np.ones((len(outcomes), 1)) if weights is None else weights.T.astype(np.float64, order="C")
    total = w.sum(axis=0)
    gold, predicted = (_ranks(column, w) - total / 2 for column in outcomes.T)
    weighted = w * gold
    spread = np.einsum("nb,nb->b", weighted, gold)
    shared = np.einsum("nb,nb->b", weighted, predicted)
    np.multiply(w, predicted, out=weighted)
    spread *= np.einsum("nb,nb->b", weighted, predicted)
    # Of equal values all deviations are 0 but for rounding.
    spread = np.where(spread > 1e-20 * total**6, spread, 0)
    scores = _share(shared, np.sqrt(spread))
    return scores[0] if one else scores


def _ranks(values: NDArray[np.float32], weights: Scores) -> Scores:
    """Rank of each among the weighted examples, equal values sharing theirs, [examples, B].

    Their weighted mean is half of the weights.
    """
    order = np.argsort(values, kind="stable")
    _, groups = np.unique(values, return_inverse=True)
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sums = np.add.reduceat(weights[order], first, axis=0)
    return (np.cumsum(sums, axis=0) - sums / 2)[groups]
