"""Intermediate tasks against targets: what is marked, and how often wrongly."""

from __future__ import annotations

import numpy as np

from search.findings.transfer_matrix import transfer_matrix
from search.surrogate.choosing import Chooser, Evidence
from search.surrogate.effects import TaskEffect
from search.surrogate.gains import NO_GAIN, Zero
from search.surrogate.gaussian import Runs
from search.surrogate.recipe_table import RecipeTable, build_table
from tests.studies import small_space

ARMS = {"none": (), "general": ("a", "b"), "legal": ("c", "d")}


def _cell(table: RecipeTable, effect: float, seed: int) -> Chooser:
    """Scores of three runs of each recipe in a cell where task `c` does what is given."""
    rng = np.random.default_rng(seed)
    recipe = np.arange(len(table)).repeat(3)
    is_c = np.array([x.get("intermediate.task") == "c" for x in table.params])
    score = effect * is_c[recipe] + rng.normal(0, 1.5, len(recipe))
    return Chooser(table, Evidence(Runs(recipe, np.arange(len(recipe)), score)))


def _effects(table: RecipeTable) -> list[TaskEffect]:
    """A recipe of each task, that of `d` never run."""
    rows = [int(np.flatnonzero(table.task == code)[0]) for code in range(4)]
    return [
        TaskEffect(table.arms[table.arm[row]], name, row, NO_GAIN, 3 * (name != "d"), 1)
        for name, row in zip("abcd", rows, strict=True)
    ]


def test_cells_are_marked_where_their_own_interval_excludes_0() -> None:
    table = build_table(small_space(ARMS, epochs=(1, 2), learning_rate=(1e-4,)))
    cells = {("ner", "sw"): _cell(table, 5.0, 0), ("ner", "yo"): _cell(table, -5.0, 1)}
    zero = Zero(int(np.flatnonzero(table.task < 0)[0]))
    matrix = transfer_matrix(cells, dict.fromkeys(cells, zero), _effects(table))
    assert set(matrix["task"]) == {"a", "b", "c"}
    marks = matrix.set_index(["task", "language"])["transfer"]
    assert (marks["c", "sw"], marks["c", "yo"]) == ("positive", "negative")
    assert marks["a", "sw"] == marks["b", "yo"] == ""


def test_where_no_task_does_anything_hardly_a_cell_is_marked() -> None:
    table = build_table(small_space(ARMS, epochs=(1, 2), learning_rate=(1e-4,)))
    cells = {("ner", f"l{i}"): _cell(table, 0.0, i) for i in range(40)}
    zero = Zero(int(np.flatnonzero(table.task < 0)[0]))
    matrix = transfer_matrix(cells, dict.fromkeys(cells, zero), _effects(table))
    assert (matrix["transfer"] != "").mean() <= 0.07
