"""Confirming: the leaders of a search are planned, trained with fresh seeds, and judged.

The plan is in the ledger before anything is scored on a test split, so that nobody can peek and
choose again. After each of its looks the recipes that are decided are dropped, and the others go
on. What a confirmation is, once made, is in `confirmation.py`, which needs no torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from optuna.trial import TrialState

from objectives.gains.rules import planned_looks
from objectives.gains.transfer_gain import TransferGain
from objectives.stages.stage import StageProgress
from search.command_line.next_commands import next_command
from search.command_line.options import CONFIRMED_MARGIN, CONFIRMED_RECIPES, CONFIRMED_SEEDS
from search.findings.confirm_request import ConfirmRequest, is_settled
from search.findings.confirmation import (
    ConfirmationPlan,
    ConfirmationResult,
    Ended,
    Look,
    PlannedRecipe,
    error_left,
    looks_of,
)
from search.findings.confirmation_outlook import (
    Place,
    check_it_can_decide,
    outlook_of,
    seconds_per_seed,
)
from search.findings.judging import Against, Estimates, estimate_recipes, judge_estimates
from search.findings.standings import judged_languages, standings_of
from search.findings.verdict_words import outlook_lines, progress_line
from search.studies.recipes import FinishedRecipe
from search.studies.reopened import ReopenedStudy, reopen_study
from search.studies.stored_study import StoredStudy
from spaces.errors import Interrupted, SpecError, StorageError

_SIDES: tuple[Against, Against] = ("reference", "baseline")


def confirm_study(
    request: ConfirmRequest,
    on_stage: Callable[[StageProgress], None],
    on_line: Callable[[str], None],
) -> tuple[StoredStudy, Look]:
    """Confirm a study, go on with a confirmation that was begun, or read one that is over.

    Args:
        request: Which study, and how thoroughly.
        on_stage: Called at every update of a training; what it raises ends the confirmation,
            and the next call goes on.
        on_line: Called with lines for people: what the plan can find, and what each look found.

    Returns:
        The study, and its last look, which has a result.

    Raises:
        UnknownNameError: The storage has no such study.
        StorageError: The search still runs or has nothing to confirm; or its data, encoder or
            precision is another now.
        SpecError: It was planned with other sizes, it can decide nothing, no error is left for
            another look, or not even the first look fits into the hours.
        Interrupted: `on_stage` raised it.
    """
    reopened = reopen_study(request.study, on_stage)
    look = _begin(reopened, request, on_line)
    if not look.is_over:
        try:
            look = _finish(reopened, look, request.gpu_hours, on_line)
        except Interrupted as error:
            command = next_command("confirm", reopened.study.address)
            raise Interrupted(
                str(error), advice=f"what is finished is kept; go on with {command}"
            ) from error
    return reopened.study, look


def foresee_confirmation(
    request: ConfirmRequest, on_stage: Callable[[StageProgress], None]
) -> list[str]:
    """What a confirmation would take and could find, in words; nothing is scored or kept.

    Raises:
        TransferSearchError: As from `confirm_study`.
    """
    reopened = reopen_study(request.study, on_stage)
    study = reopened.study
    plan, sizes = _plan(reopened, request)
    plan = replace(plan, outlook=outlook_of(study, plan, sizes))
    cost, most = seconds_per_seed(study, plan, sizes), len(plan.seeds)
    lines = [
        *outlook_lines(plan),
        f"test splits: {sum(sizes.values()):,} examples of {len(sizes)} languages of target tasks",
    ]
    if cost:
        hardware = reopened.objective.hardware
        hours = f"at most {most * sum(cost.values()) / 3600:.2f} hours of {hardware.name}"
        lines.append(f"{'GPU-hours' if hardware.device.type == 'cuda' else 'hours'}: {hours}")
    if not request.anyway:
        check_it_can_decide(study.name, plan)
    return lines


def plan_confirmation(
    study: StoredStudy, request: ConfirmRequest, first_seed: int
) -> ConfirmationPlan:
    """Choose what is to be confirmed: the leader of each arm, then the next best of any.

    Raises:
        StorageError: No recipe with an intermediate task is finished.
    """
    leading = standings_of(study).recipes
    if study.baseline is None or not leading:
        raise StorageError(
            f"study {study.name!r}",
            "a complete trial with an intermediate task",
            "none",
            "go on with the search",
        )
    chosen = _chosen(leading, request.recipes or CONFIRMED_RECIPES)
    most = request.max_seeds or CONFIRMED_SEEDS
    return ConfirmationPlan(
        recipes=tuple(PlannedRecipe(x.first.number, x.arm, x.task, x.in_words) for x in chosen),
        baseline={task: best.trial for task, best in study.baseline.tasks.items()},
        seeds=tuple(range(first_seed, first_seed + most)),
        looks=planned_looks(most),
        margin=CONFIRMED_MARGIN if request.margin is None else request.margin,
        trials_of_the_search=sum(len(recipe.trials) for recipe in leading),
        aggregate=study.spec.target.aggregate,
        alpha=error_left(looks_of(study)),
    )


def _begin(
    reopened: ReopenedStudy, request: ConfirmRequest, on_line: Callable[[str], None]
) -> Look:
    """The look to go on with, to show or to make."""
    study, ledger = reopened.study, reopened.objective.ledger
    looks = looks_of(study)
    if is_settled(looks, request) or (looks and not looks[-1].is_over):
        return looks[-1]
    if running := study.optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        raise StorageError(
            f"study {study.name!r}",
            "a search that has ended",
            f"{len(running)} running trial(s)",
            "stop its workers or wait for them",
        )
    plan, sizes = _plan(reopened, request)
    plan = replace(plan, outlook=outlook_of(study, plan, sizes))
    for line in outlook_lines(plan):
        on_line(line)
    if not request.anyway:
        check_it_can_decide(study.name, plan)
    _check_hours(plan, request.gpu_hours)
    kept = ledger.begin_confirmation(study.name, len(looks) + 1, plan.as_json())
    return Look.from_stored(kept)


def _check_hours(plan: ConfirmationPlan, hours: float | None) -> None:
    seconds = plan.outlook.seconds
    if hours is not None and seconds and seconds[0] > 3600 * hours:
        needed = f"{seconds[0] / 3600:.2g} or more for the first look"
        raise SpecError("--gpu-hours", needed, f"{hours:g}", "nothing was scored on a test split")


def _plan(
    reopened: ReopenedStudy, request: ConfirmRequest
) -> tuple[ConfirmationPlan, dict[Place, int]]:
    """The plan, and the number of test examples of each target task and judged language."""
    objective, study = reopened.objective, reopened.study
    looks = objective.ledger.pairs(study.name, "test").values()
    searched = (*study.direct, *study.recipes)
    used = [seed for recipe in searched for seed in recipe.gain.seeds]
    first = max((*used, *(pair.seed for pairs in looks for pair in pairs)), default=-1) + 1
    plan = plan_confirmation(study, request, first)
    # Before anything is written down: a split that is missing must not use up the look.
    return plan, _test_sizes(reopened, plan)


def _test_sizes(reopened: ReopenedStudy, plan: ConfirmationPlan) -> dict[Place, int]:
    objective = reopened.objective
    spec, catalogue = objective.spec, objective.catalogue
    backbone = objective.backbone(spec.backbone[0])
    judged_on = judged_languages(spec, catalogue)
    sizes = {}
    for route in reopened.recipe(plan.recipes[0].trial).routes:
        for language in spec.scored_languages(catalogue[route.target.task]):
            corpus = objective.corpora.confirmation(backbone, route.target, language)
            if language in judged_on:
                sizes[route.target.task, language] = len(corpus.examples)
    return sizes


def _chosen(leading: Sequence[FinishedRecipe], count: int) -> list[FinishedRecipe]:
    """The best of each arm, then the next best of any."""
    arms = {recipe.arm: recipe for recipe in reversed(leading)}
    first = [recipe for recipe in leading if arms[recipe.arm] is recipe]
    rest = [recipe for recipe in leading if arms[recipe.arm] is not recipe]
    return (first + rest)[:count]


@dataclass
class _Progress:
    """What a confirmation has found up to a look.

    Attributes:
        gains: Recipe -> its scores with all seeds that it had.
        estimates: Against what -> the estimates, of dropped recipes those they were dropped by.
        result: What was found at the last look; None before the first.
    """

    gains: dict[int, TransferGain] = field(default_factory=dict)
    estimates: dict[Against, Estimates] = field(
        default_factory=lambda: {side: Estimates() for side in _SIDES}
    )
    result: ConfirmationResult | None = None


def _finish(
    reopened: ReopenedStudy,
    look: Look,
    hours: float | None,
    on_line: Callable[[str], None],
) -> Look:
    """Look by look: train what is not decided, score it on the test splits, keep the verdicts.

    Looks of an earlier call are gone through again, with scores that are known by now, so that
    each is judged by what it was judged by then.
    """
    name, plan, ledger = reopened.study.name, look.plan, reopened.objective.ledger
    cost = seconds_per_seed(reopened.study, plan, _test_sizes(reopened, plan))
    earlier = look.result
    seconds, done = (0.0, 0) if earlier is None else (earlier.seconds, earlier.seeds)
    progress, active = _Progress(), tuple(recipe.trial for recipe in plan.recipes)
    for before, seeds in zip((0, *plan.looks), plan.looks, strict=False):
        if seeds > done and hours is not None:
            expected = _expected_seconds(cost, active, seeds - before, seconds, before)
            if seconds + expected > 3600 * hours:
                needed = f"{(seconds + expected) / 3600:.2g} or more for the next look"
                if progress.result is None:
                    raise SpecError("--gpu-hours", needed, f"{hours:g}")
                _keep(reopened, look, progress.result, "hours")
                on_line(f"--gpu-hours: {needed}, after {seeds} seeds; stopped")
                break
        started = time.perf_counter()
        _train(reopened, plan, active, range(before, seeds), progress, on_line)
        if seeds > done:
            seconds += time.perf_counter() - started
        progress.result = _judged(reopened, plan, active, progress, seconds)
        active = progress.result.undecided
        ended: Ended = "" if active and seeds < plan.looks[-1] else "seeds"
        ended = ended if active else "decided"
        progress.result = replace(progress.result, ended=ended)
        if seeds >= done:
            _keep(reopened, look, progress.result, ended)
            on_line(progress_line(plan, progress.result))
        if not active:
            break
    # Another process may have finished it first; what is kept counts.
    return Look.from_stored(ledger.confirmations(name)[look.number - 1])


def _expected_seconds(
    cost: Mapping[int, float], active: Sequence[int], seeds: int, seconds: float, before: int
) -> float:
    """Of so many more seeds: by what the search's stages took, else by the seeds before."""
    if cost:
        return seeds * sum(cost[trial] for trial in (-1, *active))
    return seeds * seconds / before if before else 0.0


def _keep(reopened: ReopenedStudy, look: Look, result: ConfirmationResult, ended: Ended) -> None:
    kept = replace(result, ended=ended)
    is_final = replace(look, result=kept).is_over
    reopened.objective.ledger.keep_confirmation(
        reopened.study.name, look.number, kept.as_json(), is_final=is_final
    )


def _train(
    reopened: ReopenedStudy,
    plan: ConfirmationPlan,
    active: Sequence[int],
    places: range,
    progress: _Progress,
    on_line: Callable[[str], None],
) -> None:
    """Train the recipes that are not decided with the seeds up to the next look."""
    objective = reopened.objective
    direct = {task: reopened.direct_training(trial) for task, trial in plan.baseline.items()}
    seeds = plan.seeds[places.start : places.stop]
    for place, chosen in enumerate(plan.recipes, start=1):
        if chosen.trial not in active:
            continue
        on_line(
            f"seeds {places.start + 1} to {places.stop}, recipe {place} of {len(plan.recipes)}: "
            f"{chosen.in_words}"
        )
        gain = objective.confirm(reopened.recipe(chosen.trial), direct, seeds)
        objective.ledger.record_trial(reopened.study.name, chosen.trial, gain.pairs)
        known = progress.gains.get(chosen.trial)
        pairs = gain.pairs if known is None else (*known.pairs, *gain.pairs)
        progress.gains[chosen.trial] = replace(gain, pairs=pairs)


def _judged(
    reopened: ReopenedStudy,
    plan: ConfirmationPlan,
    active: Sequence[int],
    progress: _Progress,
    seconds: float,
) -> ConfirmationResult:
    """The verdicts at a look; recipes that are not active keep their estimates."""
    objective = reopened.objective
    languages = judged_languages(objective.spec, objective.catalogue)
    dropped = progress.gains.keys() - set(active)
    for side in _SIDES:
        found = estimate_recipes(
            progress.gains, objective.ledger, objective.catalogue, languages, side
        )
        progress.estimates[side] = found.with_kept(progress.estimates[side], dropped)
    verdicts, paired = (judge_estimates(progress.estimates[side], plan.rules) for side in _SIDES)
    return ConfirmationResult(verdicts, paired, seconds)
