"""Study files: what a study asks, and between which choices it searches.

A choice is one value (fixed) or a list (a dimension of the search). Learning rates may also be
a log-spaced grid, `{low = 1e-5, high = 1e-4, points = 4}`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from spaces.catalogue import (
    Catalogue,
    Domain,
    Names,
    Role,
    StrictRecord,
    Task,
    TaskKind,
    parse,
    read_toml,
)
from spaces.errors import SpecError, unknown_name
from spaces.languages import LANGUAGE_SETS, expand_languages
from spaces.recipe import Schedule

STUDIES_FOLDER = Path(__file__).with_name("studies")
NO_INTERMEDIATE = "none"
SEARCH_SPLIT = "validation"
ARMS = (NO_INTERMEDIATE, *map(str, Domain))


SplitName = tuple[str, str, str]
"""Task, language, split."""


class Selection(StrEnum):
    """Which validation score the search maximises; the test split is never among them."""

    TARGET_VALIDATION = "target-validation"
    SOURCE_VALIDATION = "source-validation"


def log_grid(low: float, high: float, points: int) -> tuple[float, ...]:
    """`points` rates from `low` to `high`, evenly spaced in log, to three significant digits.

    Raises:
        ValueError: Not 0 < low < high, or fewer than two points.
    """
    if not (0 < low < high and points >= 2):
        raise ValueError(
            f"expected 0 < low < high and points >= 2, found low={low}, high={high}, "
            f"points={points}"
        )
    step = math.log(high / low) / (points - 1)
    return tuple(float(f"{low * math.exp(i * step):.3g}") for i in range(points))


class _Grid(StrictRecord):
    low: float
    high: float
    points: int


def _choices(value: object) -> object:
    """One value or a list of values, as a tuple; a number where a float is meant may be whole."""
    if isinstance(value, dict):
        grid = parse(_Grid, value, "grid")
        return log_grid(grid.low, grid.high, grid.points)
    return tuple(value) if isinstance(value, list | tuple) else (value,)


T = TypeVar("T")
Choices = Annotated[tuple[T, ...], BeforeValidator(_choices), Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Ratio = Annotated[float, Field(ge=0, lt=1)]


class StageSpec(StrictRecord):
    """The choices for the stages of one position. See `spaces.recipe.Stage` for the meanings."""

    tasks: Names
    epochs: Choices[Count]
    learning_rate: Choices[Rate]
    batch_size: Choices[Count] = (32,)
    examples: Choices[Count] | None = None
    """None takes the size of the smallest training split among the tasks of this position, so
    that all of them are compared at one size."""
    warmup_ratio: Choices[Ratio] = (0.1,)
    max_length: Count = 128

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in type(self).model_fields:
            values = getattr(self, name)
            if isinstance(values, tuple) and len(set(values)) != len(values):
                raise ValueError(f"{name}: expected each once, found {list(values)}")
        if not self.tasks:
            raise ValueError("tasks: expected at least one, found none")
        return self


class IntermediateSpec(StageSpec):
    """The stage before the target."""

    schedule: Annotated[Schedule, Field(strict=False)] = Schedule.CONSTANT


class TargetSpec(StageSpec):
    """The stage that is scored."""

    languages: Names
    """ISO 639-3 codes or named sets; every target task is scored on those of them it has."""
    schedule: Annotated[Schedule, Field(strict=False)] = Schedule.LINEAR

    @model_validator(mode="after")
    def _check_languages(self) -> Self:
        if not self.languages:
            raise ValueError("languages: expected at least one, found none")
        return self


class StudySpec(StrictRecord):
    """One study file."""

    name: str
    question: str
    """One line, for `--list` and the head of every result."""
    arms: Names
    """Of none, general, biomedical and legal; `none` is in every study."""
    backbone: Choices[str]
    source_language: str = "eng"
    selection: Annotated[Selection, Field(strict=False)] = Selection.TARGET_VALIDATION
    trials: Count = 40
    seeds: Count = 1
    """Repeats of each trial; their mean goes back to the sampler."""
    first_seed: Annotated[int, Field(ge=0)] = 0
    intermediate: IntermediateSpec
    target: TargetSpec
    tasks: dict[str, Any] = Field(default_factory=dict)
    """Catalogue records of the study's own."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for arm in self.arms:
            if arm not in ARMS:
                raise ValueError(unknown_name("arms: arm", arm, ARMS, "an arm").args[0])
        if NO_INTERMEDIATE not in self.arms or len(self.arms) < 2:
            raise ValueError(
                f"arms: expected 'none' and at least one of {', '.join(Domain)}, "
                f"found {list(self.arms)}"
            )
        if len(set(self.arms)) != len(self.arms):
            raise ValueError(f"arms: expected each once, found {list(self.arms)}")
        return self

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds of every trial. They are the same in all trials, so baselines are shared."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))

    @property
    def task_names(self) -> tuple[str, ...]:
        """All tasks of the study, intermediate ones first."""
        return (*self.intermediate.tasks, *self.target.tasks)

    def arm_tasks(self, catalogue: Catalogue, arm: str) -> tuple[Task, ...]:
        """The intermediate tasks of one arm, in the order of the study file."""
        tasks = [catalogue[name] for name in self.intermediate.tasks]
        return tuple(task for task in tasks if task.domain == arm)

    def target_tasks(self, catalogue: Catalogue) -> tuple[Task, ...]:
        """The target tasks, in the order of the study file."""
        return tuple(catalogue[name] for name in self.target.tasks)

    def selection_languages(self, catalogue: Catalogue) -> frozenset[str]:
        """The languages whose mean validation gain a trial returns."""
        if self.selection is Selection.SOURCE_VALIDATION:
            return frozenset({self.source_language})
        targets = self.target_tasks(catalogue)
        return frozenset(x for task in targets for x in self.target_languages(task))

    def scored_languages(self, task: Task) -> tuple[str, ...]:
        """The languages that a target task is scored on during the search."""
        languages = self.target_languages(task)
        if self.selection is Selection.SOURCE_VALIDATION:
            languages = (*languages, self.source_language)
        return languages

    def training_split(self, task: Task, catalogue: Catalogue) -> SplitName:
        """The split that a task is trained on."""
        return catalogue.training_task(task).name, self.source_language, "train"

    def scored_split(self, task: Task, language: str, catalogue: Catalogue) -> SplitName:
        """The split that a target task is scored on during the search: never a test split."""
        owner = task if language in task.languages else catalogue.training_task(task)
        return owner.name, language, SEARCH_SPLIT

    def needed_splits(self, catalogue: Catalogue) -> list[SplitName]:
        """All that the search reads, sorted."""
        splits = {self.training_split(catalogue[name], catalogue) for name in self.task_names}
        for task in self.target_tasks(catalogue):
            for language in self.scored_languages(task):
                splits.add(self.scored_split(task, language, catalogue))
        return sorted(splits)

    def target_languages(self, task: Task) -> tuple[str, ...]:
        """The study's target languages that `task` has."""
        return tuple(x for x in expand_languages(self.target.languages) if x in task.languages)


def study_files() -> dict[str, Path]:
    """The shipped studies: name -> file."""
    return {path.stem: path for path in sorted(STUDIES_FOLDER.glob("*.toml"))}


def load_study(name_or_path: str, overrides: Sequence[str] = ()) -> StudySpec:
    """Read a shipped study by name, or any study by the path of its file.

    Args:
        name_or_path: A name of `study_files()`, or a path that ends in `.toml`.
        overrides: `KEY=VALUE` with a dotted key and a TOML value, as in
            `target.languages=["swa"]`; a value that is no TOML is taken as a string.

    Raises:
        UnknownNameError: No shipped study has that name.
        SpecError: The file or an override is wrong.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        shipped = study_files()
        if name_or_path not in shipped:
            where = f"among the {len(shipped)} shipped studies, and is no path to a .toml file"
            raise unknown_name("Study", name_or_path, shipped, where)
        path = shipped[name_or_path]
    record = {"name": path.stem, **read_toml(path)}
    for override in overrides:
        _override(record, override)
    return parse(StudySpec, record, f"study {str(path.name)!r}")


def check_study(spec: StudySpec, catalogue: Catalogue) -> None:
    """Check a study against the catalogue.

    Raises:
        UnknownNameError: A task is not in the catalogue.
        SpecError: A task is used in a role it does not have, an arm has no task, or a language
            is in none of the target tasks.
    """
    where = f"study {spec.name!r}"
    for position, wrong_role in (
        (spec.intermediate, Role.TARGET),
        (spec.target, Role.INTERMEDIATE),
    ):
        for name in position.tasks:
            task = catalogue[name]
            if task.role is wrong_role:
                raise SpecError(f"{where}: task {name!r} is for role {task.role} only")
    for name in spec.intermediate.tasks:
        task = catalogue[name]
        if task.domain not in spec.arms:
            raise SpecError(
                f"{where}: intermediate task {name!r} is {task.domain}, which is none of the "
                f"study's arms ({', '.join(spec.arms)})"
            )
        if spec.source_language not in task.languages:
            raise SpecError(f"{where}: intermediate task {name!r} has no {spec.source_language}")
    for arm in spec.arms:
        if arm != NO_INTERMEDIATE and not spec.arm_tasks(catalogue, arm):
            raise SpecError(f"{where}: arm {arm!r} has no task in intermediate.tasks")
    targets = spec.target_tasks(catalogue)
    known = {code for task in targets for code in task.languages}
    for language in spec.target.languages:
        codes = set(expand_languages([language]))
        if not codes & known:
            names = {*known, *LANGUAGE_SETS}
            raise unknown_name(f"{where}: language", language, names, "in any target task")
        if spec.source_language in codes:
            raise SpecError(
                f"{where}: {spec.source_language} is the source language, so it is no target"
            )
    for task in targets:
        if task.metric is None:
            raise SpecError(f"{where}: task {task.name!r} ({task.kind}) cannot be a target")
        if spec.source_language not in catalogue.training_task(task).languages:
            raise SpecError(
                f"{where}: target task {task.name!r} has no {spec.source_language} to train on"
            )
        if not spec.target_languages(task):
            raise SpecError(
                f"{where}: target task {task.name!r} has none of the languages "
                f"{', '.join(spec.target.languages)}; it has {', '.join(task.languages)}"
            )


def pocket_twin(spec: StudySpec, catalogue: Catalogue, overrides: Sequence[str] = ()) -> StudySpec:
    """The study asked of the pocket corpora: same arms and kinds of task, invented languages.

    Sizes, epochs and learning rates come from `pocket.toml` beside the studies: a two-layer
    encoder of some hundred thousand weights needs others than a real one. A study that names
    pocket tasks already stays as it is.

    Args:
        spec: A checked study.
        catalogue: Its tasks.
        overrides: As for `load_study`; they go before what `pocket.toml` says.

    Raises:
        SpecError: No pocket corpus has a kind that the study needs, or an override is wrong.
    """
    if all(catalogue[name].pocket for name in spec.task_names):
        return spec
    pocket = [task for task in catalogue if task.pocket and task.kind is not TaskKind.MLM]
    target_kinds = {task.kind for task in spec.target_tasks(catalogue)}
    kinds = {catalogue[name].kind for name in spec.intermediate.tasks}
    targets = [
        t.name for t in pocket if t.role is not Role.INTERMEDIATE and t.kind in target_kinds
    ]
    intermediates = [
        t.name
        for t in pocket
        if t.role is not Role.TARGET and t.kind in kinds and t.domain in spec.arms
    ]
    if not targets:
        raise SpecError(
            f"study {spec.name!r}: the pocket corpora have no target of kind "
            f"{', '.join(sorted(target_kinds))}; name real data with --data"
        )
    record = spec.model_dump(mode="json") | read_toml(STUDIES_FOLDER.with_name("pocket.toml"))
    record["intermediate"]["tasks"] = intermediates
    record["target"]["tasks"] = targets
    for override in overrides:
        _override(record, override)
    return parse(StudySpec, record, f"pocket twin of study {spec.name!r}")


def _override(record: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SpecError(f"--set: expected KEY=VALUE, found {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    table = record
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise SpecError(f"--set: {key!r}: {parent!r} is a value, not a table")
    table[last] = value
