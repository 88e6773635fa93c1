"""The landscape of a study: what its search model says of tasks, languages and choices.

All of it is of the search, whose validation scores also chose what to try next: to explore by,
not to publish. What may be published, `search.confirm` finds. No figure is a mean of runs: arms
and tasks meet other target settings as a search goes on, and only the model holds these against
each other. Recipes are recommended by the languages that the study selects on, and their gains
are those in the languages of its target tasks, as in `search.findings.answer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from search.findings.answer import StudyAnswer, answer_of
from search.findings.standings import judged_languages
from search.findings.study_model import StudyModel
from search.findings.transfer_matrix import transfer_matrix
from search.findings.trial_tables import recipe_table, score_table
from search.studies.stored_study import StoredStudy
from search.surrogate.choosing import Chooser
from search.surrogate.effects import (
    Importance,
    Surface,
    TaskEffect,
    importance,
    recommended_by_task,
    surfaces,
    task_effects,
)
from spaces.dimensions import beside_task

ALL_TARGETS = ""
"""In the column `target`: the gains over all target tasks together."""
TASK_COLUMNS = (
    *("target", "arm", "task", "gain", "low", "high", "probability_gain"),
    *("runs", "recipes", "settings"),
)


@dataclass(frozen=True)
class Landscape:
    """What a study's search allows to say.

    Attributes:
        scores: Table of every score (`score_table`).
        recipes: Table of every recipe (`recipe_table`).
        answer: What the search found; None before its first recipe is finished.
        tasks: Gain of the recipe that is recommended with each intermediate task (`settings`),
            over all target tasks (`ALL_TARGETS`) and in each `target`: percentage points, with
            the 95 % interval from `low` to `high`, `runs` with the task and different `recipes`
            among these. The first of each target is direct training, whose gain is 0 and whose
            `task` is empty.
        surfaces: Gain over rate and epochs of each intermediate task, over all target tasks.
        importance: What each choice accounts for, over all target tasks.
        matrix: Intermediate tasks against target tasks and languages (`transfer_matrix`).
    """

    scores: pd.DataFrame
    recipes: pd.DataFrame
    answer: StudyAnswer | None
    tasks: pd.DataFrame
    surfaces: tuple[Surface, ...]
    importance: tuple[Importance, ...]
    matrix: pd.DataFrame

    def tasks_of(self, target: str = ALL_TARGETS) -> pd.DataFrame:
        """Of `tasks`, those of one target task."""
        return self.tasks[self.tasks["target"] == target]


def read_landscape(study: StoredStudy) -> Landscape:
    """The landscape of a study as it is in its storage."""
    model = StudyModel(study)
    tables = score_table(study), recipe_table(study, model), answer_of(study, model)
    if study.baseline is None or not study.recipes:
        nothing = pd.DataFrame(columns=list(TASK_COLUMNS))
        return Landscape(*tables, nothing, (), (), transfer_matrix({}, {}, ()))
    judged_on, selected_on = judged_languages(study.spec, study.catalogue), study.languages
    rows = recommended_by_task(model.of_all(selected_on))
    overall, zero = model.of_all(judged_on), model.zero_of_all(judged_on)
    effects = task_effects(overall, zero, rows)
    tasks = [_row(ALL_TARGETS, effect, overall) for effect in effects]
    for target in study.spec.target.tasks:
        chooser = model.of_task(target, judged_on)
        mine = recommended_by_task(model.of_task(target, selected_on))
        found = task_effects(chooser, model.zero_of_task(target), mine)
        tasks += [_row(target, effect, chooser) for effect in found]
    cells = [
        (task, language)
        for task, language in study.recipes[0].gain.by_language()
        if language in judged_on
    ]
    return Landscape(
        *tables,
        tasks=pd.DataFrame(tasks, columns=list(TASK_COLUMNS)),
        surfaces=tuple(surfaces(overall, zero)),
        importance=tuple(importance(overall)),
        matrix=transfer_matrix(
            {cell: model.of_cell(*cell) for cell in cells},
            {cell: model.zero_of_task(cell[0]) for cell in cells},
            effects,
        ),
    )


def _row(target: str, effect: TaskEffect, chooser: Chooser) -> tuple[Any, ...]:
    gain = effect.gain
    settings = _settings(chooser.table.params[effect.recipe])
    return (
        *(target, effect.arm, effect.task, gain.points, gain.low, gain.high, gain.probability),
        *(effect.runs, effect.recipes, settings),
    )


def _settings(params: Mapping[str, Any]) -> str:
    """The choices of a recipe but for its task, as in `intermediate.epochs 2, ...`."""
    return ", ".join(f"{name} {value}" for name, value in beside_task(params).items())
