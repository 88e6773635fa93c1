"""The answer of a study's search: what each arm gains, as a whole and in each target task.

All of it is the search model's: posterior means and intervals of recipes that were run. Validation
scores chose what to run, and judge it here; what may be published, `search.confirm` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from search.findings.standings import judged_languages
from search.findings.study_model import StudyModel
from search.studies.recipes import FinishedRecipe
from search.studies.stored_study import StoredStudy
from search.surrogate.answer import Answer, ArmAnswer, answer
from search.surrogate.choosing import Chooser
from search.surrogate.gains import Zero
from search.surrogate.recipe_table import RecipeTable
from spaces.studies import NO_INTERMEDIATE


@dataclass(frozen=True)
class ArmFinding:
    """What the search found of one arm.

    Attributes:
        arm: general, biomedical, legal or mixed.
        recipe: The recipe that is recommended of it; None while none is finished.
        known: What the model says of that recipe, and of the arm; None with `recipe`.
        tasks: Number of its intermediate tasks.
    """

    arm: str
    recipe: FinishedRecipe | None
    known: ArmAnswer | None
    tasks: int


@dataclass(frozen=True)
class StudyAnswer:
    """What a search found.

    Attributes:
        arms: Arm with an intermediate task -> what was found over all target tasks.
        by_task: Target task -> the same in that task alone, whose recipes may be others.
        recommended: The arm of the recipe that is recommended over all; none where direct
            training is.
        regret: Expected points between that recipe and the best one of the space.
        regret_90: Points that this is below with a probability of 90 %.
    """

    arms: Mapping[str, ArmFinding]
    by_task: Mapping[str, Mapping[str, ArmFinding]]
    recommended: str
    regret: float
    regret_90: float


def answer_of(study: StoredStudy, model: StudyModel | None = None) -> StudyAnswer | None:
    """The answer of a study as it is; None before its first recipe is finished.

    Args:
        study: The study.
        model: Its model, where there is one already.
    """
    if study.baseline is None or not study.recipes:
        return None
    model = model or StudyModel(study)
    judged_on, selected_on = judged_languages(study.spec, study.catalogue), study.languages

    def asked(chooser: Chooser, zero: Zero, rows: Mapping[str, int] | None = None) -> Answer:
        # The same samples for all who ask of a model: no two show another interval.
        return answer(chooser, zero, np.random.default_rng(0), recommended=rows)

    def found(selected: Chooser, judged: Chooser, zero: Zero) -> dict[str, ArmFinding]:
        rows = _recommended(study, selected)
        arms = asked(judged, zero, rows).arms
        return _findings(study, judged.table, arms)

    overall, zero = model.of_all(judged_on), model.zero_of_all(judged_on)
    search = asked(model.of_all(selected_on), model.zero_of_all(selected_on))
    return StudyAnswer(
        arms=found(model.of_all(selected_on), overall, zero),
        by_task={
            task: found(
                model.of_task(task, selected_on),
                model.of_task(task, judged_on),
                model.zero_of_task(task),
            )
            for task in study.spec.target.tasks
        },
        # What is left to find is asked of the scores that the search goes by.
        recommended=search.arm,
        regret=search.regret,
        regret_90=search.regret_90,
    )


def _findings(
    study: StoredStudy, table: RecipeTable, arms: Mapping[str, ArmAnswer]
) -> dict[str, ArmFinding]:
    """Of each arm with an intermediate task, in the order of the study file."""
    by_params = {frozenset(x.first.params.items()): x for x in study.recipes}
    findings = {}
    for arm in study.spec.arms:
        if arm == NO_INTERMEDIATE:
            continue
        tasks, known = len(study.space.arms[arm]), arms.get(arm)
        recipe = None
        if known is not None:
            recipe = by_params[frozenset(table.params[known.recipe].items())]
        findings[arm] = ArmFinding(arm, recipe, known, tasks)
    return findings


def _recommended(study: StoredStudy, chooser: Chooser) -> dict[str, int]:
    """Arm -> row of the recipe that the model expects most of, of those that were run."""
    rows: dict[str, int] = {}
    mean = chooser.posterior.mean
    for recipe in study.recipes:
        row = chooser.table.place(recipe.first.params)
        if row is None:
            continue
        if recipe.arm not in rows or mean[row] > mean[rows[recipe.arm]]:
            rows[recipe.arm] = row
    return rows
