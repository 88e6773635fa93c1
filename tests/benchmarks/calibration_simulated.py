"""Simulated studies, down to the single example, judged as `search.confirm` judges real ones.

Three arms (intermediate tasks of three domains) against none in six languages:

1. Search: the best of four recipes of an arm is taken by one seed on the validation split.
2. Confirmation: fresh seeds, test split, `objectives.gains.intervals`.

In a planted study the best recipe of one arm helps, that of another hurts by as much, and the
third arm does nothing. In a null study no arm does anything. Two families are judged in each,
arms (means over the languages) and arms x languages, each at half of 5 %, so that a whole study
keeps to 5 %: a null study counts as a false positive if any verdict of either family says helps
or hurts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from objectives.gains.intervals import GainEstimate, Judgement, estimate_gains, judge
from objectives.gains.rules import Verdict
from objectives.gains.seed_gains import PairedOutcomes, SeedGains, gains_of_outcomes, mean_gains
from spaces.task import Metric

Floats = NDArray[np.float64]

ARMS = ("general", "biomedical", "legal")
LANGUAGES = 6
RECIPES_BELOW = (0.0, 1.0, 2.0, 3.0)
"""Percentage points by which an arm's recipes fall behind its best one, where it does anything."""
EXAMPLES = (200, 500)
VALIDATION_EXAMPLES = 200
RESAMPLES = 200
ALPHA = 0.05
FAMILIES = 2
EFFECTS = (0.0, 3.0, 6.0)
"""Percentage points, of the best recipe of the arm that helps; 0 is the null plant."""
SEEDS = (3, 5)

# The noise of seeds is that of 110 cells of 11 intermediate x 10 target tasks, RoBERTa-large, in
# the run files of nyu-mll/jiant at 6d661727acea16fef28b8bf47920fddf15444796
# (scripts/taskmaster/metadata/v1_data_files): the median range of three runs is 3.0 percentage
# points, of all cells with two or three different scores 2.6; `simulated_range` is 3.0.
# Which part of it a checkpoint's languages share is not known; half is assumed. The two sides of a
# pair are taken as independent, which is the worst case: what one seed does to both cancels.
CHECKPOINT_SD = 0.8
LANGUAGE_SD = 0.8
LANGUAGE_SPREAD = 0.4
"""Standard deviation of the logarithm of a cell's own seed deviation: cells are not alike."""
# Parts of the variance of what decides an example: its difficulty, what an arm makes of it
# whatever the seed, and what a seed makes of it.
DIFFICULTY, OF_ARM, OF_SEED = 0.8, 0.1, 0.1


@dataclass
class Tally:
    """What a number of studies of one design came to.

    Attributes:
        seeds: Of the confirmation.
        effect: Percentage points, of the best arm's best recipe; 0 for null studies.
        studies: How many.
        hits: Verdict on the best, the harmful and the idle arm, and of the languages of the best
            and the harmful arm: how many were right.
        false: Studies with a helps or hurts that is not true, of arms, of cells, of either.
        covered: Intervals that hold the truth, of arms and of cells.
        errors: Estimate minus truth of arms, percentage points: in search, and confirmed.
        detectable: What arms' smallest detectable gain was said to be.
    """

    seeds: int
    effect: float
    studies: int = 0
    hits: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    false: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    covered: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    errors: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    detectable: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """As it is printed, shares in [0, 1]."""
        n, cells = self.studies, len(ARMS) * LANGUAGES
        row: dict[str, Any] = {"seeds": self.seeds, "effect": self.effect, "n": n}
        if self.effect:
            row |= {name: round(self.hits[name] / n, 3) for name in ("best", "harmful", "idle")}
            row["languages"] = round(self.hits["languages"] / (2 * LANGUAGES * n), 3)
        row |= {f"false_{name}": round(self.false[name] / n, 3) for name in FALSE}
        row["coverage_arms"] = round(self.covered["arms"] / (len(ARMS) * n), 3)
        row["coverage_cells"] = round(self.covered["cells"] / (cells * n), 3)
        row["search_bias"] = round(fmean(self.errors["search"]), 2)
        row["confirmed_bias"] = round(fmean(self.errors["confirmed"]), 2)
        # Arms of a study share a baseline, so that studies are what counts.
        row["bias_error"] = round(stdev(self.errors["confirmed"]) / n**0.5, 2)
        row["detectable"] = round(median(self.detectable), 1)
        return row


FALSE = ("arms", "cells", "either")


@dataclass(frozen=True)
class Passages:
    """What the questions of one passage have in common.

    Attributes:
        questions: Questions of each passage.
        correlation: Share of the variance of each part of `parts` that they have in common.
        parts: Parts of the variance of what decides an example: difficulty, arm, seed.
        are_known: Whether the statistics are told which questions are of one passage.
    """

    questions: int
    correlation: float
    parts: tuple[float, float, float]
    are_known: bool = True

    def groups(self, examples: int) -> NDArray[np.int32]:
        """The passage of each example."""
        return np.arange(examples, dtype=np.int32) // self.questions


class Truth:
    """One study's world: what each arm's recipes really do in each language."""

    def __init__(
        self,
        effects: tuple[float, ...],
        rng: np.random.Generator,
        passages: Passages | None = None,
    ) -> None:
        self._rng = rng
        self._passages = passages
        self._parts = passages.parts if passages else (DIFFICULTY, OF_ARM, OF_SEED)
        self._effects = effects
        self._base = rng.uniform(0.4, 0.7, LANGUAGES)
        spread = rng.normal(0, LANGUAGE_SPREAD, (len(ARMS) + 1, LANGUAGES))
        points = (
            100 * np.exp(-(special.ndtri(self._base) ** 2) / 2) / np.sqrt(2 * np.pi)
        )  # per unit of what decides
        self._of_checkpoint = CHECKPOINT_SD / points
        self._of_language = LANGUAGE_SD * np.exp(spread) / points

    def choose(self) -> tuple[Floats, Floats]:
        """Search: (true gains, gains as seen on validation) of the recipe taken for each arm."""
        examples = [VALIDATION_EXAMPLES] * LANGUAGES
        recipes = [[e - below * (e != 0) for below in RECIPES_BELOW] for e in self._effects]
        flat = [0.0, *(gain for arm in recipes for gain in arm)]
        arms = [0, *(arm + 1 for arm, gains in enumerate(recipes) for _ in gains)]
        right = self.train(flat, arms, 1, examples)
        scores = 100 * np.array([[x.mean() for x in of_recipe] for of_recipe in right]).mean(1)
        seen = (scores[1:] - scores[0]).reshape(len(ARMS), -1)
        taken = seen.argmax(axis=1)
        places = np.arange(len(ARMS))
        return np.array(recipes)[places, taken], seen[places, taken]

    def train(
        self, gains: list[float], arms: list[int], seeds: int, examples: list[int]
    ) -> list[list[NDArray[np.bool_]]]:
        """What is answered rightly, [trainings][languages] of [seeds, examples].

        Args:
            gains: True gain of each training, percentage points, over seeds and examples.
            arms: Of which arm each is; 0 for none.
            seeds: How many trainings of each.
            examples: Of each language.
        """
        draw, (difficulty, of_arm, of_seed) = self._rng.standard_normal, self._parts
        checkpoint = draw((len(gains), seeds))
        found: list[list[NDArray[np.bool_]]] = [[] for _ in gains]
        for place, size in enumerate(examples):
            shared = self._of_examples(size) * difficulty**0.5
            for row, (gain, arm) in enumerate(zip(gains, arms, strict=True)):
                deviation = np.array([self._of_checkpoint[place], self._of_language[arm, place]])
                # The mean over seeds is to be the score, not the score of the mean seed.
                level = special.ndtri(self._base[place] + gain / 100)
                level *= np.sqrt(1 + (deviation**2).sum())
                moved = level + deviation @ np.stack([checkpoint[row], draw(seeds)])
                of_example = shared + self._of_examples(size) * of_arm**0.5
                noise = self._of_examples(seeds, size) * of_seed**0.5
                found[row].append(moved[:, None] + of_example + noise > 0)
        return found

    def _of_examples(self, *shape: int) -> Floats:
        """Standard normal values, [..., examples]."""
        own = self._rng.standard_normal(shape)
        if self._passages is None:
            return own
        *before, examples = shape
        groups = self._passages.groups(examples)
        common = self._rng.standard_normal((*before, groups[-1] + 1))[..., groups]
        share = self._passages.correlation
        return share**0.5 * common + (1 - share) ** 0.5 * own


def simulate(
    effect: float, seeds: int, studies: int, seed: int, passages: Passages | None = None
) -> Tally:
    """Judge so many studies of one design."""
    tally = Tally(seeds, effect)
    for number in range(studies):
        rng = np.random.default_rng([seed, seeds, int(10 * effect), number])
        world = Truth((effect, 0.0, -effect), rng, passages)
        truth, seen = world.choose()
        cells = simulated_cells(world, truth, seeds, number, passages)
        _count(tally, truth, seen, cells)
    return tally


def simulated_range(seed: int) -> float:
    """Median range of three trainings' scores on a test split, percentage points."""
    ranges = []
    for number in range(40):
        world = Truth((0.0, 0.0, 0.0), np.random.default_rng([seed, number]))
        for right in world.train([0.0] * 4, [0, 1, 2, 3], 3, _test_sizes()):
            ranges += [100 * float(np.ptp(of_language.mean(axis=1))) for of_language in right]
    return median(ranges)


def _test_sizes() -> list[int]:
    return [int(size) for size in np.linspace(*EXAMPLES, LANGUAGES)]


def simulated_cells(
    world: Truth, truth: Floats, seeds: int, number: int, passages: Passages | None = None
) -> dict[tuple[str, str], SeedGains]:
    """(arm, language) -> gains of fresh seeds on the test split."""
    right = world.train([0.0, *truth], list(range(len(ARMS) + 1)), seeds, _test_sizes())
    outcomes = [
        [[np.stack([x, np.ones_like(x)], 1).astype(np.float32) for x in of] for of in training]
        for training in right
    ]
    groups = [
        passages.groups(size) if passages and passages.are_known else None
        for size in _test_sizes()
    ]
    return gains_of_outcomes(
        {
            (arm, f"language {place}"): PairedOutcomes(
                Metric.ACCURACY,
                tuple(range(seeds)),
                tuple(outcomes[row + 1][place]),
                tuple(outcomes[0][place]),
                f"language {place}",
                groups[place],
            )
            for row, arm in enumerate(ARMS)
            for place in range(LANGUAGES)
        },
        resamples=RESAMPLES,
        seed=number,
    )


def _count(
    tally: Tally, truth: Floats, seen: Floats, cells: dict[tuple[str, str], SeedGains]
) -> None:
    true = dict(zip(ARMS, truth.tolist(), strict=True))
    of_cells = judge(estimate_gains(cells), ALPHA / FAMILIES)
    means = {a: mean_gains([cell for (b, _), cell in cells.items() if a == b]) for a in ARMS}
    of_arms = judge(estimate_gains(means), ALPHA / FAMILIES)
    tally.studies += 1
    best, idle, harmful = ARMS
    tally.hits["best"] += _is(of_arms[best], Verdict.HELPS) and best == max(
        ARMS, key=lambda arm: of_arms[arm].estimate.gain
    )
    tally.hits["harmful"] += _is(of_arms[harmful], Verdict.HURTS)
    tally.hits["idle"] += _is(of_arms[idle], Verdict.UNDECIDED)
    tally.hits["languages"] += sum(
        _is(judged, Verdict.HELPS if true[arm] > 0 else Verdict.HURTS)
        for (arm, _), judged in of_cells.items()
        if arm != idle
    )
    wrong_arms = any(is_wrong(judged, true[arm]) for arm, judged in of_arms.items())
    wrong_cells = any(is_wrong(judged, true[arm]) for (arm, _), judged in of_cells.items())
    for name, wrong in zip(
        FALSE, (wrong_arms, wrong_cells, wrong_arms | wrong_cells), strict=True
    ):
        tally.false[name] += wrong
    tally.covered["arms"] += sum(_covers(j.estimate, true[arm]) for arm, j in of_arms.items())
    tally.covered["cells"] += sum(
        _covers(j.estimate, true[arm]) for (arm, _), j in of_cells.items()
    )
    for place, arm in enumerate(ARMS):
        tally.errors["search"].append(float(seen[place]) - true[arm])
        tally.errors["confirmed"].append(of_arms[arm].estimate.gain - true[arm])
        tally.detectable.append(of_arms[arm].detectable or 0.0)


def _is(judged: Judgement, verdict: Verdict) -> bool:
    return judged.verdict is verdict


def is_wrong(judged: Judgement, truth: float) -> bool:
    """Whether a helps or hurts is not true."""
    if judged.verdict is Verdict.HELPS:
        return truth <= 0
    return judged.verdict is Verdict.HURTS and truth >= 0


def _covers(estimate: GainEstimate, truth: float) -> bool:
    assert estimate.interval is not None
    low, high = estimate.interval
    return low <= truth <= high


def summary(tallies: list[Tally]) -> dict[str, Any]:
    """All designs together; shares in [0, 1]."""
    null = [tally for tally in tallies if not tally.effect]
    able = max(tallies, key=lambda tally: (tally.effect, tally.seeds))
    studies = sum(tally.studies for tally in tallies)
    covered = {name: sum(t.covered[name] for t in tallies) for name in ("arms", "cells")}
    intervals = {"arms": len(ARMS) * studies, "cells": len(ARMS) * LANGUAGES * studies}
    return {
        "power": round(able.hits["best"] / able.studies, 3),
        "power_design": {"seeds": able.seeds, "effect_points": able.effect, "n": able.studies},
        "false_positive_rate": round(
            sum(t.false["either"] for t in null) / sum(t.studies for t in null), 3
        ),
        "coverage": round(sum(covered.values()) / sum(intervals.values()), 3),
        "n": {
            "studies": studies,
            "null_studies": sum(t.studies for t in null),
            "intervals": sum(intervals.values()),
        },
        "coverage_of": {name: round(covered[name] / intervals[name], 3) for name in covered},
        "designs": [tally.row() for tally in tallies],
    }


def show(tallies: list[Tally]) -> None:
    """Print a column per design."""
    rows = [tally.row() for tally in tallies]
    names = list(dict.fromkeys(name for row in rows for name in row))
    print("simulated studies; shares of studies, or of intervals; effect and bias in points")
    for name in names:
        print(f"{name:>15}" + "".join(f"{row.get(name, ''):>9}" for row in rows))
