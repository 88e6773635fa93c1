"""What a study left in Optuna, in the ledger and in its slots, and how far it must be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.studies.baseline import Baseline, kept_baseline
from search.studies.trial_notes import TrialNotes
from spaces.studies import SEARCH_SPLIT
from storage.ledger import Ledger
from storage.slots import Slots
from storage.tables import PairedScore

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Remains:
    """What a study left.

    Attributes:
        trials: All of Optuna's trials.
        pairs: Trial number -> its scores in the ledger.
        recorded: Numbers of the trials that the ledger has anything of.
        slots_done: How many slots are done.
        slots_open: Numbers of the slots that were begun and are not done.
        baseline: What gains are over; None of direct trainings, whose values are scores.
    """

    trials: Sequence[FrozenTrial]
    pairs: Mapping[int, Sequence[PairedScore]]
    recorded: Collection[int]
    slots_done: int
    slots_open: Sequence[int]
    baseline: Baseline | None = None

    @property
    def slots_begun(self) -> int:
        """How many slots were ever taken: they have the numbers from 0."""
        return self.slots_done + len(self.slots_open)

    @cached_property
    def by_slot(self) -> dict[int, list[FrozenTrial]]:
        """Slot -> the trials made for it, in order."""
        trials: dict[int, list[FrozenTrial]] = {}
        for trial in self.trials:
            if (slot := TrialNotes.of(trial).slot) is not None:
                trials.setdefault(slot, []).append(trial)
        return trials

    def finished(self, slot: int) -> list[FrozenTrial]:
        """A slot's trials that came to an end that counts."""
        return [trial for trial in self.by_slot.get(slot, ()) if trial.state in FINISHED]


@dataclass(frozen=True)
class Expected:
    """How far a study must be, and what may be at work.

    Attributes:
        trials: Trials that were asked for in all.
        is_over: Whether all of them must be done.
        at_work: Identities of live workers: a trial of theirs may still run.
        attempts: Failed attempts after which a slot may be done without a result; None: never.
    """

    trials: int
    is_over: bool = True
    at_work: Collection[str] = ()
    attempts: int | None = None

    def slots(self, remains: Remains) -> list[int]:
        """The slots that must be done."""
        if self.is_over:
            return list(range(self.trials))
        return [x for x in range(remains.slots_begun) if x not in remains.slots_open]


def read_remains(study: Study, ledger: Ledger, slots: Slots) -> Remains:
    """What a study left, read once.

    In an order in which a worker that goes on meanwhile breaks nothing: a slot is done after its
    trial, and a trial after its scores.
    """
    done = slots.count_done()
    opened = [slot.number for slot in slots.open_slots()]
    trials = study.get_trials(deepcopy=False)
    pairs = ledger.pairs(study.study_name, SEARCH_SPLIT)
    recorded = ledger.recorded_trials(study.study_name)
    baseline = kept_baseline(study.study_name, ledger)
    return Remains(trials, pairs, recorded, done, opened, baseline)
