"""From a model to predictions and scores, for every kind of task.

A model is scored on all languages of its task in one pass, so that short and long texts of all of
them share batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from objectives.data.encoding import EncodedSplit, joined
from objectives.runner import Runner
from objectives.scores.metrics import compute_score, embed, predict, predicted_labels
from objectives.scores.outcomes import Outcomes, example_outcomes
from objectives.scores.retrieval import (
    best_threshold,
    distinct_rows,
    mine_pairs,
    nearest_neighbours,
)
from spaces.errors import DataError
from spaces.recipe import Stage
from spaces.task import Metric, Task


@dataclass(frozen=True)
class LanguageScore:
    """The score of a model in one language.

    Attributes:
        score: Value of the task's metric, in [0, 1], or in [-1, 1] for correlations.
        outcomes: Contribution of each example to the score, [examples, k].
    """

    score: float
    outcomes: Outcomes


def predict_languages(
    model: nn.Module,
    splits: Mapping[str, EncodedSplit],
    task: Task,
    stage: Stage,
    runner: Runner,
) -> dict[str, list[Any]]:
    """Language -> the model's prediction for each example.

    Args:
        model: A trained model; for retrieval an encoder without a head.
        splits: Language -> encoded examples of that language.
        task: Catalogue record of the task that is predicted.
        stage: Stage that trained the model; for retrieval, its layer and its similarity are used.
        runner: Hardware, padding, and the listener told of each batch.

    Returns:
        Tags per word, a class, a score or an answer for each example. For retrieval the id of
        the nearest sentence of the language for each English one, which is the way that XTREME
        looks; for mining (`bucc_f1`) `(score, id, English id)` for each pair that may be one,
        best first.

    Raises:
        DeviceMemoryError: Not even one row fits on the device.
        SpecError: The stage asks for a layer that the model has not.
    """
    together = joined(list(splits.values()))
    if not task.kind.is_trained:
        vectors = embed(model, together, stage.pooled_layer, runner)
        rows, device = iter(vectors), runner.hardware.device
        return {
            language: _retrieved(
                np.array(list(islice(rows, len(split)))), split, task, stage, device
            )
            for language, split in splits.items()
        }
    logits = predict(model, together, runner)
    labels = iter(predicted_labels(logits, together, task))
    return {language: list(islice(labels, len(split))) for language, split in splits.items()}


def score_languages(
    model: nn.Module,
    splits: Mapping[str, EncodedSplit],
    task: Task,
    stage: Stage,
    runner: Runner,
    tuning: Mapping[str, EncodedSplit] | None = None,
) -> dict[str, LanguageScore]:
    """Language -> score of the model.

    Args:
        model: A trained model; for retrieval an encoder without a head.
        splits: Language -> encoded examples of that language, with gold labels.
        task: Catalogue record of the task that is scored.
        stage: Stage that trained the model; for retrieval, its layer and its similarity are used.
        runner: Hardware, padding, and the listener told of each batch.
        tuning: For mining, the validation splits that the threshold is chosen on, when test
            splits are scored; None chooses it on the very splits, as XTREME has it for
            validation.

    Raises:
        DeviceMemoryError: Not even one row fits on the device.
        DataError: Nothing to score, or labels are hidden.
        SpecError: The stage asks for a layer that the model has not.
    """
    assert task.metric is not None, task.name
    predicted = predict_languages(model, splits, task, stage, runner)
    known = predicted
    if tuning is not None and task.metric is Metric.BUCC_F1:
        known = predict_languages(model, tuning, task, stage, runner)
    scores = {}
    for language, split in splits.items():
        predictions, gold, sentences = predicted[language], split.gold, []
        if task.metric is Metric.BUCC_F1:
            tuned = gold_pairs((tuning or splits)[language])
            predictions = above(predictions, mining_threshold(known[language], tuned))
            gold = gold_pairs(split)
            sentences = [name for name, _, side, _ in _sentences(split) if side != "english"]
        elif not task.kind.is_trained:
            gold = gold_neighbours(split)
        scores[language] = LanguageScore(
            compute_score(task.metric, gold, predictions, task.answers, language),
            example_outcomes(
                task.metric, gold, predictions, task.answers, language, sentences=sentences
            ),
        )
    return scores


def gold_pairs(split: EncodedSplit) -> list[tuple[str, str]]:
    """The translations in a split of mining, as (id, English id)."""
    return [(name, match) for name, _, _, match in _sentences(split) if match]


def gold_neighbours(split: EncodedSplit) -> list[str]:
    """The id of its translation for each English sentence, in the order of the split.

    XTREME's Tatoeba accuracy looks for the neighbours of the *English* sentences among those of
    the language: `similarity_search` of its third_party/utils_retrieve.py searches the first of
    its arguments for each of the second, and its labels are rows of the language's file in the
    order of the sorted English one.

    Raises:
        DataError: An English sentence has none.
    """
    of = {match: name for name, _, _, match in _sentences(split) if match}
    english = [name for name, _, side, _ in _sentences(split) if side == "english"]
    if lost := [name for name in english if name not in of]:
        raise DataError(
            "retrieval", "a translation of each English sentence", f"none of {lost[0]!r}"
        )
    return [of[name] for name in english]


def mining_threshold(mined: list[tuple[float, str, str]], gold: list[tuple[str, str]]) -> float:
    """The score from which on pairs are taken as translations, for the highest F1."""
    known = set(gold)
    scores = np.array([score for score, _, _ in mined], np.float32)
    right = np.array([(a, b) in known for _, a, b in mined], bool)
    return best_threshold(scores, right, len(known))


def above(mined: list[tuple[float, str, str]], threshold: float) -> list[tuple[str, str]]:
    """The pairs of at least that score."""
    return [(a, b) for score, a, b in mined if score >= threshold]


def _sentences(split: EncodedSplit) -> list[tuple[str, str, str, str]]:
    """(id, text, side, match) of each sentence, as `encode` keeps them."""
    # `gold` is of another shape for each kind of task, which its type does not tell apart.
    return list(split.gold)  # type: ignore[arg-type]


def _retrieved(
    vectors: NDArray[np.float32],
    split: EncodedSplit,
    task: Task,
    stage: Stage,
    device: torch.device,
) -> list[Any]:
    english = np.array([side == "english" for _, _, side, _ in _sentences(split)])
    ours = [(name, text) for name, text, side, _ in _sentences(split) if side != "english"]
    theirs = [(name, text) for name, text, side, _ in _sentences(split) if side == "english"]
    here, there = vectors[~english], vectors[english]
    if task.metric is not Metric.BUCC_F1:
        return [
            ours[place][0] for place in nearest_neighbours(there, here, stage.similarity, device)
        ]
    rows, single = distinct_rows([text for _, text in ours])
    columns, single_english = distinct_rows([text for _, text in theirs])
    mined = mine_pairs(here[rows], there[columns], stage.similarity, device)
    return [
        (float(score), ours[rows[row]][0], theirs[columns[column]][0])
        for row, column, score in zip(*mined, strict=True)
        if single[row] and single_english[column]
    ]
