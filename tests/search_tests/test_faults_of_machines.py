"""What a worker does that was held up at a bad moment, and one whose disk is full."""

from __future__ import annotations

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from objectives.transfer import TransferObjective
from search.workers import loop as worker
from search.workers import trial_attempts as attempts
from search.workers.heartbeat import TAKEN_OVER
from spaces.errors import CacheError
from storage.leases import Leases
from storage.opening import open_storage
from storage.slots import Slot, Slots
from tests.search_tests.conftest import Workplace


def _trials(workplace: Workplace) -> list[FrozenTrial]:
    return optuna.load_study(study_name="tiny", storage=workplace.storage).trials


def _count_done(workplace: Workplace) -> int:
    storage = open_storage(workplace.storage)
    done = Slots(storage.engine, Leases(storage.engine), "tiny").count_done()
    storage.close()
    return done


def test_a_trial_made_after_its_slot_was_taken_over_does_not_run_for_ever(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, late = Slots.begin, list[int]()

    def begin_late(slots: Slots, slot: Slot, recipe_key: str | None) -> bool:
        begun = begin(slots, slot, recipe_key)
        if not late:  # as if another worker had come and gone before this one makes its trial
            late.append(slot.number)
            query = "UPDATE transfer_leases SET fence = fence + 1, owner = '' WHERE lease_key = :k"
            with slots._engine.begin() as connection:
                connection.execute(sa.text(query), {"k": slot.lease.key})
        return begun

    monkeypatch.setattr(Slots, "begin", begin_late)
    done = workplace.search("--trials", "2")
    assert done.returncode == 0, done.stderr
    first, *rest = _trials(workplace)
    assert first.state is TrialState.FAIL
    assert first.user_attrs["failure"] == "lost"
    assert first.user_attrs["reason"] == TAKEN_OVER
    assert [trial.state for trial in rest] == 2 * [TrialState.COMPLETE]
    assert {trial.user_attrs["slot"] for trial in rest} == {0, 1}


def test_a_worker_whose_trial_was_settled_meanwhile_goes_on_with_another(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end by `UpdateFinishedTrialError`, as plain Optuna does."""
    call, held_up = TransferObjective.__call__, list[int]()

    def settled_meanwhile(*arguments: object) -> object:
        if not held_up:
            held_up.append(1)
            storage = open_storage(workplace.storage)
            with storage.engine.begin() as connection:
                connection.execute(sa.text("UPDATE transfer_leases SET fence = fence + 1"))
            storage.set_trial_user_attr(1, "failure", "lost")
            storage.set_trial_user_attr(1, "reason", "its worker gave no sign of life")
            storage.set_trial_state_values(1, TrialState.FAIL)
            # The lease of the other worker, which dies at once.
            with storage.engine.begin() as connection:
                connection.execute(sa.text("UPDATE transfer_leases SET owner = ''"))
            storage.close()
        return call(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(TransferObjective, "__call__", settled_meanwhile)
    done = workplace.search("--trials", "2")
    assert done.returncode == 0, done.stderr
    assert "slot 0: another worker took it over, as this one paused past its lease" in done.stderr
    states = [trial.state for trial in _trials(workplace)]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


def _fail(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full for so many trials, and nobody wait."""
    call, left = TransferObjective.__call__, [times]

    def on_full_disk(*arguments: object) -> object:
        if left[0]:
            left[0] -= 1
            raise CacheError("checkpoint cache x: cannot be written: No space left on device")
        return call(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(TransferObjective, "__call__", on_full_disk)
    monkeypatch.setattr(worker, "LONGEST_PAUSE", 0.01)


def test_a_disk_that_is_full_for_a_while_costs_no_slot(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail(attempts.RETRIES + 2, monkeypatch)
    assert workplace.search("--trials", "2").returncode == 0
    states = [trial.state for trial in _trials(workplace)]
    assert states.count(TrialState.COMPLETE) == 2
    assert states.count(TrialState.FAIL) == attempts.RETRIES + 2
    assert _count_done(workplace) == 2


def test_a_disk_that_stays_full_ends_the_worker_and_leaves_the_slots(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        _fail(1000, full)
        ended = workplace.search("--trials", "2")
    assert ended.returncode == 2
    assert "No space left on device" in ended.stderr
    assert len(_trials(workplace)) == 1 + worker.PASSING_RETRIES
    assert _count_done(workplace) == 0
    assert workplace.search("--trials", "2").returncode == 0
    assert _count_done(workplace) == 2
