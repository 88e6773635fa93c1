"""How a study stands: who works at it, how far it is, and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optuna.study import Study

from search.findings.missing_rows import missing_lines
from search.studies.baseline import baseline_name
from search.studies.stored_study import StoredStudy
from search.studies.trial_notes import TrialNotes
from storage.leases import Holder, Leases
from storage.slots import Slots
from storage.workers import LiveWorker, Workers

SHOWN_REASONS = 5


@dataclass(frozen=True)
class SlotCounts:
    """How far a study is; all are numbers of trials.

    Attributes:
        asked: Trials that the study is to have.
        done: Trials that are done.
        running: Trials that a worker is at.
        left: Trials that nobody has begun.
    """

    asked: int
    done: int
    running: int
    left: int


@dataclass(frozen=True)
class FailedTrial:
    """A trial without a value.

    Attributes:
        trial: Its number.
        failure: Kind of failure.
        reason: What went wrong, in words; empty where none was kept.
    """

    trial: int
    failure: str
    reason: str


@dataclass(frozen=True)
class StudyStatus:
    """How a study stands; times in seconds.

    Attributes:
        study: Name of the study in its storage.
        data: Where its corpora come from.
        trials: How far it is.
        direct: Number of direct trainings that are done; they come before all trials.
        is_tuned: Whether these have made the baseline, so that trials have begun.
        states: State of Optuna's trials -> number of trials.
        workers: Its workers, dead ones that nobody has replaced among them.
        stages: Stages that its workers train now.
        failures: Kind of failure -> number of trials.
        reasons: The latest failures, in order.
        retries: Number of trials that try a lost or failed one again.
        active_seconds: Time with at least one worker there.
        device_seconds: Time of devices that trials took.
        seconds_left: Time until it is done at the pace so far; None while unknown.
        outbox: Number of results that dead processes of this machine could not deliver.
        stopped: Why a worker stopped the study for all; empty where none did.
        missing: What the ledger should have of it and has not, in words.
    """

    study: str
    data: str
    trials: SlotCounts
    direct: int
    is_tuned: bool
    states: Mapping[str, int]
    workers: tuple[LiveWorker, ...]
    stages: Mapping[str, Holder]
    failures: Mapping[str, int]
    reasons: tuple[FailedTrial, ...]
    retries: int
    active_seconds: float
    device_seconds: float
    seconds_left: float | None
    outbox: int
    stopped: str
    missing: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """In JSON's types; the fields of an activity and of a lease's holder beside the others."""
        workers = [
            {
                "worker": worker.worker,
                "device": worker.device,
                "silent": worker.is_silent,
                "silent_seconds": worker.silent_seconds,
                **asdict(worker.activity),
            }
            for worker in self.workers
        ]
        stages = [{"stage_key": key, **asdict(holder)} for key, holder in self.stages.items()]
        return {**asdict(self), "workers": workers, "stages": stages}


def trial_counts(study: Study) -> Mapping[str, int]:
    """State of a trial in lower case -> number of trials, without zeros."""
    trials = study.get_trials(deepcopy=False)
    return dict(Counter(trial.state.name.lower() for trial in trials))


def study_status(study: StoredStudy) -> StudyStatus:
    """How a study stands now."""
    storage = study.storage
    leases = Leases(storage.engine)
    slots = Slots(storage.engine, leases, study.name)
    directory = Workers(storage.engine, study.name)
    account, workers = directory.account(), directory.all()
    trials = study.optuna_study.get_trials(deepcopy=False)
    opened = slots.open_slots()
    done, asked = slots.count_done(), max(account.trials, slots.count_done())
    running = sum(slot.holder is not None for slot in opened)
    of_slots = {slot.lease_key for slot in opened}
    names = {worker.worker for worker in workers}
    notes = {trial.number: TrialNotes.of(trial) for trial in trials}
    failed = [
        FailedTrial(number, each.failure, each.reason)
        for number, each in notes.items()
        if each.failure
    ]
    seconds_left = None
    if done and asked > done and not all(worker.is_silent for worker in workers):
        seconds_left = account.active_seconds / done * (asked - done)
    return StudyStatus(
        study=study.name,
        data=study.optuna_study.user_attrs.get("data", study.definition.source),
        trials=SlotCounts(asked, done, running, asked - done - running),
        direct=Slots(storage.engine, leases, baseline_name(study.name)).count_done(),
        is_tuned=study.baseline is not None,
        states=trial_counts(study.optuna_study),
        workers=tuple(workers),
        stages={
            key: holder
            for key, holder in leases.held().items()
            if key not in of_slots and holder.owner in names
        },
        failures=dict(Counter(str(each.failure) for each in failed)),
        reasons=tuple(failed[-SHOWN_REASONS:]),
        retries=sum(each.retry_of is not None for each in notes.values()),
        active_seconds=account.active_seconds,
        device_seconds=account.device_seconds,
        seconds_left=seconds_left,
        outbox=len(storage.outbox.left()),
        stopped=account.stop_reason,
        missing=tuple(missing_lines(study.name, storage)),
    )
