"""The recipes of a search space as rows of numbers: the features that the model is linear in.

A choice of names (a task, a method) is a column per name; a choice of numbers (a rate, a size) is
smooth over its position on the study's own grid. Of what a recipe does not choose (the rank of
LoRA in full fine-tuning, a rate of the stage that "none" has not) all columns are zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from spaces.dimensions import ARM_PARAM, TASK_PARAM, SearchSpace, beside_task
from spaces.enumeration import Point, point_of, points
from spaces.recipe import Recipe
from spaces.studies import NO_INTERMEDIATE

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CANDIDATES = 4000
"""Recipes of a table; of a larger space so many are drawn, and those that were tried are added."""
LENGTH_SCALE = 0.6
"""Of the squared exponential over positions on a grid, whose ends are 0 and 1."""

# Standard deviations of the terms, in units of their group's scale. Halving or doubling any of
# them fits the landscapes of tests/benchmarks/search_landscapes.py no better.
MEAN_SD = 10.0
"""Of the mean of all recipes about that of the runs, points."""
MAIN, PAIR = 1.0, 0.4
HAS, ARM, TASK, STAGE_MAIN, STAGE_PAIR = 0.5, 0.32, 1.0, 0.5, 0.4
TASK_BY_STAGE, TASK_BY_TARGET, HAS_BY_TARGET = 0.6, 0.4, 0.6
RISK_MEAN, RISK_MAIN, RISK_PAIR = 0.2, 0.5, 0.25
"""Of the probability that a training fails."""
OWN = 0.3
"""Of a recipe's own term, in units of the interactions' scale."""

MEAN_GROUP, TARGET, INTERMEDIATE, INTERACTIONS = range(4)
"""Groups of features; each but the first has a scale of its own."""


@dataclass(frozen=True)
class _Choice:
    """One choice of the space, for all recipes.

    Attributes:
        codes: Place of each recipe's value among the values, -1 where it has none, [r].
        values: Number of values.
        is_ordered: Whether the values are numbers, in rising order.
    """

    codes: Integers
    values: int
    is_ordered: bool

    @property
    def from_middle(self) -> Floats:
        """Squared distance from the middle value, of two the upper, in grids of length 1, [r].

        Of names, and where a recipe has no value, 0.
        """
        if not self.is_ordered or self.values == 1:
            return np.zeros(len(self.codes))
        away = (self.codes - self.values // 2) / (self.values - 1)
        return np.where(self.codes >= 0, away**2, 0.0)

    @cached_property
    def columns(self) -> Floats:
        """Features whose inner products are the prior covariance of the choice, [r, values]."""
        levels = np.eye(self.values)
        if self.is_ordered and self.values > 1:
            position = np.linspace(0, 1, self.values)
            distance = (position[:, None] - position) / LENGTH_SCALE
            smooth = np.exp(-(distance**2) / 2) + 1e-6 * np.eye(self.values)
            levels = linalg.cholesky(smooth, lower=True)
        absent = np.zeros((1, self.values))
        rows: Floats = np.concatenate((levels, absent))[self.codes]
        return rows


@dataclass(frozen=True, eq=False)
class RecipeTable:
    """Recipes with their features; r of them, f features.

    Attributes:
        space: Search space of the study.
        points: The recipes, [r].
        is_whole: Whether all recipes of the space are here.
        arms: Names of the arms.
        arm: Place of each recipe's arm, [r].
        task: Place of each recipe's intermediate task, -1 of direct training, [r].
        trunk: Number of what each recipe's target stages start from (encoder and intermediate
            stages); alike where these are alike, [r].
        updates: Optimizer steps of one run of each recipe, nothing of it cached, [r].
        from_middle: Distance of each recipe's intermediate stage from the middle of the study's
            grids, squared and summed over its choices of numbers, [r].
        features: [r, f].
        group: Group of each feature, [f].
        risk: Features of what makes a training fail, [r, k].
    """

    space: SearchSpace
    points: tuple[Point, ...]
    is_whole: bool
    arms: tuple[str, ...]
    arm: Integers
    task: Integers
    trunk: Integers
    updates: Floats
    from_middle: Floats
    features: Floats
    group: Integers
    risk: Floats

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def params(self) -> tuple[Mapping[str, Any], ...]:
        """Parameters of each recipe, as a trial has them, [r]."""
        return tuple(point.params for point in self.points)

    @cached_property
    def _places(self) -> dict[frozenset[tuple[str, Any]], int]:
        return {frozenset(params.items()): i for i, params in enumerate(self.params)}

    @cached_property
    def without_intermediate(self) -> Integers:
        """Row of the direct training with the same encoder and target stage as each recipe, [r].

        Of a sample of a space not all may be there: then the recipe's own row.
        """
        rows = []
        for i, params in enumerate(self.params):
            direct = {k: v for k, v in params.items() if not k.startswith("intermediate.")}
            direct = {ARM_PARAM: NO_INTERMEDIATE, **direct}
            rows.append(self._places.get(frozenset(direct.items()), i))
        return np.array(rows)

    def place(self, params: Mapping[str, Any]) -> int | None:
        """The row of the recipe with these parameters; None where there is none such."""
        return self._places.get(frozenset(params.items()))

    def matching(self, fixed: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Which recipes have the values that are given, of the parameters that they have, [r]."""
        found = [
            all(params.get(name, value) == value for name, value in fixed.items())
            for params in self.params
        ]
        return np.array(found)


def build_table(space: SearchSpace, limit: int = CANDIDATES) -> RecipeTable:
    """The recipes of a search space.

    Args:
        space: Search space of the study.
        limit: Recipes of which a sample is drawn in a larger space.
    """
    found, is_whole = points(space, limit)
    return _table(space, found, is_whole=is_whole)


def with_tried(table: RecipeTable, tried: Iterable[Mapping[str, Any]]) -> RecipeTable:
    """A sample of a space, with recipes that were tried and are not in it.

    Args:
        table: The sample.
        tried: Parameters of the recipes; those that are none of the space are left out.
    """
    missing = {frozenset(x.items()): x for x in tried if table.place(x) is None}
    return _extended(table, tuple(missing)) if missing else table


@lru_cache(maxsize=4)
def _extended(table: RecipeTable, missing: tuple[frozenset[tuple[str, Any]], ...]) -> RecipeTable:
    more = [point for x in missing if (point := point_of(table.space, dict(x))) is not None]
    return _table(table.space, [*table.points, *more], is_whole=False)


def _table(space: SearchSpace, found: Sequence[Point], *, is_whole: bool) -> RecipeTable:
    arms = tuple(space.arms)
    rows = [point.params for point in found]
    task = _choice(row.get(TASK_PARAM) for row in rows)
    arm = _choice(row[ARM_PARAM] for row in rows)
    plain = list(dict.fromkeys(name for row in rows for name in beside_task(row)))
    choices = {name: _choice(row.get(name) for row in rows) for name in plain}
    stage = [x for name, x in choices.items() if name.startswith("intermediate.")]
    rest = [x for name, x in choices.items() if not name.startswith("intermediate.")]
    has = (task.codes >= 0)[:, None].astype(float)
    blocks: list[tuple[int, Floats]] = [(MEAN_GROUP, np.full((len(rows), 1), MEAN_SD))]

    def add(group: int, deviation: float, *factors: Floats) -> None:
        columns = factors[0]
        for factor in factors[1:]:
            columns = _product(columns, factor)
        used = columns.any(axis=0)
        blocks.append((group, deviation * columns[:, used]))

    for one in rest:
        add(TARGET, MAIN, one.columns)
        add(INTERMEDIATE, HAS_BY_TARGET, has, one.columns)
        add(INTERACTIONS, TASK_BY_TARGET, task.columns, one.columns)
    for one, other in combinations(rest, 2):
        add(TARGET, PAIR, one.columns, other.columns)
    add(INTERMEDIATE, HAS, has)
    add(INTERMEDIATE, ARM, has, arm.columns)
    add(INTERMEDIATE, TASK, task.columns)
    for one in stage:
        add(INTERMEDIATE, STAGE_MAIN, one.columns)
        add(INTERACTIONS, TASK_BY_STAGE, task.columns, one.columns)
    for one, other in combinations(stage, 2):
        add(INTERMEDIATE, STAGE_PAIR, one.columns, other.columns)
    trunks: dict[frozenset[tuple[str, Any]], int] = {}
    return RecipeTable(
        space=space,
        points=tuple(found),
        is_whole=is_whole,
        arms=arms,
        arm=np.array([arms.index(row[ARM_PARAM]) for row in rows]),
        task=task.codes,
        trunk=np.array([trunks.setdefault(_trunk(row), len(trunks)) for row in rows]),
        updates=np.array([updates_of(point.recipe) for point in found], dtype=float),
        from_middle=sum((one.from_middle for one in stage), start=np.zeros(len(rows))),
        features=np.concatenate([columns for _, columns in blocks], axis=1),
        group=np.repeat([g for g, _ in blocks], [columns.shape[1] for _, columns in blocks]),
        risk=_risk(list(choices.values()), len(rows)),
    )


def _risk(choices: Sequence[_Choice], recipes: int) -> Floats:
    """Rates, sizes, methods and the encoder, alone and by twos; hardly the task."""
    alone = [RISK_MAIN * one.columns for one in choices]
    pairs = [
        RISK_PAIR * _product(one.columns, other.columns) for one, other in combinations(choices, 2)
    ]
    always = np.full((recipes, 1), RISK_MEAN)
    return np.concatenate([always, *alone, *pairs], axis=1)


def _product(one: Floats, other: Floats) -> Floats:
    """Features of an interaction, [r, a * b]."""
    return (one[:, :, None] * other[:, None, :]).reshape(len(one), -1)


def _choice(values: Iterable[Any]) -> _Choice:
    """A choice from its value in each recipe; None where a recipe has none."""
    of_recipes = list(values)
    known = list(dict.fromkeys(x for x in of_recipes if x is not None))
    is_ordered = all(isinstance(x, int | float) for x in known)
    if is_ordered:
        known.sort()
    place: dict[Any, int] = {value: i for i, value in enumerate(known)}
    place[None] = -1
    return _Choice(np.array([place[x] for x in of_recipes]), len(known), is_ordered)


def _trunk(params: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(x for x in params.items() if not x[0].startswith("target."))


def updates_of(recipe: Recipe) -> int:
    """Optimizer steps of one run of a recipe, nothing of it cached."""
    stages = {stage for route in recipe.routes for stage in route.intermediate}
    targets = [route.target for route in recipe.routes]
    return max(1, sum(stage.updates for stage in (*stages, *targets)))
