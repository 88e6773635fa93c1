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
from search.findings.landscape import judge_leaders
from search.findings.recommendation import recommended
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
    found, seen = (ledger.pairs("tiny", split) for split in ("test", "validation"))
    assert set(found) == {recipe["trial"] for recipe in look.plan["recipes"]}
    used = {pair.seed for pairs in seen.values() for pair in pairs}
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
    assert f"tuned baseline of trial {look.plan['baseline_trial']}" in ended.stdout


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
    expected = {(x.trial, x.language) for x in judge_leaders(results, standings_of(results)).cells}
    assert {language for _, language in expected} == {"qaa", "qab"}
    leader = recommended(results).evidence
    ended = run_confirm("--top", str(len({trial for trial, _ in expected})), "--seeds", "1")
    assert ended.returncode == 0, ended.stderr
    (look,) = looks_of(results)
    assert look.result is not None
    assert {(x.trial, x.language) for x in look.result.verdicts.cells} == expected
    assert leader.is_baseline or look.plan.recipes[0].trial == leader.trial


def test_asked_again_it_shows_what_was_found_and_trains_nothing(
    searched: Workplace, run_confirm: Confirm, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_confirm("--top", "1", "--seeds", "1")
    monkeypatch.setattr(TransferObjective, "__call__", nothing_more)
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
    real = TransferObjective.__call__
    done: list[Any] = []

    def interrupted(self: TransferObjective, *arguments: Any, **named: Any) -> Any:
        if done:
            raise Interrupted("stopped")
        done.append(real(self, *arguments, **named))
        return done[0]

    monkeypatch.setattr(TransferObjective, "__call__", interrupted)
    ended = run_confirm("--top", "2", "--seeds", "1")
    assert ended.returncode == 128
    assert "stopped; `python -m search.confirm --study tiny" in ended.stderr
    (begun,) = looks(searched)
    assert begun.result is None
    monkeypatch.setattr(TransferObjective, "__call__", real)
    assert run_confirm().returncode == 0
    (look,) = looks(searched)
    assert look.plan == begun.plan
    assert look.result is not None


def test_a_search_that_runs_or_found_nothing_is_refused(
    workplace: Workplace, run_confirm: Confirm
) -> None:
    workplace.search("--trials", "1", "--quiet")
    nothing = run_confirm()
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    assert "expected a complete trial with an intermediate task" in nothing.stderr
    workplace.search("--trials", "3", "--quiet")
    silent = optuna.storages.RDBStorage(workplace.storage)
    optuna.load_study(study_name="tiny", storage=silent).ask()
    running = run_confirm()
    assert running.returncode == 2
    assert "found 1 running trial(s)" in running.stderr
    assert not looks(workplace)


@pytest.mark.usefixtures("searched")
@pytest.mark.parametrize("options", [("--top", "0"), ("--seeds", "x")])
def test_wrong_input_is_an_error_of_its_own(
    run_confirm: Confirm, options: tuple[str, ...]
) -> None:
    assert run_confirm(*options).returncode == 2
