"""The landscape is the model: a confounded study, and numbers that agree with the answer."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from search.surrogate.answer import WIDENING, answer
from search.surrogate.choosing import Chooser, Evidence
from search.surrogate.effects import (
    INTERACTIONS,
    TASK_CHOICE,
    cell_effects,
    importance,
    recommended_by_task,
    surfaces,
    task_effects,
)
from search.surrogate.gains import Zero, expected_gains, gains_of_themselves, gains_over
from search.surrogate.gaussian import Runs
from search.surrogate.recipe_table import Floats, RecipeTable, build_table
from spaces.studies import NO_INTERMEDIATE
from tests.studies import small_space

RATES = (1e-5, 3e-5, 1e-4)
ARMS = {"none": (), "general": ("a", "b"), "legal": ("c", "d"), "mixed": ("e",)}
PLANTED = {"a": -1.0, "b": -2.0, "c": 3.0, "d": 2.0, "": 0.0}
"""Gain of each task at every setting, points; `e` is never run."""
OF_RATE = (-12.0, 0.0, 0.5)
"""What the target stage's rates are worth."""


@cache
def _table() -> RecipeTable:
    return build_table(small_space(ARMS, epochs=(1, 2), learning_rate=RATES))


def _task(row: int) -> str:
    params = _table().params[row]
    return str(params.get("intermediate.task", ""))


def _truth() -> Floats:
    return np.array(
        [
            PLANTED.get(_task(row), 0.0) + OF_RATE[RATES.index(params["target.learning_rate"])]
            for row, params in enumerate(_table().params)
        ]
    )


@cache
def confounded() -> tuple[Chooser, Zero]:
    """The good arm at the bad target rate but for a few runs, the bad arm at good ones."""
    table, rng, truth = _table(), np.random.default_rng(0), _truth()
    bad = np.array([x["target.learning_rate"] == RATES[0] for x in table.params])
    tasks = np.array([_task(row) for row in range(len(table))])
    recipes = list(np.flatnonzero(tasks == "").repeat(2))
    for task in "abcd":
        often, seldom = (bad, ~bad) if task in "cd" else (~bad, bad)
        recipes += list(rng.choice(np.flatnonzero((tasks == task) & often), 12))
        recipes += list(rng.choice(np.flatnonzero((tasks == task) & seldom), 3))
    recipe = np.array(recipes)
    score = truth[recipe] + rng.normal(0, 0.5, len(recipe))
    zero = Zero(max(np.flatnonzero(tasks == ""), key=lambda row: truth[row]))
    score -= score[recipe == zero.row].mean()
    return Chooser(table, Evidence(Runs(recipe, np.arange(len(recipe)), score))), zero


def test_means_of_runs_would_turn_the_arms_round() -> None:
    runs = confounded()[0].evidence.runs
    tasks = np.array([_task(row) for row in runs.recipe])
    means = {task: runs.score[tasks == task].mean() for task in "abcd"}
    assert max(means["c"], means["d"]) < min(means["a"], means["b"])


def test_the_order_of_the_tasks_is_the_planted_one() -> None:
    chooser, zero = confounded()
    effects = {x.task: x for x in task_effects(chooser, zero)}
    order = sorted((x for x in effects if x != "e"), key=lambda x: -effects[x].gain.points)
    assert order == ["c", "d", "", "a", "b"]
    for task in "abcd":
        gain = effects[task].gain
        assert gain.low < PLANTED[task] < gain.high
        assert gain.points == pytest.approx(PLANTED[task], abs=0.7)
    assert effects[""].gain.points == effects[""].gain.low == 0.0
    assert (effects["c"].runs, effects["e"].runs, effects["e"].recipes) == (15, 0, 0)
    assert effects["e"].gain.high - effects["e"].gain.low > 2


def test_every_surface_has_the_planted_order_and_the_runs_that_were() -> None:
    chooser, zero = confounded()
    found = {x.task: x for x in surfaces(chooser, zero)}
    highest = {task: float(np.nanmax(x.gain)) for task, x in found.items() if task != "e"}
    assert sorted(highest, key=lambda x: -highest[x]) == ["c", "d", "a", "b"]
    assert all(found["c"].gain.min() > found[task].gain.max() for task in "ab")
    assert found["c"].gain.shape == (3, 2)
    assert found["c"].rates == RATES
    assert found["c"].runs.sum() == 15
    assert not found["e"].runs.any()


def test_figures_and_answer_have_the_same_numbers() -> None:
    chooser, zero = confounded()
    effects = {x.recipe: x for x in task_effects(chooser, zero)}
    tasks = recommended_by_task(chooser)
    arms = {"general": max((tasks[x] for x in "ab"), key=expected)}
    arms["legal"] = max((tasks[x] for x in "cd"), key=expected)
    said = answer(chooser, zero, np.random.default_rng(1), recommended=arms)
    for name, known in said.arms.items():
        assert known.gain == effects[known.recipe].gain.points, name
        assert known.interval == pytest.approx(effects[known.recipe].gain.interval, abs=1e-9)
    assert said.arms["legal"].itself == pytest.approx(3.0, abs=0.7)
    assert said.arms[NO_INTERMEDIATE].gain == 0
    assert said.arms["legal"].is_gain
    assert said.arms["legal"].probability_best > 0.9


def expected(row: int) -> float:
    """Posterior mean of a recipe's gain."""
    return float(expected_gains(*confounded())[row])


def test_an_arm_is_fair_when_its_tasks_met_competitive_target_stages() -> None:
    chooser, zero = confounded()
    runs = chooser.evidence.runs
    said = answer(chooser, zero, np.random.default_rng(0)).arms
    assert said["legal"].is_fair
    assert (said["legal"].tried, said["legal"].tasks, said["legal"].runs) == (2, 2, 30)
    assert not said["mixed"].is_fair
    table = chooser.table
    rate = np.array([x["target.learning_rate"] for x in table.params])
    kept = (rate[runs.recipe] == RATES[0]) | (table.arm[runs.recipe] != table.arms.index("legal"))
    ill = Runs(runs.recipe[kept], runs.seed[kept], runs.score[kept])
    said = answer(Chooser(table, Evidence(ill)), zero, np.random.default_rng(0)).arms
    assert said["legal"].tried == 2
    assert not said["legal"].is_fair


def test_gains_are_those_of_posterior_samples() -> None:
    chooser, zero = confounded()
    row = recommended_by_task(chooser)["d"]
    drawn = chooser.posterior.samples(np.random.default_rng(0), 20_000)
    (gain,) = gains_over(chooser, Zero(zero.row, -0.3), np.array([row]))
    of_samples = drawn[row] - drawn[zero.row] - 0.3
    assert chooser.probability_of_effect > 0.999
    assert gain.points == pytest.approx(of_samples.mean(), abs=0.02)
    assert gain.interval == pytest.approx(np.quantile(of_samples, [0.025, 0.975]), abs=0.05)
    (alone,) = gains_of_themselves(chooser, np.array([row]))
    other = chooser.table.without_intermediate[row]
    assert alone.points == pytest.approx((drawn[row] - drawn[other]).mean(), abs=0.02)


def test_where_no_effect_is_likely_gains_shrink_and_intervals_hold_0() -> None:
    table, rng = _table(), np.random.default_rng(3)
    recipe = rng.integers(0, len(table), 60)
    recipe = np.concatenate((recipe, np.flatnonzero(table.task < 0)))
    truth = _truth() - np.array([PLANTED.get(_task(row), 0.0) for row in range(len(table))])
    score = truth[recipe] + rng.normal(0, 1.0, len(recipe))
    chooser = Chooser(table, Evidence(Runs(recipe, np.arange(len(recipe)), score)))
    zero = Zero(int(np.where(table.task < 0, truth, -np.inf).argmax()))
    assert chooser.probability_of_effect < 0.5
    for effect in task_effects(chooser, zero):
        assert effect.gain.low <= 0 <= effect.gain.high
        assert effect.gain.probability < 0.5
    said = answer(chooser, zero, np.random.default_rng(0))
    assert said.arms[NO_INTERMEDIATE].probability_best > 0.5


def test_importance_finds_the_choice_that_matters() -> None:
    found = {x.choice: x.share for x in importance(confounded()[0])}
    assert next(iter(found)) == "target.learning_rate"
    assert found["target.learning_rate"] > 0.6
    assert found[TASK_CHOICE] > found["intermediate.epochs"]
    assert sum(found.values()) == pytest.approx(1.0)
    assert list(found)[-1] == INTERACTIONS
    assert found[INTERACTIONS] < 0.1


def test_each_cell_has_a_model_of_its_own() -> None:
    chooser, zero = confounded()
    runs = chooser.evidence.runs
    is_c = np.array([_task(row) == "c" for row in runs.recipe])
    # In the one language the task hurts as much as it helps in the other.
    one, other = (
        Chooser(chooser.table, Evidence(Runs(runs.recipe, runs.seed, runs.score + is_c * shift)))
        for shift in (3.0, -6.0)
    )
    cells = {("panx", "sw"): one, ("panx", "yo"): other}
    effects = task_effects(chooser, zero)
    found = {
        (x.task, x.language): x for x in cell_effects(cells, dict.fromkeys(cells, zero), effects)
    }
    assert len(found) == 8
    assert found["c", "sw"].gain.points == pytest.approx(6, abs=1.2)
    assert found["c", "yo"].gain.points == pytest.approx(-3, abs=1.2)
    assert found["c", "yo"].gain.high < 0 < found["c", "sw"].gain.low
    assert found["c", "sw"].runs == 15


def test_what_was_never_run_may_be_better_than_the_posterior_has_it() -> None:
    chooser, zero = confounded()
    said = answer(chooser, zero, np.random.default_rng(0))
    drawn = chooser.posterior.samples(np.random.default_rng(0), 1000)
    plain = drawn.max(axis=0) - drawn[said.recipe]
    assert WIDENING > 1
    assert plain.mean() < said.regret < 2 * plain.mean()
    assert said.regret <= said.regret_90


def test_an_arm_is_not_best_while_another_was_never_run() -> None:
    chooser, zero = confounded()
    legal = {"legal": recommended_by_task(chooser)["c"]}
    said = answer(chooser, zero, np.random.default_rng(0), recommended=legal)
    assert said.arms["legal"].is_gain
    assert said.arms["legal"].probability_best < 0.999, "the task of the arm mixed was never run"
