"""How far a search's recommendation probably is from the best recipe of its space, as it goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import in_points
from search.surrogate.answer import Answer, answer
from search.workers.search_model import ModelledSpace
from spaces.dimensions import SearchSpace
from spaces.studies import NO_INTERMEDIATE

EVERY = 10
"""Trials between two lines for people."""
SAMPLES = 400


def outlook(modelled: ModelledSpace, trials: Sequence[FrozenTrial]) -> Answer:
    """What the search model says after these trials."""
    chooser = modelled.chooser(trials)
    return answer(chooser, modelled.zero(chooser.table), np.random.default_rng(0), SAMPLES)


def outlook_line(modelled: ModelledSpace, trials: Sequence[FrozenTrial], done: int) -> str:
    """The recipe to take now, and how far from the best it probably is."""
    found = outlook(modelled, trials)
    best = "direct training"
    if found.arm != NO_INTERMEDIATE:
        params = modelled.chooser(trials).table.params[found.recipe]
        task = params[f"intermediate.task.{found.arm}"]
        gain = in_points(found.arms[found.arm].gain)
        best = f"{task} ({found.arm}), expected to gain {gain}"
    return (
        f"after {done} trials: {best}; expected to be within {found.regret:.1f} points of the "
        f"best recipe (with 90 %: {found.regret_90:.1f})"
    )


def is_near(
    modelled: ModelledSpace, trials: Sequence[FrozenTrial], space: SearchSpace, until: float
) -> bool:
    """Whether the recommendation is expected to be near enough to the best, each arm tried.

    Args:
        modelled: What the search model chooses by.
        trials: All trials of the study.
        space: What they choose from.
        until: Expected points from the best recipe.
    """
    complete = [x for x in trials if x.state is TrialState.COMPLETE]
    if {x.params["intermediate.domain"] for x in complete} < set(space.arms):
        return False
    return outlook(modelled, trials).regret < until
