"""The search space of a study, and the one place that asks Optuna for parameters.

A choice with one value is fixed and no parameter; the task within a domain always is one, so
that every trial names it. All are categorical: learning rates lie on a grid, as stages are
shared between trials only where they are exactly alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from spaces.catalogue import Catalogue
from spaces.recipe import Recipe, Schedule, Stage
from spaces.studies import NO_INTERMEDIATE, StageSpec, StudySpec

C = TypeVar("C", str, int, float)


class Suggests(Protocol):
    """The part of `optuna.Trial` that is used here."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of `choices`."""


@dataclass(frozen=True)
class StageChoices:
    """The choices of one position; each tuple has at least one value."""

    epochs: tuple[int, ...]
    learning_rate: tuple[float, ...]
    batch_size: tuple[int, ...]
    examples: tuple[int, ...]
    warmup_ratio: tuple[float, ...]
    max_length: int
    schedule: Schedule


@dataclass(frozen=True)
class SearchSpace:
    """Everything that a trial may choose, with all defaults resolved.

    Attributes:
        arms: Arm -> the names of its intermediate tasks; empty for "none".
        backbones: Names or folders of encoders.
        intermediate: Choices of the intermediate stage.
        target: Choices of the target stages.
        target_tasks: Names of the target tasks; every trial trains all of them.
        seeds: Seeds of every trial.
    """

    arms: Mapping[str, tuple[str, ...]]
    backbones: tuple[str, ...]
    intermediate: StageChoices
    target: StageChoices
    target_tasks: tuple[str, ...]
    seeds: tuple[int, ...]


def search_space(
    spec: StudySpec, catalogue: Catalogue, train_sizes: Mapping[str, int]
) -> SearchSpace:
    """The space of a checked study.

    Args:
        spec: The study.
        catalogue: Where its tasks are.
        train_sizes: Task -> examples in the split it is trained on.
    """
    return SearchSpace(
        arms={
            arm: tuple(task.name for task in spec.arm_tasks(catalogue, arm)) for arm in spec.arms
        },
        backbones=spec.backbone,
        intermediate=_stage_choices(spec.intermediate, spec.intermediate.schedule, train_sizes),
        target=_stage_choices(spec.target, spec.target.schedule, train_sizes),
        target_tasks=spec.target.tasks,
        seeds=spec.all_seeds,
    )


def suggest_recipe(trial: Suggests, space: SearchSpace) -> Recipe:
    """Ask `trial` for a point of `space`. The only caller of `trial.suggest_*`."""
    backbone = _choose(trial, "backbone", space.backbones)
    domain = _suggest(trial, "intermediate.domain", tuple(space.arms))
    intermediate = None
    if domain != NO_INTERMEDIATE:
        task = _suggest(trial, f"intermediate.task.{domain}", space.arms[domain])
        intermediate = _suggest_stage(trial, "intermediate", space.intermediate, (task,))[0]
    targets = _suggest_stage(trial, "target", space.target, space.target_tasks)
    return Recipe(backbone, intermediate, targets, space.seeds)


def _stage_choices(
    spec: StageSpec, schedule: Schedule, train_sizes: Mapping[str, int]
) -> StageChoices:
    smallest = min(train_sizes[name] for name in spec.tasks)
    return StageChoices(
        epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        batch_size=spec.batch_size,
        examples=spec.examples or (smallest,),
        warmup_ratio=spec.warmup_ratio,
        max_length=spec.max_length,
        schedule=schedule,
    )


def _suggest_stage(
    trial: Suggests, position: str, choices: StageChoices, tasks: tuple[str, ...]
) -> tuple[Stage, ...]:
    epochs = _choose(trial, f"{position}.epochs", choices.epochs)
    learning_rate = _choose(trial, f"{position}.learning_rate", choices.learning_rate)
    batch_size = _choose(trial, f"{position}.batch_size", choices.batch_size)
    examples = _choose(trial, f"{position}.examples", choices.examples)
    warmup_ratio = _choose(trial, f"{position}.warmup_ratio", choices.warmup_ratio)
    return tuple(
        Stage(
            task,
            epochs,
            learning_rate,
            batch_size,
            examples,
            warmup_ratio,
            choices.max_length,
            choices.schedule,
        )
        for task in tasks
    )


def _choose(trial: Suggests, name: str, choices: tuple[C, ...]) -> C:
    return choices[0] if len(choices) == 1 else _suggest(trial, name, choices)


def _suggest(trial: Suggests, name: str, choices: tuple[C, ...]) -> C:
    chosen = trial.suggest_categorical(name, choices)
    return next(choice for choice in choices if choice == chosen)
