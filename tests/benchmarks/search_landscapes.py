"""Landscapes for the benchmark of searches: the true score of every recipe of a space, and noise.

The space is that of the study `xtreme_legal`. With D the dose of the intermediate stage, rate and
epochs together, and sat(D) how much of its task it has learnt:

    score = tuned(target rate) (1 - makes_up sat(D)) + gain_of_task sat(D) - damage(D) + own terms

The parabola `tuned` is what a badly chosen rate of the target stage costs; an intermediate stage
makes up for part of it. The target stage's epochs and layers are no choices of the search: the
best of them is taken. All in percentage points, without a constant that all recipes share.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from search.surrogate.recipe_table import RecipeTable, build_table
from spaces.catalogue import load_catalogue
from spaces.dimensions import SearchSpace, search_space
from spaces.errors import DataError
from spaces.studies import load_study

Floats = NDArray[np.float64]

KINDS = ("simulated", "published", "own", "rough", "null", "none_best")
LANGUAGES = 16
LANGUAGE_SD = 2.0
"""Of one language about the mean over languages; the mean over them is the run's score."""
SEED_SHARE, TRUNK_SHARE = 0.15, 0.25
CURVATURE = 10.0
LOSING_SHARE, MEAN_LOSS = 0.3, 4.0
NONE_AHEAD = 0.5

# Paired gains over three seeds of six NER tasks, MiniLM-L6, PAN-X in six languages, points: a
# first look at real corpora, whose mean is taken for what they tend to.
OWN_GAINS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "general": {"uner_ewt": (1.7, 2.9, 3.7), "wnut17": (-0.9, -2.1, 3.0)},
    "biomedical": {"bc5cdr": (-2.7, 0.0, 2.3), "bc2gm": (-1.3, -0.5, 3.3)},
    "legal": {"e_ner": (1.6, -0.1, 4.2), "inlegalner": (1.3, 0.8, 3.7)},
}
OWN_SHRUNK, OWN_SD = 0.8, 1.25
# Of the published table, into arms of like kind, under the names of the study's arms.
PUBLISHED_ARMS = {
    "general": ("commonsenseqa", "cosmosqa", "hellaswag", "socialiqa"),
    "biomedical": ("mnli", "qqp", "scitail", "sst"),
    "legal": ("ccg", "qamr", "qasrl"),
}
PUBLISHED_SD = (0.8, 2.5)
MEDIAN_OF_THREE = 0.83
"""Median standard deviation of three Gaussian values whose own is 1."""


@dataclass(frozen=True)
class Landscape:
    """A planted truth.

    Attributes:
        table: The recipes.
        truth: Score of each recipe over all seeds, points, [r].
        noise: Standard deviation of a run, points.
        key: What its noise is drawn by.
    """

    table: RecipeTable
    truth: Floats
    noise: float
    key: int

    def score(self, recipe: int, seed: int) -> float:
        """The score of a run; the same each time."""
        parts = (
            (SEED_SHARE, (0, seed)),
            (TRUNK_SHARE, (1, int(self.table.trunk[recipe]), seed)),
            (1 - SEED_SHARE - TRUNK_SHARE, (2, recipe, seed)),
        )
        noise = sum(share**0.5 * self._normal(key)[0] for share, key in parts)
        return float(self.truth[recipe] + self.noise * noise)

    def by_language(self, recipe: int, seed: int) -> Floats:
        """The score of a run in each language, whose mean is `score`, [languages]."""
        apart = LANGUAGE_SD * self._normal((3, recipe, seed), LANGUAGES)
        return self.score(recipe, seed) + apart - apart.mean()

    def regret(self, recipe: int) -> float:
        """Points that a recipe falls short of the best one."""
        return float(self.truth.max() - self.truth[recipe])

    def _normal(self, key: tuple[int, ...], size: int = 1) -> Floats:
        return np.random.default_rng((self.key, *key)).standard_normal(size)


@dataclass(frozen=True)
class _World:
    """What a kind of landscape is drawn from.

    Attributes:
        space: Search space.
        gains: Task -> what it adds when it is learnt, points; None: drawn.
        noise: Standard deviation of a run, points.
        roughness: Factor of what a task does of its own at each rate and number of epochs.
        own_sd: Standard deviation of a recipe's own term.
    """

    space: SearchSpace
    gains: Mapping[str, float] | None = None
    noise: float = 1.5
    roughness: float = 1.0
    own_sd: float = 0.25


def draw_landscape(kind: str, number: int, table_file: Path | None) -> Landscape:
    """A landscape of a kind.

    Args:
        kind: One of `KINDS`.
        number: Which of them; the same number gives the same landscape.
        table_file: Scores of intermediate by target tasks, which `published` needs.
    """
    world = _world(kind, number, table_file)
    table = _table_of(kind)
    key = 1000 * KINDS.index(kind) + number
    rng = np.random.default_rng(key)
    truth = _truth(world, table, rng, does_nothing=kind == "null")
    if kind == "none_best":
        is_none = table.arm == table.arms.index("none")
        truth[~is_none] += truth[is_none].max() - NONE_AHEAD - truth[~is_none].max()
    return Landscape(table, truth, world.noise, key)


def _truth(
    world: _World, table: RecipeTable, rng: np.random.Generator, *, does_nothing: bool
) -> Floats:
    params, space = table.params, table.space
    rates = np.array(space.target.learning_rate)
    position = np.array([_place(rates, x["target.learning_rate"]) for x in params])
    top = rng.uniform(0.3, 0.9)
    # Of fewer epochs the best rate is higher; the better of both counts.
    tuned = np.maximum(
        -CURVATURE * (position - top) ** 2, -CURVATURE * (position - top - 0.15) ** 2 - 0.3
    )
    if does_nothing:
        return tuned
    tasks = [name for names in space.arms.values() for name in names]
    gains = _gains(world, rng)
    task = np.array([_task_place(tasks, x) for x in params])
    has = task >= 0
    dose = np.array(
        [
            np.log10(x["intermediate.learning_rate"] / 1e-5)
            + 0.6 * np.log10(x["intermediate.epochs"] / 2)
            if "intermediate.epochs" in x
            else 0.0
            for x in params
        ]
    )
    shift = rng.normal(0, 0.15 * world.roughness, len(tasks))[task]
    makes_up = np.clip(rng.normal(0.35, 0.12 * world.roughness, len(tasks)), 0.1, 0.6)[task]
    start, spoils = rng.uniform(0.2, 0.6), rng.uniform(0.8, 1.3)
    cost = rng.uniform(2, 8)
    learnt = has * special.expit((dose - start - shift) / 0.25)
    damage = has * cost * 0.15 * np.logaddexp(0, (dose - spoils - shift) / 0.15)
    truth = tuned * (1 - makes_up * learnt) + gains[task] * learnt - damage
    for name in ("intermediate.learning_rate", "intermediate.epochs", "target.learning_rate"):
        values = sorted({x[name] for x in params if name in x})
        place = np.array([values.index(x[name]) if name in x else 0 for x in params])
        own = rng.normal(0, 0.25 * world.roughness, (len(tasks), len(values)))
        truth += has * own[task, place]
    return truth + has * rng.normal(0, world.own_sd, len(params))


def _gains(world: _World, rng: np.random.Generator) -> Floats:
    if world.gains is not None:
        return np.array([world.gains[x] for names in world.space.arms.values() for x in names])
    found = []
    for names in world.space.arms.values():
        of_arm = 0.5 + rng.normal(0, 0.7)
        for _ in names:
            loss = rng.exponential(MEAN_LOSS) if rng.random() < LOSING_SHARE else 0.0
            found.append(of_arm + rng.normal(0, 2) - loss)
    return np.array(found)


def _world(kind: str, number: int, table_file: Path | None) -> _World:
    space = _space_of(kind)
    if kind == "own":
        gains = {
            task: OWN_SHRUNK * fmean(of_seeds)
            for tasks in OWN_GAINS.values()
            for task, of_seeds in tasks.items()
        }
        return _World(space, gains, OWN_SD)
    if kind == "published":
        assert table_file is not None
        targets = published_targets(table_file)
        gains, noise = targets[sorted(targets)[number % len(targets)]]
        return _World(space, gains, noise)
    if kind == "rough":
        return _World(space, roughness=3.0, own_sd=0.7)
    return _World(space)


@cache
def published_targets(path: Path) -> dict[str, tuple[dict[str, float], float]]:
    """Target -> gain of each intermediate task, points, and standard deviation of a seed.

    Raises:
        DataError: The file has no columns intermediate, target, run and score.
    """
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    if not rows or not {"intermediate", "target", "score"} <= rows[0].keys():
        raise DataError(str(path), "columns intermediate, target, run and score")
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        cells[row["target"], row["intermediate"]].append(100 * float(row["score"]))
    found = {}
    for target in {target for target, _ in cells}:
        none = fmean(cells[target, "none"])
        tasks = [task for tasks in PUBLISHED_ARMS.values() for task in tasks]
        gains = {task: fmean(cells[target, task]) - none for task in tasks}
        # Of the middle cell: a run that collapsed is no noise of a seed.
        spread = median(stdev(x) for t in tasks if len(x := cells[target, t]) > 1)
        noise = float(np.clip(spread / MEDIAN_OF_THREE, *PUBLISHED_SD))
        found[target] = gains, noise
    return found


@cache
def _table_of(kind: str) -> RecipeTable:
    return build_table(_space_of(kind))


@cache
def _space_of(kind: str) -> SearchSpace:
    spec = load_study("xtreme_legal")
    space = search_space(spec, load_catalogue(), dict.fromkeys(spec.task_names, 5000))
    if kind == "own":
        space = replace(space, arms={"none": (), **{a: tuple(x) for a, x in OWN_GAINS.items()}})
    if kind == "published":
        space = replace(space, arms={"none": (), **PUBLISHED_ARMS})
    return space


def _place(values: Floats, value: float) -> float:
    return float(np.flatnonzero(values == value)[0] / (len(values) - 1))


def _task_place(tasks: list[str], params: Mapping[str, Any]) -> int:
    return tasks.index(params["intermediate.task"]) if "intermediate.task" in params else -1
