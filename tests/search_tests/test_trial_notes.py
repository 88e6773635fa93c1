"""What is kept with a trial reads back as it was, under the names that stored studies have."""

from __future__ import annotations

from optuna.trial import TrialState, create_trial

from search.studies.trial_notes import Failure, TrialNotes
from storage.patient_storage import SharedStorage

ALL = TrialNotes(
    slot=0,
    worker="host/1/2.0",
    attempt="0/1",
    reason="its worker was killed",
    failure=Failure.LOST,
    seed=0,
    gains={"panx": 1.5},
    draw=3,
    retry_of=0,
    retry_reason="interrupted",
)


def test_they_are_kept_under_the_names_of_stored_studies_in_jsons_types() -> None:
    assert ALL.attributes == {
        "slot": 0,
        "worker": "host/1/2.0",
        SharedStorage.TOKEN: "0/1",
        "reason": "its worker was killed",
        "failure": "lost",
        "seed": 0,
        "gains": {"panx": 1.5},
        "draw": 3,
        "retry_of": 0,
        "retry_reason": "interrupted",
    }


def test_what_says_nothing_is_not_kept() -> None:
    assert TrialNotes().attributes == {}
    assert TrialNotes(retry_of=2).attributes == {"retry_of": 2, "retry_reason": ""}


def test_a_trial_gives_them_back_and_those_of_others_are_passed_over() -> None:
    attributes = {**ALL.attributes, "of_a_dashboard": 1}
    trial = create_trial(state=TrialState.FAIL, user_attrs=attributes)
    assert TrialNotes.of(trial) == ALL
    assert TrialNotes.of(create_trial(state=TrialState.FAIL)) == TrialNotes()
