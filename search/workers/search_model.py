"""The search model of a study in Optuna: its trials become runs, its choice becomes parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.studies.trial_notes import Failure, TrialNotes
from search.surrogate.choosing import Chooser, Evidence
from search.surrogate.gaussian import Runs
from search.surrogate.recipe_table import RecipeTable, with_tried
from spaces.studies import NO_INTERMEDIATE


@dataclass(frozen=True)
class DirectGain:
    """A direct training with one seed, and its gain over the baseline.

    Attributes:
        params: Its choices.
        seed: Random seed.
        gain: Percentage points; those of the baseline itself have a mean of about 0.
    """

    params: Mapping[str, Any]
    seed: int
    gain: float


@dataclass(frozen=True)
class ModelledSpace:
    """What the search model chooses among, and what it knows before the first trial.

    Attributes:
        table: All recipes of the study, direct trainings among them.
        direct: The direct trainings that its baseline was chosen from.
    """

    table: RecipeTable
    direct: tuple[DirectGain, ...]

    def chooser(self, trials: Sequence[FrozenTrial]) -> Chooser:
        """The model of what trials have found; it does not depend on the order in which they did.

        A complete trial without a seed (one that was added by hand) counts as the first seed's.

        Args:
            trials: All trials of the study, in order.
        """
        table = self.table
        if not table.is_whole:
            tried = [*(x.params for x in self.direct), *(x.params for x in trials)]
            table = with_tried(table, tried)
        scores: dict[tuple[int, int], float] = {}
        for direct in self.direct:
            if (recipe := table.place(direct.params)) is not None:
                scores[recipe, direct.seed] = direct.gain
        in_flight: list[tuple[int, int]] = []
        infeasible: list[int] = []
        for trial in trials:
            recipe, notes = table.place(trial.params), TrialNotes.of(trial)
            if recipe is None:
                continue
            run = recipe, notes.seed or 0
            if trial.state is TrialState.COMPLETE:
                scores[run] = trial.values[0]
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


def choose_parameters(chooser: Chooser, seed: int, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the recipe to run next, one with an intermediate task.

    Args:
        chooser: The model.
        seed: Random seed of the choice.
        fixed: Parameters that are given, by name; where no recipe has them, they are left for
            whoever gave them to be told.
    """
    table = chooser.table
    indirect = table.arm != table.arms.index(NO_INTERMEDIATE)
    allowed = table.matching(fixed) & indirect if fixed else indirect
    if not allowed.any():
        allowed = indirect
    return dict(table.params[chooser.choose(np.random.default_rng(seed), allowed)])


def _columns(runs: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Recipes and seeds of runs."""
    pairs = np.array(runs, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()
