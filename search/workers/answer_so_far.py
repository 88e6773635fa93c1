"""How far a search's recommendation probably is from the best recipe of its space, as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import in_points
from search.surrogate.answer import Answer, answer
from search.surrogate.effects import task_name
from search.workers.search_model import ModelledSpace
from spaces.dimensions import ARM_PARAM, SearchSpace

EVERY = 10
"""Trials between two lines for people."""


@dataclass(frozen=True)
class AnswerSoFar:
    """What the search model says after some trials.

    Attributes:
        answer: What it recommends, and how sure that is.
        task: Intermediate task of the recommended recipe; empty for direct training.
        arms_tried: Arms with a complete trial.
    """

    answer: Answer
    task: str
    arms_tried: frozenset[str]

    @classmethod
    def after(cls, modelled: ModelledSpace, trials: Sequence[FrozenTrial]) -> AnswerSoFar:
        """After these trials of a study, which are all that it has."""
        chooser = modelled.chooser(trials)
        zero = modelled.zero(chooser.table)
        found = answer(chooser, zero, np.random.default_rng(0))
        complete = (x for x in trials if x.state is TrialState.COMPLETE)
        arms = frozenset(str(x.params[ARM_PARAM]) for x in complete)
        return cls(found, task_name(chooser.table, found.recipe), arms)

    def is_near(self, space: SearchSpace, until: float) -> bool:
        """Whether the recommendation is expected to be near enough to the best, each arm tried.

        Args:
            space: What trials choose from.
            until: Expected points from the best recipe.
        """
        return not self.arms_tried < set(space.arms) and self.answer.regret < until

    def line(self, done: int) -> str:
        """The recipe to take now, and how far from the best it probably is."""
        found, best = self.answer, "direct training"
        if self.task:
            gain = in_points(found.arms[found.arm].gain)
            best = f"{self.task} ({found.arm}), expected to gain {gain}"
        return (
            f"after {done} trials: {best}; expected to be within {found.regret:.1f} points of the "
            f"best recipe (with 90 %: {found.regret_90:.1f})"
        )

    def brief(self) -> str:
        """The same in the one line that a terminal has for it."""
        found, best = self.answer, "direct training"
        if self.task:
            best = f"{self.task} ({found.arm}) first, {in_points(found.arms[found.arm].gain)}"
        return f"best so far: {best}; within {found.regret:.1f} points of the best there is"
