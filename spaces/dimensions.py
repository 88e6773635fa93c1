"""The search space of a study, and the one place that asks Optuna for parameters.

A choice with one value is fixed and no parameter; the task always is one, so that every trial
names it, and is one parameter over all arms, so that all tasks share an axis. All are categorical:
learning rates lie on a grid, as stages are shared between trials only where they are exactly
alike. What has no meaning for a choice made before it (the rank of LoRA in full fine-tuning) is
not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from spaces.catalogue import Catalogue
from spaces.mixtures import MixtureSpec, Order
from spaces.recipe import Method, Part, Recipe, Route, Schedule, Stage, untrained_stage
from spaces.stage_specs import IntermediateSpec, TargetSpec
from spaces.studies import NO_INTERMEDIATE, StudySpec

C = TypeVar("C", str, int, float)

ARM_PARAM, TASK_PARAM = "intermediate.domain", "intermediate.task"
"""Parameters: the arm, and the intermediate task or mixture, which "none" has not."""


class Suggests(Protocol):
    """What is asked of a trial; `optuna.Trial` has no `possible`."""

    def suggest_categorical(
        self, name: str, choices: Sequence[Any], possible: Sequence[Any]
    ) -> Any:
        """One of `choices`.

        Args:
            name: Name of the parameter.
            choices: All that it can be in the space.
            possible: Those of them that it can be after the choices made before.
        """


@dataclass(frozen=True)
class StageChoices:
    """The choices of one position; each tuple has at least one value, unless stated otherwise.

    Attributes:
        examples: Training examples, the same for every task of the position; empty where
            `own_examples` holds.
        own_examples: Task -> its training examples, where the study asks for a share of each
            task's own split.
        shots: Examples per class in place of `examples`; may be empty.
        prompt_length: Vectors of a soft prompt; empty for intermediate stages.
        frozen_layers: Lower layers that stay as they are; a choice of full fine-tuning only, as
            `lora_rank` is one of LoRA.
    """

    epochs: tuple[int, ...]
    learning_rate: tuple[float, ...]
    batch_size: tuple[int, ...]
    examples: tuple[int, ...]
    own_examples: Mapping[str, int]
    shots: tuple[int, ...]
    warmup_ratio: tuple[float, ...]
    max_length: int
    schedule: Schedule
    method: tuple[Method, ...]
    frozen_layers: tuple[int, ...]
    lora_rank: tuple[int, ...]
    prompt_length: tuple[int, ...]


@dataclass(frozen=True)
class TargetTask:
    """A task that every trial is scored on.

    Attributes:
        name: Name in the catalogue.
        is_trained: Whether the task has a stage of its own; sentences are retrieved as they are.
        classes: Number of the task's labels; 0 where it has none.
    """

    name: str
    is_trained: bool
    classes: int


@dataclass(frozen=True)
class SearchSpace:
    """Everything that a trial may choose, with all defaults resolved.

    Attributes:
        arms: Arm -> the names of its intermediate tasks and mixtures; empty for "none".
        mixtures: Mixtures that any arm names, by name.
        backbones: Names or folders of encoders.
        intermediate: Choices of the intermediate stages.
        target: Choices of the target stages.
        retrieval: Stage of targets that retrieve, without its task.
        target_tasks: Target tasks, on all of which every trial is scored.
        train_sizes: Task -> examples in the split it is trained on.
    """

    arms: Mapping[str, tuple[str, ...]]
    mixtures: Mapping[str, MixtureSpec]
    backbones: tuple[str, ...]
    intermediate: StageChoices
    target: StageChoices
    retrieval: Stage
    target_tasks: tuple[TargetTask, ...]
    train_sizes: Mapping[str, int]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The intermediate tasks and mixtures of all arms."""
        return tuple(task for tasks in self.arms.values() for task in tasks)

    def direct(self) -> SearchSpace:
        """The space without any intermediate task: that of direct trainings."""
        return replace(self, arms={NO_INTERMEDIATE: ()})

    def indirect(self) -> SearchSpace:
        """The space of recipes with an intermediate task."""
        others = {arm: tasks for arm, tasks in self.arms.items() if arm != NO_INTERMEDIATE}
        return replace(self, arms=others)

    def with_target_rates(self, rates: Sequence[float]) -> SearchSpace:
        """The space with these learning rates of the target stage."""
        return replace(self, target=replace(self.target, learning_rate=tuple(rates)))


def search_space(
    spec: StudySpec, catalogue: Catalogue, train_sizes: Mapping[str, int]
) -> SearchSpace:
    """The space of a checked study.

    Args:
        spec: The study.
        catalogue: Catalogue with the study's tasks.
        train_sizes: Task -> examples in the split it is trained on.
    """
    targets = [
        TargetTask(task.name, task.kind.is_trained, len(task.labels))
        for task in spec.target_tasks(catalogue)
    ]
    intermediate_sizes = [_size_of(spec, name, train_sizes) for name in spec.intermediate.tasks]
    target_sizes = {x.name: train_sizes[x.name] for x in targets if x.is_trained}
    target = _stage_choices(spec.target, list(target_sizes.values()))
    # One training is scored at each number of epochs (`settings_of`).
    target = replace(target, epochs=(max(spec.target.epochs),))
    if (share := spec.target.train_share) is not None:
        own = {name: max(1, int(share * size)) for name, size in target_sizes.items()}
        target = replace(target, examples=(), own_examples=own)
    return SearchSpace(
        arms={arm: spec.arm_choices(catalogue, arm) for arm in spec.arms},
        mixtures={n: spec.mixtures[n] for n in spec.intermediate.tasks if n in spec.mixtures},
        backbones=spec.backbone,
        intermediate=_stage_choices(spec.intermediate, intermediate_sizes),
        target=replace(
            target, shots=spec.target.shots or (), prompt_length=spec.target.prompt_length
        ),
        retrieval=untrained_stage(
            "", spec.target.max_length, spec.target.pooled_layer[0], spec.target.similarity[0]
        ),
        target_tasks=tuple(targets),
        train_sizes=train_sizes,
    )


def _size_of(spec: StudySpec, name: str, train_sizes: Mapping[str, int]) -> int:
    """The examples that an intermediate choice can give; of matched tasks each stands alone."""
    sizes = [train_sizes[x] for x in spec.members(name)]
    matched = name in spec.mixtures and spec.mixtures[name].matched
    return min(sizes) if matched else sum(sizes)


def suggest_recipe(trial: Suggests, space: SearchSpace) -> Recipe:
    """Ask `trial` for a point of `space`. The only caller of `trial.suggest_*`."""
    backbone = _choose(trial, "backbone", space.backbones)
    domain = _suggest(trial, ARM_PARAM, tuple(space.arms))
    name, first = "", None
    if domain != NO_INTERMEDIATE:
        name = str(trial.suggest_categorical(TASK_PARAM, space.tasks, space.arms[domain]))
        first = _suggest_stage(trial, "intermediate", space.intermediate)
    last = None
    if any(task.is_trained for task in space.target_tasks):
        last = _suggest_stage(trial, "target", space.target)
    routes = []
    for task in space.target_tasks:
        shape = last if task.is_trained and last is not None else space.retrieval
        row = () if first is None else _row(name, task.name, first, space)
        routes.append(Route(row, _target_stage(task, shape, space.target)))
    return Recipe(backbone, name, tuple(routes))


def beside_task(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters but for the arm and its intermediate task."""
    return {name: value for name, value in params.items() if name not in {ARM_PARAM, TASK_PARAM}}


def with_arm(params: Mapping[str, Any], space: SearchSpace) -> dict[str, Any]:
    """Parameters with the arm of their task, where it is not among them."""
    arms = [arm for arm, tasks in space.arms.items() if params.get(TASK_PARAM) in tasks]
    return {ARM_PARAM: arms[0], **params} if arms else dict(params)


def only_choice(space: SearchSpace, name: str) -> Any:
    """The value of a dimension that has only one, and so is no parameter of the space.

    Args:
        space: Search space that a trial chose from.
        name: Name that the parameter would have, as in `intermediate.epochs`.
    """
    if name == "backbone":
        return space.backbones[0]
    position, _, field = name.partition(".")
    return getattr(getattr(space, position), field)[0]


def settings_of(stage: Stage, target: TargetSpec) -> tuple[Stage, ...]:
    """What one training of a target stage is scored at, the shortest first; the stage is one.

    At a constant rate each number of epochs that the study asks for is a prefix of the longest;
    retrieval, which is not trained, gives every layer and similarity in one pass.

    Args:
        stage: Target stage of a recipe.
        target: Target position of the study.
    """
    if not stage.epochs:
        return tuple(
            replace(stage, pooled_layer=layer, similarity=similarity)
            for layer in target.pooled_layer
            for similarity in target.similarity
        )
    if stage.schedule is Schedule.LINEAR:
        return (stage,)
    shorter = sorted(epochs for epochs in target.epochs if epochs < stage.epochs)
    return (*(replace(stage, epochs=epochs) for epochs in shorter), stage)


def _row(name: str, target: str, shape: Stage, space: SearchSpace) -> tuple[Stage, ...]:
    """The intermediate stages that a choice stands for, on the way to one target."""
    mixture = space.mixtures.get(name)
    if mixture is None:
        return (replace(shape, task=name),)
    if mixture.matched:
        return (replace(shape, task=mixture.matched[target]),)
    if mixture.order is Order.IN_A_ROW:
        # Together they see as many examples as one task alone.
        share = shape.examples // len(mixture.tasks)
        sizes = [min(share, space.train_sizes[task]) for task in mixture.tasks]
        return tuple(
            replace(shape, task=task, examples=max(1, size))
            for task, size in zip(mixture.tasks, sizes, strict=True)
        )
    parts = _parts(mixture, shape, space.train_sizes)
    total = sum(part.examples for part in parts)
    return (replace(shape, task=name, examples=total, parts=parts),)


def _parts(mixture: MixtureSpec, shape: Stage, sizes: Mapping[str, int]) -> tuple[Part, ...]:
    """Whole batches for each task by the largest remainder, as a batch has one task's head.

    A task with fewer examples than its share gives all that it has.
    """
    batches = max(len(mixture.tasks), -(-shape.examples // shape.batch_size))
    weights = [sizes[task] ** (1 / mixture.temperature) for task in mixture.tasks]
    exact = [batches * weight / sum(weights) for weight in weights]
    counts = [max(1, int(share)) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: max(0, batches - sum(counts))]:
        counts[i] += 1
    return tuple(
        Part(task, min(count * shape.batch_size, sizes[task]))
        for task, count in zip(mixture.tasks, counts, strict=True)
    )


def _target_stage(task: TargetTask, shape: Stage, choices: StageChoices) -> Stage:
    if not task.is_trained:
        return replace(shape, task=task.name)
    examples = shape.shots * task.classes if shape.shots else shape.examples
    return replace(shape, task=task.name, examples=choices.own_examples.get(task.name, examples))


def _stage_choices(spec: IntermediateSpec | TargetSpec, sizes: Sequence[int]) -> StageChoices:
    return StageChoices(
        epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        batch_size=spec.batch_size,
        examples=spec.examples or ((min(sizes),) if sizes else ()),
        own_examples={},
        shots=(),
        warmup_ratio=spec.warmup_ratio,
        max_length=spec.max_length,
        schedule=spec.schedule,
        method=spec.method,
        frozen_layers=spec.frozen_layers,
        lora_rank=spec.lora_rank,
        prompt_length=(),
    )


def _suggest_stage(trial: Suggests, position: str, choices: StageChoices) -> Stage:
    """The stage of a position, without its task."""

    def choose(name: str, values: tuple[C, ...]) -> C:
        return _choose(trial, f"{position}.{name}", values)

    stage = Stage(
        task="",
        epochs=choose("epochs", choices.epochs),
        learning_rate=choose("learning_rate", choices.learning_rate),
        batch_size=choose("batch_size", choices.batch_size),
        examples=0,
        warmup_ratio=choose("warmup_ratio", choices.warmup_ratio),
        max_length=choices.max_length,
        schedule=choices.schedule,
        method=Method(choose("method", choices.method)),
    )
    if choices.shots:
        stage = replace(stage, shots=choose("shots", choices.shots))
    elif choices.examples:
        stage = replace(stage, examples=choose("examples", choices.examples))
    if stage.method is Method.LORA:
        return replace(stage, lora_rank=choose("lora_rank", choices.lora_rank))
    if stage.method is Method.SOFT_PROMPT:
        return replace(stage, prompt_length=choose("prompt_length", choices.prompt_length))
    return replace(stage, frozen_layers=choose("frozen_layers", choices.frozen_layers))


def _choose(trial: Suggests, name: str, choices: tuple[C, ...]) -> C:
    return choices[0] if len(choices) == 1 else _suggest(trial, name, choices)


def _suggest(trial: Suggests, name: str, choices: tuple[C, ...]) -> C:
    chosen = trial.suggest_categorical(name, choices, choices)
    return next(choice for choice in choices if choice == chosen)
