"""The loop of one worker: take a slot, propose, train, record, report, until all is done."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import TransferGain
from search.studies.trial_notes import Failure, TrialNotes
from search.workers.heartbeat import TAKEN_OVER, Pulse
from search.workers.trial_attempts import Attempts, OpenStudy, RunListener
from search.workers.trial_files import ArtifactFolder, upload_trial
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
from storage.leases import LeaseLost
from storage.optuna_internals import trial_id_of
from storage.slots import Slot
from storage.tables import StageRun

if TYPE_CHECKING:
    from objectives.transfer import TransferObjective

PASSING_RETRIES = 8
"""Passing faults of a machine in a row, over two minutes, after which its worker ends: a disk that
stays full is to cost the study no trials."""
IDLE_SECONDS = 1.0
LONGEST_PAUSE = 60.0

_log = logging.getLogger(__name__)


@dataclass
class Worker:
    """One worker of a study.

    Attributes:
        opened: The study.
        objective: Trains and scores a recipe; it asks `pulse` at every update.
        pulse: Sign of life of this process.
        listener: Listens to what the worker does, and shows it.
    """

    opened: OpenStudy
    objective: TransferObjective
    pulse: Pulse
    listener: RunListener
    _failed_in_a_row: int = field(default=0, init=False)
    _attempts: Attempts = field(init=False)

    def __post_init__(self) -> None:
        self._attempts = Attempts(self.opened, self.pulse.budget.trials, self.listener)

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
            self.opened.ledger.deliver()
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
        self.listener.on_trial_started(trial.number, recipe)
        gain = None
        try:
            gain = self._train(slot, trial, recipe)
            self._attempts.complete(trial, gain)
            self.opened.slots.close(slot)
            self._failed_in_a_row = 0
        except (DivergedError, DeviceMemoryError) as error:
            notes = TrialNotes(reason=str(error), failure=Failure.INFEASIBLE)
            self._attempts.keep(trial, notes)
            # Reported to Optuna as failed, TPE would propose its like again and again.
            self._attempts.tell(trial, TrialState.PRUNED)
            self.opened.slots.close(slot)
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
            if self._failed_in_a_row > PASSING_RETRIES:
                raise
            self._pause()
            return
        except TransferSearchError as error:
            self._attempts.fail(trial, Failure.ERROR, str(error))
            self._finished(trial, None)
            if self._stops_all(trial, str(error)):
                raise
            return
        except BaseException as error:  # a bug, or Ctrl-C twice: kept, and passed on
            reason = f"{type(error).__name__}: {error}"
            self._attempts.fail(trial, Failure.ERROR, reason)
            self._stops_all(trial, reason)
            raise
        self._finished(trial, gain)

    def _train(self, slot: Slot, trial: FrozenTrial, recipe: Recipe) -> TransferGain:
        name, runs = self.opened.study.study_name, list[StageRun]()

        def record(run: StageRun) -> None:
            runs.append(run)
            self.opened.ledger.record_stage_run(name, trial.number, run)

        def report(index: int, gains: Sequence[float]) -> bool:
            return self._go_on(trial, recipe, index, gains)

        gain = self.objective(recipe, report, record)
        self.pulse.check()
        self.opened.ledger.record_trial(name, trial.number, gain.pairs, slot.lease)
        losses = self.opened.ledger.losses({run.checkpoint_key for run in runs})
        folder = ArtifactFolder(self.objective.cache.location)
        upload_trial(trial, self.opened.storage, gain.pairs, runs, losses, folder)
        return gain

    def _go_on(
        self, trial: FrozenTrial, recipe: Recipe, index: int, gains: Sequence[float]
    ) -> bool:
        """Whether a trial should train its next seed, after that of `index`."""
        seed = recipe.seeds[index]
        for place, gain in enumerate(gains):
            step = seed * len(gains) + place
            self.opened.storage.set_trial_intermediate_value(trial_id_of(trial), step, gain)
            trial.intermediate_values[step] = gain
        if index + 1 == len(recipe.seeds) or TrialNotes.of(trial).repeat_of is not None:
            return True
        with warnings.catch_warnings():
            # The best trial may have other seeds than this one; those of both are compared.
            warnings.filterwarnings("ignore", "WilcoxonPruner finds steps existing")
            if not self.opened.study.pruner.prune(self.opened.study, trial):
                return True
        reason = f"clearly behind the best trial after {index + 1} seed(s)"
        self._attempts.keep(trial, TrialNotes(stopped=reason))
        return False

    def _stops_all(self, trial: FrozenTrial, reason: str) -> bool:
        """Whether an error came before; if so, the study is stopped for all workers."""
        again = self._attempts.came_before(trial.number, reason)
        if again:
            self.pulse.stop_all(f"trial {trial.number} met the same error again: {reason}")
        return again

    def _finished(self, trial: FrozenTrial, gain: TransferGain | None) -> None:
        self.listener.on_trial_finished(trial, gain, self.opened.slots.count_done())

    def _pause(self) -> None:
        """Rest after a fault of this machine, longer each time in a row."""
        until = time.monotonic() + min(LONGEST_PAUSE, 0.5 * 2.0**self._failed_in_a_row)
        while time.monotonic() < until:
            self.pulse.check()
            time.sleep(0.2)
