"""What the model answers: which recipe to take, how far from the best it may be, and its arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from search.surrogate.choosing import Chooser
from search.surrogate.recipe_table import Floats, RecipeTable
from spaces.studies import NO_INTERMEDIATE

SAMPLES = 1000
SURE = 0.95
"""Posterior probability from which on a gain is claimed."""
COMPETITIVE = 1.0
"""Points below the best direct training within which a target stage is competitive."""


@dataclass(frozen=True)
class Zero:
    """What gains are over.

    Attributes:
        row: Row of the best direct training.
        offset: Its mean measured gain: 0, unless it is not the best in every target task.
    """

    row: int
    offset: float = 0.0


@dataclass(frozen=True)
class ArmAnswer:
    """What is known of one arm.

    Attributes:
        recipe: Row of the recipe that is recommended within the arm.
        probability_best: That it is better than what is recommended of any other arm; where no
            intermediate stage does anything, direct training is.
        probability_gain: That it is better than the best direct training; 0 for that itself.
        probability_loss: That it is worse: where no intermediate stage does anything, neither is.
        gain: Points over the best direct training: posterior mean.
        interval: 95 % interval of the gain.
        itself: Points over the same target stage without an intermediate task: posterior mean.
        itself_interval: 95 % interval of these.
        tried: Intermediate tasks of the arm that were run.
        runs: Runs of the arm.
        is_fair: Whether at least half of its tasks were run at a competitive target stage.
    """

    recipe: int
    probability_best: float
    probability_gain: float
    probability_loss: float
    gain: float
    interval: tuple[float, float]
    itself: float
    itself_interval: tuple[float, float]
    tried: int
    runs: int
    is_fair: bool

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


def answer(
    chooser: Chooser,
    zero: Zero,
    rng: np.random.Generator,
    samples: int = SAMPLES,
    recommended: Mapping[str, int] | None = None,
) -> Answer:
    """What is recommended, and how sure that is.

    Arms are compared by the recipe that is recommended of each: the maximum over all recipes in a
    sample would be the better the more recipes an arm has, whatever its task does.

    Args:
        chooser: The model.
        zero: What gains are over.
        rng: Source of the posterior samples.
        samples: Number of posterior samples.
        recommended: Arm -> row of the recipe that is recommended of it; None: of each arm the one
            with the highest posterior mean. Other arms are left out.
    """
    table, mean = chooser.table, np.where(chooser.feasible, chooser.posterior.mean, -np.inf)
    drawn = chooser.posterior.samples(rng, samples)
    best = recommend(chooser)
    short = np.where(chooser.feasible[:, None], drawn, -np.inf).max(axis=0) - drawn[best]
    leaders = _leaders(table, mean) if recommended is None else dict(recommended)
    leaders[NO_INTERMEDIATE] = zero.row
    of_arms = drawn[list(leaders.values())]
    of_arms[list(leaders).index(NO_INTERMEDIATE)] -= zero.offset
    wins = np.bincount(of_arms.argmax(axis=0), minlength=len(leaders)) / samples
    effect = chooser.probability_of_effect
    wins *= effect
    wins[list(leaders).index(NO_INTERMEDIATE)] += 1 - effect
    # So large a share of the samples is of a world in which no intermediate stage does anything.
    idle = round((1 - effect) * samples)
    arms = {}
    for (name, row), share in zip(leaders.items(), wins, strict=True):
        gains = drawn[row] - drawn[zero.row] + zero.offset
        itself = drawn[row] - drawn[table.without_intermediate[row]]
        gains[:idle] = itself[:idle] = 0.0
        arms[name] = _arm_answer(chooser, zero, row, float(share), gains, itself)
    return Answer(
        recipe=best,
        arm=table.arms[table.arm[best]],
        regret=float(short.mean()),
        regret_90=float(np.quantile(short, 0.9)),
        probability_of_effect=effect,
        arms=arms,
    )


def expected_gains(chooser: Chooser, zero: Zero) -> Floats:
    """Expected gain of every recipe, percentage points, [r]; no other is shown of it."""
    mean = chooser.posterior.mean
    gains: Floats = chooser.probability_of_effect * (mean - mean[zero.row] + zero.offset)
    return gains


def _leaders(table: RecipeTable, mean: Floats) -> dict[str, int]:
    return {
        name: int(np.argmax(np.where(table.arm == place, mean, -np.inf)))
        for place, name in enumerate(table.arms)
        if (table.arm == place).any()
    }


def _arm_answer(
    chooser: Chooser, zero: Zero, row: int, share: float, gains: Floats, itself: Floats
) -> ArmAnswer:
    table, runs = chooser.table, chooser.evidence.runs.recipe
    mine = runs[table.arm[runs] == table.arm[row]]
    mean = chooser.posterior.mean
    fine = mean[table.without_intermediate[mine]] >= mean[zero.row] - COMPETITIVE
    tasks = np.unique(table.task[table.arm == table.arm[row]])
    fairly = np.unique(table.task[mine[fine]])
    alone = mean[row] - mean[table.without_intermediate[row]]
    return ArmAnswer(
        recipe=row,
        probability_best=share,
        probability_gain=float((gains > 0).mean()),
        probability_loss=float((gains < 0).mean()),
        gain=float(expected_gains(chooser, zero)[row]),
        interval=_interval(gains),
        itself=float(chooser.probability_of_effect * alone),
        itself_interval=_interval(itself),
        tried=len(np.unique(table.task[mine])),
        runs=len(mine),
        is_fair=2 * len(fairly) >= len(tasks),
    )


def _interval(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
