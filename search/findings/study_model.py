"""The search model of a stored study: of its gains as a whole, and of each target task alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from optuna.trial import TrialState

from objectives.gains.transfer_gain import TransferGain
from search.studies.recipes import FinishedRecipe
from search.studies.stored_study import StoredStudy
from search.studies.trial_notes import Failure, TrialNotes
from search.surrogate.choosing import Chooser, Evidence
from search.surrogate.gains import Zero
from search.surrogate.gaussian import FITTED_RUNS, Runs
from search.surrogate.recipe_table import RecipeTable, build_table, with_tried

CELL_RUNS = 60
"""Runs that the scales of a cell's model are fitted to at most."""

Measure = Callable[[TransferGain], float]
"""A gain in percentage points, of the scores of one seed."""


class StudyModel:
    """What a study's runs say of its recipes.

    Args:
        study: A study with a baseline.
    """

    def __init__(self, study: StoredStudy) -> None:
        self._study = study
        self._known: dict[object, Chooser] = {}

    @cached_property
    def table(self) -> RecipeTable:
        """All recipes of the study's space, with those that were tried."""
        table = build_table(self._study.space)
        if table.is_whole:
            return table
        return with_tried(table, [x.first.params for x in self._recipes])

    def of_all(self, languages: frozenset[str]) -> Chooser:
        """The model of the gains over all target tasks, on these languages."""
        return self._chooser(languages, lambda gain: gain.overall_gain(languages))

    def of_task(self, task: str, languages: frozenset[str]) -> Chooser:
        """The model of the gains in one target task; where there is no other, that of all."""
        if len(self._study.spec.target.tasks) == 1:
            return self.of_all(languages)
        return self._chooser((task, languages), lambda gain: gain.by_task(languages)[task])

    def of_cell(self, task: str, language: str) -> Chooser:
        """The model of the gains in one target task and language.

        There are many cells, so their scales are fitted to fewer runs.
        """
        cell = task, language
        return self._chooser(cell, lambda gain: gain.by_language()[cell], CELL_RUNS)

    def zero_of_all(self, languages: frozenset[str]) -> Zero:
        """What gains over all target tasks are over: the direct training that is best over all.

        Where target tasks have different best ones, none of these is at 0 in all of them.
        """
        baseline, best = self._study.baseline, list[tuple[float, float, int]]()
        assert baseline is not None, self._study.name
        wanted = {frozenset(x.params.items()) for x in baseline.tasks.values()}
        for recipe in self._study.direct:
            if frozenset(recipe.first.params.items()) in wanted:
                selected = recipe.gain.overall_gain(self._study.languages)
                offset = recipe.gain.overall_gain(languages)
                best.append((selected, offset, self._row(recipe.first.params)))
        _, offset, row = max(best)
        return Zero(row, offset)

    def zero_of_task(self, task: str) -> Zero:
        """What gains in a target task are over."""
        assert self._study.baseline is not None, self._study.name
        return Zero(self._row(self._study.baseline.tasks[task].params), 0.0)

    def _row(self, params: Mapping[str, Any]) -> int:
        row = self.table.place(params)
        assert row is not None, params
        return row

    @property
    def _recipes(self) -> list[FinishedRecipe]:
        return [*self._study.direct, *self._study.recipes]

    def _chooser(self, key: object, measure: Measure, fitted: int = FITTED_RUNS) -> Chooser:
        if key not in self._known:
            rows = [
                (place, seed, measure(gain))
                for recipe in self._recipes
                if (place := self.table.place(recipe.first.params)) is not None
                for seed, gain in recipe.gain.by_seed().items()
            ]
            recipe, seed = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
            score = np.array([row[2] for row in rows], dtype=np.float64)
            evidence = Evidence(Runs(recipe, seed, score), infeasible=self._infeasible)
            self._known[key] = Chooser(self.table, evidence, fitted)
        return self._known[key]

    @cached_property
    def _infeasible(self) -> np.ndarray:
        failed = [
            trial.params
            for study in (self._study.direct_study, self._study.optuna_study)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
            if TrialNotes.of(trial).failure is Failure.INFEASIBLE
        ]
        places = [self.table.place(params) for params in failed]
        return np.array([x for x in places if x is not None], dtype=np.int64)
