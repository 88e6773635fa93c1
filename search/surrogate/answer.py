"""What the model answers: which recipe to take, how far from the best it may be, and its arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from search.surrogate.choosing import Chooser, Mask
from search.surrogate.gains import (
    NO_GAIN,
    Zero,
    expected_gains,
    gains_of_themselves,
    gains_over,
)
from search.surrogate.recipe_table import Floats
from search.surrogate.threads import on_one_thread
from spaces.studies import NO_INTERMEDIATE

SAMPLES = 1000
SURE = 0.975
"""Posterior probability of a gain, or of a loss, from which on it is claimed: where the 95 %
interval is on one side of 0."""
COMPETITIVE = 1.0
"""Points below the best direct training within which a target stage is competitive."""
WIDENING = 1.25
"""Of deviations from the posterior mean, where the best of all recipes is asked for: recipes that
were never run are off by 1.3 to 1.5 times what the posterior says on the landscapes of
tests/benchmarks/search_efficiency.py, as no task's curves are quite those of the prior; those
that are recommended are not."""


@dataclass(frozen=True)
class ArmAnswer:
    """What is known of one arm.

    Attributes:
        recipe: Row of the recipe that is recommended within the arm.
        probability_best: That it is better than what is recommended of any other arm, and that
            no other arm with an intermediate task has a better recipe anywhere. What the arms
            have of 1 together is how far the question is decided.
        probability_gain: That it is better than the best direct training; 0 for that itself.
        probability_loss: That it is worse; both fall short of 1 by the probability of no effect.
        gain: Points over the best direct training: posterior mean.
        interval: 95 % interval of the gain.
        itself: Points over the same target stage without an intermediate task: posterior mean.
        itself_interval: 95 % interval of these.
        tried: Intermediate tasks of the arm that were run.
        tasks: Intermediate tasks of the arm.
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
    tasks: int
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


@on_one_thread
def answer(
    chooser: Chooser,
    zero: Zero,
    rng: np.random.Generator,
    samples: int = SAMPLES,
    recommended: Mapping[str, int] | None = None,
) -> Answer:
    """What is recommended, and how sure that is.

    Args:
        chooser: The model.
        zero: What gains are over.
        rng: Source of the posterior samples, which the probabilities of arms and the distance
            from the best recipe are of; gains and their intervals need none.
        samples: Number of posterior samples.
        recommended: Arm -> row of the recipe that is recommended of it; None: of each arm the one
            with the highest posterior mean. Other arms are left out.
    """
    table, feasible = chooser.table, chooser.feasible
    mean, drawn = chooser.posterior.mean, chooser.posterior.samples(rng, samples)
    best = recommend(chooser)
    leaders = _leaders(chooser, zero) if recommended is None else dict(recommended)
    leaders[NO_INTERMEDIATE] = zero.row
    shares = _shares(chooser, leaders, zero, drawn)
    regret = _regret(mean, drawn, feasible, best)
    # So large a share of the samples is of a world in which no intermediate stage does anything.
    idle = round((1 - chooser.probability_of_effect) * samples)
    regret[:idle] = max(0.0, mean[zero.row] - mean[table.without_intermediate[best]])
    return Answer(
        recipe=best,
        arm=table.arms[table.arm[best]],
        regret=float(regret.mean()),
        regret_90=float(np.quantile(regret, 0.9)),
        probability_of_effect=chooser.probability_of_effect,
        arms={
            name: _arm_answer(chooser, zero, row, share)
            for (name, row), share in zip(leaders.items(), shares, strict=True)
        },
    )


def _leaders(chooser: Chooser, zero: Zero) -> dict[str, int]:
    """Arm -> row of its recipe with the highest posterior mean."""
    table, mean = chooser.table, expected_gains(chooser, zero)
    mean = np.where(chooser.feasible, mean, mean.min() - 1)
    return {
        name: int(np.argmax(np.where(table.arm == place, mean, -np.inf)))
        for place, name in enumerate(table.arms)
        if (table.arm == place).any()
    }


def _regret(mean: Floats, drawn: Floats, feasible: Mask, best: int) -> Floats:
    """Points between the recommended recipe and the best one, in each sample."""
    wide = mean[:, None] + WIDENING * (drawn - mean[:, None])
    short: Floats = np.where(feasible[:, None], wide, -np.inf).max(axis=0) - wide[best]
    return short


def _shares(
    chooser: Chooser, leaders: Mapping[str, int], zero: Zero, drawn: Floats
) -> list[float]:
    """Share of the samples in which each arm is best, as `ArmAnswer.probability_best` has it.

    That the recommended recipe is better than other arms' is not enough: of an arm that was run
    little, what is recommended says little of what it has. Direct training is tuned before all
    else and is compared by recommended recipes alone: the best of thousands of untried recipes
    would beat it in any sample.
    """
    table, names = chooser.table, list(leaders)
    none = names.index(NO_INTERMEDIATE)
    of_leaders = drawn[list(leaders.values())]
    of_leaders[none] -= zero.offset
    wins = of_leaders.argmax(axis=0)
    highest = np.full((len(table.arms), drawn.shape[1]), -np.inf)
    for place, name in enumerate(table.arms):
        mine = chooser.feasible & (table.arm == place)
        if name != NO_INTERMEDIATE and mine.any():
            highest[place] = drawn[mine].max(axis=0)
    holds_best = highest.argmax(axis=0)
    effect = chooser.probability_of_effect
    shares = [
        effect * float(((wins == place) & (holds_best == table.arms.index(name))).mean())
        for place, name in enumerate(names)
    ]
    shares[none] = effect * float((wins == none).mean()) + 1 - effect
    return shares


def _arm_answer(chooser: Chooser, zero: Zero, row: int, share: float) -> ArmAnswer:
    table, runs = chooser.table, chooser.evidence.runs.recipe
    mine = runs[table.arm[runs] == table.arm[row]]
    mean, rows = chooser.posterior.mean, np.array([row])
    fine = mean[table.without_intermediate[mine]] >= mean[zero.row] - COMPETITIVE
    tasks = np.unique(table.task[table.arm == table.arm[row]])
    fairly = np.unique(table.task[mine[fine]])
    if row == zero.row:
        gain = alone = NO_GAIN
    else:
        gain, alone = gains_over(chooser, zero, rows)[0], gains_of_themselves(chooser, rows)[0]
    return ArmAnswer(
        recipe=row,
        probability_best=share,
        probability_gain=gain.probability,
        probability_loss=gain.probability_loss,
        gain=gain.points,
        interval=gain.interval,
        itself=alone.points,
        itself_interval=alone.interval,
        tried=len(np.unique(table.task[mine])),
        tasks=len(tasks),
        runs=len(mine),
        is_fair=2 * len(fairly) >= len(tasks),
    )
