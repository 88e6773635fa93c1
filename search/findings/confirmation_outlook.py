"""What a confirmation can find and what it will take, told before a test split is scored.

Told from the search alone: how much its runs scatter between seeds, how much their gains depend on
the choice of validation examples, what its model has not ruled out, and what its stages took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, variance

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
    cost = sum(seconds_per_seed(study, plan, sizes).values())
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


def seconds_per_seed(
    study: StoredStudy, plan: ConfirmationPlan, sizes: Mapping[Place, int]
) -> dict[int, float]:
    """Recipe -> what a seed of it takes beyond the direct training of all, by the search.

    Beside the recipe its target stage is trained alone. The direct trainings that all are held
    against are under -1. Empty where the search has not kept what its stages took.
    """
    seen = [pair.score for pair in study.direct[0].gain.pairs]
    examples = {(x.task, x.language): x.examples for x in seen}
    # Validation is scored too, which chooses the number of epochs.
    splits = 1 + sum(sizes.values()) / max(sum(examples.values()), 1)

    def taken(runs: Iterable[StageRun]) -> float:
        keys = {run.checkpoint_key for run in runs if run.updates_asked and run.finished}
        known = [study.trained_stages[key] for key in keys if key in study.trained_stages]
        return sum(stage.training_seconds + stage.scoring_seconds * splits for stage in known)

    direct = study.direct_stage_runs
    cost = {-1: sum(_one_seed(direct, x, taken) for x in set(plan.baseline.values()))}
    for recipe in plan.recipes:
        cost[recipe.trial] = _one_seed(study.stage_runs, recipe.trial, taken)
        cost[recipe.trial] += _one_seed(study.stage_runs, recipe.trial, taken, "target")
    return cost if all(cost.values()) else {}


def _one_seed(
    runs: Mapping[int, Sequence[StageRun]],
    trial: int,
    taken: Callable[[Iterable[StageRun]], float],
    position: str = "",
) -> float:
    return taken(run for run in runs.get(trial, ()) if position in {"", run.position})
