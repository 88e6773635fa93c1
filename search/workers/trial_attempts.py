"""Attempts at a slot: trials of Optuna's, made, told, and settled where their worker died.

What became of an attempt is kept with its trial: `reason` in words, and `failure` as its kind.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import TransferGain
from search.studies.recipes import repeat_candidates
from search.workers.proposals import History, Proposal, first_parameters
from spaces.dimensions import SearchSpace, suggest_recipe
from spaces.errors import StorageError
from spaces.recipe import Recipe
from spaces.studies import SEARCH_SPLIT, StudySpec
from storage.fingerprint import fingerprint
from storage.ledger import Ledger
from storage.optuna_internals import set_trial_id, study_id_of, trial_id_of
from storage.patient_storage import SharedStorage
from storage.processes import is_dead, process_identity
from storage.slots import Slot, Slots

RETRIES = 3
"""Further attempts at a slot whose worker died or was cut off."""
DRAWS = 8
"""Proposals for a slot, of which each that another worker is at is drawn again."""
ASKED_FOR = ("repeat_of", "seeds", "draw")
"""User attributes that are part of what a trial is to do, beside its parameters."""

_log = logging.getLogger(__name__)


class Failure(StrEnum):
    """Why an attempt has no value.

    LOST: its worker died, or was cut off for longer than its lease. INTERRUPTED: somebody ended
    the run, or the budget. PASSING: a fault of the machine, such as a full disk. INFEASIBLE: the
    recipe diverges or does not fit the device, which the sampler learns. ERROR: broken data or a
    bug; the second one alike stops the study.
    """

    LOST = "lost"
    INTERRUPTED = "interrupted"
    PASSING = "passing"
    INFEASIBLE = "infeasible"
    ERROR = "error"


class Settled(StrEnum):
    """That nothing is left to do at a slot."""

    DONE = "done"


class Watcher(Protocol):
    """What the loop tells as it goes."""

    def trial_started(self, number: int, recipe: Recipe) -> None:
        """A trial has its recipe."""

    def trial_finished(self, trial: FrozenTrial, gain: TransferGain | None, done: int) -> None:
        """A trial was told; `gain` is None unless it is complete."""

    def say(self, line: str) -> None:
        """Something else that a person wants to know."""


@dataclass(frozen=True)
class Attempts:
    """The attempts of one worker, and those that it finds.

    Attributes:
        study: Opened by `search.studies.definition.open_study`, on a `SharedStorage`.
        storage: The same.
        space: What may be suggested.
        spec: The study as it is asked.
        languages: Those that it selects on.
        trials: Slots in all.
        ledger: Of the study's database.
        slots: Of the study.
        watcher: Shows progress.
    """

    study: Study
    storage: SharedStorage
    space: SearchSpace
    spec: StudySpec
    languages: frozenset[str]
    trials: int
    ledger: Ledger
    slots: Slots
    watcher: Watcher

    # --- what became of the attempts before

    def settle(self, slot: Slot) -> FrozenTrial | Settled | None:
        """The failed trial to try again, None for a slot that nobody has begun, or DONE."""
        if slot.lease.fence == 1:
            return None
        trials = self.storage.get_all_trials(study_id_of(self.study), deepcopy=False)
        # A worker may die after it made its trial and before the slot says so.
        made = [
            x
            for x in trials
            if x.user_attrs.get("slot") == slot.number and x.state is not TrialState.WAITING
        ]
        for trial in made:
            if trial.state is TrialState.RUNNING:
                self._settle_running(trial)
        if not made:
            return None
        last = self.storage.get_trial(trial_id_of(made[-1]))
        if last.state in {TrialState.COMPLETE, TrialState.PRUNED}:
            self.slots.close(slot)
            return Settled.DONE
        if slot.attempts > RETRIES:
            self.watcher.say(
                f"slot {slot.number}: given up after {slot.attempts} attempts: "
                f"{last.user_attrs.get('reason', 'no reason kept')}"
            )
            self.slots.close(slot)
            return Settled.DONE
        return last

    def _settle_running(self, trial: FrozenTrial) -> None:
        """Tell what a dead worker found, or fail its trial."""
        name, number = self.study.study_name, trial.number
        if pairs := self.ledger.pairs(name, SEARCH_SPLIT, number).get(number):
            gain = TransferGain(tuple(pairs), self.spec.target.aggregate)
            self.tell(trial, TrialState.COMPLETE, gain.overall_gain(self.languages))
            return
        killed = is_dead(trial.user_attrs.get("worker", "//"))
        reason = "its worker was killed" if killed else "its worker gave no sign of life"
        self.fail(trial, Failure.LOST, reason)

    def settle_strays(self) -> None:
        """Fail trials of slots that are done: their worker was held up, and then died."""
        for trial in self.storage.get_all_trials(
            study_id_of(self.study), deepcopy=False, states=(TrialState.RUNNING,)
        ):
            if is_dead(trial.user_attrs.get("worker", "//")):
                self.fail(trial, Failure.LOST, "its worker was killed")

    # --- a new attempt

    def begin(self, slot: Slot, before: FrozenTrial | None) -> tuple[FrozenTrial, Recipe]:
        """A new trial for a slot, whole from its first moment, and what it is to train."""
        attributes: dict[str, Any] = {
            "slot": slot.number,
            "worker": process_identity(),
            SharedStorage.TOKEN: slot.token,
        }
        if before is not None:
            attributes |= {k: before.user_attrs[k] for k in ASKED_FOR if k in before.user_attrs}
            attributes |= {
                "retry_of": before.number,
                "retry_reason": before.user_attrs.get("reason", ""),
            }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            history = History(self.storage, self.study)
        if before is None and (queued := self._queued(slot, history, attributes)) is not None:
            return queued
        proposal, recipe, asked = self._proposed(slot, history, before)
        trial = proposal.as_trial({**attributes, **asked})
        set_trial_id(trial, self.storage.create_new_trial(study_id_of(self.study), trial))
        trial.number = self.storage.get_trial_number_from_id(trial_id_of(trial))
        trial.datetime_start = datetime.now()
        return trial, recipe

    def _queued(
        self, slot: Slot, history: History, attributes: Mapping[str, Any]
    ) -> tuple[FrozenTrial, Recipe] | None:
        """The first trial that waits in Optuna's queue (`Study.enqueue_trial`), made this slot's.

        The first slots of a study try each arm and take none.
        """
        if first_parameters(self.space, slot.number):
            return None
        for trial in history.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            trial_id = trial_id_of(trial)
            # Whoever has claimed it may have begun it between our look and our claim.
            is_ours = self.slots.begin(slot, fingerprint(["queued", trial.number]))
            if not is_ours or self.storage.get_trial(trial_id).state is not TrialState.WAITING:
                continue
            given = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            proposal = Proposal(history, slot.number, 0, given, self.spec.sampler)
            try:
                recipe = suggest_recipe(proposal, self.space)
            except StorageError as error:  # a value that the space has not
                self.fail(trial, Failure.ERROR, str(error))
                self.watcher.trial_finished(trial, None, self.slots.count_done())
                continue
            for name, distribution in proposal.distributions.items():
                value = distribution.to_internal_repr(proposal.params[name])
                self.storage.set_trial_param(trial_id, name, value, distribution)
            for key, content in attributes.items():
                self.storage.set_trial_user_attr(trial_id, key, content)
            self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
            return self.storage.get_trial(trial_id), recipe
        return None

    def _proposed(
        self, slot: Slot, history: History, before: FrozenTrial | None
    ) -> tuple[Proposal, Recipe, dict[str, Any]]:
        """What a slot is to try, which no other worker tries at this moment if that can be."""

        def drawn(
            draw: int, fixed: Mapping[str, Any], asked: Mapping[str, Any]
        ) -> tuple[Proposal, Recipe, dict[str, Any]]:
            sampler = self.spec.sampler
            proposal = Proposal(history, slot.number, draw, fixed, sampler)
            recipe = suggest_recipe(proposal, self.space)
            if seeds := asked.get("seeds"):
                recipe = replace(recipe, seeds=tuple(seeds))
            # What was drawn again is not what its slot stands for in another run.
            again = {"draw": draw} if draw else {}
            return proposal, recipe, {**asked, **again}

        def is_begun(recipe: Recipe, proposal: Proposal) -> bool:
            key = fingerprint([proposal.params, list(recipe.seeds)])
            return self.slots.begin(slot, key)

        if before is not None:
            kept = {k: before.user_attrs[k] for k in ASKED_FOR if k in before.user_attrs}
            found = drawn(0, before.params, kept)
            if not is_begun(found[1], found[0]):
                self.slots.begin(slot, None)
            return found
        spec, limit = self.spec, self.trials
        # At most a fifth of the trials, or a short study would find nothing to repeat.
        if slot.number >= limit - min(spec.repeat_leaders, limit // 5):
            for recipe in repeat_candidates(self.study, self.ledger, spec, self.languages):
                found = drawn(0, recipe.first.params, recipe.asked_again(spec))
                if is_begun(found[1], found[0]):
                    return found
        fixed = first_parameters(self.space, slot.number)
        for draw in range(DRAWS):
            found = drawn(draw, fixed, {})
            if is_begun(found[1], found[0]):
                return found
        # A space so small that others are at all of it: stages are shared with them.
        self.slots.begin(slot, None)
        return found

    # --- telling

    def tell(self, trial: FrozenTrial, state: TrialState, value: float | None = None) -> None:
        """Tell Optuna what a trial came to, unless somebody has: it is the same then."""
        values = None if value is None else [value]
        try:
            self.storage.set_trial_state_values(trial_id_of(trial), state, values)
        except UpdateFinishedTrialError:
            _log.info("trial %d was told before", trial.number)
        trial.state, trial.values, trial.datetime_complete = state, values, datetime.now()

    def keep(self, trial: FrozenTrial, **attributes: str) -> None:
        """Keep something with a running trial."""
        for name, value in attributes.items():
            self.storage.set_trial_user_attr(trial_id_of(trial), name, value)
            trial.user_attrs[name] = value

    def fail(self, trial: FrozenTrial, failure: Failure, reason: str) -> None:
        """Tell Optuna that a trial has no value, and keep why, unless it is finished."""
        try:
            self.keep(trial, reason=reason, failure=failure)
        except UpdateFinishedTrialError:
            _log.info("trial %d was settled by another worker", trial.number)
        else:
            self.tell(trial, TrialState.FAIL)

    def came_before(self, trial_number: int, reason: str) -> bool:
        """Whether another trial of the study ended by the same error."""
        return any(
            trial.number != trial_number
            and trial.user_attrs.get("failure") == Failure.ERROR
            and trial.user_attrs.get("reason") == reason
            for trial in self.storage.get_all_trials(study_id_of(self.study), deepcopy=False)
        )
