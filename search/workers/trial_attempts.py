"""Attempts at a slot: trials that are made, finished, and settled where their worker died.

What became of an attempt is kept with its trial (`search.studies.trial_notes`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import TransferGain
from search.studies.baseline import Baseline
from search.studies.direct_trainings import DirectRun
from search.studies.trial_notes import Failure, TrialNotes
from search.workers.proposals import (
    History,
    Proposal,
    first_parameters,
    fresh_seed,
    seed_by_slot,
)
from search.workers.search_model import ModelledSpace
from spaces.dimensions import SearchSpace, suggest_recipe, with_arm
from spaces.errors import StorageError
from spaces.recipe import Recipe
from spaces.studies import SEARCH_SPLIT, Sampler, StudySpec
from storage.fingerprint import fingerprint
from storage.ledger import Ledger
from storage.optuna_internals import set_trial_id, study_id_of, trial_id_of
from storage.patient_storage import SharedStorage
from storage.processes import is_dead, process_identity
from storage.slots import Slot, Slots
from storage.tables import PairedScore, StageRun

RETRIES = 3
"""Further attempts at a slot whose worker died or was cut off."""
DRAWS = 8
"""Proposals for a slot; one that another worker is trying at the moment is drawn again."""
NOBODY = "//"
"""Identity of no process, of a trial without a worker."""

_log = logging.getLogger(__name__)


class RunListener(Protocol):
    """Listens to what a worker does.

    Attributes:
        shows_answers: Whether it is told the answer of the moment after each trial.
    """

    shows_answers: bool

    def on_answer(self, line: str) -> None:
        """The answer of the moment, in a line."""

    def on_trial_started(self, trial: FrozenTrial, recipe: Recipe) -> None:
        """A trial has its recipe."""

    def on_stage_run(self, trial: FrozenTrial, run: StageRun) -> None:
        """A trial asked for a stage, or trained one or began to."""

    def on_trial_finished(
        self, trial: FrozenTrial, result: TransferGain | None, done: int
    ) -> None:
        """A trial is finished; `result` is None unless it is complete."""

    def say(self, line: str) -> None:
        """Something else that a person wants to know."""


@dataclass(frozen=True)
class OpenStudy:
    """A study, or its direct trainings, as workers have it open.

    Attributes:
        study: The study in Optuna, opened by `search.studies.opening`.
        storage: Storage of the study.
        ledger: Ledger in the same database; has a trial's scores before Optuna has its value.
        slots: Slots of the study.
        space: What its trials choose from.
        spec: The study as it was asked for.
        languages: Languages that the study selects on.
        baseline: What its gains are over; None of the direct trainings that it is chosen from.
        modelled: What the search model chooses by, where the study has that sampler.
        planned: Of direct trainings, the runs of all slots; None where trials are proposed.
    """

    study: Study
    storage: SharedStorage
    ledger: Ledger
    slots: Slots
    space: SearchSpace
    spec: StudySpec
    languages: frozenset[str]
    baseline: Baseline | None = None
    modelled: ModelledSpace | None = None
    planned: Sequence[DirectRun] | None = None

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Its trials now, in order; those in `states` where some are given."""
        return self.storage.get_all_trials(
            study_id_of(self.study), deepcopy=False, states=states or None
        )

    def result(self, pairs: Sequence[PairedScore]) -> TransferGain:
        """The scores of a trial, held against the baseline where there is one."""
        scores = tuple(pairs)
        held = scores if self.baseline is None else self.baseline.over(scores)
        return TransferGain(held, self.spec.target.aggregate)

    def value(self, result: TransferGain) -> float:
        """A trial's value in Optuna: its gain, points; of a direct training its score, percent."""
        if self.baseline is None:
            return 100 * result.overall_score(self.languages)
        return result.overall_gain(self.languages)


@dataclass(frozen=True)
class Attempts:
    """The attempts of one worker, and those of dead workers that it settles.

    Attributes:
        opened: The study.
        limit: Number of slots in all.
        listener: Listens to what the worker does, and shows it.
    """

    opened: OpenStudy
    limit: int
    listener: RunListener

    def settle(self, slot: Slot) -> FrozenTrial | Literal["done"] | None:
        """The failed trial to try again, None for a slot that nobody has begun, or done."""
        if slot.lease.fence == 1:
            return None
        # A worker may die after it made its trial and before the slot says so.
        made = [
            x
            for x in self.opened.trials()
            if TrialNotes.of(x).slot == slot.number and x.state is not TrialState.WAITING
        ]
        for trial in made:
            if trial.state is TrialState.RUNNING:
                self._settle_running(trial)
        if not made:
            return None
        last = self.opened.storage.get_trial(trial_id_of(made[-1]))
        if last.state in {TrialState.COMPLETE, TrialState.PRUNED}:
            self.opened.slots.close(slot)
            return "done"
        if slot.attempts > RETRIES:
            self.listener.say(
                f"slot {slot.number}: given up after {slot.attempts} attempts: "
                f"{TrialNotes.of(last).reason or 'no reason kept'}"
            )
            self.opened.slots.close(slot)
            return "done"
        return last

    def _settle_running(self, trial: FrozenTrial) -> None:
        """Report the scores that a dead worker left, or fail its trial."""
        opened, number = self.opened, trial.number
        pairs = opened.ledger.pairs(opened.study.study_name, SEARCH_SPLIT, number).get(number)
        if pairs:
            self.complete(trial, opened.result(pairs))
            return
        killed = is_dead(TrialNotes.of(trial).worker or NOBODY)
        reason = "its worker was killed" if killed else "its worker gave no sign of life"
        self.fail(trial, Failure.LOST, reason)

    def settle_strays(self) -> None:
        """Fail trials of slots that are done, whose worker paused past its lease and then died."""
        for trial in self.opened.trials(TrialState.RUNNING):
            if is_dead(TrialNotes.of(trial).worker or NOBODY):
                self.fail(trial, Failure.LOST, "its worker was killed")

    def begin(self, slot: Slot, before: FrozenTrial | None) -> tuple[FrozenTrial, Recipe]:
        """A new trial for a slot, whole from its first moment, and what it is to train."""
        notes = TrialNotes(slot=slot.number, worker=process_identity(), attempt=slot.token)
        if before is not None:
            earlier = TrialNotes.of(before)
            notes = replace(notes, retry_of=before.number, retry_reason=earlier.reason)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            history = History(
                self.opened.storage, self.opened.study, self.opened.space, self.opened.modelled
            )
        if before is None and (queued := self._queued(slot, history, notes)) is not None:
            return queued
        drawn = self._drawn(slot, history, before)
        notes = replace(notes, seed=drawn.seed, draw=drawn.draw)
        trial = drawn.proposal.as_trial(notes.attributes)
        storage = self.opened.storage
        set_trial_id(trial, storage.create_new_trial(study_id_of(self.opened.study), trial))
        trial.number = storage.get_trial_number_from_id(trial_id_of(trial))
        trial.datetime_start = datetime.now()
        return trial, drawn.recipe

    def _queued(
        self, slot: Slot, history: History, notes: TrialNotes
    ) -> tuple[FrozenTrial, Recipe] | None:
        """The first trial that waits in Optuna's queue (`Study.enqueue_trial`), made this slot's.

        The first slots of a study try each arm and take none.
        """
        storage, slots = self.opened.storage, self.opened.slots
        if self.opened.planned is not None or first_parameters(self.opened.space, slot.number):
            return None
        for trial in history.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            trial_id = trial_id_of(trial)
            # Whoever has claimed it may have begun it between our look and our claim.
            is_ours = slots.begin(slot, fingerprint(["queued", trial.number]))
            if not is_ours or storage.get_trial(trial_id).state is not TrialState.WAITING:
                continue
            queued = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            given = with_arm(queued, self.opened.space)
            proposal = Proposal(history, slot.number, 0, given, self.opened.spec.sampler)
            try:
                recipe = suggest_recipe(proposal, self.opened.space)
            except StorageError as error:  # a value that the space has not
                self.fail(trial, Failure.ERROR, str(error))
                self.listener.on_trial_finished(trial, None, slots.count_done())
                continue
            for name, distribution in proposal.distributions.items():
                value = distribution.to_internal_repr(proposal.params[name])
                storage.set_trial_param(trial_id, name, value, distribution)
            notes = replace(notes, seed=self._fresh_seed(history, proposal.params))
            for key, content in notes.attributes.items():
                storage.set_trial_user_attr(trial_id, key, content)
            storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            return storage.get_trial(trial_id), recipe
        return None

    def _drawn(self, slot: Slot, history: History, before: FrozenTrial | None) -> _Drawn:
        """What a slot tries, which no other worker tries at this moment if that can be."""
        opened, sampler = self.opened, self.opened.spec.sampler

        def drawn(number: int, fixed: Mapping[str, Any], seed: int | None) -> _Drawn:
            # What is given whole needs no model, which direct trainings have none of.
            drawn_by = sampler if seed is None else Sampler.RANDOM
            proposal = Proposal(history, slot.number, number, fixed, drawn_by)
            recipe = suggest_recipe(proposal, opened.space)
            if seed is None and sampler is Sampler.RANDOM:
                first = opened.spec.first_seed
                seed = seed_by_slot(history, opened.space, slot.number, first)
            if seed is None:
                seed = self._fresh_seed(history, proposal.params)
            return _Drawn(proposal, recipe, seed, number)

        def is_begun(one: _Drawn) -> bool:
            return opened.slots.begin(slot, fingerprint([one.proposal.params, one.seed]))

        if before is not None or opened.planned is not None:
            if before is not None:
                again = drawn(0, before.params, TrialNotes.of(before).seed)
                again = replace(again, draw=TrialNotes.of(before).draw)
            else:
                assert opened.planned is not None
                run = opened.planned[slot.number]
                again = drawn(0, run.params, run.seed)
            if not is_begun(again):
                opened.slots.begin(slot, None)
            return again
        fixed = first_parameters(opened.space, slot.number)
        for number in range(DRAWS):
            one = drawn(number, fixed, None)
            if is_begun(one):
                return one
        # Others are at all that was drawn, and at the same seeds: what they train is shared.
        opened.slots.begin(slot, None)
        return one

    def _fresh_seed(self, history: History, params: Mapping[str, Any]) -> int:
        trials = history.study.get_trials(deepcopy=False)
        return fresh_seed(trials, params, self.opened.spec.first_seed)

    def complete(self, trial: FrozenTrial, result: TransferGain) -> None:
        """Report a trial's value to Optuna, and keep its gains by target task with it."""
        if self.opened.baseline is not None:
            notes = TrialNotes(
                gains=result.by_task(self.opened.languages),
                score=100 * result.overall_score(self.opened.languages),
            )
            try:
                self.keep(trial, notes)
            except UpdateFinishedTrialError:
                _log.info("trial %d was finished before", trial.number)
        self.tell(trial, TrialState.COMPLETE, self.opened.value(result))

    def tell(self, trial: FrozenTrial, state: TrialState, value: float | None = None) -> None:
        """Report a trial's state and value to Optuna; where it has them, they are the same."""
        values = None if value is None else [value]
        try:
            self.opened.storage.set_trial_state_values(trial_id_of(trial), state, values)
        except UpdateFinishedTrialError:
            _log.info("trial %d was finished before", trial.number)
        trial.state, trial.values, trial.datetime_complete = state, values, datetime.now()

    def keep(self, trial: FrozenTrial, notes: TrialNotes) -> None:
        """Keep what `notes` say with a running trial."""
        for name, value in notes.attributes.items():
            self.opened.storage.set_trial_user_attr(trial_id_of(trial), name, value)
            trial.user_attrs[name] = value

    def fail(self, trial: FrozenTrial, failure: Failure, reason: str) -> None:
        """Report to Optuna that a trial has no value, and keep why, unless it is finished."""
        try:
            self.keep(trial, TrialNotes(reason=reason, failure=failure))
        except UpdateFinishedTrialError:
            _log.info("trial %d was settled by another worker", trial.number)
        else:
            self.tell(trial, TrialState.FAIL)

    def came_before(self, trial_number: int, reason: str) -> bool:
        """Whether another trial of the study ended by the same error."""
        return any(
            trial.number != trial_number
            and TrialNotes.of(trial).failure is Failure.ERROR
            and TrialNotes.of(trial).reason == reason
            for trial in self.opened.trials()
        )


@dataclass(frozen=True)
class _Drawn:
    """A proposal for a slot, and how many were given up before it."""

    proposal: Proposal
    recipe: Recipe
    seed: int
    draw: int
