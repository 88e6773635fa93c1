"""Confirming: what is planned, that nobody can peek, and what the verdicts are of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import fmean
from typing import Any

import optuna
import pytest

from objectives.transfer import TransferObjective
from search import confirm
from search.findings.confirmation import looks_of
from search.findings.selection import standings_of
from search.studies.stored_study import open_stored_study
from spaces.errors import Interrupted
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.tables import Confirmation
from tests.search_tests.conftest import Ended, Workplace

Confirm = Callable[..., Ended]


@pytest.fixture
def run_confirm(workplace: Workplace) -> Confirm:
    """Runs the command in the folder of the study, within this process."""
    words = ("--study", "tiny", "--backbone", str(workplace.encoder), "--threads", "1")
    return partial(workplace.call, confirm.main, *words)


def ledger_of(workplace: Workplace) -> Ledger:
    return Ledger(open_storage(workplace.storage).engine)


def looks(workplace: Workplace) -> list[Confirmation]:
    return ledger_of(workplace).confirmations("tiny")


def nothing_more(*arguments: object, **named: object) -> None:
    raise AssertionError("trained again")


def test_leaders_are_judged_on_test_splits_with_fresh_seeds(
    searched: Workplace, run_confirm: Confirm
) -> None:
    ended = run_confirm("--top", "2", "--seeds", "2")
    assert ended.returncode == 0, ended.stderr
    (look,) = looks(searched)
    assert look.result is not None
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
    assert look.plan["baseline"] == {"pocket_ner": 0}


def test_each_seed_trains_the_recipe_its_target_stage_alone_and_the_best_direct_training(
    workplace: Workplace, run_confirm: Confirm
) -> None:
    """Here the best direct training of either target task is at another rate."""
    targets = ("--set", 'target.tasks=["pocket_ner", "pocket_topic"]')
    assert workplace.search("--trials", "2", "--quiet", *targets).returncode == 0
    study = open_stored_study(workplace.storage, "tiny")
    ended = run_confirm("--top", "1", "--seeds", "2")
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


def test_every_arm_has_its_best_recipe_among_those_confirmed(
    searched: Workplace, run_confirm: Confirm
) -> None:
    assert run_confirm("--top", "2", "--seeds", "1").returncode == 0
    (look,) = looks(searched)
    assert {recipe["arm"] for recipe in look.plan["recipes"]} == {"general", "legal"}


def test_recipes_selected_on_the_source_language_are_confirmed_on_the_targets(
    workplace: Workplace, run_confirm: Confirm
) -> None:
    selection = ("--set", 'selection="source-validation"')
    assert workplace.search("--trials", "3", "--quiet", *selection).returncode == 0
    results = open_stored_study(workplace.storage, "tiny")
    leading = [recipe.first.number for recipe in standings_of(results).recipes]
    ended = run_confirm("--top", "2", "--seeds", "1")
    assert ended.returncode == 0, ended.stderr
    (look,) = looks_of(results)
    assert look.result is not None
    assert look.plan.recipes[0].trial == leading[0]
    assert {x.language for x in look.result.verdicts.cells} == {"qaa", "qab"}


def test_asked_again_it_shows_what_was_found_and_trains_nothing(
    searched: Workplace, run_confirm: Confirm, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_confirm("--top", "1", "--seeds", "1")
    monkeypatch.setattr(TransferObjective, "confirm", nothing_more)
    assert run_confirm().stdout == first.stdout
    assert run_confirm("--top", "1", "--seeds", "1").stdout == first.stdout


def test_another_look_must_be_asked_for_and_is_said(
    searched: Workplace, run_confirm: Confirm
) -> None:
    run_confirm("--top", "1", "--seeds", "1")
    ended = run_confirm("--seeds", "2")
    assert ended.returncode == 2
    assert "its test splits were read on" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert len(looks(searched)) == 1
    again = run_confirm("--top", "1", "--seeds", "2", "--again")
    assert again.returncode == 0, again.stderr
    assert "look 2 at the test splits" in again.stdout
    first, second = looks(searched)
    assert not set(first.plan["seeds"]) & set(second.plan["seeds"])


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
    ended = run_confirm("--top", "2", "--seeds", "1")
    assert ended.returncode == 128
    assert "stopped; `python -m search.confirm --study tiny" in ended.stderr
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
@pytest.mark.parametrize("options", [("--top", "0"), ("--seeds", "x")])
def test_wrong_input_is_an_error_of_its_own(
    run_confirm: Confirm, options: tuple[str, ...]
) -> None:
    assert run_confirm(*options).returncode == 2
