"""Confirming: the leaders of a search are planned, trained with fresh seeds, and judged.

The plan is in the ledger before anything is scored on a test split, so that nobody can peek and
choose again. What a confirmation is, once made, is in `confirmation.py`, which needs no torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from optuna.trial import TrialState

from objectives.stages.stage import StageProgress
from search.command_line.next_commands import next_command
from search.command_line.options import CONFIRMED_RECIPES, CONFIRMED_SEEDS
from search.findings.confirm_request import ConfirmRequest
from search.findings.confirmation import (
    ConfirmationPlan,
    ConfirmationResult,
    Look,
    PlannedRecipe,
    looks_of,
)
from search.findings.judging import judge_gains
from search.findings.selection import judged_languages, standings_of
from search.studies.recipes import FinishedRecipe
from search.studies.reopened import ReopenedStudy, reopen_study
from search.studies.stored_study import StoredStudy
from spaces.errors import Interrupted, SpecError, StorageError


def confirm_study(
    request: ConfirmRequest,
    on_stage: Callable[[StageProgress], None],
    on_recipe: Callable[[str], None],
) -> tuple[StoredStudy, Look]:
    """Confirm a study, go on with a confirmation that was begun, or read one that is finished.

    Args:
        request: Which study, and how thoroughly.
        on_stage: Called at every update of a training; what it raises ends the confirmation,
            and the next call goes on.
        on_recipe: Called with a line for people as each recipe begins.

    Returns:
        The study, and the look at its test splits, which has its result.

    Raises:
        UnknownNameError: The storage has no such study.
        StorageError: The search still runs or has nothing to confirm; or its data, encoder or
            precision is another now.
        SpecError: It was confirmed before with other sizes, and this would be another look.
        Interrupted: `on_stage` raised it.
    """
    reopened = reopen_study(request.study, on_stage)
    look = _begin(reopened, request)
    if look.result is None:
        try:
            look = _finish(reopened, look, on_recipe)
        except Interrupted as error:
            command = next_command("confirm", reopened.study.address)
            raise Interrupted(str(error), advice=f"`{command}` goes on") from error
    return reopened.study, look


def plan_confirmation(study: StoredStudy, recipes: int, seeds: Sequence[int]) -> ConfirmationPlan:
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
    chosen = _chosen(leading, recipes)
    return ConfirmationPlan(
        recipes=tuple(PlannedRecipe(x.first.number, x.arm, x.task, x.in_words) for x in chosen),
        baseline={task: best.trial for task, best in study.baseline.tasks.items()},
        seeds=tuple(seeds),
        trials_of_the_search=sum(len(recipe.trials) for recipe in leading),
        aggregate=study.spec.target.aggregate,
    )


def _begin(reopened: ReopenedStudy, request: ConfirmRequest) -> Look:
    """The look to go on with, to show or to make."""
    study, ledger = reopened.study, reopened.objective.ledger
    looks = looks_of(study)
    if looks and (looks[-1].result is None or not request.again):
        _check_sizes(study.name, looks[-1], request)
        return looks[-1]
    if running := study.optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        raise StorageError(
            f"study {study.name!r}",
            "a search that has ended",
            f"{len(running)} running trial(s)",
            "stop its workers or wait for them",
        )
    plan = _plan(reopened, request)
    kept = ledger.begin_confirmation(study.name, len(looks) + 1, plan.as_json())
    return Look.from_stored(kept)


def _check_sizes(study: str, look: Look, request: ConfirmRequest) -> None:
    plan = look.plan
    planned = len(plan.recipes), len(plan.seeds)
    if (request.recipes or planned[0], request.seeds or planned[1]) != planned:
        raise SpecError(
            f"study {study!r}",
            found=f"its test splits were read on {look.begun_at[:10]} for {planned[0]} recipes "
            f"and {planned[1]} seeds, and what is chosen after that is confirmed no more",
            advice="leave --top and --seeds out to see it, or look again with --again, which "
            "every report will say",
        )


def _plan(reopened: ReopenedStudy, request: ConfirmRequest) -> ConfirmationPlan:
    objective, study = reopened.objective, reopened.study
    spec, catalogue = objective.spec, objective.catalogue
    looks = objective.ledger.pairs(study.name, "test").values()
    searched = (*study.direct, *study.recipes)
    used = [seed for recipe in searched for seed in recipe.gain.seeds]
    first = max((*used, *(pair.seed for pairs in looks for pair in pairs)), default=-1) + 1
    plan = plan_confirmation(
        study,
        request.recipes or CONFIRMED_RECIPES,
        range(first, first + (request.seeds or CONFIRMED_SEEDS)),
    )
    # Before anything is written down: a split that is missing must not use up the look.
    backbone = objective.backbone(spec.backbone[0])
    for route in reopened.recipe(plan.recipes[0].trial).routes:
        for language in spec.scored_languages(catalogue[route.target.task]):
            objective.corpora.confirmation(backbone, route.target, language)
    return plan


def _chosen(leading: Sequence[FinishedRecipe], count: int) -> list[FinishedRecipe]:
    """The best of each arm, then the next best of any."""
    arms = {recipe.arm: recipe for recipe in reversed(leading)}
    first = [recipe for recipe in leading if arms[recipe.arm] is recipe]
    rest = [recipe for recipe in leading if arms[recipe.arm] is not recipe]
    return (first + rest)[:count]


def _finish(reopened: ReopenedStudy, look: Look, on_recipe: Callable[[str], None]) -> Look:
    """Train what is planned, score it on the test splits, and keep the verdicts."""
    objective, name, plan = reopened.objective, reopened.study.name, look.plan
    direct = {task: reopened.direct_training(trial) for task, trial in plan.baseline.items()}
    started = time.perf_counter()
    gains = {}
    for place, chosen in enumerate(plan.recipes, start=1):
        recipe = reopened.recipe(chosen.trial)
        on_recipe(f"recipe {place} of {len(plan.recipes)}: {chosen.in_words}")
        gain = objective.confirm(recipe, direct, plan.seeds)
        objective.ledger.record_trial(name, chosen.trial, gain.pairs)
        gains[chosen.trial] = gain
    ledger, catalogue = objective.ledger, objective.catalogue
    languages = judged_languages(objective.spec, catalogue)
    result = ConfirmationResult(
        verdicts=judge_gains(gains, ledger, catalogue, languages),
        paired=judge_gains(gains, ledger, catalogue, languages, "baseline"),
        seconds=time.perf_counter() - started,
    )
    ledger.finish_confirmation(name, look.number, result.as_json())
    # Another process may have finished it first; what is kept counts.
    return Look.from_stored(ledger.confirmations(name)[look.number - 1])
