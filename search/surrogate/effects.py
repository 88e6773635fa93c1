"""The landscape is the model: what it says of tasks, of rates and epochs, of cells and choices.

Arms and tasks that were run at other target settings, or with other luck, are not compared by the
means of their runs: each figure is of posterior means, on a common background.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.surrogate.choosing import Chooser
from search.surrogate.gains import NO_GAIN, Gain, Zero, expected_gains, gains_over
from search.surrogate.recipe_table import Floats, Integers, RecipeTable
from spaces.dimensions import TASK_PARAM, beside_task
from spaces.studies import NO_INTERMEDIATE

EPOCHS, RATE = "intermediate.epochs", "intermediate.learning_rate"
TASK_CHOICE, INTERACTIONS = "intermediate task", "interactions"
Cell = tuple[str, str]
"""Target task and language."""


@dataclass(frozen=True)
class TaskEffect:
    """What is known of one intermediate task.

    Attributes:
        arm: Its arm.
        task: Its name; empty for direct training.
        recipe: Row of the recipe that is recommended with it.
        gain: Gain of that recipe over the best direct training.
        runs: Runs with the task.
        recipes: Different recipes among these.
    """

    arm: str
    task: str
    recipe: int
    gain: Gain
    runs: int
    recipes: int


@dataclass(frozen=True)
class Surface:
    """The gain with one intermediate task over rate and epochs of its stage.

    Attributes:
        arm: Arm of the task.
        task: Its name.
        rates: Learning rates, rising; (None,) where the study does not search them.
        epochs: Numbers of epochs, likewise.
        gain: Highest posterior mean over all other choices, points, [rates, epochs]; NaN where
            everything probably fails.
        runs: Runs there, [rates, epochs].
    """

    arm: str
    task: str
    rates: tuple[float | None, ...]
    epochs: tuple[int | None, ...]
    gain: Floats
    runs: Integers


@dataclass(frozen=True)
class Importance:
    """What a choice accounts for.

    Attributes:
        choice: Name of the choice.
        share: Of the variance of the posterior mean over all recipes with an intermediate task.
    """

    choice: str
    share: float


@dataclass(frozen=True)
class CellEffect:
    """What is known of an intermediate task in one target task and language.

    Attributes:
        arm: Arm of the intermediate task.
        task: Its name.
        target: Target task.
        language: Language.
        gain: Gain of the recipe that is recommended with the task, by the cell's own model.
        runs: Runs with the task that have a score in the cell.
    """

    arm: str
    task: str
    target: str
    language: str
    gain: Gain
    runs: int


def recommended_by_task(chooser: Chooser) -> dict[str, int]:
    """Intermediate task -> row of the recipe that is expected to be best with it.

    Of a task that was run, one of the recipes that were; their means are the surer ones, and the
    recommendation of a study is among them.
    """
    table, mean, rows = chooser.table, chooser.posterior.mean, dict[str, int]()
    was_run = np.zeros(len(table), dtype=bool)
    was_run[chooser.evidence.runs.recipe] = True
    for code in range(table.task.max(initial=-1) + 1):
        mine = table.task == code
        some = next(x for x in (mine & was_run, mine & chooser.feasible, mine) if x.any())
        row = int(np.argmax(np.where(some, mean, -np.inf)))
        rows[task_name(table, row)] = row
    return rows


def task_effects(
    chooser: Chooser, zero: Zero, recipes: Mapping[str, int] | None = None
) -> list[TaskEffect]:
    """Direct training, which is 0, then every intermediate task in the order of the arms.

    Args:
        chooser: The model.
        zero: What gains are over.
        recipes: Intermediate task -> row of the recipe that is recommended with it; None: as
            `recommended_by_task` has it.
    """
    table, run = chooser.table, chooser.evidence.runs.recipe
    rows = recommended_by_task(chooser) if recipes is None else dict(recipes)
    gains = [NO_GAIN, *gains_over(chooser, zero, np.array(list(rows.values()), dtype=np.int64))]
    effects = []
    for row, gain in zip((zero.row, *rows.values()), gains, strict=True):
        mine = run[table.task[run] == table.task[row]]
        arm = table.arms[table.arm[row]]
        name = task_name(table, row)
        effects.append(TaskEffect(arm, name, row, gain, len(mine), len(np.unique(mine))))
    return sorted(effects, key=lambda x: table.arms.index(x.arm))


def surfaces(chooser: Chooser, zero: Zero) -> list[Surface]:
    """Of every intermediate task, in the order of the arms; all have the same rates and epochs."""
    table, counts = chooser.table, np.zeros(len(chooser.table), dtype=np.int64)
    np.add.at(counts, chooser.evidence.runs.recipe, 1)
    gains = np.where(chooser.feasible, expected_gains(chooser, zero), -np.inf)
    rate, rates = _places(table, RATE)
    epoch, epochs = _places(table, EPOCHS)
    found = []
    for code in range(table.task.max(initial=-1) + 1):
        rows = np.flatnonzero(table.task == code)
        best = np.full((len(rates), len(epochs)), -np.inf)
        runs = np.zeros(best.shape, dtype=np.int64)
        np.maximum.at(best, (rate[rows], epoch[rows]), gains[rows])
        np.add.at(runs, (rate[rows], epoch[rows]), counts[rows])
        best[np.isinf(best)] = np.nan
        arm, name = table.arms[table.arm[rows[0]]], task_name(table, int(rows[0]))
        found.append(Surface(arm, name, rates, epochs, best, runs))
    return sorted(found, key=lambda x: table.arms.index(x.arm))


def importance(chooser: Chooser) -> list[Importance]:
    """What each choice accounts for by itself, the most first, and what only several together do.

    First-order shares (Sobol' 2001, section 2, https://doi.org/10.1016/S0378-4754(00)00270-6): the
    variance of the mean over all other choices. Empty where all recipes are expected to be alike.
    """
    table = chooser.table
    rows = np.flatnonzero(table.task >= 0)
    mean = chooser.posterior.mean[rows]
    variance = float(mean.var()) if len(rows) else 0.0
    if variance < 1e-12:
        return []
    params = [table.params[row] for row in rows]
    values: dict[str, list[Hashable]] = {TASK_CHOICE: [int(table.task[row]) for row in rows]}
    for name in dict.fromkeys(name for one in params for name in beside_task(one)):
        values[name] = [one.get(name) for one in params]
    shares = {name: _share(of_rows, mean) / variance for name, of_rows in values.items()}
    ranked = sorted(shares.items(), key=lambda x: -x[1])
    found = [Importance(name, share) for name, share in ranked if len(set(values[name])) > 1]
    rest = 1 - sum(x.share for x in found)
    return [*found, Importance(INTERACTIONS, max(0.0, rest))]


def cell_effects(
    choosers: Mapping[Cell, Chooser],
    zeros: Mapping[Cell, Zero],
    effects: Sequence[TaskEffect],
) -> list[CellEffect]:
    """Gains of each task's recommended recipe in each cell, by a model of that cell's gains.

    Args:
        choosers: Target task and language -> model of the gains there, of the same table.
        zeros: Target task and language -> what these are over.
        effects: Tasks and the recipes recommended with them over all cells; those that were
            never run, and direct training, are left out.
    """
    tried = [x for x in effects if x.runs and x.arm != NO_INTERMEDIATE]
    if not tried:
        return []
    rows, found = np.array([x.recipe for x in tried]), []
    for cell, chooser in choosers.items():
        table, run = chooser.table, chooser.evidence.runs.recipe
        gains = gains_over(chooser, zeros[cell], rows)
        for effect, gain in zip(tried, gains, strict=True):
            runs = int((table.task[run] == table.task[effect.recipe]).sum())
            found.append(CellEffect(effect.arm, effect.task, *cell, gain, runs))
    return found


def task_name(table: RecipeTable, row: int) -> str:
    """Name of a recipe's intermediate task; empty for direct training."""
    return str(table.params[row].get(TASK_PARAM, ""))


def _places(table: RecipeTable, name: str) -> tuple[Integers, tuple[Any, ...]]:
    """Place of each recipe's value of a choice, and the values of recipes with a task, rising."""
    indirect = [table.params[row] for row in np.flatnonzero(table.task >= 0)]
    values: tuple[Any, ...] = tuple(sorted({x[name] for x in indirect if name in x})) or (None,)
    place = {value: i for i, value in enumerate(values)}
    return np.array([place.get(x.get(name), 0) for x in table.params]), values


def _share(values: Sequence[Hashable], mean: Floats) -> float:
    """Variance of the means over recipes of the same value."""
    codes = {value: i for i, value in enumerate(dict.fromkeys(values))}
    of_rows = np.array([codes[value] for value in values])
    counts = np.bincount(of_rows)
    means = np.bincount(of_rows, weights=mean) / counts
    gap = means[of_rows] - mean.mean()
    return float(gap @ gap) / len(mean)
