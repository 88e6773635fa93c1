"""Which direct trainings a study begins with, so that its gains are over a tuned baseline.

The plan depends on nothing but the space and what was found so far, in order: all workers of a
study come to the same one, whoever trained what. It goes on until, for each target task,

- no direct training that differs from the best one in a single choice is left untried, with up
  to three steps of the grid of rates beyond either end: a baseline on the edge of its grid is not
  tuned, and an undertrained target passes for transfer;
- the two best have two seeds, and the best has as many as the study asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from spaces.dimensions import SearchSpace, suggest_recipe
from spaces.enumeration import points

STEPS = 3
"""Steps of the grid of the target stage's rates that are tried beyond either end."""
FIRST_RECIPES, MOST_RECIPES = 16, 32
"""Direct trainings that are tried at first, drawn evenly where there are more; and in all."""
SHORTLIST, SHORTLIST_SEEDS = 2, 2
RATE = "target.learning_rate"

Params = Mapping[str, Any]


@dataclass(frozen=True)
class DirectRun:
    """A direct training with one seed.

    Attributes:
        params: Its choices, by the name of the parameter.
        seed: Random seed.
    """

    params: Params
    seed: int


@dataclass(frozen=True)
class Plan:
    """The direct trainings of a study.

    Attributes:
        runs: All that are known to be needed so far, in order.
        is_done: Whether no others will be.
        untried: Direct trainings next to the best ones that are left out, as `MOST_RECIPES` were
            tried by then.
    """

    runs: tuple[DirectRun, ...]
    is_done: bool
    untried: int = 0


class _Tried:
    """A direct training, and its scores by target task of each seed that it was trained with."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.planned = 0
        self.scores: list[Mapping[str, float]] = []

    def mean(self, task: str) -> float:
        return fmean(of_seed[task] for of_seed in self.scores)


def reachable_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """A grid with the steps beyond its ends that the plan may take; a single rate has none."""
    if len(rates) < 2:
        return tuple(rates)
    grid = sorted(rates)
    down, up = grid[0] / grid[1], grid[-1] / grid[-2]
    below = [_rounded(grid[0] * down**step) for step in range(STEPS, 0, -1)]
    above = [_rounded(grid[-1] * up**step) for step in range(1, STEPS + 1)]
    return (*below, *grid, *(rate for rate in above if rate < 1))


def tuning_space(space: SearchSpace) -> SearchSpace:
    """The space of all direct trainings that the plan of a study may come to."""
    return space.direct().with_target_rates(reachable_rates(space.target.learning_rate))


def plan_direct_trainings(
    space: SearchSpace,
    first_seed: int,
    seeds: int,
    found: Sequence[Mapping[str, float] | None],
) -> Plan:
    """The plan, given what its first runs found.

    Args:
        space: Space of the study.
        first_seed: Seed of the first run of each direct training.
        seeds: Seeds of the best one of each target task.
        found: Target task -> score of each run that is done, in order; None where it came to
            nothing (it diverged, or did not fit the device).
    """
    wide = tuning_space(space)
    first, _ = points(space.direct(), FIRST_RECIPES)
    runs = [DirectRun(point.params, first_seed) for point in first]
    while len(found) >= len(runs):
        tried = _tried(runs, found)
        untried = _neighbours(wide, tried)
        more = untried[: MOST_RECIPES - len(tried)] or _seeds(wide, tried, seeds)
        if not more:
            return Plan(tuple(runs), is_done=True, untried=len(untried))
        for params in more:
            planned = sum(run.params == params for run in runs)
            runs.append(DirectRun(params, first_seed + planned))
    return Plan(tuple(runs), is_done=False)


def best_by_task(
    scores: Mapping[int, Sequence[Mapping[str, float]]],
) -> dict[str, int]:
    """Target task -> which of several has the highest mean score; of equals the first.

    Args:
        scores: Number of each -> its scores by target task, of each seed.
    """
    tasks = next(iter(scores.values()))[0]
    return {
        task: max(scores, key=lambda one: fmean(of_seed[task] for of_seed in scores[one]))
        for task in tasks
    }


def _tried(runs: Sequence[DirectRun], found: Sequence[Mapping[str, float] | None]) -> list[_Tried]:
    tried: list[_Tried] = []
    for run, scores in zip(runs, found, strict=False):
        mine = next((x for x in tried if x.params == run.params), None)
        if mine is None:
            tried.append(mine := _Tried(run.params))
        mine.planned += 1
        if scores is not None:
            mine.scores.append(scores)
    return tried


def _ranked(tried: Iterable[_Tried], space: SearchSpace) -> Iterator[list[_Tried]]:
    """Those that came to something, the best of a target task first, for each trained task.

    What is not trained has the same score at each target stage and with every seed.
    """
    known = [x for x in tried if x.scores]
    for task in space.target_tasks:
        if known and task.is_trained and task.name in known[0].scores[0]:
            name = task.name
            yield sorted(known, key=lambda x: -x.mean(name))


def _neighbours(space: SearchSpace, tried: Sequence[_Tried]) -> list[Params]:
    """Untried ones that differ from the best of a target task in one choice."""
    known, new = [x.params for x in tried], list[Params]()
    for ranked in _ranked(tried, space):
        for params in _differing_in_one(space, ranked[0].params):
            if params not in known and params not in new:
                new.append(params)
    return new


def _differing_in_one(space: SearchSpace, params: Params) -> Iterator[Params]:
    walk = _Changed(params)
    suggest_recipe(walk, space)
    for name, choices in walk.choices.items():
        for other in _others(name, choices, params[name]):
            changed = _Changed({**params, name: other})
            suggest_recipe(changed, space)
            yield changed.chosen


def _others(name: str, choices: Sequence[Any], value: Any) -> list[Any]:
    """The other choices; of rates those next to it."""
    if name != RATE:
        return [x for x in choices if x != value]
    place = list(choices).index(value)
    return [choices[x] for x in (place - 1, place + 1) if 0 <= x < len(choices)]


def _seeds(space: SearchSpace, tried: Sequence[_Tried], seeds: int) -> list[Params]:
    """Those of which further seeds are needed, a line for each seed."""
    wanted: list[Params] = []

    def want(ranked: Sequence[_Tried], count: int) -> None:
        for one in ranked:
            if one.params not in wanted:
                wanted.extend([one.params] * (count - one.planned))

    for ranked in _ranked(tried, space):
        want(ranked[:SHORTLIST], min(SHORTLIST_SEEDS, seeds))
    if not wanted:
        for ranked in _ranked(tried, space):
            want(ranked[:1], seeds)
    return wanted


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


class _Changed:
    """Takes what is given where a choice has it, the first choice elsewhere."""

    def __init__(self, given: Params) -> None:
        self._given = given
        self.chosen: dict[str, Any] = {}
        self.choices: dict[str, Sequence[Any]] = {}

    def suggest_categorical(
        self, name: str, choices: Sequence[Any], possible: Sequence[Any]
    ) -> Any:
        """The given one of `choices`, or the first."""
        value = self._given.get(name)
        self.choices[name] = possible
        self.chosen[name] = value if value in possible else possible[0]
        return self.chosen[name]
