"""Sentences that are retrieved: what a model finds in each of several ways, from one pass.

The layer that sentence vectors are pooled from and the similarity that they are compared by cost
next to nothing beside the pass over the sentences; so all ways that are asked for share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from objectives.data.encoding import EncodedSplit, joined
from objectives.runner import Runner
from objectives.scores.metrics import compute_score, embed
from objectives.scores.outcomes import LanguageScore, example_outcomes
from objectives.scores.retrieval import (
    best_threshold,
    distinct_rows,
    mine_pairs,
    nearest_neighbours,
)
from spaces.errors import DataError
from spaces.recipe import Similarity, Stage
from spaces.task import Metric, Task

Retrieved = dict[str, list[Any]]
"""Language -> what was found, as `objectives.scores.languages.predict_languages` has it."""


def predict_retrievals(
    model: nn.Module,
    splits: Mapping[str, EncodedSplit],
    task: Task,
    stages: Sequence[Stage],
    runner: Runner,
) -> dict[Stage, Retrieved]:
    """What a model finds by each stage's layer and similarity; the sentences go through it once.

    Each stage's is what it alone would give, to the last bit: batches do not depend on the
    stages, and a layer's states are pooled by themselves.

    Args:
        model: An encoder without a head.
        splits: Language -> encoded sentences of that language and their English side.
        task: Catalogue record of the task that is predicted.
        stages: Retrieval stages, at least one; their layers and similarities are used.
        runner: Hardware, padding, and the listener told of each batch.

    Raises:
        DeviceMemoryError: Not even one row fits on the device.
        SpecError: A stage asks for a layer that the model has not.
    """
    layers = list(dict.fromkeys(stage.pooled_layer for stage in stages))
    vectors = embed(model, joined(list(splits.values())), layers, runner)
    device, first = runner.hardware.device, 0
    found: dict[Stage, Retrieved] = {stage: {} for stage in stages}
    for language, split in splits.items():
        of_language = vectors[:, first : first + len(split)]
        first += len(split)
        for stage, retrieved in found.items():
            of_layer = of_language[layers.index(stage.pooled_layer)]
            retrieved[language] = _retrieved(of_layer, split, task, stage.similarity, device)
    return found


def score_retrievals(
    model: nn.Module,
    splits: Mapping[str, EncodedSplit],
    task: Task,
    stages: Sequence[Stage],
    runner: Runner,
    tuning: Mapping[str, EncodedSplit] | None = None,
) -> dict[Stage, dict[str, LanguageScore]]:
    """Stage -> language -> score of a model; the sentences go through it once.

    Args:
        model: An encoder without a head.
        splits: Language -> encoded sentences of that language and their English side, with gold
            pairs.
        task: Catalogue record of the task that is scored.
        stages: Retrieval stages, at least one; their layers and similarities are used.
        runner: Hardware, padding, and the listener told of each batch.
        tuning: For mining, the validation splits that each stage's threshold is chosen on, when
            test splits are scored; None chooses it on the very splits, as XTREME has it for
            validation.

    Raises:
        DeviceMemoryError: Not even one row fits on the device.
        DataError: Nothing to score, or gold pairs are hidden.
        SpecError: A stage asks for a layer that the model has not.
    """
    found = predict_retrievals(model, splits, task, stages, runner)
    known, tuned = found, splits
    if tuning is not None and task.metric is Metric.BUCC_F1:
        known, tuned = predict_retrievals(model, tuning, task, stages, runner), tuning
    return {
        stage: {
            language: _scored(
                retrieved[language], split, task, language, known[stage][language], tuned
            )
            for language, split in splits.items()
        }
        for stage, retrieved in found.items()
    }


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


def _scored(
    found: list[Any],
    split: EncodedSplit,
    task: Task,
    language: str,
    known: list[Any],
    tuning: Mapping[str, EncodedSplit],
) -> LanguageScore:
    """The score of what was found in one language; of mining, by the threshold for `known`."""
    assert task.metric is not None, task.name
    if task.metric is not Metric.BUCC_F1:
        neighbours = gold_neighbours(split)
        return LanguageScore(
            compute_score(task.metric, neighbours, found),
            example_outcomes(task.metric, neighbours, found),
        )
    pairs = gold_pairs(split)
    found = above(found, mining_threshold(known, gold_pairs(tuning[language])))
    sentences = [name for name, _, side, _ in _sentences(split) if side != "english"]
    return LanguageScore(
        compute_score(task.metric, pairs, found),
        example_outcomes(task.metric, pairs, found, sentences=sentences),
    )


def _sentences(split: EncodedSplit) -> list[tuple[str, str, str, str]]:
    """(id, text, side, match) of each sentence, as `encode` keeps them."""
    # `gold` is of another shape for each kind of task, which its type does not tell apart.
    return list(split.gold)  # type: ignore[arg-type]


def _retrieved(
    vectors: NDArray[np.float32],
    split: EncodedSplit,
    task: Task,
    similarity: Similarity,
    device: torch.device,
) -> list[Any]:
    english = np.array([side == "english" for _, _, side, _ in _sentences(split)])
    ours = [(name, text) for name, text, side, _ in _sentences(split) if side != "english"]
    theirs = [(name, text) for name, text, side, _ in _sentences(split) if side == "english"]
    here, there = vectors[~english], vectors[english]
    if task.metric is not Metric.BUCC_F1:
        return [ours[place][0] for place in nearest_neighbours(there, here, similarity, device)]
    rows, single = distinct_rows([text for _, text in ours])
    columns, single_english = distinct_rows([text for _, text in theirs])
    mined = mine_pairs(here[rows], there[columns], similarity, device)
    return [
        (float(score), ours[rows[row]][0], theirs[columns[column]][0])
        for row, column, score in zip(*mined, strict=True)
        if single[row] and single_english[column]
    ]
