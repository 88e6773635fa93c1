"""A worker's sign of life, and what ends its work from outside."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.command_line.stop_signal import EndAtOnce, StopSignal
from search.workers.heartbeat import Budget, Pulse
from spaces.errors import BudgetSpent, Interrupted, StudyStopped
from storage.leases import Leases
from storage.opening import open_storage
from storage.patient_storage import SharedStorage
from storage.slots import Slot, Slots
from storage.workers import Workers
from tests.conftest import Server
from tests.raising import raises

on_postgresql = pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)


@pytest.fixture
def storage(storage_url: str) -> Iterator[SharedStorage]:
    storage = open_storage(storage_url)
    yield storage
    storage.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SharedStorage]:
    storage = open_storage(f"sqlite:///{tmp_path / 's.db'}")
    yield storage
    storage.close()


def pulse_of(storage: SharedStorage, share: float = 1.0, **budget: float) -> Pulse:
    workers = Workers(storage.engine, "s")
    return Pulse(workers, Budget(9, **budget), StopSignal(), share, lease_seconds=1.0)


def slot_of(storage: SharedStorage) -> Slot:
    slot = Slots(storage.engine, Leases(storage.engine, 1.0), "s").take(99)
    assert slot is not None
    return slot


class Clock:
    """The time that a worker was awake; goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """In the place of the pulse's; leases and the database keep theirs."""
    clock = Clock()
    monkeypatch.setattr("search.workers.heartbeat.awake_seconds", clock)
    return clock


def train(pulse: Pulse, clock: Clock, seconds: float) -> None:
    """Have time go by, and ask the pulse all the while."""
    end = clock.now + seconds
    while clock.now < end:
        pulse.check()
        clock.now += 0.01
        time.sleep(0.001)


@on_postgresql
def test_an_outage_longer_than_the_lease_ends_no_training(
    storage: SharedStorage, server: Server
) -> None:
    pulse, slot = pulse_of(storage, device_seconds=3600.0), slot_of(storage)

    def train(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pulse.check()
            time.sleep(0.01)

    began = time.monotonic()
    with pulse.beating("cpu"), slot.lease, pulse.holding(slot):
        train(0.5)
        server.stop()
        train(1.5)
        server.start()
        train(1.5)
        slot.lease.confirm()
    charged = Workers(storage.engine, "s").account().device_seconds
    assert 3.5 < charged < time.monotonic() - began


def test_device_time_is_used_up_to_the_limit_and_not_beyond(
    sqlite: SharedStorage, clock: Clock
) -> None:
    workers = Workers(sqlite.engine, "s")
    pulse, slot = pulse_of(sqlite, device_seconds=1.5), slot_of(sqlite)
    with pulse.beating("cpu"), slot.lease, pulse.holding(slot):
        began = clock.now
        with raises(BudgetSpent, subject="the study's device time of 2 s is used up"):
            train(pulse, clock, 60)
        assert clock.now - began == pytest.approx(1.5, abs=0.02)
    assert workers.account().device_seconds == pytest.approx(1.5)
    other = slot_of(sqlite)
    with pulse.beating("cpu"), other.lease, pytest.raises(BudgetSpent), pulse.holding(other):
        raise AssertionError("there was nothing left to begin with")


def test_what_a_trial_did_not_use_is_there_for_the_next_one(
    sqlite: SharedStorage, clock: Clock
) -> None:
    pulse = pulse_of(sqlite, device_seconds=60.0)
    began = clock.now
    with pulse.beating("cpu"):
        for _ in range(3):
            slot = slot_of(sqlite)
            with slot.lease, pulse.holding(slot):
                train(pulse, clock, 0.2)
    charged = Workers(sqlite.engine, "s").account().device_seconds
    assert charged == pytest.approx(clock.now - began)


def test_a_worker_with_half_a_device_pays_half(sqlite: SharedStorage, clock: Clock) -> None:
    pulse, slot = pulse_of(sqlite, share=0.5), slot_of(sqlite)
    began = clock.now
    with pulse.beating("cpu"), slot.lease, pulse.holding(slot):
        train(pulse, clock, 1.0)
    charged = Workers(sqlite.engine, "s").account().device_seconds
    assert charged == pytest.approx((clock.now - began) / 2)


def test_the_studys_time_goes_on_over_its_runs(sqlite: SharedStorage, clock: Clock) -> None:
    with pulse_of(sqlite).beating("cpu"):
        time.sleep(0.8)
    pulse = pulse_of(sqlite, active_seconds=3600.0)
    with pulse.beating("cpu"):
        pulse.check()
        clock.now += 3600.0 - 0.7
        with raises(BudgetSpent, subject="the study's time of 1 h is used up"):
            pulse.check()


def test_a_stop_by_another_worker_is_seen_at_the_next_beat(
    sqlite: SharedStorage, clock: Clock
) -> None:
    pulse = pulse_of(sqlite)
    with pulse.beating("cpu"):
        pulse.check()
        Workers(sqlite.engine, "s").stop_all("trial 3 met the same error again")
        with raises(StudyStopped, subject="trial 3 met the same error again"):
            train(pulse, clock, float("inf"))
    fresh = pulse_of(sqlite)
    with fresh.beating("cpu"):
        train(fresh, clock, 0.6)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_ends_at_once(number: signal.Signals) -> None:
    stop = StopSignal()
    before = signal.getsignal(number)
    with stop.listening():
        stop.check()
        signal.raise_signal(number)
        with raises(Interrupted, subject=f"interrupted by {number.name}"):
            stop.check()
        again = signal.getsignal(number)
        assert isinstance(again, EndAtOnce) if number == signal.SIGINT else again is signal.SIG_DFL
    assert signal.getsignal(number) is before


def test_in_a_thread_of_somebody_elses_process_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def listen() -> None:
        with StopSignal().listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]
