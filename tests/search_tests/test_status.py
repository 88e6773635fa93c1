"""`search.status`: workers, progress, leases, failures, and what is left."""

from __future__ import annotations

import json
from collections.abc import Iterator

import optuna
import pytest

from search import status
from search.studies.trial_notes import Failure
from storage.leases import Leases
from storage.opening import open_storage
from storage.patient_storage import SharedStorage
from storage.processes import process_identity
from storage.slots import Slots
from storage.workers import Activity, Workers
from tests.search_tests.conftest import Workplace


@pytest.fixture
def storage(searched: Workplace) -> Iterator[SharedStorage]:
    opened = open_storage(searched.storage)
    yield opened
    opened.close()


def _shown(searched: Workplace, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert status.main(["--study", "tiny", "--storage", searched.storage, *words]) == 0
    return capsys.readouterr().out


def test_a_study_that_is_done(searched: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    shown = _shown(searched, capsys)
    assert "4 of 4 trials, 0 running, done" in shown
    direct = len(optuna.load_study(study_name="tiny.baseline", storage=searched.storage).trials)
    assert f"direct trainings: {direct} done\n" in shown
    assert "no worker is there" not in shown
    found = json.loads(_shown(searched, capsys, "--json"))
    assert found["trials"] == {"asked": 4, "done": 4, "running": 0, "left": 0}
    assert found["states"] == {"complete": 4}
    assert (found["direct"], found["is_tuned"]) == (direct, True)
    assert found["device_seconds"] > 0
    assert found["seconds_left"] is None


def test_who_continues_a_study_is_told_for_how_many_trials(
    searched: Workplace, storage: SharedStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = Workers(storage.engine, "tiny")
    workers.join(process_identity(), "cpu (1 threads)", trials=8)
    workers.leave(process_identity())
    shown = _shown(searched, capsys)
    assert "4 of 8 trials, 0 running, 4 to come" in shown
    assert "no worker is there; start one with python -m search.run --study tiny.toml" in shown
    assert " --trials 8" in shown


def test_workers_their_slots_and_the_time_left(
    searched: Workplace, storage: SharedStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    leases = Leases(storage.engine)
    slots, workers = Slots(storage.engine, leases, "tiny"), Workers(storage.engine, "tiny")
    own, dead = process_identity(), f"{process_identity()}9"
    for worker in (own, dead):
        workers.join(worker, "cpu (1 threads)", trials=8)
    slot, stage = slots.take(8), leases.take("a" * 64)
    assert slot is not None
    assert stage is not None
    workers.beat(own, Activity(slot.number, "target pocket_ner seed 0", 30, 120), 0.0, None)
    found = json.loads(_shown(searched, capsys, "--json"))
    assert found["trials"] == {"asked": 8, "done": 4, "running": 1, "left": 3}
    assert [worker["silent"] for worker in found["workers"]] == [False, True]
    assert [stage["owner"] for stage in found["stages"]] == [own], "of slots it is not said twice"
    assert found["seconds_left"] > 0
    shown = _shown(searched, capsys)
    assert f"slot {slot.number}, target pocket_ner seed 0, 30 of 120 (seen " in shown
    assert "dead or cut off" in shown
    assert "stage aaaaaaaaaaaa is trained by" in shown


def test_failures_by_kind_with_the_latest_reasons(
    searched: Workplace, storage: SharedStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    study = optuna.load_study(study_name="tiny", storage=storage)
    failed = {Failure.LOST: 2, Failure.INFEASIBLE: 1}
    for failure, count in failed.items():
        for number in range(count):
            attributes = {"failure": failure, "reason": f"reason\nof {failure} {number}"}
            study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState.FAIL,
                    user_attrs={**attributes, "retry_of": 0},
                )
            )
    Workers(storage.engine, "tiny").stop_all("trial 7 met the same error again: no disk")
    found = json.loads(_shown(searched, capsys, "--json"))
    assert found["failures"] == {"lost": 2, "infeasible": 1}
    assert found["retries"] == 3
    shown = _shown(searched, capsys)
    assert "attempts without a value: 1 infeasible, 2 lost; retries: 3" in shown
    assert "  trial 6 infeasible: reason of infeasible 0\n" in shown
    assert "the study was stopped last because trial 7 met" in shown
