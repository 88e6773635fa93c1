"""What a study will probably train: its direct trainings and its trials, simulated.

A truth is drawn from the search model's prior, and the study's own plan and model run on it, so
that what is repeated, shared and gone on from is as in a real one. No torch, and no database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search.studies.direct_trainings import (
    DirectRun,
    plan_direct_trainings,
    tuning_space,
)
from search.surrogate.answer import answer
from search.surrogate.choosing import Chooser, Evidence
from search.surrogate.gains import Zero
from search.surrogate.gaussian import PRIOR, Posterior, Runs
from search.surrogate.recipe_table import RecipeTable, build_table, with_tried
from search.surrogate.threads import on_one_thread
from spaces.dimensions import SearchSpace
from spaces.enumeration import point_of
from spaces.recipe import Recipe
from spaces.studies import NO_INTERMEDIATE, Sampler, StudySpec

Run = tuple[Recipe, int]
"""Recipe and seed."""


@dataclass(frozen=True)
class SimulatedStudy:
    """One way in which a study may go.

    Attributes:
        direct: Its direct trainings, in order.
        trials: Its trials, in order.
        detectable: Half the width of the 95 % interval of the gain of an arm's recommended
            recipe in the end, points: a larger gain is told from none.
        best: Gain of the best recipe there is, in the truth that was drawn.
    """

    direct: tuple[Run, ...]
    trials: tuple[Run, ...]
    detectable: float
    best: float


@on_one_thread
def simulate_study(spec: StudySpec, space: SearchSpace, trials: int, seed: int) -> SimulatedStudy:
    """Let a study run on a truth that is drawn from the search model's prior.

    Args:
        spec: The study.
        space: Its space.
        trials: Number of its trials.
        seed: Random seed of the truth and of the noise.
    """
    rng = np.random.default_rng(seed)
    plan, scores = _directly(spec, space, rng)
    rates = {run.params["target.learning_rate"] for run in plan if _has_rate(run)}
    space = space.with_target_rates(sorted(rates.union(space.target.learning_rate)))
    table = with_tried(build_table(space), [run.params for run in plan])
    places = [table.place(run.params) for run in plan]
    rows = np.array([place for place in places if place is not None], dtype=np.int64)
    seeds = np.array(
        [run.seed for run, x in zip(plan, places, strict=True) if x is not None], dtype=np.int64
    )
    known = np.array([s for s, x in zip(scores, places, strict=True) if x is not None])
    # The truth of all recipes, given that of the direct trainings.
    truth = Posterior(table, Runs(rows, seeds, known), PRIOR).samples(rng, 1)[:, 0]
    means = {row: known[rows == row].mean() for row in np.unique(rows)}
    zero = max(means, key=lambda row: means[row])
    known -= means[zero]
    runs = Runs(rows, seeds, known)
    indirect = table.arm != table.arms.index(NO_INTERMEDIATE)
    made = list[Run]()
    for _ in range(trials):
        chooser = Chooser(table, Evidence(runs))
        if spec.sampler is Sampler.TRANSFER:
            row = chooser.choose(rng, indirect)
        else:
            row = int(rng.choice(np.flatnonzero(indirect)))
        mine = runs.seed[runs.recipe == row]
        following = int(mine.max()) + 1 if len(mine) else spec.first_seed
        score = truth[row] - means[zero] + PRIOR.noise * rng.standard_normal()
        runs = Runs(
            np.append(runs.recipe, row),
            np.append(runs.seed, following),
            np.append(runs.score, score),
        )
        made.append((table.points[row].recipe, following))
    found = answer(Chooser(table, Evidence(runs)), Zero(int(zero)), rng, samples=200)
    widths = [
        (x.interval[1] - x.interval[0]) / 2
        for arm, x in found.arms.items()
        if arm != NO_INTERMEDIATE
    ]
    best = float(truth[indirect].max() - truth[zero])
    return SimulatedStudy(
        tuple((_recipe(space, run), run.seed) for run in plan),
        tuple(made),
        float(np.mean(widths)) if widths else 0.0,
        best,
    )


def _directly(
    spec: StudySpec, space: SearchSpace, rng: np.random.Generator
) -> tuple[tuple[DirectRun, ...], list[float]]:
    """The direct trainings that the plan comes to, and their scores."""
    wide = build_table(tuning_space(space))
    truth = Posterior(wide, _no_runs(), PRIOR).samples(rng, 1)[:, 0]
    found = list[Mapping[str, float] | None]()
    scores = list[float]()
    while True:
        plan = plan_direct_trainings(space, spec.first_seed, spec.baseline_seeds, found)
        if plan.is_done:
            return plan.runs, scores
        for run in plan.runs[len(found) :]:
            scores.append(_score(wide, truth, run.params, rng))
            found.append(dict.fromkeys(spec.target.tasks, scores[-1]))


def _score(
    table: RecipeTable, truth: np.ndarray, params: Mapping[str, object], rng: np.random.Generator
) -> float:
    place = table.place(params)
    mean = truth[place] if place is not None else 0.0
    return float(mean + PRIOR.noise * rng.standard_normal())


def _no_runs() -> Runs:
    none = np.zeros(0, dtype=np.int64)
    return Runs(none, none, np.zeros(0))


def _has_rate(run: DirectRun) -> bool:
    return "target.learning_rate" in run.params


def _recipe(space: SearchSpace, run: DirectRun) -> Recipe:
    point = point_of(space.direct(), run.params)
    assert point is not None, run.params
    return point.recipe


@dataclass(frozen=True)
class PlannedStage:
    """A stage that is trained, or the rest of one.

    Attributes:
        recipe: Recipe that asks for it.
        place: Place of an intermediate stage in its row; None of a target stage.
        route: Place of the target task among those of the study.
        updates: Optimizer steps that are left to take.
        saves: Checkpoints that are written.
        with_state: How many of these keep what a longer training goes on from.
    """

    recipe: Recipe
    place: int | None
    route: int
    updates: int
    saves: int = 0
    with_state: int = 0


@dataclass(frozen=True)
class PlannedWork:
    """What runs train after all that they share.

    Attributes:
        stages: The stages that are trained.
        asked: Stages that the runs ask for.
        updates_asked: Optimizer steps of these.
    """

    stages: tuple[PlannedStage, ...]
    asked: int
    updates_asked: int

    @property
    def updates(self) -> int:
        """Optimizer steps that are trained."""
        return sum(stage.updates for stage in self.stages)


def planned_work(runs: Sequence[Run], epochs: Sequence[int]) -> PlannedWork:
    """What runs train, each stage once, longer ones from where shorter ones ended.

    Args:
        runs: The runs, in order.
        epochs: Numbers of epochs of intermediate stages that the study can ask for.
    """
    reached: dict[tuple[object, ...], set[int]] = {}
    scored = set[tuple[object, ...]]()
    stages = list[PlannedStage]()
    asked = updates_asked = 0
    for recipe, seed in runs:
        counted = set[tuple[object, ...]]()
        for route, steps in enumerate(recipe.routes):
            row = steps.intermediate
            # Of what is not trained at all, nothing is drawn.
            drawn = seed if row or steps.target.epochs else None
            trunk = (recipe.backbone, drawn, row)
            if trunk not in counted:
                counted.add(trunk)
                asked += len(row)
                updates_asked += sum(stage.updates for stage in row)
            asked += 1
            updates_asked += steps.target.updates
            if (*trunk, steps.target) in scored:
                continue
            scored.add((*trunk, steps.target))
            for place in range(len(row)):
                made = _rest(recipe, route, place, seed, epochs, reached)
                stages += [made] if made is not None else []
            stages.append(PlannedStage(recipe, None, route, steps.target.updates))
    return PlannedWork(tuple(stages), asked, updates_asked)


def _rest(
    recipe: Recipe,
    route: int,
    place: int,
    seed: int,
    epochs: Sequence[int],
    reached: dict[tuple[object, ...], set[int]],
) -> PlannedStage | None:
    """What is left of an intermediate stage; None where it is there."""
    row = recipe.routes[route].intermediate
    stage, before = row[place], row[:place]
    key = (recipe.backbone, seed, before, stage.without_epochs)
    saved = reached.setdefault(key, set())
    if stage.epochs in saved:
        return None
    shorter = [x for x in saved if x < stage.epochs] if stage.has_prefixes else []
    first = max(shorter, default=0)
    marks = {stage.epochs}
    if stage.has_prefixes:
        marks |= {x for x in epochs if first < x < stage.epochs}
    saved |= marks
    with_state = sum(x < max(epochs) for x in marks) if stage.has_prefixes else 0
    updates = (stage.epochs - first) * stage.updates_per_epoch
    return PlannedStage(recipe, place, route, updates, len(marks), with_state)
