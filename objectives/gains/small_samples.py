"""The error of a mean when few seeds tell of its variance: pooled variances, and a distribution.

`objectives.gains.intervals` says what for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]


def two_sided(
    gain: Floats,
    seeds: Floats,
    examples: Floats,
    freedom: Floats,
    examples_freedom: Floats | None = None,
) -> Floats:
    """P(|sqrt(seeds) t + sqrt(examples) u| >= |gain|), t and u of Student's: Behrens and Fisher's.

    Args:
        gain: [gains], as all others.
        seeds: An estimated variance, and
        examples: another.
        freedom: The degrees of freedom of `seeds`, at least 1.
        examples_freedom: Those of `examples`, at least 1; infinite (None: all of them) where it is
            as good as known, so that u is normal.

    Returns:
        [gains], to 1e-9; where both variances are 0, 0.
    """
    return _tails(gain, *_normals(seeds, examples, freedom, examples_freedom))


def half_widths(
    alpha: float | Floats,
    seeds: Floats,
    examples: Floats,
    freedom: Floats,
    examples_freedom: Floats | None = None,
) -> Floats:
    """The gains whose p-value is alpha, one for all or one each; the rest as for `two_sided`.

    0 where nothing varies.
    """
    normals = _normals(seeds, examples, freedom, examples_freedom)
    fewest = freedom if examples_freedom is None else np.minimum(freedom, examples_freedom)
    low: Floats = np.zeros_like(seeds)
    # A t for both variances has the longer tails.
    high: Floats = 2 * np.sqrt(seeds + examples) * special.stdtrit(fewest, 1 - alpha / 2)
    for _ in range(40):
        middle = (low + high) / 2
        inside = _tails(middle, *normals) > alpha
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return high


def _normals(
    seeds: Floats, examples: Floats, freedom: Floats, examples_freedom: Floats | None
) -> tuple[Floats, Floats]:
    """Deviations and weights of normal distributions that mix to the wanted one, [gains, nodes].

    Given the chi-squared variables under t and u the sum is normal, so the integral is over these
    alone.
    """
    of_seeds, weights = _inverse_chi_squared(freedom, 81)
    variances = seeds[:, None] * of_seeds + examples[:, None]
    if examples_freedom is not None and np.isfinite(examples_freedom).any():
        known = ~np.isfinite(examples_freedom)
        of_examples, of_nodes = _inverse_chi_squared(np.where(known, 1.0, examples_freedom), 25)
        of_examples[known], of_nodes[known] = 1, np.arange(25) == 0
        variances = seeds[:, None, None] * of_seeds[:, :, None]
        variances = variances + (examples[:, None] * of_examples)[:, None, :]
        weights = weights[:, :, None] * of_nodes[:, None, :]
    many = len(seeds)
    return np.sqrt(variances).reshape(many, -1), weights.reshape(many, -1)


def _inverse_chi_squared(freedom: Floats, nodes: int) -> tuple[Floats, Floats]:
    """Values of freedom / chi-squared and their weights, [gains, nodes] each.

    They are spaced by the logarithm, where the trapezium rule converges at once.
    """
    low, high = special.gammaincinv(freedom / 2, 1e-10), special.gammainccinv(freedom / 2, 1e-10)
    logs = np.linspace(np.log(2 * low), np.log(2 * high), nodes, axis=-1)
    values, half = np.exp(logs), freedom[:, None] / 2
    density = np.exp(half * (logs - np.log(2)) - values / 2 - special.gammaln(half))
    return freedom[:, None] / values, density * (logs[:, 1:2] - logs[:, :1])


def _tails(gain: Floats, deviations: Floats, weights: Floats) -> Floats:
    distance = np.full(deviations.shape, np.inf)
    np.divide(np.abs(gain)[:, None], deviations, out=distance, where=deviations > 0)
    p_values: Floats = (weights * 2 * special.ndtr(-distance)).sum(axis=1)
    return p_values.clip(max=1.0)


def moderated(
    gains: Sequence[Floats], seeds: Sequence[tuple[int, ...]], groups: Sequence[Hashable]
) -> tuple[Floats, Floats]:
    """Variances between seeds drawn towards their group's mean, and their degrees of freedom.

    How alike the true variances of a group are is told by how much the logarithms of those found
    scatter beyond what chance alone makes, over all groups (Smyth 2004, section 6.2,
    https://doi.org/10.2202/1544-6115.1027). Few cells tell it badly, and to take them for more
    alike than they are makes false verdicts: so they are taken as one standard error less alike
    than found, and drawn towards the plain mean, which is above Smyth's.

    Args:
        gains: Gains of each cell, [cells][seeds], of two seeds or more.
        seeds: Random seeds of each cell; cells of the same seeds may depend on each other.
        groups: Group of each cell.

    Returns:
        [cells] each.
    """
    variances = np.array([cell.var(ddof=1) for cell in gains])
    freedom = np.array([len(cell) - 1.0 for cell in gains])
    names = list(dict.fromkeys(groups))
    group = np.array([names.index(name) for name in groups], np.intp)
    counted = variances > 0
    spare = counted.sum() - len(np.unique(group[counted]))
    if spare < 1:
        return variances, freedom
    shared = _shared(gains, seeds)
    half = freedom[counted] / 2
    logs = np.log(variances[counted]) - special.digamma(half) + np.log(half)
    logs -= _mean_by(group[counted], logs, np.ones_like(logs))
    chance, fourth = special.polygamma(1, half).mean(), special.polygamma(3, half).mean()
    scatter = max((logs**2).sum() / spare - chance * (1 - shared), 0.0)
    independent = counted.sum() / (1 + (counted.sum() - 1) * shared)
    scatter += np.sqrt((fourth + 2 * chance**2) / independent)
    prior = 2 * _trigamma_inverse(scatter)
    mean = _mean_by(group, variances, freedom)
    drawn = (prior * mean + freedom * variances) / (prior + freedom)
    # A group cannot know more than its cells together.
    cells = np.bincount(group)[group]
    most = np.bincount(group, freedom)[group] / (1 + (cells - 1) * shared)
    return drawn, np.maximum(np.minimum(prior + freedom, most), freedom)


def _mean_by(group: NDArray[np.intp], values: Floats, weights: Floats) -> Floats:
    """The weighted mean of its group for each value."""
    means = np.bincount(group, values * weights) / np.bincount(group, weights).clip(min=1e-300)
    return np.asarray(means[group], np.float64)


def _shared(gains: Sequence[Floats], seeds: Sequence[tuple[int, ...]]) -> float:
    """How much of a cell's variance another one repeats: the mean squared correlation, 0 to 1.

    Chance alone correlates few seeds; its part, 1 / (seeds - 1) for independent cells, is taken
    off. Two seeds correlate by +1 or -1 and say nothing: then all is taken as shared.
    """
    alike: dict[tuple[int, ...], list[Floats]] = defaultdict(list)
    for cell, names in zip(gains, seeds, strict=True):
        order = np.argsort(names)
        if len(order) > 2 and np.ptp(cell) > 0:
            alike[tuple(sorted(names))].append(cell[order])
    total, pairs = 0.0, 0
    for names, cells in alike.items():
        if len(cells) > 1:
            freedom, many = len(names) - 1, len(cells) * (len(cells) - 1)
            squares = (np.corrcoef(cells) ** 2).sum() - len(cells)
            total += (freedom * squares - many) / (freedom - 1)
            pairs += many
    return float(np.clip(total / pairs, 0, 1)) if pairs else 1.0


def _trigamma_inverse(value: float) -> float:
    """Where the trigamma function has this value: Newton's method on 1 / trigamma.

    It starts below the root of a function that is convex, so that no step goes too far (Smyth
    2004, appendix).
    """
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = special.polygamma(1, x)
        step = trigamma * (1 - trigamma / value) / special.polygamma(2, x)
        x += step
        if abs(step) < 1e-8 * x:
            break
    return float(x)
