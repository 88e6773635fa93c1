"""A worker's sign of life, and what ends its work from outside: signals, budgets, other workers.

A thread speaks for the worker to the database; the training asks `Pulse.check` between updates,
which raises where something is up. An outage of the database stops neither.
"""

from __future__ import annotations

import signal
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from spaces.errors import BudgetSpent, Interrupted, StudyStopped, TrialLost
from storage.leases import LEASE_SECONDS, LeaseLost
from storage.outages import outlast, reached
from storage.processes import awake_seconds, process_identity
from storage.slots import Slot
from storage.workers import Account, Activity, Workers


@dataclass
class StopSignal:
    """Whether the run was asked to end, by Ctrl-C or SIGTERM.

    Attributes:
        number: The signal; 0 while there was none.
    """

    number: int = 0

    def ask(self) -> None:
        """Ask the run to end, as SIGTERM does."""
        self.number = signal.SIGTERM

    def check(self) -> None:
        """Raise where it is safe to end.

        Raises:
            Interrupted: The run was asked to end.
        """
        if self.number:
            raise Interrupted(f"interrupted by {signal.Signals(self.number).name}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the first signal; let the second one end the process at once.

        In a thread of another program's process (`search.launch.hosted_worker`), signals are its
        owner's.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.getsignal(number) for number in wanted}

        def note(number: int, frame: types.FrameType | None) -> None:
            self.number = number
            for each in wanted:
                signal.signal(each, signal.SIG_DFL)

        for number in wanted:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number in wanted:
                signal.signal(number, previous[number])


@dataclass(frozen=True)
class Budget:
    """What a study may use up in all, over its workers and runs.

    Attributes:
        trials: Slots.
        device_seconds: Of devices, in trials; None: no limit.
        active_seconds: In which any worker is there; None: no limit.
    """

    trials: int
    device_seconds: float | None = None
    active_seconds: float | None = None


class Pulse:
    """One worker's.

    Args:
        workers: Of the study.
        budget: Of the study.
        stop: Of this process.
        device_share: Of a device that a second of this worker uses: 1 / workers on it.
        lease_seconds: A worker that is silent for so long is taken for dead.
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
        """Be seen at work by others.

        Args:
            device: As people call it.
        """
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
        """Say what the worker is at; the next beat tells others."""
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
                raise TrialLost("held up, and taken over by another worker") from error
        self._check_account()

    def stop_all(self, reason: str) -> None:
        """Stop the study for all workers, this one included."""
        self._workers.stop_all(reason)
        self._stop_reason = reason

    # --- the account

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


def in_hours(seconds: float) -> str:
    """A duration for people, as in `1.5 h`, `12 min` or `30 s`."""
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.0f} s"
