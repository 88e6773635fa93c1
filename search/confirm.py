"""`python -m search.confirm`: the leaders of a search, with fresh seeds, on the test splits."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from search.command_line.options import (
    add_cache,
    add_data,
    add_storage,
    count,
    fail_in_one_line,
    start_torch,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from search.studies.recipes import FinishedRecipe
    from search.studies.reopened import ReopenedStudy
    from search.workers.progress import RunProgress
    from storage.tables import Confirmation

EPILOG = """\
What is to be confirmed is written down before anything is scored on a test split: the best recipe
of each arm, then the next best, the tuned baseline, and seeds that the search did not have. Asked
again, the command shows what came of it. After an interruption it goes on.
"""
TOP, SEEDS = 3, 5


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.confirm", description=__doc__, epilog=EPILOG
    )
    options.add_argument("--study", required=True, help="a study's name in the storage")
    options.add_argument("--top", type=count, metavar="N", help=f"recipes; default: {TOP}")
    options.add_argument(
        "--seeds", type=count, metavar="N", help=f"fresh seeds of each; default: {SEEDS}"
    )
    options.add_argument(
        "--again",
        action="store_true",
        help="look at the test splits once more, which every later report will say",
    )
    add_data(options)
    options.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options.add_argument("--precision", default="auto", help="default: the study's own")
    options.add_argument("--threads", type=count, help="CPU threads; default: all cores")
    options.add_argument(
        "--backbone", metavar="NAME", help="where the encoder lies now, if it was moved"
    )
    add_storage(options)
    add_cache(options, limit=False)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        start_torch(options.threads)
        import optuna
        import torch
        from rich.console import Console

        from objectives.hardware import usable_cores
        from search.command_line.stop_signal import StopSignal
        from search.studies.reopened import ReopenRequest, reopen_study
        from search.workers.progress import RunProgress
        from spaces.errors import Interrupted

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if options.threads is None:
            torch.set_num_threads(usable_cores())
        console = Console(stderr=True, soft_wrap=True)
        stop, progress = StopSignal(), RunProgress(console, 0, frozenset())

        def watch(stage: Any) -> None:
            stop.check()
            progress.stage(stage)

        with stop.listening(), progress.showing():
            reopened = reopen_study(
                ReopenRequest(
                    options.study,
                    options.storage,
                    options.data,
                    options.backbone,
                    options.cache,
                    options.device,
                    options.precision,
                ),
                watch,
            )
            confirmation = _begin(reopened, options)
            if confirmation.result is None:
                try:
                    confirmation = _finish(reopened, confirmation, progress)
                except Interrupted:
                    print("interrupted; the same command goes on", file=sys.stderr)
                    return 128 + stop.number
        _show(reopened, confirmation)
    return 0


def _begin(reopened: ReopenedStudy, options: argparse.Namespace) -> Confirmation:
    """The confirmation to go on with, to show or to make.

    Raises:
        StorageError: The search still runs or has nothing to confirm.
        SpecError: It was confirmed before, and this would be another look.
    """
    from optuna.trial import TrialState

    from spaces.errors import SpecError, StorageError

    study, ledger = reopened.study, reopened.objective.ledger
    name = study.study_name
    looks = ledger.confirmations(name)
    asked = options.top is not None or options.seeds is not None
    if looks and (looks[-1].result is None or not options.again):
        last = looks[-1]
        same = _sizes(last.plan) == (
            options.top or len(last.plan["recipes"]),
            options.seeds or len(last.plan["seeds"]),
        )
        if asked and not same:
            raise SpecError(
                f"study {name!r}: its test splits were read on {last.begun_at[:10]} for "
                f"{len(last.plan['recipes'])} recipes and {len(last.plan['seeds'])} seeds, and "
                f"what is chosen after that is confirmed no more; leave --top and --seeds out "
                f"to see it, or look again with --again, which every report will say"
            )
        return last
    if running := study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        raise StorageError(
            f"study {name!r}: expected a search that has ended, found {len(running)} running "
            f"trial(s); stop its workers or wait for them"
        )
    plan = _plan(reopened, options.top or TOP, options.seeds or SEEDS)
    return ledger.begin_confirmation(name, len(looks) + 1, plan)


def _sizes(plan: Any) -> tuple[int, int]:
    return len(plan["recipes"]), len(plan["seeds"])


def _plan(reopened: ReopenedStudy, top: int, seeds: int) -> dict[str, Any]:
    from search.reporting.terminal import tuned_baseline
    from search.studies.recipes import finished_recipes, leaders
    from spaces.errors import StorageError
    from spaces.studies import NO_INTERMEDIATE

    objective, study = reopened.objective, reopened.study
    spec, catalogue = objective.spec, objective.catalogue
    languages = spec.selection_languages(catalogue)
    recipes = finished_recipes(study, objective.ledger, spec.target.aggregate)
    tuned = tuned_baseline(recipes, languages)
    leading = [x for x in leaders(recipes, languages) if x.arm != NO_INTERMEDIATE]
    if tuned is None or not leading:
        raise StorageError(
            f"study {study.study_name!r}: expected a complete trial with an intermediate task, "
            f"found none; go on with the search"
        )
    chosen = _chosen(leading, top)
    looks = objective.ledger.pairs(study.study_name, "test").values()
    used = {pair.seed for recipe in recipes for pair in recipe.gain.pairs}
    used |= {pair.seed for pairs in looks for pair in pairs}
    first = max(used) + 1
    # Before anything is written down: a split that is missing must not use up the look.
    backbone = objective.backbone(spec.backbone[0])
    for route in reopened.recipe(chosen[0].first.number).routes:
        for language in spec.scored_languages(catalogue[route.target.task]):
            objective.corpora.confirmation(backbone, route.target, language)
    return {
        "recipes": [
            {"trial": x.first.number, "arm": x.arm, "name": x.task, "in_words": x.in_words}
            for x in chosen
        ],
        "baseline_trial": tuned.first.number,
        "seeds": list(range(first, first + seeds)),
        "trials_of_the_search": sum(len(recipe.trials) for recipe in recipes),
        "aggregate": str(spec.target.aggregate),
    }


def _chosen(leading: Sequence[FinishedRecipe], top: int) -> list[FinishedRecipe]:
    """The best of each arm, then the next best of any."""
    arms = {recipe.arm: recipe for recipe in reversed(leading)}
    first = [recipe for recipe in leading if arms[recipe.arm] is recipe]
    rest = [recipe for recipe in leading if arms[recipe.arm] is not recipe]
    return (first + rest)[:top]


def _finish(
    reopened: ReopenedStudy, confirmation: Confirmation, progress: RunProgress
) -> Confirmation:
    """Train what is planned, score it on the test splits, and keep the verdicts."""
    from dataclasses import replace

    from search.findings.judging import judge_gains

    objective, name = reopened.objective, reopened.study.study_name
    plan = confirmation.plan
    tuned = reopened.recipe(plan["baseline_trial"])
    started = time.perf_counter()
    gains = {}
    for place, chosen in enumerate(plan["recipes"], start=1):
        recipe = reopened.recipe(chosen["trial"])
        routes = [
            replace(route, reference=of_tuned.target)
            for route, of_tuned in zip(recipe.routes, tuned.routes, strict=True)
        ]
        recipe = replace(
            recipe,
            routes=tuple(routes),
            seeds=tuple(plan["seeds"]),
            reference_backbone=tuned.backbone,
        )
        progress.say(f"recipe {place} of {len(plan['recipes'])}: {chosen['in_words']}")
        gain = objective(recipe, lambda index, found: True, lambda run: None, confirms=True)
        objective.ledger.record_trial(name, chosen["trial"], gain.pairs)
        gains[chosen["trial"]] = gain
    spec, catalogue = objective.spec, objective.catalogue
    languages = {x for task in spec.target_tasks(catalogue) for x in spec.target_languages(task)}
    result = {
        "verdicts": judge_gains(gains, objective.ledger, catalogue, languages),
        "paired": judge_gains(gains, objective.ledger, catalogue, languages, "baseline"),
        "seconds": time.perf_counter() - started,
    }
    objective.ledger.finish_confirmation(name, confirmation.look, result)
    return objective.ledger.confirmations(name)[confirmation.look - 1]


def _show(reopened: ReopenedStudy, confirmation: Confirmation) -> None:
    from rich.console import Console

    from objectives.data.sources import SourceKind
    from search.findings.judging import cells_table, confirmation_lines, recipe_names

    assert confirmation.result is not None
    pocket = reopened.objective.corpora.source.kind is SourceKind.POCKET
    console = Console(width=None if sys.stdout.isatty() else 140)
    where = " (pocket corpora)" if pocket else ""
    console.print(
        cells_table(
            confirmation.result["verdicts"],
            recipe_names(confirmation.plan),
            f"{reopened.study.study_name}{where}: gains over the tuned baseline on test splits",
        )
    )
    for line in confirmation_lines(confirmation):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
