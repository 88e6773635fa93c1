"""A Gaussian model of the scores of runs: y(recipe, seed) = f(recipe) + noise.

f is a sum of Gaussian terms over the recipes of a table (`search.surrogate.recipe_table`), each
group of terms with a scale of its own. The noise of a run is what its seed does to all runs, what
it does to the intermediate stages, which runs of one trunk share, and what it does to the target
stage. All is exact: sums of Gaussians, conditioned on the runs (Rasmussen & Williams 2006,
chapter 2, https://gaussianprocess.org/gpml/chapters/RW2.pdf).

Shapes: n runs, r recipes, f features, s samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, sparse

from search.surrogate.recipe_table import (
    INTERACTIONS,
    INTERMEDIATE,
    OWN,
    TARGET,
    Floats,
    Integers,
    RecipeTable,
)
from search.surrogate.threads import on_one_thread

SEED_SHARE, TRUNK_SHARE, TARGET_SHARE = 0.15, 0.25, 0.60
"""Parts of the variance of a run's noise: common to its seed, to trunk and seed, its own."""
DENSE_RUNS = 1000
"""Runs up to which the covariance of the runs is factorised; of more, that of the features."""
FITTED_RUNS = 400
"""Runs that the scales are fitted to at most: four numbers need no more."""
REFIT = 1.25
"""The scales are fitted anew when there are so many times the runs of the last fit."""
FIRST_FIT = 8
JITTER = 1e-8


@dataclass(frozen=True)
class Scales:
    """Standard deviations in percentage points: of the three groups of terms, and of the noise."""

    target: float = 3.0
    intermediate: float = 1.5
    interactions: float = 1.0
    noise: float = 1.5

    def by_group(self) -> Floats:
        """Of each group of features; that of the mean is its own."""
        return np.array([1.0, self.target, self.intermediate, self.interactions])


PRIOR = Scales()
PRIOR_SPREAD = np.array([0.7, 0.7, 0.7, 0.4])
"""Standard deviations of the logarithms of the scales about `PRIOR`."""


@dataclass(frozen=True)
class Runs:
    """Runs with their scores, each (recipe, seed) once.

    Attributes:
        recipe: Row of each run's recipe in the table, [n].
        seed: Seed of each run, [n].
        score: Score of each run, percentage points, [n].
    """

    recipe: Integers
    seed: Integers
    score: Floats

    def __len__(self) -> int:
        return len(self.recipe)

    def first(self, count: int) -> Runs:
        """The first of them."""
        return Runs(self.recipe[:count], self.seed[:count], self.score[:count])

    def with_believed(self, recipe: Integers, seed: Integers, mean: Floats) -> Runs:
        """These and runs in flight, as if they had come out as the model expects.

        The posterior mean stays as it is, and the model is as sure as it will be: what is in
        flight is not proposed again for what one would learn from it (Ginsbourger et al. 2010,
        "kriging believer", section 3.2, https://hal.science/hal-00260579).

        Args:
            recipe: Recipes of the runs in flight.
            seed: Their seeds.
            mean: Posterior mean of every recipe of the table, [r].
        """
        return Runs(
            np.concatenate((self.recipe, recipe)),
            np.concatenate((self.seed, seed)),
            np.concatenate((self.score, mean[recipe])),
        )


class Posterior:
    """What runs say of all recipes of a table.

    Args:
        table: The recipes.
        runs: The runs.
        scales: Scales of the prior.
    """

    @on_one_thread
    def __init__(self, table: RecipeTable, runs: Runs, scales: Scales) -> None:
        self.table, self.runs, self.scales = table, runs, scales
        self._features = table.features * scales.by_group()[table.group]
        self._own = (OWN * scales.interactions) ** 2
        self._centre = float(runs.score.mean()) if len(runs) else 0.0
        self._seen = self._features[runs.recipe]
        self._noise = _Noise(runs, table.trunk[runs.recipe], scales.noise)
        form = _DenseRuns if len(runs) <= DENSE_RUNS else _Weights
        self._inverse = form(self._seen, self._own, runs.recipe, self._noise)

    @cached_property
    @on_one_thread
    def mean(self) -> Floats:
        """Posterior mean of every recipe, percentage points, [r]."""
        return self._centre + self._carried(self.runs.score[:, None] - self._centre)[:, 0]

    @property
    @on_one_thread
    def log_evidence(self) -> float:
        """Logarithm of the density of the runs' scores, but for a constant."""
        gap = self.runs.score[:, None] - self._centre
        fit = float(gap[:, 0] @ self._inverse.solve(gap)[:, 0]) if len(gap) else 0.0
        return -fit / 2 - self._inverse.half_log_determinant

    @on_one_thread
    def samples(self, rng: np.random.Generator, count: int) -> Floats:
        """Joint posterior samples of all recipes, percentage points, [r, s].

        By Matheron's rule: a sample of the prior, corrected by what its runs would have had to
        be (Wilson et al. 2020, section 3, https://arxiv.org/abs/2002.09309).

        Args:
            rng: Source of the samples.
            count: Number of samples.
        """
        recipes, features = self._features.shape
        values = self._features @ rng.standard_normal((features, count))
        values += self._own**0.5 * rng.standard_normal((recipes, count))
        noise = self._noise.sample(rng, count)
        gap = (self.runs.score - self._centre)[:, None] - values[self.runs.recipe] - noise
        values += self._centre + self._carried(gap)
        return values

    @on_one_thread
    def covariance(self, some: Integers, others: Integers) -> Floats:
        """Posterior covariance between recipes, squared points, [some, others]."""

        def prior(one: Integers, other: Integers) -> Floats:
            shared = self._own * (one[:, None] == other)
            covariance: Floats = self._features[one] @ self._features[other].T + shared
            return covariance

        runs = self.runs.recipe
        known: Floats = prior(some, runs) @ self._inverse.solve(prior(runs, others))
        return prior(some, others) - known

    def _carried(self, gap: Floats) -> Floats:
        """What gaps at the runs, [n, s], mean for all recipes, [r, s]."""
        solved = self._inverse.solve(gap)
        carried = self._features @ (self._seen.T @ solved)
        np.add.at(carried, self.runs.recipe, self._own * solved)
        return carried


class _Noise:
    """Noise of runs in three parts; those that no other run shares count as the run's own.

    Args:
        runs: The runs.
        trunk: Trunk of each run, [n].
        scale: Standard deviation of a run's noise, percentage points.

    Attributes:
        own: Variance of what each run has alone, [n].
        shared: Standard deviation, and the group of each run, of what groups of runs share.
    """

    def __init__(self, runs: Runs, trunk: Integers, scale: float) -> None:
        self.own = np.full(len(runs), scale**2 * TARGET_SHARE)
        self.shared: list[tuple[float, Integers]] = []
        pairs = np.stack((trunk, runs.seed), axis=1)
        for share, keys in ((SEED_SHARE, pairs[:, 1:]), (TRUNK_SHARE, pairs)):
            _, group, size = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
            group = group.reshape(-1)
            if (size == 1).all():
                self.own += scale**2 * share
            else:
                self.shared.append((scale * share**0.5, group))

    def sample(self, rng: np.random.Generator, count: int) -> Floats:
        """Samples of the noise, [n, count]."""
        noise: Floats = self.own[:, None] ** 0.5 * rng.standard_normal((len(self.own), count))
        for deviation, group in self.shared:
            noise += deviation * rng.standard_normal((group.max() + 1, count))[group]
        return noise


class _DenseRuns:
    """The inverse of the covariance of runs by its Cholesky factor: n ** 3 / 3 operations.

    Args:
        seen: Scaled features of each run's recipe, [n, f].
        own: Variance of a recipe's own term.
        recipe: Recipe of each run, [n].
        noise: Noise of the runs.

    Attributes:
        half_log_determinant: Half the logarithm of the determinant of the covariance.
    """

    def __init__(self, seen: Floats, own: float, recipe: Integers, noise: _Noise) -> None:
        covariance = seen @ seen.T
        covariance += own * (recipe[:, None] == recipe)
        for deviation, group in noise.shared:
            covariance += deviation**2 * (group[:, None] == group)
        covariance.flat[:: len(recipe) + 1] += noise.own
        self._factor = linalg.cholesky(covariance, lower=True, check_finite=False)
        self.half_log_determinant = float(np.log(np.diag(self._factor)).sum())

    def solve(self, right: Floats) -> Floats:
        """The inverse times `right`, [n, s]."""
        if not len(right):
            return right
        solved: Floats = linalg.cho_solve((self._factor, True), right, check_finite=False)
        return solved


class _Weights:
    """The same inverse by the features and the shared terms, of which there are fewer than runs.

    By Woodbury's identity: n * f ** 2 operations, and (f + groups) ** 3 / 3. Takes and has what
    `_DenseRuns` does.
    """

    def __init__(self, seen: Floats, own: float, recipe: Integers, noise: _Noise) -> None:
        variance, columns = noise.own.copy(), []
        for deviation, group in (*noise.shared, (own**0.5, recipe)):
            _, place, size = np.unique(group, return_inverse=True, return_counts=True)
            is_shared = size[place] > 1
            # What one run has for itself is noise like any other.
            variance[~is_shared] += deviation**2
            inside, groups = np.flatnonzero(is_shared), np.cumsum(size > 1)
            columns.append(
                sparse.csr_matrix(
                    (np.full(len(inside), deviation), (inside, groups[place[inside]] - 1)),
                    shape=(len(recipe), int(groups[-1])),
                )
            )
        members = sparse.hstack(columns, format="csr")
        self._seen, self._members, self._variance = seen, members, variance[:, None]
        weighted = seen / self._variance
        inner = np.block(
            [
                [seen.T @ weighted, (members.T @ weighted).T],
                [members.T @ weighted, (members.T @ (members / self._variance)).toarray()],
            ]
        )
        inner.flat[:: len(inner) + 1] += 1.0
        self._factor = linalg.cholesky(inner, lower=True, check_finite=False)
        of_runs = np.log(self._variance).sum() / 2
        self.half_log_determinant = float(np.log(np.diag(self._factor)).sum() + of_runs)

    def solve(self, right: Floats) -> Floats:
        """The inverse times `right`, [n, s]."""
        scaled = right / self._variance
        inner = np.concatenate((self._seen.T @ scaled, self._members.T @ scaled))
        solved = linalg.cho_solve((self._factor, True), inner, check_finite=False)
        features = self._seen.shape[1]
        back: Floats = self._seen @ solved[:features] + self._members @ solved[features:]
        result: Floats = scaled - back / self._variance
        return result


def fitted_runs(runs: int) -> int:
    """Of how many first runs the scales are fitted, when there are so many; 0: of none."""
    count = float(FIRST_FIT)
    if runs < count:
        return 0
    while count * REFIT <= runs:
        count *= REFIT
    return min(int(count), FITTED_RUNS)


@on_one_thread
def fit_scales(table: RecipeTable, runs: Runs, *, idle: bool = False) -> Scales:
    """The scales of highest posterior density given runs: marginal likelihood and prior.

    Args:
        table: The recipes.
        runs: Runs; few hundred are enough.
        idle: Whether no intermediate stage does anything: the scales of its groups are 0.
    """
    seen = table.features[runs.recipe]
    parts = [
        seen[:, table.group == group] @ seen[:, table.group == group].T
        for group in (TARGET, INTERMEDIATE, INTERACTIONS)
    ]
    parts[-1] += OWN**2 * (runs.recipe[:, None] == runs.recipe)
    parts.append(_noise_shape(runs, table.trunk[runs.recipe]))
    of_mean = seen[:, table.group == 0] @ seen[:, table.group == 0].T
    of_mean.flat[:: len(runs) + 1] += JITTER
    score = runs.score - runs.score.mean()
    free = [0, 3] if idle else [0, 1, 2, 3]
    parts = [parts[i] for i in free]
    prior, spread = np.log(_in_order(PRIOR))[free], PRIOR_SPREAD[free]

    def loss(logs: Floats) -> tuple[float, Floats]:
        variances = np.exp(2 * logs)
        covariance = of_mean + sum(v * part for v, part in zip(variances, parts, strict=True))
        factor = linalg.cholesky(covariance, lower=True, check_finite=False)
        inverse = linalg.cho_solve((factor, True), np.eye(len(runs)), check_finite=False)
        solved = inverse @ score
        away = (logs - prior) / spread
        value = score @ solved / 2 + np.log(np.diag(factor)).sum() + away @ away / 2
        outer = inverse - np.outer(solved, solved)
        slopes = [v * np.vdot(part, outer) for v, part in zip(variances, parts, strict=True)]
        return float(value), np.array(slopes) + away / spread

    # Beyond three standard deviations of the prior a covariance may be none to a computer.
    low, high = prior - 3 * spread, prior + 3 * spread
    found = optimize.minimize(
        loss,
        prior,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)),
        options={"maxiter": 30, "ftol": 1e-6},
    )
    scales = np.zeros(4)
    scales[free] = np.exp(found.x)
    return Scales(*map(float, scales))


def _in_order(scales: Scales) -> list[float]:
    return [scales.target, scales.intermediate, scales.interactions, scales.noise]


def _noise_shape(runs: Runs, trunk: Integers) -> Floats:
    """Correlation of the noise of runs, [n, n]."""
    same_seed: NDArray[np.bool_] = runs.seed[:, None] == runs.seed
    shape: Floats = SEED_SHARE * same_seed + TRUNK_SHARE * (same_seed & (trunk[:, None] == trunk))
    shape.flat[:: len(runs) + 1] += TARGET_SHARE
    return shape
