"""A worker's sign of life, and what ends its work from outside: signals, budgets, other workers.

A thread speaks for the worker to the database; the training asks `Pulse.check` between updates,
which raises where something is up. An outage of the database stops neither.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from search.command_line.stop_signal import StopSignal
from search.command_line.words import in_hours
from spaces.errors import BudgetSpent, StudyStopped, TrialLost
from storage.leases import LEASE_SECONDS, LeaseLost
from storage.outages import outlast, reached
from storage.processes import awake_seconds, process_identity
from storage.slots import Slot
from storage.workers import Account, Activity, Workers

TAKEN_OVER = "paused past its lease, and taken over by another worker"


@dataclass(frozen=True)
class Budget:
    """What a study may use up in all, over its workers and runs.

    Attributes:
        trials: Number of slots.
        device_seconds: Device time of its trials, in seconds; None for no limit.
        active_seconds: Time in which any worker is there, in seconds; None for no limit.
    """

    trials: int
    device_seconds: float | None = None
    active_seconds: float | None = None


class Pulse:
    """The sign of life of one worker, its account of device time, and its reasons to end.

    Args:
        workers: Table of the study's workers.
        budget: Limits of the study.
        stop: Whether this process was asked to end.
        device_share: Share of its device that the worker has, in (0, 1]: 1 / workers on it.
        lease_seconds: Seconds of silence after which a worker is taken for dead.
    """

    def __init__(
        self,
        workers: Workers,
        budget: Budget,
        stop: StopSignal,
        device_share: float = 1.0,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.budget = budget
        self._workers, self._stop = workers, stop
        self._share = device_share
        self._every = lease_seconds / 4
        self._worker = process_identity()
        self._activity = Activity()
        self._slot: Slot | None = None
        self._lock = threading.Lock()  # of what follows
        self._held_since = self._taken = 0.0
        self._deadline = float("inf")
        self._stops = 0
        self._stop_reason = ""
        self._away = False

    @contextmanager
    def beating(self, device: str) -> Iterator[None]:
        """Be listed as a worker of the study that is alive, with the name of its device."""
        account = self._workers.join(self._worker, device, self.budget.trials)
        self._stops = account.stops
        self._learn(account)
        ended = threading.Event()
        thread = threading.Thread(target=self._beat_until, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            outlast(self._beat)
            self._workers.leave(self._worker)

    @contextmanager
    def holding(self, slot: Slot) -> Iterator[None]:
        """Work at a slot, whose lease is entered, and pay for the time.

        Raises:
            BudgetSpent: There is nothing left to pay with.
        """
        with self._lock:
            self._held_since, self._slot = awake_seconds(), slot
            is_paid = self._taken > self._every * self._share  # what was over from the slot before
        try:
            if not is_paid:
                outlast(self._beat)
            self._check_account()
            yield
        finally:
            with self._lock:
                self._taken -= self._used()
                self._slot = None

    def note(self, doing: str, done: int = 0, total: int = 0) -> None:
        """Note what the worker is doing; the next beat publishes it."""
        slot = None if self._slot is None else self._slot.number
        self._activity = Activity(slot, doing, done, total)

    def check(self) -> None:
        """Raise where it is safe to end.

        Raises:
            Interrupted: The run was asked to end.
            BudgetSpent: The study's time or device time is used up.
            StudyStopped: Another worker stopped the study.
            TrialLost: Another worker has the trial.
        """
        self._stop.check()
        if self._stop_reason:
            raise StudyStopped(self._stop_reason)
        if self._slot is not None:
            try:
                self._slot.lease.check()
            except LeaseLost as error:
                raise TrialLost(TAKEN_OVER) from error
        self._check_account()

    def stop_all(self, reason: str) -> None:
        """Stop the study for all workers, this one included."""
        self._workers.stop_all(reason)
        self._stop_reason = reason

    def _check_account(self) -> None:
        if awake_seconds() > self._deadline:
            raise BudgetSpent(
                f"the study's time of {in_hours(self.budget.active_seconds or 0)} is used up"
            )
        limit = self.budget.device_seconds
        if limit is None or self._slot is None or self._away or self._used() < self._taken:
            return
        outlast(self._beat)
        if self._used() >= self._taken:
            raise BudgetSpent(f"the study's device time of {in_hours(limit)} is used up")

    def _used(self) -> float:
        """Device seconds of the slot in hand."""
        return (awake_seconds() - self._held_since) * self._share

    def _beat(self) -> None:
        with self._lock:
            # Enough for this beat and the next; without a slot, all that is over goes back.
            wanted = 0.0
            if self._slot is not None:
                wanted = self._used() + 2 * self._every * self._share
            account, taken = self._workers.beat(
                self._worker, self._activity, wanted - self._taken, self.budget.device_seconds
            )
            self._taken += taken
        self._learn(account)

    def _learn(self, account: Account) -> None:
        if account.stops > self._stops:
            self._stop_reason = account.stop_reason
        if self.budget.active_seconds is not None:
            left = self.budget.active_seconds - account.active_seconds
            self._deadline = awake_seconds() + left

    def _beat_until(self, ended: threading.Event) -> None:
        while not ended.wait(self._every):
            self._away = not reached(self._beat)
