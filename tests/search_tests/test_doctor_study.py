"""`search.doctor --study`: a sound study holds, a fault in it is named, one at work is let be."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.doctor import main
from storage.leases import Leases
from storage.opening import open_storage
from storage.patient_storage import SharedStorage
from storage.processes import process_identity
from storage.slots import Slots
from storage.workers import Workers
from tests.search_tests.conftest import Workplace


@pytest.fixture
def storage(searched: Workplace) -> Iterator[SharedStorage]:
    """The finished study's, to plant faults in."""
    with closing(open_storage(searched.storage)) as opened:
        yield opened


def _checked(searched: Workplace, *words: str) -> tuple[int, str, dict[str, str]]:
    """Exit code, first line, and the name of each broken invariant -> its line."""
    searched.capsys.readouterr()
    code = main(["--study", "tiny", "--storage", searched.storage, *words])
    standing, *lines = searched.capsys.readouterr().out.splitlines()
    assert all(line.startswith(("held    ", "BROKEN  ")) for line in lines), lines
    broken = [line.removeprefix("BROKEN  ") for line in lines if line.startswith("BROKEN")]
    assert code == (1 if broken else 0)
    return code, standing, {line.partition(":")[0]: line for line in broken}


def test_a_finished_study_holds_and_is_left_as_it_was(searched: Workplace) -> None:
    file = searched.folder / "transfer-search.sqlite"
    with closing(sqlite3.connect(file)) as before:
        dump = list(before.iterdump())
    code, standing, broken = _checked(searched)
    assert (code, broken) == (0, {})
    assert standing == "study 'tiny': 4 of 4 trials done"
    with closing(sqlite3.connect(file)) as after:
        assert list(after.iterdump()) == dump


def test_a_fault_in_a_direct_training_is_named(
    searched: Workplace, storage: SharedStorage
) -> None:
    direct = optuna.load_study(study_name="tiny.baseline", storage=storage)
    with storage.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE trial_values SET value = value + 1 WHERE trial_id = "
            f"{direct.trials[0]._trial_id}"
        )
    _, _, broken = _checked(searched)
    assert set(broken) == {"direct trainings"}
    assert "ledger and study agree" in broken["direct trainings"]


def test_a_cache_that_is_not_there_is_said(searched: Workplace) -> None:
    searched.capsys.readouterr()
    words = ["--study", "tiny", "--storage", searched.storage, "--cache", "nowhere"]
    assert main(words) == 0
    assert "nothing looked at: there is no folder nowhere" in searched.capsys.readouterr().out


def test_a_study_at_work_is_held_to_what_it_has_done(
    searched: Workplace, storage: SharedStorage
) -> None:
    workers = Workers(storage.engine, "tiny")
    slots = Slots(storage.engine, Leases(storage.engine), "tiny")
    study = optuna.load_study(study_name="tiny", storage=storage)
    workers.join(process_identity(), "cpu", trials=6)
    slot = slots.take(6)
    assert slot is not None
    with slot.lease:
        slots.begin(slot, None)
        running = create_trial(
            state=TrialState.RUNNING,
            user_attrs={"slot": slot.number, "worker": process_identity()},
        )
        trial_id = storage.create_new_trial(study._study_id, running)
        study.enqueue_trial({"intermediate.domain": "legal"})
        _, standing, broken = _checked(searched)
        assert broken == {}
        assert standing.startswith(
            "study 'tiny': 4 of 6 trials done, 1 begun, 1 to come, 1 workers at it"
        )
        storage.set_trial_user_attr(trial_id, "failure", "interrupted")
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
        slots.release(slot)
    workers.leave(process_identity())
    _, standing, broken = _checked(searched)
    assert broken == {}
    assert standing.endswith("the next run goes on with it")


def test_a_result_that_a_dead_worker_left_here_is_named(
    searched: Workplace, storage: SharedStorage
) -> None:
    outbox = storage.outbox
    for name in ("tiny", "tiny.baseline", "another"):
        with pytest.raises(SystemExit), outbox.keeping("results", _results(name)):
            raise SystemExit
    for file in outbox.folder.iterdir():  # as of a process that is gone
        identity = process_identity().rpartition("/")[0] + "/1.00"
        file.rename(file.with_name(_entry(identity, file.stem.rpartition("-")[2])))
    _, _, broken = _checked(searched)
    assert set(broken) == {"nothing left undelivered"}
    assert broken["nothing left undelivered"].endswith("(2 entries in the outbox)")


def _results(study: str) -> dict[str, object]:
    return {"results": [{"study_name": study, "trial_number": 3}]}


def _entry(identity: str, unique: str) -> str:
    return f"{quote(identity, safe='')}-{unique}.json"


def test_a_study_and_chaos_are_not_asked_for_together(searched: Workplace) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--study", "tiny", "--chaos", "sqlite"])
    assert ended.value.code == 2
    assert "not allowed with" in searched.capsys.readouterr().err
