"""What the model answers: which recipe to take, how far from the best it may be, and its arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from search.surrogate.choosing import Chooser
from search.surrogate.recipe_table import Floats
from spaces.studies import NO_INTERMEDIATE

SAMPLES = 1000
SURE = 0.95
"""Posterior probability from which on a gain is claimed."""


@dataclass(frozen=True)
class ArmAnswer:
    """What is known of one arm.

    Attributes:
        recipe: Row of the recipe that is recommended within the arm.
        mean: Its posterior mean, in the unit of the runs' scores.
        probability_best: That it is better than what is recommended of any other arm; where no
            intermediate stage does anything, direct training is.
        probability_gain: That it is better than what is recommended without an intermediate task;
            0 for that itself.
        gain: Points over what is recommended without an intermediate task: posterior mean.
        interval: 95 % interval of the gain.
    """

    recipe: int
    mean: float
    probability_best: float
    probability_gain: float
    gain: float
    interval: tuple[float, float]

    @property
    def is_gain(self) -> bool:
        """Whether it is claimed to beat direct training."""
        return self.probability_gain >= SURE


@dataclass(frozen=True)
class Answer:
    """What a study recommends at one moment.

    Attributes:
        recipe: Row of the recipe with the highest posterior mean, of those that can be trained.
        arm: Its arm.
        regret: Expected points that it falls short of the best recipe of the space.
        regret_90: Points within which it is of the best with a probability of 90 %.
        probability_of_effect: That any intermediate stage does anything at all.
        arms: Arm -> what is known of it; arms without a recipe are left out.
    """

    recipe: int
    arm: str
    regret: float
    regret_90: float
    probability_of_effect: float
    arms: Mapping[str, ArmAnswer]


def recommend(chooser: Chooser) -> int:
    """The row of the recipe with the highest posterior mean; of the untried too.

    Not the highest mean of runs: the best of many means is a lucky one.
    """
    return int(np.argmax(np.where(chooser.feasible, chooser.posterior.mean, -np.inf)))


def answer(chooser: Chooser, rng: np.random.Generator, samples: int = SAMPLES) -> Answer:
    """What is recommended, and how sure that is.

    Arms are compared by the recipe that is recommended of each: the maximum over all recipes in a
    sample would be the better the more recipes an arm has, whatever its task does.

    Args:
        chooser: The model.
        rng: Source of the posterior samples.
        samples: Number of posterior samples.
    """
    table, mean = chooser.table, np.where(chooser.feasible, chooser.posterior.mean, -np.inf)
    drawn = chooser.posterior.samples(rng, samples)
    best = recommend(chooser)
    short = np.where(chooser.feasible[:, None], drawn, -np.inf).max(axis=0) - drawn[best]
    leaders = {
        name: int(np.argmax(np.where(table.arm == place, mean, -np.inf)))
        for place, name in enumerate(table.arms)
        if (table.arm == place).any()
    }
    of_arms = drawn[list(leaders.values())]
    wins = np.bincount(of_arms.argmax(axis=0), minlength=len(leaders)) / samples
    effect = chooser.probability_of_effect
    wins *= effect
    wins[list(leaders).index(NO_INTERMEDIATE)] += 1 - effect
    gains = drawn - drawn[leaders[NO_INTERMEDIATE]]
    # So large a share of the samples is of a world in which no intermediate stage does anything.
    gains[:, : round((1 - effect) * samples)] = 0.0
    arms = {
        name: _arm_answer(row, float(chooser.posterior.mean[row]), float(share), gains[row])
        for (name, row), share in zip(leaders.items(), wins, strict=True)
    }
    return Answer(
        recipe=best,
        arm=table.arms[table.arm[best]],
        regret=float(short.mean()),
        regret_90=float(np.quantile(short, 0.9)),
        probability_of_effect=effect,
        arms=arms,
    )


def _arm_answer(recipe: int, mean: float, share: float, gains: Floats) -> ArmAnswer:
    low, high = np.quantile(gains, [0.025, 0.975])
    return ArmAnswer(
        recipe=recipe,
        mean=mean,
        probability_best=share,
        probability_gain=float((gains > 0).mean()),
        gain=float(gains.mean()),
        interval=(float(low), float(high)),
    )
