"""The search model of a study in Optuna: its trials become runs, its choice becomes parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.studies.trial_notes import Failure, TrialNotes
from search.surrogate.choosing import Chooser, Evidence
from search.surrogate.gains import Zero
from search.surrogate.gaussian import Runs
from search.surrogate.recipe_table import RecipeTable, with_tried
from spaces.studies import NO_INTERMEDIATE


@dataclass(frozen=True)
class DirectGain:
    """A direct training with one seed, and its gain over the baseline.

    Attributes:
        params: Its choices.
        seed: Random seed.
        gain: Percentage points over all target tasks.
        by_task: Target task -> gain in it; the best direct training of a task has 0 in the mean.
    """

    params: Mapping[str, Any]
    seed: int
    gain: float
    by_task: Mapping[str, float]


@dataclass(frozen=True)
class ModelledSpace:
    """What the search model chooses among, and what it knows before the first trial.

    Attributes:
        table: All recipes of the study, direct trainings among them.
        direct: The direct trainings that its baseline was chosen from.
        best: Choices of the best direct training of each target task.
        infeasible: Choices of direct trainings that diverged or did not fit the device.
    """

    table: RecipeTable
    direct: tuple[DirectGain, ...]
    best: tuple[Mapping[str, Any], ...]
    infeasible: tuple[Mapping[str, Any], ...] = ()

    def zero(self, table: RecipeTable) -> Zero:
        """What gains over all target tasks are over: that of the best that is best over all.

        Args:
            table: The recipes of a chooser.
        """
        means = []
        for params in self.best:
            row, gains = table.place(params), [x.gain for x in self.direct if x.params == params]
            assert row is not None, params
            means.append((fmean(gains), row))
        offset, row = max(means)
        return Zero(row, offset)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Target tasks, where there are several: each is searched for as well as all together."""
        tasks = tuple(self.direct[0].by_task)
        return tasks if len(tasks) > 1 else ()

    def chooser(self, trials: Sequence[FrozenTrial], task: str | None = None) -> Chooser:
        """The model of what trials have found; it does not depend on the order in which they did.

        A trial that was added by hand has no seed and counts as the first seed's; without its
        gains by task it is left out of the models of these.

        Args:
            trials: All trials of the study, in order.
            task: Target task whose gains are modelled; None: the gains over all.
        """
        table = self.table
        if not table.is_whole:
            known = [x.params for x in self.direct]
            table = with_tried(table, [*known, *(x.params for x in trials)])
        scores: dict[tuple[int, int], float] = {}
        for direct in self.direct:
            if (recipe := table.place(direct.params)) is not None:
                gain = direct.gain if task is None else direct.by_task[task]
                scores[recipe, direct.seed] = gain
        in_flight: list[tuple[int, int]] = []
        places = (table.place(params) for params in self.infeasible)
        infeasible = [recipe for recipe in places if recipe is not None]
        for trial in trials:
            recipe, notes = table.place(trial.params), TrialNotes.of(trial)
            if recipe is None:
                continue
            run = recipe, notes.seed or 0
            if trial.state is TrialState.COMPLETE:
                if task is None:
                    scores[run] = trial.values[0]
                elif task in notes.gains:
                    scores[run] = notes.gains[task]
            elif trial.state is TrialState.RUNNING:
                in_flight.append(run)
            elif notes.failure is Failure.INFEASIBLE:
                infeasible.append(recipe)
        waiting = [run for run in dict.fromkeys(in_flight) if run not in scores]
        recipes, seeds_of = _columns(list(scores))
        return Chooser(
            table,
            Evidence(
                Runs(recipes, seeds_of, np.array(list(scores.values()), dtype=np.float64)),
                *_columns(waiting),
                np.array(infeasible, dtype=np.int64),
            ),
        )


def choose_parameters(
    chooser: Chooser, rng: np.random.Generator, fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters of the recipe to run next, one with an intermediate task.

    Args:
        chooser: The model.
        rng: Source of all that is random.
        fixed: Parameters that are given, by name; where no recipe has them, they are left for
            whoever gave them to be told.
    """
    table = chooser.table
    indirect = table.arm != table.arms.index(NO_INTERMEDIATE)
    allowed = table.matching(fixed) & indirect if fixed else indirect
    if not allowed.any():
        allowed = indirect
    return dict(table.params[chooser.choose(rng, allowed)])


def _columns(runs: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Recipes and seeds of runs."""
    pairs = np.array(runs, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()
