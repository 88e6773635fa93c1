"""The stages in a study file: the choices of the intermediate and of the target one.

A choice is one value (fixed) or a list (a dimension of the search). Learning rates may also be
a log-spaced grid, `{low = 1e-5, high = 1e-4, points = 4}`.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from spaces.errors import SpecError
from spaces.recipe import Method, Schedule, Similarity
from spaces.records import Names, StrictRecord, parse

MOST = 1_000_000_000
"""Largest number of anything that a study counts: what databases and tensors can hold."""
MOST_POINTS, MOST_CHOICES = 1000, 1000
"""Points of a grid, values of one choice."""
MOST_LAYERS = 10_000


def log_grid(low: float, high: float, points: int) -> tuple[float, ...]:
    """`points` rates from `low` to `high`, evenly spaced in log, to three significant digits.

    Raises:
        SpecError: Not 0 < low < high, or fewer than two points.
    """
    if not (0 < low < high < math.inf and 2 <= points <= MOST_POINTS):
        found = f"low={low}, high={high}, points={points}"
        expected = f"0 < low < high and points from 2 to {MOST_POINTS}"
        raise SpecError("", expected, found)
    step = math.log(high / low) / (points - 1)
    return tuple(float(f"{low * math.exp(i * step):.3g}") for i in range(points))


class _Grid(StrictRecord):
    low: float
    high: float
    points: Annotated[int, Field(le=MOST_POINTS)]


def _choices(value: object) -> object:
    """One value or a list of values, as a tuple; a number where a float is meant may be whole."""
    if isinstance(value, dict):
        return log_grid(**parse(_Grid, value, "").model_dump())
    return tuple(value) if isinstance(value, list | tuple) else (value,)


T = TypeVar("T")
Choices = Annotated[
    tuple[T, ...], BeforeValidator(_choices), Field(min_length=1, max_length=MOST_CHOICES)
]
Count = Annotated[int, Field(ge=1, le=MOST)]
Layer = Annotated[int, Field(ge=-MOST_LAYERS, le=MOST_LAYERS)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Ratio = Annotated[float, Field(ge=0, lt=1)]


class Aggregate(StrEnum):
    """How the gains of several target tasks become the one that a trial returns.

    Each task's own, the mean over its languages, is kept in any case.
    """

    MEAN = "mean"
    MEDIAN = "median"
    MINIMUM = "minimum"


class StageSpec(StrictRecord):
    """The choices for the stages of one position. See `spaces.recipe.Stage` for the meanings."""

    tasks: Names
    # The middle of what XTREME's scripts use.
    epochs: Choices[Count] = (3,)
    learning_rate: Choices[Rate] = (2e-5,)
    method: Choices[Annotated[Method, Field(strict=False)]] = (Method.FULL,)
    frozen_layers: Choices[Annotated[int, Field(ge=0, le=MOST_LAYERS)]] = (0,)
    lora_rank: Choices[Count] = (8,)
    batch_size: Choices[Count] = (32,)
    examples: Choices[Count] | None = None
    """None takes the size of the smallest training split among the tasks of this position, so
    that all of them are compared at one size."""
    warmup_ratio: Choices[Ratio] = (0.1,)
    schedule: Annotated[Schedule, Field(strict=False)] = Schedule.CONSTANT
    max_length: Count = 128

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in type(self).model_fields:
            values = getattr(self, name)
            if isinstance(values, tuple) and len(set(values)) != len(values):
                raise SpecError(name, "each once", str(list(values)))
        if not self.tasks:
            raise SpecError("tasks", "at least one", "none")
        return self


class IntermediateSpec(StageSpec):
    """The stage before the target."""

    size_ratio: Annotated[float, Field(ge=0)] = 0.0
    """Least ratio of an intermediate training split's examples to those of each target's."""

    @model_validator(mode="after")
    def _check_method(self) -> Self:
        if Method.SOFT_PROMPT in self.method:
            found = "soft-prompt, which leaves the encoder as it is"
            raise SpecError("method", "full or lora", found)
        return self


class TargetSpec(StageSpec):
    """The stage that is scored.

    `epochs`, `pooled_layer` and `similarity` are no choices of a trial: one training is scored
    after each number of epochs (retrieval: at each layer, by each similarity), and each seed takes
    what scores highest on validation.
    """

    languages: Names
    """ISO 639-3 codes or named sets; every target task is scored on those of them it has."""
    without: dict[str, Names] = Field(default_factory=dict)
    """Target task -> codes of `languages` that it is not scored on, such as those without a
    validation split."""
    aggregate: Annotated[Aggregate, Field(strict=False)] = Aggregate.MEAN
    prompt_length: Choices[Count] = (20,)
    shots: Choices[Count] | None = None
    """Examples per class, in place of `examples`."""
    train_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of each target's own training split, in place of `examples`."""
    validation_examples: Count = 1000
    """Most examples of a language's validation split that are scored, by a draw that depends on
    the split alone and so is the same in all trials; questions of one passage are drawn together.
    By 1,000 the standard error of a share of right answers is at most 1.6 points in one language,
    less than seeds scatter (1.5 to 2.5 points), and 0.6 over eight. Sentence retrieval is not cut,
    as it is easier among fewer sentences, nor is any test split."""
    pooled_layer: Choices[Layer] = (-1,)
    similarity: Choices[Annotated[Similarity, Field(strict=False)]] = (Similarity.COSINE,)

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if not self.languages:
            raise SpecError("languages", "at least one", "none")
        if self.schedule is Schedule.LINEAR and len(self.epochs) > 1:
            raise SpecError(
                "epochs",
                f"one number beside schedule {Schedule.LINEAR}, whose rate falls to the end",
                str(list(self.epochs)),
                f"name one, or take schedule {Schedule.CONSTANT}, which is scored at each",
            )
        sizes = {"examples": self.examples, "shots": self.shots, "train_share": self.train_share}
        if len(named := [name for name, value in sizes.items() if value is not None]) > 1:
            raise SpecError("", f"one of {', '.join(sizes)}", " and ".join(named))
        return self
