"""Scores: worked by hand, and equal to those of the libraries that define them."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import f1_score
from torch import nn
from transformers.modeling_outputs import TokenClassifierOutput

from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit
from objectives.runner import Runner
from objectives.scores.metrics import NO_PREDICTION, compute_score, predict, predicted_labels
from objectives.scores.outcomes import example_outcomes
from spaces.errors import DataError, DeviceMemoryError
from spaces.task import Metric, Task
from tests.objectives_tests.toys import CPU, make_task
from tests.raising import raises

POS = ["NOUN", "VERB", "ADJ", "PROPN", "PUNCT", "X"]
IOB2 = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.mark.parametrize(
    ("metric", "gold", "predicted", "expected"),
    [
        # Spans: 3 in gold, 2 predicted, 1 right: precision 1/2, recall 1/3.
        (Metric.SPAN_F1, [["B-PER", "I-PER", "O"], ["B-LOC", "B-LOC"]],
         [["B-PER", "O", "O"], ["B-LOC", "O"]], 0.4),
        (Metric.SPAN_F1, [["B-PER", "O"]], [["B-PER", "O"]], 1.0),
        (Metric.SPAN_F1, [["B-PER", "O"]], [["O", "O"]], 0.0),
        (Metric.SPAN_F1, [["O", "O"]], [["O", "O"]], 0.0),
        (Metric.ACCURACY, ["a", "b", "a", "c"], ["a", "b", "c", "a"], 0.5),
        (Metric.ACCURACY, [["NOUN", "VERB"], ["X"]], [["NOUN", "X"], ["X"]], 2 / 3),
        # a: precision 1, recall 1/2 -> 2/3; b: 1/2, 1 -> 2/3; c, never in gold: 0.
        (Metric.MACRO_F1, ["a", "a", "b"], ["a", "b", "b"], 2 / 3),
        (Metric.MACRO_F1, ["a", "a", "b", "b"], ["a", "c", "b", "b"], (2 / 3 + 1 + 0) / 3),
        (Metric.SPEARMAN, [1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 35.0], 1.0),
        (Metric.SPEARMAN, [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], -1.0),
        # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15).
        (Metric.SPEARMAN, [1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0], 0.6),
        (Metric.SPEARMAN, [1.0, 2.0, 3.0], [0.5, 0.5, 0.5], 0.0),
        (Metric.SPEARMAN, [2.0, 2.0], [0.5, 0.7], 0.0),
    ],
)  # fmt: skip
def test_scores_worked_by_hand(
    metric: Metric, gold: list[Any], predicted: list[Any], expected: float
) -> None:
    assert compute_score(metric, gold, predicted) == pytest.approx(expected)


def rows_of(labels: list[str]) -> st.SearchStrategy[list[list[tuple[str, str]]]]:
    """Examples of words, each with its gold and its predicted tag."""
    word = st.tuples(st.sampled_from(labels), st.sampled_from(labels))
    return st.lists(st.lists(word, min_size=1, max_size=6), min_size=1, max_size=6)


def split_pairs(rows: list[list[tuple[Any, Any]]]) -> tuple[list[Any], list[Any]]:
    return [[a for a, _ in row] for row in rows], [[b for _, b in row] for row in rows]


# Among them what begins like a tag of a chunk, and what is none at all.
ANY_TAGS = [*IOB2, *POS, "E-LOC", "S-PER", "B-A-B", "I", "-", "INTJ", "SCONJ", "."]


@settings(max_examples=80)
@given(rows_of(IOB2) | rows_of(POS) | rows_of(ANY_TAGS))
def test_span_f1_is_seqevals(rows: list[list[tuple[str, str]]]) -> None:
    """Spans of each example too, to the last bit."""
    gold, predicted = split_pairs(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tags that are none
        expected = seqeval_f1(gold, predicted, zero_division=0)
        known, guessed = set(get_entities(gold)), set(get_entities(predicted))
    assert compute_score(Metric.SPAN_F1, gold, predicted) == expected
    outcomes = example_outcomes(Metric.SPAN_F1, gold, predicted)
    example_of = [row for row, words in enumerate(rows) for _ in range(len(words) + 1)]
    for column, spans in zip(outcomes.T, (known & guessed, guessed, known), strict=True):
        ends = Counter(example_of[end] for _, _, end in spans)
        assert column.tolist() == [ends[row] for row in range(len(rows))]


@settings(max_examples=40)
@given(rows_of(POS))
def test_macro_f1_of_tags_is_scikit_learns_over_words(rows: list[list[tuple[str, str]]]) -> None:
    gold, predicted = split_pairs(rows)
    flat = list(chain(*gold)), list(chain(*predicted))
    expected = f1_score(*flat, average="macro", zero_division=0)
    assert compute_score(Metric.MACRO_F1, gold, predicted) == pytest.approx(expected)


def test_spearman_is_scipys_with_ties() -> None:
    generator = np.random.default_rng(0)
    gold = generator.integers(0, 5, 50).astype(float).tolist()
    predicted = (np.array(gold) + generator.normal(0, 2, 50)).round(1).tolist()
    expected = scipy.stats.spearmanr(gold, predicted).statistic
    assert 0.1 < compute_score(Metric.SPEARMAN, gold, predicted) == pytest.approx(expected)


def test_spans_of_parts_of_speech_are_scored_without_a_warning() -> None:
    """XTREME scores UDPOS so; seqeval itself warns of every tag."""
    gold = [["NOUN", "VERB", "PUNCT"], ["PROPN", "X"]]
    assert compute_score(Metric.SPAN_F1, gold, gold) == 1.0
    assert 0 < compute_score(Metric.SPAN_F1, gold, [["NOUN", "ADJ", "PUNCT"], ["X", "X"]]) < 1


@pytest.mark.parametrize(
    ("metric", "gold"),
    [
        (Metric.SPAN_F1, [["B-PER", "I-PER"], ["B-LOC"]]),
        (Metric.SPAN_F1, [["NOUN", "VERB"], ["ADJ"]]),
        (Metric.ACCURACY, [["NOUN", "VERB"], ["X"]]),
    ],
)
def test_a_word_without_a_subword_counts_as_wrong(metric: Metric, gold: list[Any]) -> None:
    assert compute_score(metric, gold, gold) == 1.0
    assert compute_score(metric, gold, [gold[0], [NO_PREDICTION]]) < 1.0


@pytest.mark.parametrize(
    ("gold", "predicted", "subject", "expected", "found"),
    [
        (["a", "b"], ["a"], "", "2 predictions", "1"),
        ([["O"], ["O", "O"]], [["O"], ["O"]], "example 1", "2 tags", "1"),
        (["a", None], ["a", "a"], "", "gold labels", "none"),
        ([None, None], [["O"], ["O"]], "", "gold labels", "none"),
        ([], [], "", "gold labels", "none"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    gold: list[Any], predicted: list[Any], subject: str, expected: str, found: str
) -> None:
    with raises(DataError, subject=subject, expected=expected, found=found):
        compute_score(Metric.ACCURACY, gold, predicted)


# --- predicting


class Echo(nn.Module):
    """Logits of 3 classes that say which sub-word stands where; at most `rows` at a time."""

    def __init__(self, rows: int = 99, *, per_word: bool = True) -> None:
        super().__init__()
        self.rows = rows
        self.per_word = per_word
        self.seen: list[int] = []

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> TokenClassifierOutput:
        """Predict."""
        self.seen.append(len(input_ids))
        if len(input_ids) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        logits = nn.functional.one_hot(input_ids % 3, 3).float() * attention_mask[..., None]
        return TokenClassifierOutput(logits=logits if self.per_word else logits.sum(1))


def examples(*, per_word: bool = True) -> EncodedSplit:
    """Six examples of 1 to 4 sub-words; the last word of the third was cut off."""
    ids = [np.arange(i, i + n) for i, n in enumerate((2, 4, 3, 1, 4, 2))]
    positions = [np.arange(len(x)) for x in ids]
    positions[2][-1] = -1
    return EncodedSplit(ids, None, None, positions if per_word else None, [None] * 6)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 5, 99])
def test_predictions_are_in_the_order_of_the_split_whatever_fits(left: bool, rows: int) -> None:
    split = examples()
    padding = Padding(0, 0, left=left, mask_id=None, special_ids=(), vocabulary=9)
    model = Echo(rows)
    found = predict(model, split, Runner(CPU, padding))
    assert not model.training
    assert sum(size for size in model.seen if size <= rows) == 6
    for number, (logits, ids) in enumerate(zip(found, split.input_ids, strict=True)):
        kept = logits[:-1] if number == 2 else logits
        assert kept.argmax(-1).tolist() == (ids % 3)[: len(kept)].tolist()
    assert np.isnan(found[2][-1]).all()


@pytest.mark.parametrize("segments", [False, True])
def test_equal_rows_go_through_the_model_once_and_have_predictions_of_their_own(
    segments: bool,
) -> None:
    """The second and the last are equal, but for their words; with other segments they are not."""
    ids = [np.arange(start, start + 3) for start in (0, 1, 2, 1)]
    positions = [np.arange(3), np.arange(3), np.arange(3), np.array([2, 0])]
    types = [np.zeros(3, np.int64), np.zeros(3, np.int64), np.zeros(3, np.int64), np.ones(3, int)]
    split = EncodedSplit(ids, types if segments else None, None, positions, [None] * 4)
    padding = Padding(0, 0, left=False, mask_id=None, special_ids=(), vocabulary=9)
    model, told = Echo(), list[tuple[int, int]]()
    found = predict(model, split, Runner(CPU, padding, lambda *done: told.append(done)))
    assert model.seen == [4 if segments else 3]
    assert [logits.argmax(-1).tolist() for logits in found] == [
        *([0, 1, 2], [1, 2, 0]),
        *([2, 0, 1], [0, 1]),
    ]
    assert told == [(4, 4)]


@given(st.permutations(range(6)))
def test_predictions_do_not_depend_on_the_order_of_the_split(order: list[int]) -> None:
    split, padding = examples(), Padding(0, 0, False, None, (), 9)
    assert split.word_positions is not None
    turned = replace(
        split,
        input_ids=[split.input_ids[x] for x in order],
        word_positions=[split.word_positions[x] for x in order],
    )
    found = predict(Echo(), turned, Runner(CPU, padding))
    expected = predict(Echo(), split, Runner(CPU, padding))
    for logits, row in zip(found, order, strict=True):
        np.testing.assert_array_equal(logits, expected[row])


def test_predictions_of_texts_are_one_row_each() -> None:
    padding = Padding(0, 0, left=False, mask_id=None, special_ids=(), vocabulary=9)
    found = predict(Echo(per_word=False), examples(per_word=False), Runner(CPU, padding))
    assert [logits.tolist() for logits in found[:2]] == [[1, 1, 0], [1, 2, 1]]


def test_an_example_that_does_not_fit_is_an_error_of_its_own() -> None:
    padding = Padding(0, 0, left=False, mask_id=None, special_ids=(), vocabulary=9)
    with raises(DeviceMemoryError, subject="out of memory on cpu"):
        predict(Echo(0), examples(), Runner(CPU, padding))


def test_logits_become_labels_of_the_corpus() -> None:
    ner: Task = make_task("ner")
    words = np.eye(5, dtype=np.float32)[[1, 0, 3]]
    lost = np.full((1, 5), np.nan, np.float32)
    split = examples()
    tags = predicted_labels([words, np.concatenate([words[:1], lost])], split, ner)
    assert tags == [["B-PER", "O", "B-LOC"], ["B-PER", NO_PREDICTION]]
    classes = [np.array([0.1, 0.7, 0.2], np.float32)]
    assert predicted_labels(classes, split, make_task("classification")) == ["law"]
    scores = [np.array([2.5], np.float32)]
    assert predicted_labels(scores, split, make_task("similarity")) == [2.5]
