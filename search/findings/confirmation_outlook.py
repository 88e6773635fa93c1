"""What a confirmation can find and what it will take, told before a test split is scored.

Told from the search alone: how much its runs scatter between seeds, how much their gains depend on
the choice of validation examples, what its model has not ruled out, and what its stages took.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, variance
from typing import Any

import numpy as np

from objectives.gains.intervals import estimate_gains
from objectives.gains.seed_gains import PairedOutcomes, SeedGains, gains_of_outcomes, mean_gains
from objectives.gains.sequential import Stage, detectable_gains, interval_half_width
from objectives.scores.outcomes import unpacked
from search.findings.confirmation import ConfirmationPlan, Outlook
from search.findings.standings import judged_languages
from search.findings.study_model import StudyModel
from search.studies.recipes import FinishedRecipe
from search.studies.stored_study import StoredStudy
from search.surrogate.gains import gains_over
from spaces.errors import SpecError
from spaces.recipe import Schedule
from spaces.studies import StudySpec
from spaces.task import Metric
from storage.tables import PairedScore, StageRun

Place = tuple[str, str]
"""Target task, language."""
FEWEST_SEEDS = 3
"""With two seeds hardly any gain is larger than what they scatter by."""


def outlook_of(study: StoredStudy, plan: ConfirmationPlan, sizes: Mapping[Place, int]) -> Outlook:
    """What a plan can find and what it will take.

    Args:
        study: The study.
        plan: What is to be confirmed, without an outlook.
        sizes: Target task, language -> number of its test examples.
    """
    planned = {x.trial for x in plan.recipes}
    recipes = [x for x in study.recipes if x.first.number in planned]
    of_seeds = _seeds_variance((*study.direct, *study.recipes), sizes)
    of_examples = _examples_variance(study, recipes, sizes)
    level = plan.alpha / 2 / len(plan.recipes)
    cost = costs_per_seed(study, plan, sizes).of(planned)
    seconds = tuple(look * cost for look in plan.looks) if cost else ()
    told = Outlook(expected=_expected(study, recipes), seconds=seconds)
    if of_seeds is None or not of_seeds + of_examples:
        return told
    last = Stage(plan.looks, len(plan.looks) - 1)
    return replace(
        told,
        detectable=tuple(detectable_gains(level, plan.looks, of_seeds, of_examples)),
        half_width=interval_half_width(last, level, of_seeds, of_examples),
    )


def check_it_can_decide(study: str, plan: ConfirmationPlan) -> None:
    """Refuse a plan that will decide nothing, whatever comes out.

    Raises:
        SpecError: Too few seeds for any verdict.
    """
    told, most = plan.outlook, plan.looks[-1]
    advice = "plan more with --max-seeds, fewer recipes with --top, or go on with --anyway"
    if most < FEWEST_SEEDS:
        raise SpecError(
            f"study {study!r}: --max-seeds",
            f"{FEWEST_SEEDS} or more: fewer seeds decide nothing",
            str(most),
            advice,
        )
    if not told.detectable or told.half_width is None or told.expected is None:
        return
    if told.detectable[-1] > told.expected and told.half_width >= plan.margin:
        raise SpecError(
            f"study {study!r}",
            "seeds that can decide something",
            f"{most}, with a minimum detectable gain of {told.detectable[-1]:.1f} points at 80 % "
            f"power where the search expects at most {told.expected:.1f}, and an interval of "
            f"+-{told.half_width:.1f} for a margin of {plan.margin:g}",
            advice,
        )


def _seeds_variance(recipes: Iterable[FinishedRecipe], sizes: Mapping[Place, int]) -> float | None:
    """Variance of a gain between seeds, points squared; None where no recipe has two.

    Both sides of a gain are trained: it is twice that of a score.
    """
    total, freedom = 0.0, 0
    for recipe in recipes:
        means = [_mean_score(gain.pairs, sizes) for gain in recipe.gain.by_seed().values()]
        if len(means) > 1:
            total += (len(means) - 1) * variance(means)
            freedom += len(means) - 1
    return 2 * total / freedom if freedom else None


def _mean_score(pairs: Iterable[PairedScore], sizes: Mapping[Place, int]) -> float:
    """Percent, the mean over target tasks of the mean over languages."""
    tasks: dict[str, list[float]] = {}
    for pair in pairs:
        if (pair.score.task, pair.score.language) in sizes:
            tasks.setdefault(pair.score.task, []).append(100 * pair.score.score)
    return fmean(fmean(scores) for scores in tasks.values())


def _examples_variance(
    study: StoredStudy, recipes: Sequence[FinishedRecipe], sizes: Mapping[Place, int]
) -> float:
    """Variance of a gain by the choice of so many test examples, points squared.

    Of validation examples it is told by the recipe with most seeds beside its best direct
    training; of fewer seeds than two what seed and example do together is counted with it.
    """
    assert study.baseline is not None, study.name
    recipe = max(recipes, key=lambda x: len(x.gain.seeds))
    first = {x.first.number: x for x in study.direct}
    own, base = dict[Place, list[PairedScore]](), dict[Place, list[PairedScore]]()
    for task, best in study.baseline.tasks.items():
        sides = (own, recipe.gain.pairs), (base, first[best.trial].gain.pairs)
        for side, pairs in sides:
            for pair in pairs:
                if pair.score.task == task and (task, pair.score.language) in sizes:
                    side.setdefault((task, pair.score.language), []).append(pair)
    scores = [pair.score for side in (own, base) for pairs in side.values() for pair in pairs]
    outcomes = study.ledger.outcomes(scores)
    cells = {}
    for place in own.keys() & base.keys():
        seeds = min(len(own[place]), len(base[place]))
        mine, theirs = (
            [unpacked(outcomes[pair.score.place]) for pair in side[place][:seeds]]
            for side in (own, base)
        )
        cells[place] = PairedOutcomes(
            Metric(own[place][0].score.metric),
            tuple(range(seeds)),
            tuple(x for x, _ in mine),
            tuple(x for x, _ in theirs),
            " ".join(place),
            mine[0][1],
        )
    found = {
        place: _as_of(gains, sizes[place]) for place, gains in gains_of_outcomes(cells).items()
    }
    least = min(len(gains.seeds) for gains in found.values())
    alike = {place: _first_seeds(gains, least) for place, gains in found.items()}
    tasks = {task: [x for (t, _), x in alike.items() if t == task] for task, _ in alike}
    mean = mean_gains([mean_gains(of_task) for of_task in tasks.values()])
    return estimate_gains({"": mean})[""].examples_variance or 0.0


def _as_of(gains: SeedGains, examples: int) -> SeedGains:
    """The gains as they would vary on so many examples."""
    assert gains.resampled is not None
    centre = gains.resampled.mean(axis=0)
    scale = (gains.examples / examples) ** 0.5
    return replace(gains, resampled=centre + (gains.resampled - centre) * scale)


def _first_seeds(gains: SeedGains, count: int) -> SeedGains:
    assert gains.resampled is not None
    return replace(
        gains,
        seeds=gains.seeds[:count],
        gains=gains.gains[:count],
        resampled=gains.resampled[:, :count],
    )


def _expected(study: StoredStudy, recipes: Sequence[FinishedRecipe]) -> float:
    """The gain or loss furthest from 0 that the search has not ruled out, points."""
    model, judged_on = StudyModel(study), judged_languages(study.spec, study.catalogue)
    chooser, zero = model.of_all(judged_on), model.zero_of_all(judged_on)
    rows = [chooser.table.place(x.first.params) for x in recipes]
    known = gains_over(chooser, zero, np.array([row for row in rows if row is not None]))
    return max(max(abs(gain.low), abs(gain.high)) for gain in known)


@dataclass(frozen=True)
class SeedCosts:
    """What a seed of a confirmation takes, by what the stages of the search took.

    Attributes:
        stages: Recipe -> each stage that a seed of it needs -> seconds; under -1 the direct
            trainings that all are held against. A stage that two of them need has one name.
            Empty where the search has not kept what its stages took.
    """

    stages: Mapping[int, Mapping[Hashable, float]]

    def of(self, recipes: Iterable[int]) -> float:
        """Seconds of a seed of some recipes beside the direct trainings; each stage once."""
        needed = dict[Hashable, float]()
        for trial in (-1, *recipes):
            needed |= self.stages.get(trial, {})
        return sum(needed.values())


def costs_per_seed(
    study: StoredStudy, plan: ConfirmationPlan, sizes: Mapping[Place, int]
) -> SeedCosts:
    """What a seed of a plan takes; beside each recipe its target stage is trained alone.

    Args:
        study: The study.
        plan: What is to be confirmed.
        sizes: Target task, language -> number of its test examples.
    """
    seen = [pair.score for pair in study.direct[0].gain.pairs]
    validation = {(x.task, x.language): x.examples for x in seen}
    test_share = sum(sizes.values()) / max(sum(validation.values()), 1)

    def needed(
        runs: Sequence[StageRun], params: Mapping[str, Any], tasks: Container[str]
    ) -> dict[Hashable, float]:
        """Stages that a trial asked for, on the way to some target tasks."""
        own = frozenset((x, y) for x, y in params.items() if not x.startswith("target."))
        found = dict[Hashable, float]()
        asked = {x.checkpoint_key: x for x in runs if x.finished and not x.updates_trained}
        for place, (key, run) in enumerate(asked.items()):
            stage = study.trained_stages.get(key)
            if stage is None or (run.position == "target" and run.task not in tasks):
                continue
            if run.position != "target":
                found[place, run.task, own] = stage.training_seconds
                continue
            # Validation is scored at each setting, and a test split at the chosen one.
            scoring = stage.scoring_seconds * (1 + test_share / _settings(study.spec, run))
            seconds = stage.training_seconds + scoring
            found[run.task, frozenset(params.items())] = seconds
            alone = {x: y for x, y in params.items() if not x.startswith("intermediate.")}
            found[run.task, frozenset(alone.items())] = seconds
        return found

    direct = {x.first.number: x.first.params for x in study.direct}
    recipes = {x.first.number: x.first.params for x in study.recipes}
    costs = dict[int, dict[Hashable, float]]({-1: {}})
    for task, trial in plan.baseline.items():
        costs[-1] |= needed(study.direct_stage_runs.get(trial, ()), direct[trial], {task})
    for planned in plan.recipes:
        runs = study.stage_runs.get(planned.trial, ())
        costs[planned.trial] = needed(runs, recipes[planned.trial], study.spec.target.tasks)
    return SeedCosts(costs if all(costs.values()) else {})


def _settings(spec: StudySpec, run: StageRun) -> int:
    """At how many settings a training of a target stage is scored, one after the other."""
    is_one = not run.updates_asked or spec.target.schedule is Schedule.LINEAR
    return 1 if is_one else len(spec.target.epochs)
