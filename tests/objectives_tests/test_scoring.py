"""Retrieval and mining, worked by hand: which layer, which similarity, which threshold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from objectives.backbone import Backbone
from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit
from objectives.models.encoders import build_model
from objectives.runner import Runner
from objectives.scores.languages import predict_languages, score_languages
from objectives.scores.metrics import embed
from objectives.scores.outcomes import LanguageScore, score_of
from objectives.scores.sentences import (
    above,
    gold_neighbours,
    gold_pairs,
    mining_threshold,
    score_retrievals,
)
from spaces.errors import DataError, SpecError
from spaces.recipe import Similarity, Stage
from spaces.task import Task
from tests.objectives_tests.toys import CPU, RETRIEVAL_STAGE, make_task, runner_for, toy_split
from tests.raising import raises

PADDING = Padding(0, 0, False, None, (), 10)
Sentence = tuple[str, str, str, str]


class Layers(nn.Module):
    """An encoder of which the state of each sub-word in each layer is given, as an angle."""

    def __init__(self, *layers: dict[int, float]) -> None:
        super().__init__()
        self.passes = 0
        self.states = []
        for angles in layers:
            radians = torch.zeros(10)
            for sub_word, degrees in angles.items():
                radians[sub_word] = np.deg2rad(degrees)
            self.states.append(torch.stack([radians.cos(), radians.sin()], -1))

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, output_hidden_states: bool
    ) -> SimpleNamespace:
        """What `embed` asks an encoder for."""
        assert output_hidden_states
        self.passes += 1
        return SimpleNamespace(hidden_states=tuple(layer[input_ids] for layer in self.states))


def sentences(*gold: Sentence) -> EncodedSplit:
    """Sentences of one sub-word each: 1, 2, 3, ..."""
    ids = [np.array([number]) for number in range(1, len(gold) + 1)]
    return EncodedSplit(ids, None, None, None, gold)


# Of the embeddings the one that is nearest by cosine is wrong for b, and by margin right
# (test_retrieval works it out); of the last layer each is next to its translation.
FOUR = sentences(
    *(("a", "moja", "language", "x"), ("b", "mbili", "language", "y")),
    *(("x", "one", "english", ""), ("y", "two", "english", "")),
)
MODEL = Layers({1: 10, 2: 57, 3: 0, 4: 25}, {1: 0, 2: 90, 3: 1, 4: 89})


@pytest.fixture
def task() -> Task:
    """Sentences of which each has a translation."""
    return make_task("retrieval", languages=["swa", "yor"])


@pytest.mark.parametrize(
    ("layer", "similarity", "found", "score"),
    [
        (0, Similarity.COSINE, ["a", "a"], 0.5),
        (0, Similarity.MARGIN, ["a", "b"], 1.0),
        (1, Similarity.COSINE, ["a", "b"], 1.0),
        (-1, Similarity.COSINE, ["a", "b"], 1.0),
        (-2, Similarity.COSINE, ["a", "a"], 0.5),
    ],
)
def test_the_layer_and_the_similarity_decide_what_is_retrieved(
    layer: int, similarity: Similarity, found: list[str], score: float, task: Task
) -> None:
    stage = replace(RETRIEVAL_STAGE, pooled_layer=layer, similarity=similarity)
    splits = {"swa": FOUR}
    assert predict_languages(MODEL, splits, task, stage, Runner(CPU, PADDING)) == {"swa": found}
    scores = score_languages(MODEL, splits, task, stage, Runner(CPU, PADDING))
    assert scores["swa"].score == score
    assert score_of(task.metric, scores["swa"].outcomes) == score


def stages_of(layers: Iterable[int]) -> list[Stage]:
    return [
        replace(RETRIEVAL_STAGE, pooled_layer=layer, similarity=similarity)
        for layer in layers
        for similarity in Similarity
    ]


STAGES = stages_of((-1, 0, 1))


def test_all_layers_and_similarities_are_scored_in_one_pass_as_each_by_itself(task: Task) -> None:
    model = Layers({1: 10, 2: 57, 3: 0, 4: 25}, {1: 0, 2: 90, 3: 1, 4: 89})
    other = sentences(("c", "ọkan", "language", "z"), ("z", "one", "english", ""))
    splits, runner = {"yor": other, "swa": FOUR}, Runner(CPU, PADDING)
    together = score_retrievals(model, splits, task, STAGES, runner)
    assert model.passes == 1
    assert list(together) == STAGES
    assert {scores["swa"].score for scores in together.values()} == {0.5, 1.0}
    for stage, scores in together.items():
        assert_scores_equal(scores, score_retrievals(model, splits, task, [stage], runner)[stage])
        assert_scores_equal(scores, score_languages(model, splits, task, stage, runner))


def assert_scores_equal(
    one: Mapping[str, LanguageScore], other: Mapping[str, LanguageScore]
) -> None:
    assert list(one) == list(other)
    for language, score in one.items():
        assert score.score == other[language].score
        np.testing.assert_array_equal(score.outcomes, other[language].outcomes)


def test_vectors_of_a_layer_do_not_depend_on_the_other_layers(bert: Backbone, task: Task) -> None:
    """To the last bit; with as many layers as a batch has sub-words, too."""
    model, split = build_model(bert, bert.weights, task, 0), toy_split("retrieval", 9, bert)
    assert {len(ids) for ids in split.input_ids} >= {14, 20}
    some = [*range(-3, 3)] * 4
    for layers in ([2, -3, 1], some[:14], some[:20]):
        together = embed(model, split, layers, runner_for(bert))
        assert together.shape[:2] == (len(layers), 18)
        for layer, vectors in zip(layers, together, strict=True):
            (alone,) = embed(model, split, [layer], runner_for(bert))
            np.testing.assert_array_equal(vectors, alone)


def test_each_setting_of_mining_has_the_threshold_of_its_own(bert: Backbone, mining: Task) -> None:
    model = build_model(bert, bert.weights, mining, seed=0)
    encoded = [toy_split("retrieval", 9, bert, seed=seed) for seed in range(4)]
    splits = dict(zip(("swa", "yor"), encoded[:2], strict=True))
    tuning = dict(zip(("swa", "yor"), encoded[2:], strict=True))
    stages = stages_of(range(-2, 3))
    together = score_retrievals(model, splits, mining, stages, runner_for(bert), tuning)
    for stage, scores in together.items():
        alone = score_retrievals(model, splits, mining, [stage], runner_for(bert), tuning)
        assert_scores_equal(scores, alone[stage])
    assert len({scores["swa"].score for scores in together.values()}) > 1


def test_a_layer_that_the_encoder_has_not_is_named(task: Task) -> None:
    for layer in (2, -3):
        stage = replace(RETRIEVAL_STAGE, pooled_layer=layer)
        with raises(
            SpecError, subject="target.pooled_layer", expected="-2 to 1", found=str(layer)
        ):
            score_languages(MODEL, {"swa": FOUR}, task, stage, Runner(CPU, PADDING))


def test_languages_are_scored_together_and_searched_apart(task: Task) -> None:
    """c, which comes first, is as near to x as a; but it is of the other language."""
    other = sentences(("c", "ọkan", "language", "z"), ("z", "one", "english", ""))
    splits = {"yor": other, "swa": FOUR}
    found = predict_languages(MODEL, splits, task, RETRIEVAL_STAGE, Runner(CPU, PADDING))
    assert found == {"yor": ["c"], "swa": ["a", "b"]}


def test_accuracy_is_the_share_of_english_sentences_whose_nearest_is_right(task: Task) -> None:
    """As in XTREME's Tatoeba: from English, so that the gold ids are in the English order."""
    turned = sentences(
        *(("a", "moja", "language", "y"), ("b", "mbili", "language", "x")),
        *(("x", "one", "english", ""), ("y", "two", "english", "")),
    )
    assert gold_neighbours(turned) == ["b", "a"]
    scores = score_languages(MODEL, {"swa": turned}, task, RETRIEVAL_STAGE, Runner(CPU, PADDING))
    assert scores["swa"].score == 0


def test_an_english_sentence_without_a_translation_is_named() -> None:
    lonely = sentences(("a", "moja", "language", ""), ("x", "one", "english", ""))
    with raises(DataError, expected="a translation of each English", found="none of 'x'"):
        gold_neighbours(lonely)


# --- mining


@pytest.fixture
def mining() -> Task:
    """Sentences of which some have a translation."""
    return make_task("retrieval", languages=["swa"], metric="bucc_f1")


def test_mining_takes_the_pairs_above_the_threshold_that_is_best_for_the_split(
    mining: Task,
) -> None:
    # Pairs: a-x one degree apart and right; b-y ten apart and right; c-z twenty apart and wrong.
    # The best threshold lies between the last two, and F1 is 1; with all three it would be 0.8.
    split = sentences(
        *(("a", "moja", "language", "x"), ("b", "mbili", "language", "y")),
        *(("c", "tatu", "language", ""), ("x", "one", "english", "")),
        *(("y", "two", "english", ""), ("z", "three", "english", "")),
    )
    model = Layers({1: 0, 2: 90, 3: 200, 4: 1, 5: 80, 6: 220})
    runner = Runner(CPU, PADDING)
    mined = predict_languages(model, {"swa": split}, mining, RETRIEVAL_STAGE, runner)["swa"]
    assert [(name, english) for _, name, english in mined] == [("a", "x"), ("b", "y"), ("c", "z")]
    cosines = np.cos(np.deg2rad([1, 10, 20]))
    assert [score for score, _, _ in mined] == pytest.approx(cosines.tolist())
    gold = gold_pairs(split)
    assert gold == [("a", "x"), ("b", "y")]
    threshold = mining_threshold(mined, gold)
    assert threshold == pytest.approx((cosines[1] + cosines[2]) / 2)
    assert above(mined, threshold) == gold
    scores = score_languages(model, {"swa": split}, mining, RETRIEVAL_STAGE, runner)
    assert scores["swa"].score == 1
    assert score_of(mining.metric, scores["swa"].outcomes) == 1


def test_a_sentence_that_stands_twice_is_in_no_mined_pair(mining: Task) -> None:
    """It could be either of its ids; so its right pair is missed, and F1 is 2/3."""
    split = sentences(
        *(("a", "moja", "language", "x"), ("b", "mbili", "language", "y")),
        *(("c", "mbili ", "language", ""), ("x", "one", "english", "")),
        ("y", "two", "english", ""),
    )
    model = Layers({1: 0, 2: 90, 3: 90, 4: 1, 5: 89})
    runner = Runner(CPU, PADDING)
    mined = predict_languages(model, {"swa": split}, mining, RETRIEVAL_STAGE, runner)["swa"]
    assert [(name, english) for _, name, english in mined] == [("a", "x")]
    scores = score_languages(model, {"swa": split}, mining, RETRIEVAL_STAGE, runner)
    assert scores["swa"].score == pytest.approx(2 / 3)
    assert score_of(mining.metric, scores["swa"].outcomes) == pytest.approx(2 / 3)
