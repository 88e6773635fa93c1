"""A study file from a few answers: commented, checked, and meant to be edited."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spaces.catalogue import Catalogue
from spaces.errors import SpecError
from spaces.records import parse
from spaces.studies import NO_INTERMEDIATE, StudySpec
from spaces.study_checks import check_study
from spaces.task import Domain, Role, Task, TaskKind

SOURCE_LANGUAGE = "eng"


@dataclass(frozen=True)
class NewStudy:
    """What is asked of who writes a study.

    Attributes:
        name: Name of the study, that of its file.
        targets: Target tasks.
        languages: Target languages, or named sets of them.
        arms: Domains of intermediate tasks that are compared.
        backbone: Encoder: a short name, a name on the Hub, or a folder.
        trials: Number of trials.
    """

    name: str
    targets: tuple[str, ...]
    languages: tuple[str, ...]
    arms: tuple[str, ...]
    backbone: str
    trials: int


def study_text(study: NewStudy, catalogue: Catalogue) -> str:
    """The text of the file.

    Raises:
        UnknownNameError: A task or a language is not known.
        SpecError: The answers make no study.
    """
    targets = [catalogue[name] for name in study.targets]
    tasks = {arm: intermediate_tasks(catalogue, targets, study.arms, arm) for arm in study.arms}
    for arm, names in tasks.items():
        if not names:
            raise SpecError(f"arm {arm!r}", "an intermediate task in the catalogue", "none")
    domains = " or ".join(study.arms)
    kinds = ", ".join(dict.fromkeys(str(task.kind) for task in targets))
    lists = "\n".join(f"    # {arm}\n{_listed(names)}" for arm, names in tasks.items())
    text = f"""\
# {study.name}: edit what you like; a value in place of a list is fixed, a list is searched.
# `python -m search.run {study.name}.toml --dry-run` says what it will take.
question = "Does training on {domains} tasks first help {", ".join(study.languages)}?"
# "none" is direct training, which is tuned first: all gains are over the best of it.
arms = {_toml([NO_INTERMEDIATE, *study.arms])}
backbone = {_toml(study.backbone)}
# What the search maximises. Validation scores in the target languages are not zero-shot;
# "source-validation" (English alone) is.
selection = "target-validation"
# Recipes with an intermediate task, one seed each; direct trainings come before them.
trials = {study.trials}

[intermediate]
# Of the kinds that all arms have, so that a difference of domain is none of kind: {kinds} first.
tasks = [
{lists}
]
# One size for all of them; without this, that of the smallest.
examples = 1000
batch_size = 16
epochs = [2, 5]
# A grid: trials that meet on a rate share the stage.
learning_rate = {{ low = 1e-5, high = 1e-4, points = 4 }}

[target]
tasks = {_toml(study.targets)}
# ISO 639-3 codes, or a set of them as "low-resource".
languages = {_toml(study.languages)}
# Few examples are where an intermediate task has something to give.
examples = 1000
batch_size = 16
# One training is scored after each of these.
epochs = [2, 4]
learning_rate = {{ low = 1e-5, high = 1e-4, points = 4 }}
"""
    check_study(parse(StudySpec, {"name": study.name, **tomllib.loads(text)}, ""), catalogue)
    return text


def intermediate_tasks(
    catalogue: Catalogue, targets: Sequence[Task], arms: Sequence[str], arm: str
) -> list[str]:
    """The intermediate tasks of an arm: of the targets' kinds, where all arms have them.

    Where no arm has the targets' kinds, of all kinds that all arms have.
    """
    wanted = {task.kind for task in targets}
    common = [
        kind
        for kind in TaskKind
        if kind.is_trained and all(_of(catalogue, kind, each, targets) for each in arms)
    ]
    kinds = [kind for kind in common if kind in wanted] or common
    return [name for kind in kinds for name in _of(catalogue, kind, arm, targets)]


def _of(catalogue: Catalogue, kind: TaskKind, arm: str, targets: Sequence[Task]) -> list[str]:
    names = {task.name for task in targets}
    return [
        task.name
        for task in catalogue
        if task.kind is kind
        and task.domain is Domain(arm)
        and task.role is not Role.TARGET
        and not task.pocket
        and task.name not in names
        and SOURCE_LANGUAGE in task.languages
    ]


def _listed(names: Iterable[str]) -> str:
    words = ", ".join(f'"{name}"' for name in names) + ","
    return textwrap.fill(words, 96, initial_indent="    ", subsequent_indent="    ")


def _toml(value: str | Iterable[str]) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return f"[{', '.join(map(_toml, value))}]"
