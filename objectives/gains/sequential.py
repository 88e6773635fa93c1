"""Nominal levels of looks, seeds that it takes, and gains that can be detected.

The error that looks may spend (`objectives.gains.rules`) turns into nominal levels by the joint
distribution of the estimates at the looks, which is that of sums of independent normal increments
(Jennison and Turnbull 2000, "Group Sequential Methods", chapters 7 and 19). The levels are then
applied to p-values for few seeds, whose distributions are not normal (chapter 11 there). Examples
are the same at every look; estimates are then more alike than taken here, and fewer of them are
wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from objectives.gains.rules import spent_error
from objectives.gains.small_samples import Floats, half_widths

LARGEST_LEVEL = 0.5
"""Levels above are not told apart: nothing is decided at them."""
_LEVELS = np.geomspace(1e-12, LARGEST_LEVEL, 60)


@dataclass(frozen=True)
class Stage:
    """Where in its design a gain was looked at last.

    Attributes:
        looks: Numbers of seeds at the planned looks, rising.
        place: Number of the look, from 0.
    """

    looks: tuple[int, ...]
    place: int

    def nominal(self, level: float) -> float:
        """The p-value at this look that decides, where all looks together may err at `level`."""
        levels = _nominal_levels(self.looks)[:, self.place]
        return float(np.exp(np.interp(np.log(level), np.log(_LEVELS), np.log(levels))))

    def overall(self, p_value: float) -> float:
        """The smallest level of all looks together at which this p-value decides here.

        It is a p-value whatever made the looks end here, so that Holm's correction may be applied
        to those of several gains (Maurer and Bretz 2013,
        https://doi.org/10.1080/19466315.2013.807748).

        Returns:
            From 1e-12, the lowest that is told apart; 1 above `LARGEST_LEVEL`.
        """
        levels = _nominal_levels(self.looks)[:, self.place]
        if p_value > levels[-1] * (1 + 1e-9):  # as much as rounding makes
            return 1.0
        logs = np.log(max(p_value, 1e-300))
        return float(np.exp(np.interp(logs, np.log(levels), np.log(_LEVELS))))

    @property
    def spent(self) -> float:
        """Share of the error that the looks up to this one have spent."""
        return spent_error(1.0, self.looks)[self.place]


def detectable_gains(
    level: float, looks: tuple[int, ...], seeds_variance: float, examples_variance: float
) -> list[float]:
    """Minimum detectable gain at each look with power 80 %, percentage points.

    Args:
        level: Error that all looks together may spend on this gain.
        looks: Numbers of seeds at the looks.
        seeds_variance: Variance of the gain between seeds.
        examples_variance: Variance of the gain due to the choice of examples.
    """
    found = []
    for place, seeds in enumerate(looks):
        columns = _columns(seeds, seeds_variance, examples_variance)
        width = half_widths(Stage(looks, place).nominal(level), *columns)
        # Bloom 1995, "Minimum detectable effects", https://doi.org/10.1177/0193841X9501900504
        found.append(float((width + half_widths(0.4, *columns))[0]))
    return found


def interval_half_width(
    stage: Stage, level: float, seeds_variance: float, examples_variance: float
) -> float:
    """Half of the interval of a gain at a look, percentage points; rest as above."""
    columns = _columns(stage.looks[stage.place], seeds_variance, examples_variance)
    return float(half_widths(stage.nominal(level), *columns)[0])


def seeds_to_decide(
    width: float, level: float, seeds_variance: float, examples_variance: float, most: int = 200
) -> int | None:
    """Seeds of a new design of one look whose interval would be narrower; None beyond `most`.

    Args:
        width: Half of what the interval may measure, percentage points.
        level: Error of the interval.
        seeds_variance: Variance of the gain between seeds.
        examples_variance: Variance of the gain due to the choice of examples.
        most: The most seeds to think of.
    """
    seeds = np.arange(2, most + 1)
    columns = (
        seeds_variance / seeds,
        np.full(len(seeds), examples_variance),
        (seeds - 1).astype(np.float64),
    )
    enough = half_widths(level, *columns) < width
    return int(seeds[enough][0]) if enough.any() else None


def _columns(
    seeds: int, seeds_variance: float, examples_variance: float
) -> tuple[Floats, Floats, Floats]:
    freedom = np.array([max(seeds - 1.0, 1.0)])
    return np.array([seeds_variance / seeds]), np.array([examples_variance]), freedom


@lru_cache
def _nominal_levels(looks: tuple[int, ...]) -> Floats:
    """Nominal two-sided level at each look for each of `_LEVELS`, [levels, looks].

    The recursion of Armitage, McPherson and Rowe (1969, https://doi.org/10.2307/2343787): the sum
    of the increments is followed through the looks. `points` are where it lies if nothing was
    decided yet, `weights` hold its density there; [levels, points] each.
    """
    if len(looks) == 1:
        return _LEVELS[:, None]
    nodes, node_weights = np.polynomial.legendre.leggauss(80)
    points, weights = np.zeros((len(_LEVELS), 1)), np.ones((len(_LEVELS), 1))
    spent, nominal = np.zeros(len(_LEVELS)), []
    shares = spent_error(1.0, looks)
    for before, seeds, share in zip((0, *looks), looks, shares, strict=False):
        limits = _limits(points, weights, _LEVELS * share - spent, (before, seeds))
        nominal.append(2 * special.ndtr(-limits))
        spent = _LEVELS * share
        reach = (limits * seeds**0.5)[:, None]
        following, deviation = nodes * reach, (seeds - before) ** 0.5
        steps = (following[:, :, None] - points[:, None, :]) / deviation
        density = (np.exp(-(steps**2) / 2) * weights[:, None, :]).sum(axis=2)
        density /= deviation * np.sqrt(2 * np.pi)
        points, weights = following, density * node_weights * reach
    return np.stack(nominal, axis=1)


def _limits(points: Floats, weights: Floats, wanted: Floats, seeds: tuple[int, int]) -> Floats:
    """The limits in standard errors beyond which so much of the sum leaves, [levels]."""
    scale, deviation = seeds[1] ** 0.5, (seeds[1] - seeds[0]) ** 0.5
    low, high = np.zeros_like(wanted), np.full_like(wanted, 40.0)
    for _ in range(50):
        middle = (low + high) / 2
        reach = (middle * scale)[:, None]
        leaving = special.ndtr((points - reach) / deviation)
        leaving += special.ndtr((-reach - points) / deviation)
        stays = (weights * leaving).sum(axis=1) > wanted
        low, high = np.where(stays, middle, low), np.where(stays, high, middle)
    return high
