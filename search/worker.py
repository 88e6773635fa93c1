"""The loop of one worker: take a slot, propose, train, record, tell, until the study is done.

What became of an attempt is kept with its trial: `reason` in words, and `failure` as its kind.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from objectives.gain import TransferGain
from search.artifacts import ArtifactFolder, upload_trial
from search.finished import repeat_candidates
from search.pulse import Pulse
from search.samplers import History, Proposal, first_parameters
from spaces.dimensions import SearchSpace, suggest_recipe
from spaces.errors import (
    BudgetSpent,
    CacheError,
    DeviceMemoryError,
    DivergedError,
    Interrupted,
    StorageError,
    StudyStopped,
    TransferSearchError,
    TrialLost,
)
from spaces.recipe import Recipe
from spaces.studies import SEARCH_SPLIT
from storage.fingerprint import fingerprint
from storage.leases import LeaseLost
from storage.ledger import Ledger, StageRun
from storage.liveness import is_dead, process_identity
from storage.shared import SharedStorage
from storage.slots import Slot, Slots

if TYPE_CHECKING:
    from objectives.transfer import TransferObjective

RETRIES = 3
"""Further attempts at a slot whose worker died or was cut off."""
PASSING_RETRIES = 8
"""Passing faults of a machine in a row, over two minutes, after which its worker ends: a disk that
stays full is to cost the study no trials."""
DRAWS = 8
"""Proposals for a slot, of which each that another worker is at is drawn again."""
IDLE_SECONDS = 1.0
LONGEST_PAUSE = 60.0
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


class Watcher(Protocol):
    """What the loop tells as it goes."""

    def trial_started(self, number: int, recipe: Recipe) -> None:
        """A trial has its recipe."""

    def trial_finished(self, trial: FrozenTrial, gain: TransferGain | None, done: int) -> None:
        """A trial was told; `gain` is None unless it is complete."""

    def say(self, line: str) -> None:
        """Something else that a person wants to know."""


@dataclass
class Worker:
    """One worker of a study.

    Attributes:
        study: Opened by `search.study.open_study`, on a `SharedStorage`.
        storage: The same.
        space: What may be suggested.
        objective: Trains and scores a recipe.
        ledger: Keeps what a trial found, before Optuna is told.
        slots: Of the study.
        pulse: Of this process; `TransferObjective.watch` calls its `check`.
        watcher: Shows progress.
    """

    study: Study
    storage: SharedStorage
    space: SearchSpace
    objective: TransferObjective
    ledger: Ledger
    slots: Slots
    pulse: Pulse
    watcher: Watcher
    _failed_in_a_row: int = field(default=0, init=False)

    def run(self) -> None:
        """Work at slots until all of the study's are done, or something ends the work.

        The last of them repeat the leaders with fresh seeds (`StudySpec.repeat_leaders`). A trial
        that is clearly behind the best one after a seed has no further seeds: it is complete with
        those that it has, as Optuna advises for values that are means
        (https://optuna.readthedocs.io/en/stable/reference/generated/optuna.pruners.WilcoxonPruner.html).

        A worker with nothing left to take waits for the others, as theirs may fall to it.

        Raises:
            Interrupted: The run was asked to end, or a budget is spent.
            StudyStopped: Another worker stopped the study.
            CacheError: This machine's disk stays full; the study goes on elsewhere, or later.
            TransferSearchError: The same error of data came twice.
        """
        limit = self.pulse.budget.trials
        is_waiting = False
        while True:
            self.pulse.note("between trials")
            self.pulse.check()
            self.ledger.deliver()
            slot = self.slots.take(limit)
            if slot is not None:
                is_waiting = False
                with slot.lease, self.pulse.holding(slot):
                    self._work_at(slot)
                continue
            if self.slots.are_done(limit):
                self._settle_strays()
                return
            if not is_waiting:
                is_waiting = True
                self.watcher.say("nothing left to take; waiting for the trials of other workers")
            time.sleep(IDLE_SECONDS)

    def _work_at(self, slot: Slot) -> None:
        """Make one attempt at a slot, if there is one to make."""
        try:
            before = self._settle(slot)
            if before is Settled.DONE:
                return
            trial, recipe = self._begin(slot, before)
            self._attempt(slot, trial, recipe)
        except (LeaseLost, TrialLost, UpdateFinishedTrialError):
            self.watcher.say(
                f"slot {slot.number}: another worker took it over while this one was held up; "
                f"nothing of it was published"
            )

    # --- what became of the attempts before

    def _settle(self, slot: Slot) -> FrozenTrial | Settled | None:
        """The failed trial to try again, None for a slot that nobody has begun, or DONE."""
        if slot.lease.fence == 1:
            return None
        trials = self.storage.get_all_trials(self.study._study_id, deepcopy=False)
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
        last = self.storage.get_trial(made[-1]._trial_id)
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
            gain = TransferGain(tuple(pairs), self.objective.spec.target.aggregate)
            self._tell(trial, TrialState.COMPLETE, gain.overall_gain(self._languages))
            return
        killed = is_dead(trial.user_attrs.get("worker", "//"))
        reason = "its worker was killed" if killed else "its worker gave no sign of life"
        self._fail(trial, Failure.LOST, reason)

    def _settle_strays(self) -> None:
        """Fail trials of slots that are done: their worker was held up, and then died."""
        for trial in self.storage.get_all_trials(
            self.study._study_id, deepcopy=False, states=(TrialState.RUNNING,)
        ):
            if is_dead(trial.user_attrs.get("worker", "//")):
                self._fail(trial, Failure.LOST, "its worker was killed")

    # --- a new attempt

    def _begin(self, slot: Slot, before: FrozenTrial | None) -> tuple[FrozenTrial, Recipe]:
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
        trial._trial_id = self.storage.create_new_trial(self.study._study_id, trial)
        trial.number = self.storage.get_trial_number_from_id(trial._trial_id)
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
            trial_id = trial._trial_id
            # Whoever has claimed it may have begun it between our look and our claim.
            is_ours = self.slots.begin(slot, fingerprint(["queued", trial.number]))
            if not is_ours or self.storage.get_trial(trial_id).state is not TrialState.WAITING:
                continue
            given = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            proposal = Proposal(history, slot.number, 0, given, self.objective.spec.sampler)
            try:
                recipe = suggest_recipe(proposal, self.space)
            except StorageError as error:  # a value that the space has not
                self._fail(trial, Failure.ERROR, str(error))
                self._finished(trial, None)
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
            sampler = self.objective.spec.sampler
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
        spec, limit = self.objective.spec, self.pulse.budget.trials
        # At most a fifth of the trials, or a short study would find nothing to repeat.
        if slot.number >= limit - min(spec.repeat_leaders, limit // 5):
            for recipe in repeat_candidates(self.study, self.ledger, spec, self._languages):
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

    def _attempt(self, slot: Slot, trial: FrozenTrial, recipe: Recipe) -> None:
        """Train and tell; whatever ends it otherwise is kept as the trial's reason."""
        self.watcher.trial_started(trial.number, recipe)
        gain = None
        try:
            gain = self._train(slot, trial, recipe)
            self._tell(trial, TrialState.COMPLETE, gain.overall_gain(self._languages))
            self.slots.close(slot)
            self._failed_in_a_row = 0
        except (DivergedError, DeviceMemoryError) as error:
            self._keep(trial, reason=str(error), failure=Failure.INFEASIBLE)
            # Told as failed, TPE would propose its like again and again.
            self._tell(trial, TrialState.PRUNED)
            self.slots.close(slot)
        except (LeaseLost, TrialLost, UpdateFinishedTrialError):
            # Whoever has the slot now may have looked for its trials before this one was there.
            self._fail(trial, Failure.LOST, "held up, and taken over by another worker")
            raise
        except (Interrupted, StudyStopped) as error:
            reason = str(error) if isinstance(error, BudgetSpent | StudyStopped) else "interrupted"
            self._fail(trial, Failure.INTERRUPTED, reason)
            self.slots.release(slot)
            self._finished(trial, None)
            raise
        except CacheError as error:
            self._fail(trial, Failure.PASSING, str(error))
            # The machine's fault and not the recipe's: it costs the slot none of its attempts.
            self.slots.release(slot)
            self._finished(trial, None)
            self._failed_in_a_row += 1
            if self._failed_in_a_row > PASSING_RETRIES:
                raise
            self._pause()
            return
        except TransferSearchError as error:
            self._fail(trial, Failure.ERROR, str(error))
            self._finished(trial, None)
            if self._came_before(trial.number, str(error)):
                self.pulse.stop_all(f"trial {trial.number} met the same error again: {error}")
                raise
            return
        except BaseException as error:  # a bug, or Ctrl-C twice: kept, and passed on
            reason = f"{type(error).__name__}: {error}"
            self._fail(trial, Failure.ERROR, reason)
            if self._came_before(trial.number, reason):
                self.pulse.stop_all(f"trial {trial.number} met the same error again: {reason}")
            raise
        self._finished(trial, gain)

    def _train(self, slot: Slot, trial: FrozenTrial, recipe: Recipe) -> TransferGain:
        name, runs = self.study.study_name, list[StageRun]()

        def record(run: StageRun) -> None:
            runs.append(run)
            self.ledger.record_stage_run(name, trial.number, run)

        def report(index: int, gains: Sequence[float]) -> bool:
            return self._go_on(trial, recipe, index, gains)

        gain = self.objective(recipe, report, record)
        self.pulse.check()
        self.ledger.record_trial(name, trial.number, gain.pairs, slot.lease)
        losses = self.ledger.losses({run.checkpoint_key for run in runs})
        folder = ArtifactFolder(self.objective.cache.location)
        upload_trial(trial, self.storage, gain.pairs, runs, losses, folder)
        return gain

    def _go_on(
        self, trial: FrozenTrial, recipe: Recipe, index: int, gains: Sequence[float]
    ) -> bool:
        """Whether a trial should train its next seed, after that of `index`."""
        seed = recipe.seeds[index]
        for place, gain in enumerate(gains):
            step = seed * len(gains) + place
            self.storage.set_trial_intermediate_value(trial._trial_id, step, gain)
            trial.intermediate_values[step] = gain
        if index + 1 == len(recipe.seeds) or "repeat_of" in trial.user_attrs:
            return True
        with warnings.catch_warnings():
            # The best trial may have other seeds than this one; those of both are compared.
            warnings.filterwarnings("ignore", "WilcoxonPruner finds steps existing")
            if not self.study.pruner.prune(self.study, trial):
                return True
        self._keep(trial, stopped=f"clearly behind the best trial after {index + 1} seed(s)")
        return False

    # --- telling

    def _tell(self, trial: FrozenTrial, state: TrialState, value: float | None = None) -> None:
        """Tell Optuna what a trial came to, unless somebody has: it is the same then."""
        values = None if value is None else [value]
        try:
            self.storage.set_trial_state_values(trial._trial_id, state, values)
        except UpdateFinishedTrialError:
            _log.info("trial %d was told before", trial.number)
        trial.state, trial.values, trial.datetime_complete = state, values, datetime.now()

    def _keep(self, trial: FrozenTrial, **attributes: str) -> None:
        """Keep something with a running trial."""
        for name, value in attributes.items():
            self.storage.set_trial_user_attr(trial._trial_id, name, value)
            trial.user_attrs[name] = value

    def _fail(self, trial: FrozenTrial, failure: Failure, reason: str) -> None:
        try:
            self._keep(trial, reason=reason, failure=failure)
        except UpdateFinishedTrialError:
            _log.info("trial %d was settled by another worker", trial.number)
        else:
            self._tell(trial, TrialState.FAIL)

    def _finished(self, trial: FrozenTrial, gain: TransferGain | None) -> None:
        self.watcher.trial_finished(trial, gain, self.slots.count_done())

    def _came_before(self, trial_number: int, reason: str) -> bool:
        """Whether another trial of the study ended by the same error."""
        return any(
            trial.number != trial_number
            and trial.user_attrs.get("failure") == Failure.ERROR
            and trial.user_attrs.get("reason") == reason
            for trial in self.storage.get_all_trials(self.study._study_id, deepcopy=False)
        )

    def _pause(self) -> None:
        """Rest after a fault of this machine, longer each time in a row."""
        until = time.monotonic() + min(LONGEST_PAUSE, 0.5 * 2.0**self._failed_in_a_row)
        while time.monotonic() < until:
            self.pulse.check()
            time.sleep(0.2)

    @property
    def _languages(self) -> frozenset[str]:
        return self.objective.spec.selection_languages(self.objective.catalogue)


class Settled(StrEnum):
    """That nothing is left to do at a slot."""

    DONE = "done"
