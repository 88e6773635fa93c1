"""Which direct trainings a study begins with: a plan that what they find alone makes longer."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from search.studies.direct_trainings import (
    MOST_RECIPES,
    RATE,
    STEPS,
    DirectRun,
    Plan,
    best_by_task,
    plan_direct_trainings,
    reachable_rates,
    tuning_space,
)
from spaces.dimensions import SearchSpace, TargetTask
from spaces.recipe import Method
from tests.studies import small_space

Score = Callable[[Mapping[str, Any], int], Mapping[str, float] | None]
"""What a direct training finds with a seed: target task -> score; None where it diverges."""

RATES = (1e-5, 2e-5, 4e-5)


def _space(rates: Sequence[float] = RATES, **changes: Any) -> SearchSpace:
    space = small_space({"none": (), "legal": ("c",)}, epochs=(1,), learning_rate=tuple(rates))
    return replace(space, target=replace(space.target, **changes))


def _whole(
    space: SearchSpace, score: Score, seeds: int = 1, first_seed: int = 0
) -> tuple[Plan, list[Mapping[str, float] | None]]:
    """The plan at its end, and what its runs found; a longer plan begins with the one before."""
    found: list[Mapping[str, float] | None] = []
    plan = plan_direct_trainings(space, first_seed, seeds, found)
    while not plan.is_done:
        assert len(plan.runs) > len(found), "or nobody would go on"
        found += [score(x.params, x.seed) for x in plan.runs[len(found) :]]
        longer = plan_direct_trainings(space, first_seed, seeds, found)
        assert longer.runs[: len(plan.runs)] == plan.runs
        plan = longer
    return plan, found


def _peak(rate: float, task: str = "t") -> Score:
    """The nearer to a rate (in its logarithm), the better."""
    return lambda params, seed: {task: 1 / (max(params[RATE], rate) / min(params[RATE], rate))}


def _rates(plan: Plan) -> list[float]:
    return sorted({run.params[RATE] for run in plan.runs})


# --- rates


def test_a_best_rate_within_the_grid_needs_no_others() -> None:
    plan, _ = _whole(_space(), _peak(2e-5))
    assert _rates(plan) == list(RATES)
    assert len(plan.runs) == 3


@pytest.mark.parametrize(
    ("best", "rates"),
    [
        (8e-5, [*RATES, 8e-5, 1.6e-4]),
        (5e-6, [2.5e-6, 5e-6, *RATES]),
        (4e-5, [*RATES, 8e-5]),
    ],
)
def test_a_grid_is_extended_until_its_best_rate_lies_inside(
    best: float, rates: list[float]
) -> None:
    plan, _ = _whole(_space(), _peak(best))
    assert _rates(plan) == pytest.approx(rates)
    assert len(plan.runs) == len(rates)


def test_a_grid_is_extended_by_three_steps_at_most() -> None:
    plan, _ = _whole(_space(), _peak(1.0))
    assert _rates(plan) == pytest.approx([*RATES, 8e-5, 1.6e-4, 3.2e-4])
    assert _rates(plan)[-1] == reachable_rates(RATES)[-1], "where the baseline is said untuned"
    plan, _ = _whole(_space(), _peak(1e-9))
    assert _rates(plan) == pytest.approx([1.25e-6, 2.5e-6, 5e-6, *RATES])


def test_steps_beyond_a_grid_are_those_of_its_ends() -> None:
    assert reachable_rates((1e-5, 2e-5, 1e-4)) == pytest.approx(
        [1.25e-6, 2.5e-6, 5e-6, 1e-5, 2e-5, 1e-4, 5e-4, 2.5e-3, 1.25e-2]
    )
    assert reachable_rates((0.1, 0.5)) == pytest.approx([0.0008, 0.004, 0.02, 0.1, 0.5])
    assert reachable_rates((1e-4,)) == (1e-4,), "of one rate no step is known"
    uneven = tuning_space(_space((3e-5, 1e-5)))
    assert uneven.target.learning_rate == reachable_rates((1e-5, 3e-5))


def test_each_target_task_has_its_own_best_rate() -> None:
    space = replace(_space(), target_tasks=(TargetTask("t", True, 2), TargetTask("u", True, 2)))
    low, high = _peak(5e-6), _peak(8e-5, "u")

    def both(params: Mapping[str, Any], seed: int) -> Mapping[str, float]:
        return {**(low(params, seed) or {}), **(high(params, seed) or {})}

    plan, _ = _whole(space, both)
    assert _rates(plan) == pytest.approx([2.5e-6, 5e-6, *RATES, 8e-5, 1.6e-4])


# --- other choices


def _in_choices(params: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(params.get(f"target.{x}") for x in ("method", "frozen_layers", "lora_rank"))


def test_all_choices_are_tried_where_they_are_few() -> None:
    changes = {"method": (Method.FULL, Method.LORA), "lora_rank": (4, 8)}
    space = replace(_space((1e-4,), **changes), backbones=("x", "y"))
    plan, _ = _whole(space, lambda params, seed: {"t": 0.5})
    choices = {(run.params["backbone"], *_in_choices(run.params)) for run in plan.runs}
    assert choices == {
        (name, *choice)
        for name in ("x", "y")
        for choice in ((Method.FULL, None, None), (Method.LORA, None, 4), (Method.LORA, None, 8))
    }
    assert len(plan.runs) == 6


def test_of_many_choices_those_that_differ_in_one_from_the_best_are_tried() -> None:
    """Of 84 recipes and what lies beyond the grid of rates, at most 32 are."""
    space = _space(
        method=(Method.FULL, Method.LORA),
        frozen_layers=(0, 1, 2, 3),
        lora_rank=(4, 8, 16),
        batch_size=(8, 16, 32, 64),
    )

    def score(params: Mapping[str, Any], seed: int) -> Mapping[str, float]:
        good = params["target.method"] is Method.LORA, params["target.batch_size"] == 8
        rank = params.get("target.lora_rank", 0)
        return {"t": 0.3 * good[0] + 0.2 * good[1] + rank / 100 + 0.05 * (params[RATE] == 2e-5)}

    plan, found = _whole(space, score)
    tried = [run.params for run in plan.runs]
    assert len(tried) == len({tuple(x.items()) for x in tried}) <= MOST_RECIPES
    best = max(zip(plan.runs, found, strict=True), key=lambda x: (x[1] or {})["t"])[0].params
    assert _in_choices(best) == (Method.LORA, None, 16)
    assert best["target.batch_size"] == 8
    neighbours = [{**best, "target.batch_size": size} for size in (16, 32, 64)]
    neighbours += [{**best, "target.lora_rank": rank} for rank in (4, 8)]
    assert all(x in tried for x in neighbours)
    assert any(_in_choices(x)[0] is Method.FULL and x[RATE] == best[RATE] for x in tried)
    assert not plan.untried


def test_where_the_best_may_lie_beyond_what_is_tried_the_plan_knows_it() -> None:
    sizes = tuple(range(8, 88, 2))
    space = _space(batch_size=sizes, warmup_ratio=(0.0, 0.1, 0.2))
    plan, _ = _whole(space, lambda params, seed: {"t": params["target.batch_size"] / 88}, seeds=3)
    assert len({tuple(run.params.items()) for run in plan.runs}) == MOST_RECIPES
    assert plan.untried
    assert not _whole(_space(), _peak(1.0))[0].untried, "all that may be tried was"


# --- seeds


def test_the_two_best_have_two_seeds_and_the_best_as_many_as_are_asked_for() -> None:
    plan, _ = _whole(_space(), _peak(2.1e-5), seeds=5, first_seed=7)
    seeds = {
        rate: [run.seed for run in plan.runs if run.params[RATE] == rate] for rate in _rates(plan)
    }
    assert seeds == {1e-5: [7], 2e-5: [7, 8, 9, 10, 11], 4e-5: [7, 8]}


def test_the_third_has_one_seed() -> None:
    plan, _ = _whole(_space((1e-5, 2e-5, 4e-5, 8e-5)), _peak(2.1e-5), seeds=3)
    counts = [sum(run.params[RATE] == rate for run in plan.runs) for rate in _rates(plan)]
    assert counts == [1, 3, 2, 1]


@pytest.mark.parametrize(("seeds", "runs"), [(1, 3), (2, 5)])
def test_fewer_seeds_where_the_study_asks_for_fewer(seeds: int, runs: int) -> None:
    plan, _ = _whole(_space(), _peak(2e-5), seeds=seeds)
    assert len(plan.runs) == runs


def test_a_lucky_first_seed_does_not_make_a_baseline() -> None:
    """With its further seeds it falls behind, and another one has all that it is asked for."""

    def score(params: Mapping[str, Any], seed: int) -> Mapping[str, float]:
        lucky = params[RATE] == 1e-5 and seed == 0
        return {"t": 0.9 if lucky else {1e-5: 0.2, 2e-5: 0.6}.get(params[RATE], 0.1)}

    plan, found = _whole(_space(), score, seeds=5)
    scores: dict[int, list[Mapping[str, float]]] = {}
    for run, one in zip(plan.runs, found, strict=True):
        scores.setdefault(_rates(plan).index(run.params[RATE]), []).append(one or {})
    best = best_by_task(scores)["t"]
    assert _rates(plan)[best] == 2e-5
    assert len(scores[best]) == 5


def test_a_direct_training_that_diverges_is_passed_over() -> None:
    peak = _peak(8e-5)

    def score(params: Mapping[str, Any], seed: int) -> Mapping[str, float] | None:
        return None if params[RATE] > 5e-5 else peak(params, seed)

    plan, _ = _whole(_space(), score, seeds=3)
    assert _rates(plan) == pytest.approx([*RATES, 8e-5]), "beyond it none is tried"
    assert sum(run.params[RATE] == 8e-5 for run in plan.runs) == 1, "nor with another seed"
    assert sum(run.params[RATE] == 4e-5 for run in plan.runs) == 3


def test_a_seed_that_diverges_is_not_made_up_for() -> None:
    def score(params: Mapping[str, Any], seed: int) -> Mapping[str, float] | None:
        return None if seed == 2 else _peak(2e-5)(params, seed)

    plan, _ = _whole(_space(), score, seeds=3)
    assert len(plan.runs) == 6


def test_where_all_diverge_nothing_more_is_planned() -> None:
    plan, _ = _whole(_space(), lambda params, seed: None, seeds=5)
    assert plan.is_done
    assert len(plan.runs) == 3


# --- what is not trained


def test_a_target_that_is_not_trained_asks_for_nothing_more() -> None:
    space = replace(_space(), target_tasks=(TargetTask("t", False, 0),))
    plan, _ = _whole(space, lambda params, seed: {"t": 0.4}, seeds=5)
    assert [(dict(run.params), run.seed) for run in plan.runs] == [
        ({"intermediate.domain": "none"}, 0)
    ]


def test_beside_one_that_is_trained_it_has_no_say() -> None:
    tasks = (TargetTask("t", True, 2), TargetTask("found", False, 0))
    alone, _ = _whole(_space(), _peak(8e-5), seeds=3)
    both, _ = _whole(
        replace(_space(), target_tasks=tasks),
        lambda params, seed: {**(_peak(8e-5)(params, seed) or {}), "found": 0.4},
        seeds=3,
    )
    assert both == alone


# --- the plan as a whole


def test_it_depends_on_what_was_found_and_nothing_else() -> None:
    """A worker that comes later, or knows less, plans the beginning of the same."""
    plan, found = _whole(_space(), _peak(8e-5), seeds=3)
    for known in range(len(found) + 1):
        shorter = plan_direct_trainings(_space(), 0, 3, found[:known])
        assert shorter.runs == plan.runs[: len(shorter.runs)]
        assert shorter.is_done == (known == len(found))
        assert len(shorter.runs) > known or shorter.is_done


@pytest.mark.parametrize("dice", range(25))
def test_it_ends_whatever_is_found_and_repeats_nothing(dice: int) -> None:
    roll = random.Random(dice)
    tasks = tuple(TargetTask(name, True, 2) for name in ("t", "u", "v")[: roll.randint(1, 3)])
    space = _space(
        [1e-5 * 2**x for x in range(roll.randint(1, 5))],
        method=(Method.FULL, Method.LORA)[: roll.randint(1, 2)],
        lora_rank=(4, 8, 16)[: roll.randint(1, 3)],
        batch_size=(8, 16)[: roll.randint(1, 2)],
    )
    space = replace(space, target_tasks=tasks, backbones=("x", "y")[: roll.randint(1, 2)])

    def score(params: Mapping[str, Any], seed: int) -> Mapping[str, float] | None:
        if roll.random() < 0.15:
            return None
        return {task.name: roll.random() for task in tasks}

    seeds = roll.randint(1, 5)
    plan, found = _whole(space, score, seeds)
    runs = [(tuple(run.params.items()), run.seed) for run in plan.runs]
    assert len(set(runs)) == len(runs)
    recipes = {params for params, _ in runs}
    assert len(recipes) <= MOST_RECIPES
    grid = sorted(space.target.learning_rate)
    rates = {run.params.get(RATE, grid[0]) for run in plan.runs}
    assert sum(rate < grid[0] for rate in rates) <= STEPS
    assert sum(rate > grid[-1] for rate in rates) <= STEPS
    for params in recipes:
        of_recipe = [seed for mine, seed in runs if mine == params]
        assert of_recipe == list(range(len(of_recipe)))
        assert len(of_recipe) <= max(seeds, 1)
    scores: dict[int, list[Mapping[str, float]]] = {}
    for run, one in zip(plan.runs, found, strict=True):
        if one is not None:
            first = next(i for i, x in enumerate(plan.runs) if x.params == run.params)
            scores.setdefault(first, []).append(one)
    for best in best_by_task(scores).values():
        assert sum(run.params == plan.runs[best].params for run in plan.runs) == seeds


def test_a_run_is_a_direct_training_of_the_tuning_space() -> None:
    plan, _ = _whole(_space(), _peak(1.0), seeds=2)
    assert plan.runs[0] == DirectRun({"intermediate.domain": "none", RATE: 1e-5}, 0)
    space = tuning_space(_space())
    assert list(space.arms) == ["none"]
    assert {run.params[RATE] for run in plan.runs} <= set(space.target.learning_rate)
