"""The loop of one worker: take a slot, propose, train, record, report, until all is done."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import TransferGain
from search.studies.trial_notes import Failure, TrialNotes
from search.workers.answer_so_far import EVERY, AnswerSoFar
from search.workers.heartbeat import TAKEN_OVER, Pulse
from search.workers.trial_attempts import Attempts, OpenStudy, RunListener
from search.workers.trial_files import ArtifactFolder, upload_trial
from spaces.errors import (
    BudgetSpent,
    CacheClosedError,
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
from storage.leases import LeaseLost
from storage.slots import Slot
from storage.tables import StageRun

if TYPE_CHECKING:
    from objectives.transfer import TransferObjective

PASSING_RETRIES = 8
"""Passing faults of a machine in a row, over two minutes, after which its worker ends: a disk that
stays full is to cost the study no trials."""
HOPELESS = 6
"""Infeasible runs, and none with a score, after which a study is stopped."""
IDLE_SECONDS = 1.0
LONGEST_PAUSE = 60.0

_log = logging.getLogger(__name__)


@dataclass
class Worker:
    """One worker of a study.

    Attributes:
        opened: The study, or its direct trainings.
        limit: Number of its slots.
        objective: Trains and scores a recipe; it asks `pulse` at every update.
        pulse: Sign of life of this process.
        listener: Listens to what the worker does, and shows it.
        until: Expected points between the recommendation and the best recipe below which the
            search ends; None: it goes on to the last slot.
    """

    opened: OpenStudy
    limit: int
    objective: TransferObjective
    pulse: Pulse
    listener: RunListener
    until: float | None = None
    _failed_in_a_row: int = field(default=0, init=False)
    _asked_at: int | None = field(default=None, init=False)
    _attempts: Attempts = field(init=False)

    def __post_init__(self) -> None:
        self._attempts = Attempts(self.opened, self.limit, self.listener)

    def run(self) -> None:
        """Work at slots until all of the study's are done, or something ends the work.

        A worker with nothing left to take waits for the others, as theirs may fall to it.

        It ends before that where the recommendation is near enough to the best (`until`).

        Raises:
            Interrupted: The run was asked to end, or a budget is spent.
            StudyStopped: Another worker stopped the study.
            CacheError: This machine's disk stays full, or cannot be written; the study goes on
                elsewhere, or later.
            TransferSearchError: The same error of data came twice.
        """
        limit = self.limit
        is_waiting = False
        while True:
            self.pulse.note("between trials")
            self.pulse.check()
            self.opened.ledger.deliver()
            if self._is_near_enough():
                return
            slot = self.opened.slots.take(limit)
            if slot is not None:
                is_waiting = False
                with slot.lease, self.pulse.holding(slot):
                    self._work_at(slot)
                continue
            if self.opened.slots.are_done(limit):
                self._attempts.settle_strays()
                return
            if not is_waiting:
                is_waiting = True
                self.listener.say("nothing left to take; waiting for the trials of other workers")
            time.sleep(IDLE_SECONDS)

    def _is_near_enough(self) -> bool:
        """Whether `until` is reached; then it is said. Asked anew when more trials are done."""
        modelled, opened = self.opened.modelled, self.opened
        if self.until is None or modelled is None:
            return False
        done = opened.slots.count_done()
        if done == self._asked_at:
            return False
        self._asked_at = done
        so_far = AnswerSoFar.after(modelled, opened.trials())
        if not so_far.is_near(opened.space, self.until):
            return False
        self.listener.say(f"the recommendation is within {self.until:g} points, as asked for")
        self.listener.say(so_far.line(done))
        return True

    def _work_at(self, slot: Slot) -> None:
        """Make one attempt at a slot, if there is one to make."""
        try:
            before = self._attempts.settle(slot)
            if before == "done":
                return
            trial, recipe = self._attempts.begin(slot, before)
            self._attempt(slot, trial, recipe)
        except (LeaseLost, TrialLost, UpdateFinishedTrialError):
            self.listener.say(
                f"slot {slot.number}: another worker took it over, as this one paused past "
                f"its lease; nothing of it was published"
            )

    def _attempt(self, slot: Slot, trial: FrozenTrial, recipe: Recipe) -> None:
        """Train and report to Optuna; what ends it otherwise is kept as the trial's reason."""
        self.listener.on_trial_started(trial, recipe)
        result = None
        try:
            result = self._train(slot, trial, recipe)
            self._attempts.complete(trial, result)
            self.opened.slots.close(slot)
            self._failed_in_a_row = 0
        except (DivergedError, DeviceMemoryError) as error:
            notes = TrialNotes(reason=str(error), failure=Failure.INFEASIBLE)
            self._attempts.keep(trial, notes)
            # Reported to Optuna as failed, TPE would propose its like again and again.
            self._attempts.tell(trial, TrialState.PRUNED)
            self.opened.slots.close(slot)
            self._finished(trial, None)
            self._stop_if_none_succeeds(str(error))
            return
        except (LeaseLost, TrialLost, UpdateFinishedTrialError):
            # Whoever has the slot now may have looked for its trials before this one was there.
            self._attempts.fail(trial, Failure.LOST, TAKEN_OVER)
            raise
        except (Interrupted, StudyStopped) as error:
            reason = str(error) if isinstance(error, BudgetSpent | StudyStopped) else "interrupted"
            self._attempts.fail(trial, Failure.INTERRUPTED, reason)
            self.opened.slots.release(slot)
            self._finished(trial, None)
            raise
        except StorageError:
            raise  # the database is away for good: nothing can be kept there, nor asked
        except CacheError as error:
            self._attempts.fail(trial, Failure.PASSING, str(error))
            # The machine's fault and not the recipe's: it costs the slot none of its attempts.
            self.opened.slots.release(slot)
            self._finished(trial, None)
            self._failed_in_a_row += 1
            is_lasting = isinstance(error, CacheClosedError)
            if is_lasting or self._failed_in_a_row > PASSING_RETRIES:
                raise
            self._pause()
            return
        except TransferSearchError as error:
            self._attempts.fail(trial, Failure.ERROR, str(error))
            self._finished(trial, None)
            if self._stops_all(trial, str(error)):
                raise
            return
        except Exception as error:  # a bug: kept, and passed on
            reason = f"{type(error).__name__}: {error}"
            self._attempts.fail(trial, Failure.ERROR, reason)
            self._stops_all(trial, reason)
            raise
        except BaseException:  # whoever ends this process says nothing of the recipe
            self._attempts.fail(trial, Failure.INTERRUPTED, "interrupted")
            self.opened.slots.release(slot)
            raise
        self._finished(trial, result)

    def _train(self, slot: Slot, trial: FrozenTrial, recipe: Recipe) -> TransferGain:
        name, runs = self.opened.study.study_name, list[StageRun]()
        seed = TrialNotes.of(trial).seed
        assert seed is not None, trial.number

        def record(run: StageRun) -> None:
            runs.append(run)
            self.opened.ledger.record_stage_run(name, trial.number, run)
            self.listener.on_stage_run(trial, run)

        pairs = self.objective(recipe, seed, record)
        self.pulse.check()
        self.opened.ledger.record_trial(name, trial.number, pairs, slot.lease)
        result = self.opened.result(pairs)
        losses = self.opened.ledger.losses({run.checkpoint_key for run in runs})
        folder = ArtifactFolder(self.objective.cache.location)
        upload_trial(trial, self.opened.storage, result.pairs, runs, losses, folder)
        return result

    def _stops_all(self, trial: FrozenTrial, reason: str) -> bool:
        """Whether an error came before; if so, the study is stopped for all workers."""
        again = self._attempts.came_before(trial.number, reason)
        if again:
            self.pulse.stop_all(f"trial {trial.number} met the same error again: {reason}")
        return again

    def _stop_if_none_succeeds(self, reason: str) -> None:
        """End the study where its first runs all came to nothing: the next ones would, too.

        Raises:
            StudyStopped: So it is.
        """
        trials = self.opened.trials()
        if any(trial.state is TrialState.COMPLETE for trial in trials):
            return
        infeasible = sum(TrialNotes.of(trial).failure is Failure.INFEASIBLE for trial in trials)
        if infeasible >= HOPELESS:
            reason = f"the first {infeasible} runs all came to nothing, the last one by: {reason}"
            self.pulse.stop_all(reason)
            raise StudyStopped(reason)

    def _finished(self, trial: FrozenTrial, result: TransferGain | None) -> None:
        done, modelled = self.opened.slots.count_done(), self.opened.modelled
        self.listener.on_trial_finished(trial, result, done)
        if modelled is None or result is None or done >= self.limit:
            return
        is_told = done % EVERY == 0
        if is_told or self.listener.shows_answers:
            so_far = AnswerSoFar.after(modelled, self.opened.trials())
            self.listener.on_answer(so_far.brief())
            if is_told:
                self.listener.say(so_far.line(done))

    def _pause(self) -> None:
        """Rest after a fault of this machine, longer each time in a row."""
        until = time.monotonic() + min(LONGEST_PAUSE, 0.5 * 2.0**self._failed_in_a_row)
        while time.monotonic() < until:
            self.pulse.check()
            time.sleep(0.2)
