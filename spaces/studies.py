"""Study files: the question of a study, its arms and tasks, and what is read to answer it.

The choices that are searched are in `spaces.stage_specs`.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from spaces.catalogue import Catalogue
from spaces.claims import ClaimSpec
from spaces.errors import SpecError, nearest_name, shortened, unknown_name
from spaces.languages import expand_languages
from spaces.mixtures import MixtureSpec
from spaces.records import Names, StrictRecord, as_tuple, parse, parse_toml, read_toml
from spaces.stage_specs import MOST, Choices, IntermediateSpec, TargetSpec
from spaces.task import Domain, Task

STUDIES_FOLDER = Path(__file__).with_name("studies")
NO_INTERMEDIATE = "none"
SEARCH_SPLIT = "validation"
MIXED = "mixed"
"""The arm of mixtures over several domains."""
ARMS = (NO_INTERMEDIATE, *map(str, Domain), MIXED)

MOST_TRIALS, MOST_SEEDS = 1_000_000, 1000
"""Trials of a study, seeds of its baseline."""
LONGEST_NAME = 100
"""Characters of a study's name, which is part of the names of folders."""

RETIRED = {
    "seeds": "a trial is one seed, and the search repeats a recipe where another seed decides",
    "stop_behind": "a trial is one seed, so there is none to be stopped before",
    "repeat_leaders": "the search model repeats a recipe where another seed decides something",
}
"""Fields of older study files, and what came in their place."""

_log = logging.getLogger(__name__)

SplitName = tuple[str, str, str]
"""Task, language, split."""


class Selection(StrEnum):
    """Which validation score the search maximises; the test split is never among them."""

    TARGET_VALIDATION = "target-validation"
    SOURCE_VALIDATION = "source-validation"


class Sampler(StrEnum):
    """What proposes the recipes after the first ones, which try each arm once.

    Direct trainings are planned and not proposed (`search.studies.direct_trainings`).
    """

    TRANSFER = "transfer"
    """A Gaussian model of all recipes, which knows arms, tasks and grids; what it has seen of a
    task at one rate tells it of the others (`search.surrogate`)."""
    TPE = "tpe"
    """Tree-structured Parzen estimators, which learn from the trials that are there."""
    RANDOM = "random"
    """Uniform draws, by the trial's slot alone: a baseline for searches, and the same recipes
    whoever runs the trials in whatever order."""


class PocketSpec(StrictRecord):
    """What a study asks of the pocket corpora, where a twin of each of its tasks says less.

    Of few pocket tasks it is known what they do (`objectives.pocket.effects`).
    """

    intermediate: Names = ()
    """Pocket tasks; empty: all of the kinds and domains that the study has."""
    target: Names = ()
    """Pocket tasks; empty: a twin of each target task."""


class StudySpec(StrictRecord):
    """One study file."""

    name: str
    question: str
    """One line, for `--list` and the head of every result."""
    arms: Names
    """Some of none, general, biomedical, legal and mixed; `none` is in every study."""
    about: str = ""
    """The arm that the question is about, whose answer comes first; empty: all alike."""
    backbone: Choices[str]
    source_language: str = "eng"
    selection: Annotated[Selection, Field(strict=False)] = Selection.TARGET_VALIDATION
    sampler: Annotated[Sampler, Field(strict=False)] = Sampler.TRANSFER
    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] = 40
    """Recipes with an intermediate task that are run, each with one seed; the direct trainings
    that tune the baseline come before them."""
    baseline_seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 5
    """Seeds of the best direct training of each target task, whose mean gains are measured from:
    its standard error is part of every gain (0.7 points with 5 seeds that scatter by 1.5)."""
    first_seed: Annotated[int, Field(ge=0, le=MOST)] = 0
    """A recipe's first run has this seed, the next one the next."""
    intermediate: IntermediateSpec
    target: TargetSpec
    mixtures: dict[str, MixtureSpec] = Field(default_factory=dict)
    pocket: PocketSpec = PocketSpec()
    claims: Annotated[tuple[ClaimSpec, ...], BeforeValidator(as_tuple)] = ()
    tasks: dict[str, Any] = Field(default_factory=dict)
    """Catalogue records of the study's own."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_study_name(self.name, "name")
        for arm in self.arms:
            if arm not in ARMS:
                advice = nearest_name(arm, ARMS)
                raise SpecError("arms", f"some of {', '.join(ARMS)}", repr(arm), advice)
        if NO_INTERMEDIATE not in self.arms or len(self.arms) < 2:
            expected = f"'none' and at least one of {', '.join(ARMS[1:])}"
            raise SpecError("arms", expected, str(list(self.arms)))
        if len(set(self.arms)) != len(self.arms):
            raise SpecError("arms", "each once", str(list(self.arms)))
        others = [arm for arm in self.arms if arm != NO_INTERMEDIATE]
        if self.about and self.about not in others:
            raise SpecError("about", f"one of {', '.join(others)}", repr(self.about))
        return self

    @property
    def intermediate_tasks(self) -> tuple[str, ...]:
        """All intermediate tasks, those of mixtures too, each once."""
        names = (x for name in self.intermediate.tasks for x in self.members(name))
        return tuple(dict.fromkeys(names))

    @property
    def task_names(self) -> tuple[str, ...]:
        """All tasks of the study, intermediate ones first, each once."""
        return tuple(dict.fromkeys((*self.intermediate_tasks, *self.target.tasks)))

    def members(self, name: str) -> tuple[str, ...]:
        """The tasks that an intermediate choice stands for: a mixture's, or itself."""
        if name not in self.mixtures:
            return (name,)
        return self.mixtures[name].members(self.target.tasks)

    def arm_of(self, name: str, catalogue: Catalogue) -> str:
        """The arm of an intermediate choice: the domain of its tasks, or "mixed"."""
        domains = {str(catalogue[task].domain) for task in self.members(name)}
        return domains.pop() if len(domains) == 1 else MIXED

    def arm_choices(self, catalogue: Catalogue, arm: str) -> tuple[str, ...]:
        """The intermediate tasks and mixtures of one arm, in the order of the study file."""
        return tuple(x for x in self.intermediate.tasks if self.arm_of(x, catalogue) == arm)

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
        if self.selection is Selection.SOURCE_VALIDATION and task.kind.is_trained:
            languages = (*languages, self.source_language)
        return tuple(dict.fromkeys(languages))

    def training_split(self, task: Task, catalogue: Catalogue) -> SplitName:
        """The split that a task is trained on."""
        return catalogue.training_task(task).name, self.source_language, "train"

    def training_splits(self, catalogue: Catalogue) -> dict[str, SplitName]:
        """Task -> the split it is trained on, for all that are trained."""
        tasks = [catalogue[name] for name in self.task_names]
        return {x.name: self.training_split(x, catalogue) for x in tasks if x.kind.is_trained}

    def scored_split(self, task: Task, language: str, catalogue: Catalogue) -> SplitName:
        """The split that a target task is scored on during the search: never a test split."""
        owner = task if language in task.languages else catalogue.training_task(task)
        return owner.name, language, SEARCH_SPLIT

    def needed_splits(self, catalogue: Catalogue) -> list[SplitName]:
        """The splits that the search reads, sorted."""
        splits = set(self.training_splits(catalogue).values())
        for task in self.target_tasks(catalogue):
            for language in self.scored_languages(task):
                splits.add(self.scored_split(task, language, catalogue))
        return sorted(splits)

    def evaluation_splits(self, catalogue: Catalogue) -> list[SplitName]:
        """Validation and test splits of every target, in its languages and the source language.

        A search reads the validation splits that it scores, and no test split.
        """
        names: dict[SplitName, None] = {}
        for task in self.target_tasks(catalogue):
            for language in (*self.target_languages(task), self.source_language):
                owner = catalogue[self.scored_split(task, language, catalogue)[0]]
                if language in owner.languages:
                    for split in ("validation", "test"):
                        names[owner.name, language, split] = None
        return list(names)

    def target_languages(self, task: Task) -> tuple[str, ...]:
        """The study's target languages that `task` has."""
        named = expand_languages(self.target.languages, task.languages)
        without = self.target.without.get(task.name, ())
        return tuple(x for x in named if x in task.languages and x not in without)


def check_study_name(name: str, subject: str) -> None:
    """Check that a study's name can be one wherever it is used: in commands, files and pages.

    Args:
        name: The name.
        subject: What it is in an error, as in `--name`.

    Raises:
        SpecError: It is none.
    """
    problem, shown = "", shortened(repr(name), 60)
    if not name.strip() or name != name.strip():
        problem = "with white space around it, or empty"
    elif len(name) > LONGEST_NAME:
        problem, shown = f"of {len(name)} characters", f"{name[:30]!r} ..."
    elif not name.isprintable():
        problem = "with characters that cannot be printed"
    elif name.startswith("-"):
        problem = "which commands take for an option"
    if problem:
        expected = f"a name of 1 to {LONGEST_NAME} characters, as in ner-2"
        raise SpecError(subject, expected, f"{shown}, {problem}")


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
            here = (str(file) for file in sorted(Path().glob("*.toml")))
            raise unknown_name("Study", name_or_path, [*shipped, *here], where)
        path = shipped[name_or_path]
    record = {"name": unicodedata.normalize("NFC", path.stem), **read_toml(path)}
    for override in overrides:
        _override(record, override)
    for field in RETIRED.keys() & record.keys():
        del record[field]
        _log.warning("study %s: %s is left out: %s", path.stem, field, RETIRED[field])
    return parse(StudySpec, record, f"study {str(path.name)!r}")


def _override(record: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SpecError("--set", "KEY=VALUE", repr(override))
    try:
        value = parse_toml(f"value = {text}")["value"]
    except ValueError:
        value = text
    *parents, last = key.strip().split(".")
    table = record
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise SpecError(f"--set {key}", "a table before each dot", f"{parent!r}, a value")
    table[last] = value
