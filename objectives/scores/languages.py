"""From a model to predictions and scores, for every kind of task.

A model is scored on all languages of its task in one pass, so that short and long texts of all of
them share batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from torch import nn

from objectives.data.encoding import EncodedSplit, joined
from objectives.runner import Runner
from objectives.scores.metrics import compute_score, predict, predicted_labels
from objectives.scores.outcomes import LanguageScore, example_outcomes
from objectives.scores.sentences import predict_retrievals, score_retrievals
from spaces.recipe import Stage
from spaces.task import Task


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
    if not task.kind.is_trained:
        return predict_retrievals(model, splits, task, [stage], runner)[stage]
    together = joined(list(splits.values()))
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
    if not task.kind.is_trained:
        return score_retrievals(model, splits, task, [stage], runner, tuning)[stage]
    predicted = predict_languages(model, splits, task, stage, runner)
    scores = {}
    for language, split in splits.items():
        given = (task.metric, split.gold, predicted[language], task.answers, language)
        scores[language] = LanguageScore(compute_score(*given), example_outcomes(*given))
    return scores
