"""Which recipe to run next, given what a study has seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

from search.surrogate.gaussian import (
    DENSE_RUNS,
    FITTED_RUNS,
    PRIOR,
    Posterior,
    Runs,
    Scales,
    fit_scales,
    fitted_runs,
)
from search.surrogate.recipe_table import Integers, RecipeTable
from search.surrogate.threads import on_one_thread

ARM_FLOOR = 0.25
"""Share of the runs that go to the best recipe of an arm drawn among all, so that none is judged
untried."""
TASK_FLOOR = 0.5
"""Share of these that go to the best recipe with a task drawn among the arm's: a task whose first
run was unlucky, or too short, is not given up."""
GRADIENT_SHARE = 0.5
"""Share of the runs that go where an update teaches most; the rest is Thompson sampling."""
GRADIENT_RUNS = (4, DENSE_RUNS)
"""Numbers of runs between which there are such."""
CONTENDERS = 200
"""Recipes that are compared in these: those that may be best."""
SPREAD_SAMPLES = 64
OUTCOMES = special.ndtri((np.arange(15) + 0.5) / 15)
"""Outcomes of a run, in standard deviations, equally probable."""
RISK_NOISE = 0.3
"""Standard deviation of whether a run fails, of runs that are alike in all that decides it."""
TOO_RISKY = 0.5
"""Probability of failing from which on a recipe is not run."""

Mask = NDArray[np.bool_]


def _none() -> Integers:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a study has seen at one moment.

    Attributes:
        runs: Runs with scores.
        recipe_in_flight: Recipes of the runs that others are at, [k].
        seed_in_flight: Seeds of these, [k].
        infeasible: Recipes that diverged or did not fit the device.
    """

    runs: Runs
    recipe_in_flight: Integers = field(default_factory=_none)
    seed_in_flight: Integers = field(default_factory=_none)
    infeasible: Integers = field(default_factory=_none)


class Chooser:
    """Chooses recipes for runs; one reading of a study serves many proposals.

    Args:
        table: The recipes.
        evidence: What is known of them.
        fitted: Runs that the scales are fitted to at most.
    """

    def __init__(self, table: RecipeTable, evidence: Evidence, fitted: int = FITTED_RUNS) -> None:
        self.table, self.evidence, self._most = table, evidence, fitted

    @cached_property
    def scales(self) -> Scales:
        """Scales of the prior, fitted to the first of the runs."""
        return self._fitted(idle=False)

    @cached_property
    def posterior(self) -> Posterior:
        """What the finished runs say."""
        return Posterior(self.table, self.evidence.runs, self.scales)

    @cached_property
    def probability_of_effect(self) -> float:
        """Probability that any intermediate stage does anything: 1/2 before the first run.

        A study finds the best of hundreds of recipes, and the scales of a prior are never quite 0:
        without this question some gain is found in every fifth study of tasks that do nothing.
        Two models, with and without the terms of the intermediate stages, are compared by
        their evidence (MacKay 1992, section 2, https://doi.org/10.1162/neco.1992.4.3.415).
        """
        idle = Posterior(self.table, self.evidence.runs, self._fitted(idle=True))
        odds = self.posterior.log_evidence - idle.log_evidence
        return float(special.expit(odds))

    @cached_property
    def with_in_flight(self) -> Posterior:
        """The same, as sure as it will be when the runs in flight have come."""
        evidence = self.evidence
        if not len(evidence.recipe_in_flight):
            return self.posterior
        runs = evidence.runs.with_believed(
            evidence.recipe_in_flight, evidence.seed_in_flight, self.posterior.mean
        )
        return Posterior(self.table, runs, self.scales)

    @cached_property
    @on_one_thread
    def feasible(self) -> Mask:
        """Recipes that probably train, [r]; all where nothing failed, or all would.

        By a linear model of failing, 0 or 1, on what decides it (`RecipeTable.risk`).
        """
        failed, went_well = self.evidence.infeasible, self.evidence.runs.recipe
        everything: Mask = np.ones(len(self.table), dtype=bool)
        if not len(failed):
            return everything
        seen = self.table.risk[np.concatenate((failed, went_well))]
        fails = np.repeat([1.0, 0.0], [len(failed), len(went_well)])
        inner = seen.T @ seen + RISK_NOISE**2 * np.eye(seen.shape[1])
        weights = linalg.solve(inner, seen.T @ fails, assume_a="pos")
        found: Mask = self.table.risk @ weights < TOO_RISKY
        found[failed] = False
        return found if found.any() else everything

    @on_one_thread
    def choose(self, rng: np.random.Generator, allowed: Mask | None = None) -> int:
        """The row of the recipe to run next.

        First a run of each intermediate task (`_untried`). Then half of the runs go where an
        update teaches most (`_steepest`), the others are chosen by Thompson sampling: the recipe
        that is best in one posterior sample (Russo et al. 2018,
        https://arxiv.org/abs/1707.02038), of all or within one arm.

        Args:
            rng: Source of all that is random.
            allowed: Recipes to choose among; None: all.
        """
        open_to = self.feasible if allowed is None else self.feasible & allowed
        if not open_to.any():
            assert allowed is not None
            open_to = allowed
        untried = self._untried(rng, open_to)
        if untried is not None:
            return untried
        kind = rng.random()
        if kind < ARM_FLOOR:
            arms = np.unique(self.table.arm[open_to])
            open_to = open_to & (self.table.arm == rng.choice(arms))
            if rng.random() < TASK_FLOOR:
                tasks = np.unique(self.table.task[open_to])
                open_to = open_to & (self.table.task == rng.choice(tasks))
        elif kind < ARM_FLOOR + GRADIENT_SHARE:
            steepest = self._steepest(rng, open_to)
            if steepest is not None:
                return steepest
        sample = self.with_in_flight.samples(rng, 1)[:, 0]
        return int(np.argmax(np.where(open_to, sample, -np.inf)))

    def _untried(self, rng: np.random.Generator, open_to: Mask) -> int | None:
        """A recipe of a task that never ran, of the arm with the fewest that did; None: all ran.

        Each task is first seen at the target stage that suits direct training, and at the middle
        of what its own stage can be. What a task brings is mostly known after that; without it
        some of them are first tried where none would help, and are not looked at again.
        """
        table, evidence = self.table, self.evidence
        ran = np.concatenate(
            (evidence.runs.recipe, evidence.recipe_in_flight, evidence.infeasible)
        )
        is_new = open_to & (table.task >= 0) & ~np.isin(table.task, table.task[ran])
        if not is_new.any():
            return None
        arms = np.unique(table.arm[is_new])
        tried = [len(np.unique(table.task[ran][table.arm[ran] == arm])) for arm in arms]
        fewest = arms[np.array(tried) == min(tried)]
        is_new &= table.arm == rng.choice(fewest)
        is_new &= table.task == rng.choice(np.unique(table.task[is_new]))
        of_task = np.flatnonzero(is_new)
        of_target = self.posterior.mean[table.without_intermediate[of_task]]
        best = of_task[of_target == of_target.max()]
        away = table.from_middle[best]
        return int(rng.choice(best[away == away.min()]))

    def _steepest(self, rng: np.random.Generator, open_to: Mask) -> int | None:
        """The recipe with the highest knowledge gradient per update; None where there is none.

        The gradient is how much better the recommendation is expected to be after a run (Frazier
        et al. 2009, section 2, https://doi.org/10.1287/ijoc.1080.0314), here over the recipes that
        may be best.
        """
        low, high = GRADIENT_RUNS
        posterior = self.with_in_flight
        if not low <= len(posterior.runs) <= high:
            return None
        mean = self.posterior.mean
        spread = posterior.samples(rng, SPREAD_SAMPLES).std(axis=1)
        contenders = np.argsort(-(mean + 2 * spread))[:CONTENDERS]
        tried = np.flatnonzero(open_to[contenders])
        if not len(tried):
            return None
        covariance = posterior.covariance(contenders, contenders)
        deviation = np.sqrt(np.diag(covariance)[tried] + self.scales.noise**2)
        slopes = covariance[:, tried] / deviation
        height = mean[contenders][:, None]
        after = np.mean([(height + slopes * z).max(axis=0) for z in OUTCOMES], axis=0)
        gradient = (after - height.max()) / self.table.updates[contenders[tried]]
        return int(contenders[tried[np.argmax(gradient)]])

    def _fitted(self, *, idle: bool) -> Scales:
        runs = self.evidence.runs
        known = runs.first(min(self._most, fitted_runs(len(runs))))
        if not len(known):
            return replace(PRIOR, intermediate=0.0, interactions=0.0) if idle else PRIOR
        columns = (known.recipe, known.seed, known.score)
        return _fitted(self.table, *(column.tobytes() for column in columns), idle)


@lru_cache(maxsize=64)
def _fitted(table: RecipeTable, recipe: bytes, seed: bytes, score: bytes, idle: bool) -> Scales:
    """As `fit_scales`; a worker asks for the same fit until there are many more runs."""
    return fit_scales(
        table,
        Runs(
            np.frombuffer(recipe, np.int64),
            np.frombuffer(seed, np.int64),
            np.frombuffer(score, np.float64),
        ),
        idle=idle,
    )
