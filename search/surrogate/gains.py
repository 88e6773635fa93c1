"""Gains of recipes over others as the model knows them, without a random number.

Two worlds are possible: one in which intermediate stages do something, which the posterior is of,
and one in which none does anything, with gains of 0. A gain is believed to be of the first with
the probability of an effect; its mean and its interval are of both together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from search.surrogate.choosing import Chooser
from search.surrogate.recipe_table import Floats, Integers

LEVEL = 0.95
"""Of the intervals."""


@dataclass(frozen=True)
class Zero:
    """What gains are over.

    Attributes:
        row: Row of the direct training that is best over all target tasks.
        offset: Its mean measured gain, points: 0, unless it is not the best in every target task.
    """

    row: int
    offset: float = 0.0


@dataclass(frozen=True)
class Gain:
    """What is believed of one gain.

    Attributes:
        points: Posterior mean, percentage points.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
        probability: That it is above 0.
        probability_loss: That it is below 0; both fall short of 1 by that of no effect.
    """

    points: float
    low: float
    high: float
    probability: float
    probability_loss: float

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends."""
        return self.low, self.high


NO_GAIN = Gain(0.0, 0.0, 0.0, 0.0, 0.0)


def expected_gains(chooser: Chooser, zero: Zero) -> Floats:
    """Posterior mean of every recipe's gain over the best direct training, points, [r]."""
    mean = chooser.posterior.mean
    gains: Floats = chooser.probability_of_effect * (mean - mean[zero.row] + zero.offset)
    return gains


def gains_over(chooser: Chooser, zero: Zero, rows: Integers) -> list[Gain]:
    """Gains of recipes over the best direct training.

    Args:
        chooser: The model.
        zero: What gains are over.
        rows: Rows of the recipes, [k].
    """
    others = np.full(len(rows), zero.row)
    return _gains(chooser, np.asarray(rows), others, zero.offset)


def gains_of_themselves(chooser: Chooser, rows: Integers) -> list[Gain]:
    """What recipes' intermediate tasks change: over the same target stage without one.

    Args:
        chooser: The model.
        rows: Rows of the recipes, [k].
    """
    return _gains(chooser, np.asarray(rows), chooser.table.without_intermediate[rows], 0.0)


def _gains(chooser: Chooser, rows: Integers, others: Integers, offset: float) -> list[Gain]:
    """Of `rows` over `others`, one by one; of a recipe over itself there is no doubt."""
    posterior, effect = chooser.posterior, chooser.probability_of_effect
    known, place = np.unique(np.concatenate((rows, others)), return_inverse=True)
    covariance = posterior.covariance(known, known)
    one, other = place[: len(rows)], place[len(rows) :]
    variance = covariance[one, one] + covariance[other, other] - 2 * covariance[one, other]
    deviation = np.sqrt(np.maximum(variance, 0.0))
    mean = posterior.mean[rows] - posterior.mean[others] + offset
    return [_gain(effect, float(m), float(s)) for m, s in zip(mean, deviation, strict=True)]


def _gain(effect: float, mean: float, deviation: float) -> Gain:
    """Of a mixture: a normal variable with the probability of an effect, else exactly 0."""
    if deviation <= 0:
        sure, up, down = effect * mean, effect * float(mean > 0), effect * float(mean < 0)
        return Gain(sure, sure, sure, up, down)
    above = effect * float(special.ndtr(mean / deviation))
    below = effect - above

    def quantile(share: float) -> float:
        if share < below:
            return mean + deviation * float(special.ndtri(share / effect))
        if share <= 1 - above:
            return 0.0
        return mean - deviation * float(special.ndtri((1 - share) / effect))

    tail = (1 - LEVEL) / 2
    return Gain(effect * mean, quantile(tail), quantile(1 - tail), above, below)
