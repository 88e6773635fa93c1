"""Confirming: what is planned, when recipes are dropped, that nobody can peek, what is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import optuna
import pytest

from objectives.gains.rules import Rules, Verdict
from objectives.transfer import TransferObjective
from search import confirm
from search.findings import confirming
from search.findings.confirmation import Look, error_left, looks_of
from search.findings.judging import Estimates, judge_estimates
from search.findings.standings import standings_of
from search.findings.verdicts import Verdicts
from search.studies.stored_study import open_stored_study
from spaces.errors import Interrupted
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.tables import Confirmation
from tests.search_tests.conftest import Ended, Workplace

Confirm = Callable[..., Ended]
ONE_SEED = ("--max-seeds", "1", "--anyway")
STRICT = ("--top", "1", "--margin", "0.0001", "--anyway")


@pytest.fixture
def run_confirm(workplace: Workplace) -> Confirm:
    """Runs the command in the folder of the study, within this process."""
    words = ("--study", "tiny", "--backbone", str(workplace.encoder), "--threads", "1")
    return partial(workplace.call, confirm.main, *words)


def ledger_of(workplace: Workplace) -> Ledger:
    return Ledger(open_storage(workplace.storage).engine)


def looks(workplace: Workplace) -> list[Confirmation]:
    return ledger_of(workplace).confirmations("tiny")


def last_look(workplace: Workplace) -> Look:
    return Look.from_stored(looks(workplace)[-1])


def nothing_more(*arguments: object, **named: object) -> None:
    raise AssertionError("trained again")


def deciding(monkeypatch: pytest.MonkeyPatch, place: int, seeds: int) -> None:
    """Has one of the recipes helping from so many seeds on, and no other decided."""

    def judged(estimates: Estimates, rules: Rules) -> Verdicts:
        found = judge_estimates(estimates, rules)
        recipes = tuple(
            replace(
                recipe,
                gain=replace(
                    recipe.gain,
                    verdict=Verdict.HELPS
                    if number == place and recipe.gain.seeds >= seeds
                    else Verdict.UNDECIDED,
                ),
            )
            for number, recipe in enumerate(found.recipes)
        )
        return replace(found, recipes=recipes)

    monkeypatch.setattr(confirming, "judge_estimates", judged)


def test_leaders_are_judged_on_test_splits_with_fresh_seeds(
    searched: Workplace, run_confirm: Confirm
) -> None:
    ended = run_confirm("--top", "2", "--max-seeds", "2", "--anyway")
    assert ended.returncode == 0, ended.stderr
    (look,) = looks(searched)
    assert look.result is not None
    assert look.is_final
    ledger = ledger_of(searched)
    found = ledger.pairs("tiny", "test")
    assert set(found) == {recipe["trial"] for recipe in look.plan["recipes"]}
    searches = [ledger.pairs(name, "validation") for name in ("tiny", "tiny.baseline")]
    used = {pair.seed for seen in searches for pairs in seen.values() for pair in pairs}
    for pairs in found.values():
        assert {pair.seed for pair in pairs} == set(look.plan["seeds"])
        assert not used & {pair.seed for pair in pairs}
        assert {pair.score.split for pair in pairs} == {"test"}
    for row in look.result["verdicts"]:
        pairs = [
            pair for pair in found[row["trial"]] if row["language"] in {"", pair.score.language}
        ]
        assert row["gain"] == pytest.approx(fmean(pair.gain for pair in pairs), abs=1e-4)
        assert row["seeds"] == 2
        assert row["examples"] == sum(x.score.examples for x in pairs) / 2
    assert "pocket corpora" in ended.stdout
    assert "confirmed on" in ended.stdout
    assert "by the intermediate task itself" in ended.stdout
    assert "2 of at most 2 seeds" in ended.stdout
    assert look.plan["baseline"] == {"pocket_ner": 0}


@pytest.mark.slow
def test_each_seed_trains_the_recipe_its_target_stage_alone_and_the_best_direct_training(
    workplace: Workplace, run_confirm: Confirm
) -> None:
    """Here the best direct training of either target task is at another rate."""
    targets = ("--set", 'target.tasks=["pocket_ner", "pocket_topic"]')
    assert workplace.search("--trials", "2", "--quiet", *targets).returncode == 0
    study = open_stored_study(workplace.storage, "tiny")
    ended = run_confirm("--top", "1", "--max-seeds", "2", "--anyway")
    assert ended.returncode == 0, ended.stderr
    (look,) = looks_of(study)
    assert set(look.plan.baseline) == {"pocket_ner", "pocket_topic"}
    (pairs,) = ledger_of(workplace).pairs("tiny", "test").values()
    assert len(pairs) == 2 * 2 * 2, "seeds, target tasks, languages"
    for pair in pairs:
        assert pair.reference is not None
        assert pair.baseline is not None
        assert {pair.reference.split, pair.baseline.split} == {"test"}
        # One target rate: the recipe's target stage alone is the best direct training.
        assert pair.reference.checkpoint_key == pair.baseline.checkpoint_key
        assert pair.score.checkpoint_key != pair.baseline.checkpoint_key
    assert len({pair.baseline.checkpoint_key for pair in pairs if pair.baseline}) == 2 * 2
    assert look.result is not None
    for found in (look.result.verdicts, look.result.paired):
        (whole,) = found.recipes
        assert whole.gain.points == pytest.approx(fmean(pair.gain for pair in pairs), abs=1e-4)
        assert [x.task for x in found.tasks] == ["pocket_ner", "pocket_topic"]
        for of_task in found.tasks:
            gains = [pair.gain for pair in pairs if pair.score.task == of_task.task]
            assert of_task.gain.points == pytest.approx(fmean(gains), abs=1e-4)


def test_every_arm_has_its_best_recipe_among_those_confirmed(
    searched: Workplace, run_confirm: Confirm
) -> None:
    assert run_confirm("--top", "2", *ONE_SEED).returncode == 0
    (look,) = looks(searched)
    assert {recipe["arm"] for recipe in look.plan["recipes"]} == {"general", "legal"}


@pytest.mark.slow
def test_recipes_selected_on_the_source_language_are_confirmed_on_the_targets(
    workplace: Workplace, run_confirm: Confirm
) -> None:
    selection = ("--set", 'selection="source-validation"')
    assert workplace.search("--trials", "3", "--quiet", *selection).returncode == 0
    results = open_stored_study(workplace.storage, "tiny")
    leading = [recipe.first.number for recipe in standings_of(results).recipes]
    ended = run_confirm("--top", "2", *ONE_SEED)
    assert ended.returncode == 0, ended.stderr
    (look,) = looks_of(results)
    assert look.result is not None
    assert look.plan.recipes[0].trial == leading[0]
    assert {x.language for x in look.result.verdicts.cells} == {"qaa", "qab"}


def test_before_a_test_score_is_read_it_says_what_it_can_find_and_what_it_takes(
    searched: Workplace, run_confirm: Confirm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TransferObjective, "confirm", nothing_more)
    ended = run_confirm("--top", "1", "--max-seeds", "2")
    assert ended.returncode == 2
    assert "looks after 2 seeds, margin 1 points" in ended.stderr
    assert "to the first look" in ended.stderr
    assert "fewer seeds decide nothing, found 2" in ended.stderr
    assert not looks(searched), "nothing is used up by a refusal"
    ended = run_confirm("--gpu-hours", "0.000001", "--anyway")
    assert ended.returncode == 2
    assert "more for the first look" in ended.stderr
    assert not looks(searched)


@pytest.mark.slow
def test_a_recipe_is_dropped_as_soon_as_it_is_decided_and_the_rest_goes_on(
    searched: Workplace, run_confirm: Confirm, monkeypatch: pytest.MonkeyPatch
) -> None:
    deciding(monkeypatch, 0, seeds=3)
    ended = run_confirm("--top", "2", "--max-seeds", "4", "--anyway")
    assert ended.returncode == 0, ended.stderr
    look = last_look(searched)
    assert look.result is not None
    first, second = look.result.verdicts.recipes
    assert (first.gain.seeds, second.gain.seeds) == (3, 4)
    found = ledger_of(searched).pairs("tiny", "test")
    seeds = {trial: {pair.seed for pair in pairs} for trial, pairs in found.items()}
    assert seeds[first.trial] == set(look.plan.seeds[:3])
    assert seeds[second.trial] == set(look.plan.seeds)
    assert look.result.ended == "seeds"
    assert not error_left([look])


@pytest.mark.slow
def test_error_that_is_left_may_be_spent_by_another_look_which_is_said(
    searched: Workplace, run_confirm: Confirm, monkeypatch: pytest.MonkeyPatch
) -> None:
    deciding(monkeypatch, 0, seeds=3)
    assert run_confirm("--top", "1", "--max-seeds", "6", "--anyway").returncode == 0
    look = last_look(searched)
    assert look.result is not None
    assert (look.result.ended, look.result.seeds) == ("decided", 3)
    assert look.spent == pytest.approx(0.05 * 0.5**1.5), "at 3 of 6 seeds"
    shown = run_confirm()
    assert "another look (--again) has 3.2 % error left" in shown.stdout
    again = run_confirm("--top", "1", "--max-seeds", "3", "--anyway", "--again")
    assert again.returncode == 0, again.stderr
    assert "look 2 at the test splits" in again.stdout
    first, second = map(Look.from_stored, looks(searched))
    assert second.plan.alpha == pytest.approx(0.05 * (1 - 0.5**1.5))
    assert not set(first.plan.seeds[:3]) & set(second.plan.seeds)
    third = run_confirm("--again")
    assert third.returncode == 2
    assert "all of it spent" in third.stderr
    assert len(looks(searched)) == 2


@pytest.mark.slow
def test_hours_end_it_between_two_looks_and_more_hours_go_on(
    searched: Workplace, run_confirm: Confirm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirming, "_expected_seconds", lambda *of: 1800.0 * (of[-1] > 0))
    ended = run_confirm(*STRICT, "--max-seeds", "4", "--gpu-hours", "0.4")
    assert ended.returncode == 0, ended.stderr
    look = last_look(searched)
    assert look.result is not None
    assert (look.result.ended, look.result.seeds, look.is_over) == ("hours", 3, False)
    assert "stopped by --gpu-hours: search.confirm goes on with it" in ended.stdout
    assert run_confirm("--gpu-hours", "1").returncode == 0
    done = last_look(searched)
    assert done.result is not None
    assert (done.result.ended, done.result.seeds) == ("seeds", 4)
    assert done.plan == look.plan


def test_asked_again_it_shows_what_was_found_without_torch_data_or_encoder(
    searched: Workplace, run_confirm: Confirm, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_confirm("--top", "1", *ONE_SEED)
    monkeypatch.setattr(TransferObjective, "confirm", nothing_more)
    shown = run_confirm()
    assert shown.stdout == first.stdout
    script = (
        "import sys; from search.confirm import main; code = main(['--study', 'tiny', "
        "'--data', 'nowhere', '--backbone', 'nowhere', '--cache', 'nowhere']); "
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules); sys.exit(code)"
    )
    alone = searched.run(sys.executable, "-c", script)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout == first.stdout


def test_other_sizes_than_planned_are_refused(searched: Workplace, run_confirm: Confirm) -> None:
    run_confirm("--top", "1", *ONE_SEED)
    for options in (("--max-seeds", "2"), ("--top", "2"), ("--margin", "0.5")):
        ended = run_confirm(*options)
        assert ended.returncode == 2
        assert "1 recipes, 1 seeds and a margin of 1 points" in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert len(looks(searched)) == 1


def test_an_interrupted_one_goes_on_with_its_plan(
    searched: Workplace, run_confirm: Confirm, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TransferObjective.confirm
    done: list[Any] = []

    def interrupted(self: TransferObjective, *arguments: Any, **named: Any) -> Any:
        if done:
            raise Interrupted("stopped")
        done.append(real(self, *arguments, **named))
        return done[0]

    monkeypatch.setattr(TransferObjective, "confirm", interrupted)
    ended = run_confirm("--top", "2", *ONE_SEED)
    assert ended.returncode == 128
    assert "kept; go on with python -m search.confirm --study tiny" in ended.stderr
    (begun,) = looks(searched)
    assert begun.result is None
    monkeypatch.setattr(TransferObjective, "confirm", real)
    assert run_confirm().returncode == 0
    (look,) = looks(searched)
    assert look.plan == begun.plan
    assert look.result is not None


def test_a_search_that_runs_is_refused(searched: Workplace, run_confirm: Confirm) -> None:
    silent = optuna.storages.RDBStorage(searched.storage)
    optuna.load_study(study_name="tiny", storage=silent).ask()
    running = run_confirm()
    assert running.returncode == 2
    assert "found 1 running trial(s)" in running.stderr
    assert not looks(searched)


@pytest.mark.usefixtures("searched")
@pytest.mark.parametrize(
    "options",
    [("--top", "0"), ("--max-seeds", "x"), ("--margin", "-1"), ("--gpu-hours", "nan")],
)
def test_wrong_input_is_an_error_of_its_own(
    run_confirm: Confirm, options: tuple[str, ...]
) -> None:
    assert run_confirm(*options).returncode == 2


def test_a_dry_run_says_what_is_to_be_confirmed_and_keeps_no_look(
    searched: Workplace, run_confirm: Confirm
) -> None:
    told = run_confirm("--dry-run", "--anyway", "--top", "2")
    assert told.returncode == 0, told.stderr
    for part in ("to confirm: ", "test splits: ", "hours: at most "):
        assert part in told.stdout
    assert run_confirm("--dry-run", "--max-seeds", "2").returncode == 2, "it can decide nothing"
    study = open_stored_study(searched.storage, "tiny")
    assert not study.confirmations
    study.storage.close()
