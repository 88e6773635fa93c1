"""Outcomes per example add up to the scores of `compute_score`, also of resampled splits."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.scores.metrics import compute_score
from objectives.scores.outcomes import example_outcomes, score_of
from spaces.errors import DataError
from spaces.task import AnswerNormalisation, Metric
from tests.raising import raises

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
POS = ["NOUN", "VERB", "X", "PUNCT", "INTJ", "SYM", "O"]
WORDS = ["the", "law", "of", "a", "court", "ii"]
CLASSES = ["c", "a", "b"]
SENTENCES = [f"s{number}" for number in range(12)]


def split(name: str, seed: int) -> tuple[list[Any], list[Any]]:
    """Twelve examples, gold and predicted, of which about half are right."""
    draw = random.Random(seed)

    def guess(right: Any, choose: Any) -> Any:
        return right if draw.random() < 0.5 else choose()

    def words(labels: list[str]) -> tuple[list[Any], list[Any]]:
        gold = [draw.choices(labels, k=draw.randint(0, 5)) for _ in SENTENCES]
        return gold, [[guess(tag, lambda: draw.choice(labels)) for tag in tags] for tags in gold]

    def text() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(0, 3)))

    if name in {"tags", "pos"}:
        gold, predicted = words(TAGS if name == "tags" else POS)
        gold[0], predicted[0] = ["B-PER"], ["B-PER"]
        return gold, predicted
    if name == "classes":
        gold = draw.choices(CLASSES[:2], k=12)
        return gold, [guess(label, lambda: draw.choice(CLASSES)) for label in gold]
    if name == "values":
        return ([float(draw.randint(0, 5)) for _ in SENTENCES],
                [float(draw.randint(0, 4)) for _ in SENTENCES])  # fmt: skip
    if name == "answers":
        gold = [[text() for _ in range(draw.randint(0, 2))] for _ in SENTENCES]
        return gold, [guess(answers[0] if answers else "", text) for answers in gold]
    gold = [(name, f"e{name}") for name in SENTENCES[:8]]
    return gold, [(name, guess(f"e{name}", lambda: "e0")) for name in SENTENCES[2:]]


KINDS = [
    (Metric.SPAN_F1, "tags"),
    (Metric.SPAN_F1, "pos"),
    (Metric.ACCURACY, "classes"),
    (Metric.ACCURACY, "pos"),
    (Metric.MACRO_F1, "classes"),
    (Metric.MACRO_F1, "pos"),
    (Metric.SPEARMAN, "values"),
    (Metric.EM_F1, "answers"),
    (Metric.BUCC_F1, "pairs"),
]


def outcomes_of(metric: Metric, gold: list[Any], predicted: list[Any]) -> Any:
    answers = AnswerNormalisation.SQUAD if metric is Metric.EM_F1 else None
    sentences = SENTENCES if metric is Metric.BUCC_F1 else ()
    return example_outcomes(metric, gold, predicted, answers, "eng", sentences=sentences)


def expected(metric: Metric, gold: list[Any], predicted: list[Any]) -> float:
    answers = AnswerNormalisation.SQUAD if metric is Metric.EM_F1 else None
    return compute_score(metric, gold, predicted, answers, "eng")


def test_every_metric_is_tried() -> None:
    assert {metric for metric, _ in KINDS} == set(Metric)


@pytest.mark.parametrize(("metric", "name"), KINDS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_the_score_of_the_outcomes_is_the_score(metric: Metric, name: str, seed: int) -> None:
    gold, predicted = split(name, seed)
    outcomes = outcomes_of(metric, gold, predicted)
    assert (outcomes.dtype, len(outcomes)) == (np.float32, 12)
    tolerance = 1e-7 if metric is Metric.EM_F1 else 1e-12
    score = score_of(metric, outcomes)
    assert score.shape == ()
    assert score == pytest.approx(expected(metric, gold, predicted), abs=tolerance)


@pytest.mark.parametrize(
    # POS tags are read in the light of the examples before, and pairs count once.
    ("metric", "name"),
    [kind for kind in KINDS if kind not in {(Metric.SPAN_F1, "pos"), (Metric.BUCC_F1, "pairs")}],
)
@pytest.mark.parametrize("seed", range(5))
def test_whole_weights_repeat_examples(metric: Metric, name: str, seed: int) -> None:
    gold, predicted = split(name, seed)
    outcomes = outcomes_of(metric, gold, predicted)
    weights = np.random.default_rng(seed).integers(0, 3, (6, 12)).astype(np.float32)
    scores = score_of(metric, outcomes, weights)
    assert scores.shape == (6,)
    for score, row in zip(scores, weights, strict=True):
        chosen = np.repeat(np.arange(12), row.astype(int))
        again = expected(metric, [gold[i] for i in chosen], [predicted[i] for i in chosen])
        assert score == pytest.approx(again, abs=1e-6)


@pytest.mark.parametrize(("metric", "name"), KINDS)
def test_only_the_proportions_of_weights_matter(metric: Metric, name: str) -> None:
    outcomes = outcomes_of(metric, *split(name, 3))
    weights = np.random.default_rng(0).exponential(size=(4, 12))
    assert score_of(metric, outcomes, weights) == pytest.approx(
        score_of(metric, outcomes, 7 * weights)
    )


def test_a_span_belongs_to_the_example_it_ends_in() -> None:
    gold = [["B-PER", "I-PER"], ["O"], ["B-LOC", "B-LOC"]]
    predicted = [["B-PER", "I-PER"], ["B-PER"], ["O", "B-LOC"]]
    assert example_outcomes("span_f1", gold, predicted).tolist() == [
        [1, 1, 1],
        [0, 1, 0],
        [1, 1, 2],
    ]


def test_a_sentence_without_a_pair_is_an_example() -> None:
    outcomes = example_outcomes(
        "bucc_f1", [("a", "1")], [("a", "1"), ("b", "2")], sentences=["a", "b", "c"]
    )
    assert outcomes.tolist() == [[1, 1, 1], [0, 1, 0], [0, 0, 0]]


def test_equal_predictions_have_no_rank_correlation() -> None:
    outcomes = example_outcomes("spearman", [1.0, 2.0, 3.0], [0.1, 0.1, 0.1])
    assert score_of("spearman", outcomes) == 0.0
    assert score_of("spearman", outcomes, np.full((2, 3), 1 / 3)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("metric", "gold", "predicted", "subject", "expected", "found", "advice"),
    [
        ("accuracy", [], [], "", "gold labels", "none", ""),
        ("accuracy", [None], ["a"], "", "", "", "not hidden"),
        ("macro_f1", ["a"], ["a", "b"], "", "1 predictions", "2", ""),
        ("span_f1", [["O", "O"]], [["O"]], "example 0", "2 tags", "1", ""),
        ("em_f1", [["a"]], ["a", "b"], "", "1 answers", "2", ""),
        ("bucc_f1", [("z", "1")], [], "", "pairs of the 12 sentences given", "'z'", ""),
    ],
)
def test_what_cannot_be_scored_is_said(
    metric: str,
    gold: list[Any],
    predicted: list[Any],
    subject: str,
    expected: str,
    found: str,
    advice: str,
) -> None:
    with raises(DataError, subject=subject, expected=expected, found=found, advice=advice):
        outcomes_of(Metric(metric), gold, predicted)


def test_what_a_metric_needs_is_asked_for() -> None:
    with pytest.raises(ValueError, match="sentences"):
        example_outcomes("bucc_f1", [("a", "1")], [])
    with pytest.raises(ValueError, match="normalised"):
        example_outcomes("em_f1", [["a"]], ["a"])
