"""The search model of a study in Optuna: its trials become runs, its choice becomes parameters.

A run is a recipe with one seed; its score is the gain that its trial keeps for that seed
(`TrialNotes.runs`), as those of the ledger would have to be read anew for each proposal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.studies.trial_notes import Failure, TrialNotes
from search.surrogate.choosing import Chooser, Evidence
from search.surrogate.gaussian import Runs
from search.surrogate.recipe_table import RecipeTable, with_tried


def chooser_of(table: RecipeTable, trials: Sequence[FrozenTrial]) -> Chooser:
    """The model of what trials have found; it does not depend on the order in which they did.

    A complete trial that keeps no runs (one that was added to the study by hand) counts as one.

    Args:
        table: Recipes of the study's space.
        trials: All trials of the study, in order.
    """
    if not table.is_whole:
        table = with_tried(table, [trial.params for trial in trials])
    scores: dict[tuple[int, int], float] = {}
    in_flight: list[tuple[int, int]] = []
    infeasible: list[int] = []
    for trial in trials:
        recipe = table.place(trial.params)
        if recipe is None:
            continue
        notes = TrialNotes.of(trial)
        seeds = notes.seeds or table.seeds
        if trial.state is TrialState.COMPLETE:
            runs = notes.runs or ((seeds[0], trial.values[0]),)
            scores |= {(recipe, seed): gain for seed, gain in runs}
        elif trial.state is TrialState.RUNNING:
            in_flight += [(recipe, seed) for seed in seeds]
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
    """The parameters of the recipe to run next.

    Args:
        chooser: The model.
        seed: Random seed of the choice.
        fixed: Parameters that are given, by name; where no recipe has them, they are left for
            whoever gave them to be told.
    """
    allowed = chooser.table.matching(fixed) if fixed else None
    if allowed is not None and not allowed.any():
        allowed = None
    return dict(chooser.table.params[chooser.choose(np.random.default_rng(seed), allowed)])


def fresh_seeds(
    trials: Sequence[FrozenTrial], params: Mapping[str, Any], seeds: tuple[int, ...]
) -> tuple[int, ...]:
    """Seeds for another trial of a recipe: as many as `seeds`, and the next after those it had.

    Args:
        trials: All trials of the study.
        params: Parameters of the recipe.
        seeds: Those of its first trial.
    """
    used = [
        TrialNotes.of(trial).seeds or seeds
        for trial in trials
        if trial.params == params and trial.state not in (TrialState.WAITING, TrialState.FAIL)
    ]
    if not used:
        return seeds
    first = max(max(of_one) for of_one in used) + 1
    return tuple(range(first, first + len(seeds)))


def _columns(runs: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Recipes and seeds of runs."""
    pairs = np.array(runs, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()
