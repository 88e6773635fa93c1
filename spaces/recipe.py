"""Recipes: the points of the search space, frozen and comparable."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Schedule(StrEnum):
    """The course of the learning rate over a stage.

    CONSTANT warms up within the first epoch and then stays, so that k epochs are a prefix of
    k + 1 epochs. LINEAR warms up over a share of all updates and then falls to zero.
    """

    CONSTANT = "constant"
    LINEAR = "linear"


@dataclass(frozen=True)
class Stage:
    """One training of an encoder on one task.

    Attributes:
        task: Name in the catalogue.
        epochs: Passes over the examples, >= 1.
        learning_rate: Peak rate, > 0.
        batch_size: Examples per update, >= 1.
        examples: Training examples, >= 1; the same for every arm unless the study searches it.
        warmup_ratio: Share of the updates that warm up, in [0, 1): of the first epoch under
            `Schedule.CONSTANT`, of the whole stage under `Schedule.LINEAR`.
        max_length: Longest input, in sub-words.
        schedule: Course of the learning rate.
    """

    task: str
    epochs: int
    learning_rate: float
    batch_size: int
    examples: int
    warmup_ratio: float
    max_length: int
    schedule: Schedule

    @property
    def updates_per_epoch(self) -> int:
        """Optimizer steps in one epoch; the last batch may be smaller."""
        return -(-self.examples // self.batch_size)

    @property
    def updates(self) -> int:
        """Optimizer steps in the whole stage."""
        return self.epochs * self.updates_per_epoch


@dataclass(frozen=True)
class Recipe:
    """What one trial trains: an encoder, perhaps an intermediate stage, then each target.

    Attributes:
        backbone: Name or folder of the pretrained encoder.
        intermediate: The stage before the targets, or None in the arm "none".
        targets: One stage per target task, alike but for the task; each starts from the
            intermediate checkpoint (or the backbone), never from another target's.
        seeds: The trial is repeated once per seed.
    """

    backbone: str
    intermediate: Stage | None
    targets: tuple[Stage, ...]
    seeds: tuple[int, ...]
