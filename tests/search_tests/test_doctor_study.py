"""`search.doctor --study`: a sound study holds, a fault in it is named, one at work is let be."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.doctor import main
from storage.leases import Leases
from storage.opening import open_storage
from storage.outbox import STATE_VARIABLE
from storage.patient_storage import SharedStorage
from storage.processes import process_identity
from storage.slots import Slots
from storage.workers import Workers
from tests.search_tests.conftest import Workplace


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))


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


def test_a_trial_told_without_scores_is_named(searched: Workplace) -> None:
    with closing(sqlite3.connect(searched.folder / "transfer-search.sqlite")) as database:
        database.execute("DELETE FROM transfer_results WHERE trial_number = 2")
        database.commit()
    _, _, broken = _checked(searched)
    assert set(broken) == {"no result lost"}
    assert "trial 2 lacks the scores of" in broken["no result lost"]


def test_a_slot_with_two_results_is_named(searched: Workplace, storage: SharedStorage) -> None:
    study = optuna.load_study(study_name="tiny", storage=storage)
    first = study.get_trials()[1]
    study.add_trial(
        create_trial(
            value=first.value,
            params=first.params,
            distributions=first.distributions,
            user_attrs=first.user_attrs,
        )
    )
    _, _, broken = _checked(searched)
    assert "slot 1 has the trials [1, 4]" in broken["no result doubled"]
    assert "1 trials too many" in broken["budget exact"]


def test_a_checkpoint_without_its_manifest_is_named(searched: Workplace) -> None:
    manifest = next((searched.folder / "transfer-search.cache").glob("??/*.json"))
    manifest.unlink()
    _, _, broken = _checked(searched)
    assert set(broken) == {"checkpoints whole"}
    assert f"{manifest.stem[:12]} has files and no manifest" in broken["checkpoints whole"]
    # Evicted, it is gone with its files, and not missed.
    for folder in manifest.parent.glob(f"{manifest.stem}-*"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert _checked(searched)[2] == {}


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
        study.enqueue_trial({"intermediate.domain": "none"})
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


def test_a_trial_that_nobody_is_at_is_named_when_all_is_done(
    searched: Workplace, storage: SharedStorage
) -> None:
    study = optuna.load_study(study_name="tiny", storage=storage)
    stray = create_trial(
        state=TrialState.RUNNING, user_attrs={"slot": 1, "worker": "elsewhere//7/1.00"}
    )
    storage.create_new_trial(study._study_id, stray)
    _, _, broken = _checked(searched)
    assert set(broken) == {"every trial accounted for"}
    assert "trial 4 is RUNNING" in broken["every trial accounted for"]


def test_a_result_that_a_dead_worker_left_here_is_named(
    searched: Workplace, storage: SharedStorage
) -> None:
    outbox = storage.outbox
    for name in ("tiny", "another"):
        with pytest.raises(SystemExit), outbox.keeping("results", _results(name)):
            raise SystemExit
    for file in outbox.folder.iterdir():  # as of a process that is gone
        identity = process_identity().rpartition("/")[0] + "/1.00"
        file.rename(file.with_name(_entry(identity, file.stem.rpartition("-")[2])))
    _, _, broken = _checked(searched)
    assert set(broken) == {"nothing left undelivered"}
    assert broken["nothing left undelivered"].endswith("(1 entries in the outbox)")


def _results(study: str) -> dict[str, object]:
    return {"results": [{"study_name": study, "trial_number": 3}]}


def _entry(identity: str, unique: str) -> str:
    return f"{quote(identity, safe='')}-{unique}.json"


def test_an_unknown_study_is_an_error_of_one_line(searched: Workplace) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--study", "tinny", "--storage", searched.storage])
    assert ended.value.code == 2
    assert "Did you mean 'tiny'?" in searched.capsys.readouterr().err


def test_a_study_and_chaos_are_not_asked_for_together(searched: Workplace) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--study", "tiny", "--chaos", "sqlite"])
    assert ended.value.code == 2
    assert "not allowed with" in searched.capsys.readouterr().err
