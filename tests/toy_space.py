"""A search space of a few choices, which needs no study file."""

from __future__ import annotations

from collections.abc import Mapping

from spaces.dimensions import RetrievalChoices, SearchSpace, StageChoices, TargetTask
from spaces.recipe import Method, Schedule, Similarity


def small_space(
    arms: Mapping[str, tuple[str, ...]], epochs: tuple[int, ...], learning_rate: tuple[float, ...]
) -> SearchSpace:
    """A space of these choices for both stages, and one target task."""
    choices = StageChoices(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=(16,),
        examples=(100,),
        own_examples={},
        shots=(),
        warmup_ratio=(0.1,),
        max_length=64,
        schedule=Schedule.LINEAR,
        method=(Method.FULL,),
        frozen_layers=(0,),
        lora_rank=(8,),
        prompt_length=(),
    )
    return SearchSpace(
        arms=arms,
        mixtures={},
        backbones=("x",),
        intermediate=choices,
        target=choices,
        retrieval=RetrievalChoices((-1,), (Similarity.COSINE,), 64),
        target_tasks=(TargetTask("t", True, 2),),
        train_sizes={},
        seeds=(0,),
    )
