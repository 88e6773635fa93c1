"""Attempts at a slot: trials that are made, finished, and settled where their worker died.

What became of an attempt is kept with its trial (`search.studies.trial_notes`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, Protocol

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import TransferGain
from search.findings.selection import repeat_candidates
from search.studies.trial_notes import Failure, TrialNotes
from search.surrogate.recipe_table import RecipeTable, build_table
from search.workers.proposals import History, Proposal, first_parameters
from search.workers.search_model import fresh_seeds
from spaces.dimensions import SearchSpace, suggest_recipe
from spaces.errors import StorageError
from spaces.recipe import Recipe
from spaces.studies import SEARCH_SPLIT, Sampler, StudySpec
from storage.fingerprint import fingerprint
from storage.ledger import Ledger
from storage.optuna_internals import set_trial_id, study_id_of, trial_id_of
from storage.patient_storage import SharedStorage
from storage.processes import is_dead, process_identity
from storage.slots import Slot, Slots

RETRIES = 3
"""Further attempts at a slot whose worker died or was cut off."""
DRAWS = 8
"""Proposals for a slot; one that another worker is trying at the moment is drawn again."""
NOBODY = "//"
"""Identity of no process, of a trial without a worker."""

_log = logging.getLogger(__name__)


class RunListener(Protocol):
    """Listens to what a worker does."""

    def on_trial_started(self, number: int, recipe: Recipe) -> None:
        """A trial has its recipe."""

    def on_trial_finished(self, trial: FrozenTrial, gain: TransferGain | None, done: int) -> None:
        """A trial is finished; `gain` is None unless it is complete."""

    def say(self, line: str) -> None:
        """Something else that a person wants to know."""


@dataclass(frozen=True)
class OpenStudy:
    """A study as its workers have it open.

    Attributes:
        study: The study in Optuna, opened by `search.studies.opening.open_study`.
        storage: Storage of the study.
        ledger: Ledger in the same database; has a trial's scores before Optuna has its value.
        slots: Slots of the study.
        space: The search space.
        spec: The study as it was asked for.
        languages: Languages that the study selects on.
    """

    study: Study
    storage: SharedStorage
    ledger: Ledger
    slots: Slots
    space: SearchSpace
    spec: StudySpec
    languages: frozenset[str]

    @cached_property
    def table(self) -> RecipeTable | None:
        """All recipes of the space, where its sampler chooses among them."""
        return build_table(self.space) if self.spec.sampler is Sampler.TRANSFER else None

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Its trials now, in order; those in `states` where some are given."""
        return self.storage.get_all_trials(
            study_id_of(self.study), deepcopy=False, states=states or None
        )


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
            self.complete(trial, TransferGain(tuple(pairs), opened.spec.target.aggregate))
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
            history = History(self.opened.storage, self.opened.study, self.opened.table)
        if before is None and (queued := self._queued(slot, history, notes)) is not None:
            return queued
        drawn = self._drawn(slot, history, before)
        trial = drawn.proposal.as_trial({**notes.attributes, **drawn.asked.attributes})
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
        if first_parameters(self.opened.space, slot.number):
            return None
        for trial in history.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            trial_id = trial_id_of(trial)
            # Whoever has claimed it may have begun it between our look and our claim.
            is_ours = slots.begin(slot, fingerprint(["queued", trial.number]))
            if not is_ours or storage.get_trial(trial_id).state is not TrialState.WAITING:
                continue
            given = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
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
            for key, content in notes.attributes.items():
                storage.set_trial_user_attr(trial_id, key, content)
            storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            return storage.get_trial(trial_id), recipe
        return None

    def _drawn(self, slot: Slot, history: History, before: FrozenTrial | None) -> _Drawn:
        """What a slot tries, which no other worker tries at this moment if that can be."""
        slots, spec = self.opened.slots, self.opened.spec

        def draw(number: int, fixed: Mapping[str, Any], asked: TrialNotes) -> _Drawn:
            proposal = Proposal(history, slot.number, number, fixed, spec.sampler)
            recipe = suggest_recipe(proposal, self.opened.space)
            if asked.seeds:
                recipe = replace(recipe, seeds=asked.seeds)
            # What was drawn again is not what its slot stands for in another run.
            return _Drawn(proposal, recipe, replace(asked, draw=number) if number else asked)

        def is_begun(drawn: _Drawn) -> bool:
            key = fingerprint([drawn.proposal.params, list(drawn.recipe.seeds)])
            return slots.begin(slot, key)

        if before is not None:
            drawn = draw(0, before.params, TrialNotes.of(before).asked_for)
            if not is_begun(drawn):
                slots.begin(slot, None)
            return drawn
        # At most a fifth of the trials, or a short study would find nothing to repeat. The search
        # model asks for repeats where it needs them.
        repeats = 0 if spec.sampler is Sampler.TRANSFER else spec.repeat_leaders
        if slot.number >= self.limit - min(repeats, self.limit // 5):
            study, ledger, languages = self.opened.study, self.opened.ledger, self.opened.languages
            for recipe in repeat_candidates(study, ledger, spec, languages):
                drawn = draw(0, recipe.first.params, recipe.asked_again(spec))
                if is_begun(drawn):
                    return drawn
        fixed = first_parameters(self.opened.space, slot.number)
        for number in range(DRAWS):
            drawn = draw(number, fixed, TrialNotes())
            if spec.sampler is Sampler.TRANSFER:
                drawn = _with_fresh_seeds(drawn, history)
            if is_begun(drawn):
                return drawn
        # A space so small that others are at all of it: stages are shared with them.
        slots.begin(slot, None)
        return drawn

    def complete(self, trial: FrozenTrial, gain: TransferGain) -> None:
        """Report a trial's value to Optuna, and keep what it is the mean of."""
        languages = self.opened.languages
        runs = [(seed, one.overall_gain(languages)) for seed, one in gain.by_seed().items()]
        try:
            self.keep(trial, TrialNotes(runs=tuple(runs)))
        except UpdateFinishedTrialError:
            _log.info("trial %d was finished before", trial.number)
        self.tell(trial, TrialState.COMPLETE, gain.overall_gain(languages))

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
    """A proposal for a slot."""

    proposal: Proposal
    recipe: Recipe
    asked: TrialNotes


def _with_fresh_seeds(drawn: _Drawn, history: History) -> _Drawn:
    """The same recipe with seeds that none of its trials has: a repeat of one brings nothing."""
    trials = history.study.get_trials(deepcopy=False)
    seeds = fresh_seeds(trials, drawn.proposal.params, drawn.recipe.seeds)
    if seeds == drawn.recipe.seeds:
        return drawn
    recipe, asked = replace(drawn.recipe, seeds=seeds), replace(drawn.asked, seeds=seeds)
    return replace(drawn, recipe=recipe, asked=asked)
