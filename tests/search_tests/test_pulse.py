"""A worker's sign of life, and what ends its work from outside."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from search.command_line.stop_signal import StopSignal
from search.workers.heartbeat import TAKEN_OVER, Budget, Pulse
from spaces.errors import BudgetSpent, Interrupted, StudyStopped
from storage.leases import Leases
from storage.opening import open_storage
from storage.patient_storage import SharedStorage
from storage.slots import Slot, Slots
from storage.workers import Workers
from tests.conftest import Server
from tests.raising import raises
from tests.scripts import Script

on_postgresql = pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
# Trains until it is told to stop; argument 1 is the database.
TRAINING = """
import sys, time
from search.command_line.stop_signal import StopSignal
from search.workers.heartbeat import Budget, Pulse
from spaces.errors import TrialLost
from storage.opening import open_storage
from storage.leases import Leases
from storage.slots import Slots
from storage.workers import Workers
storage = open_storage(sys.argv[1])
slots = Slots(storage.engine, Leases(storage.engine, 1.0), "s")
pulse = Pulse(Workers(storage.engine, "s"), Budget(9), StopSignal(), lease_seconds=1.0)
slot = slots.take(9)
with pulse.beating("cpu"), slot.lease, pulse.holding(slot):
    print("training", flush=True)
    try:
        while True:
            pulse.check()
            time.sleep(0.02)
    except TrialLost as error:
        print(error)
storage.close()
"""


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


def train(pulse: Pulse, seconds: float) -> float:
    """Ask the pulse all the time, for so long; how long it was."""
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        pulse.check()
        time.sleep(0.01)
    return time.monotonic() - started


@on_postgresql
def test_a_worker_that_was_held_up_past_its_lease_learns_it_at_its_next_step(
    storage: SharedStorage, storage_url: str
) -> None:
    with closing(Script(TRAINING, storage_url)) as process:
        assert process.stdout.readline() == "training\n"
        time.sleep(2.5)
        slots = Slots(storage.engine, Leases(storage.engine, 1.0), "s")
        assert slots.take(1) is None, "it renews its lease"
        process.send_signal(signal.SIGSTOP)
        end = time.monotonic() + 60
        while (slot := slots.take(1)) is None:
            assert time.monotonic() < end
            time.sleep(0.1)
        with slot.lease:
            process.send_signal(signal.SIGCONT)
            out, _ = process.end()
            assert (process.returncode, out) == (0, f"{TAKEN_OVER}\n")
            slots.close(slot)


@on_postgresql
def test_an_outage_longer_than_the_lease_ends_no_training(
    storage: SharedStorage, server: Server
) -> None:
    pulse, slot = pulse_of(storage, device_seconds=3600.0), slot_of(storage)
    with pulse.beating("cpu"), slot.lease, pulse.holding(slot):
        train(pulse, 0.5)
        server.stop()
        train(pulse, 2.5)
        server.start()
        train(pulse, 2.5)
        slot.lease.confirm()
    assert 5.5 < Workers(storage.engine, "s").account().device_seconds < 60


def test_device_time_is_used_up_to_the_limit_and_not_beyond(sqlite: SharedStorage) -> None:
    workers = Workers(sqlite.engine, "s")
    pulse, slot = pulse_of(sqlite, device_seconds=1.5), slot_of(sqlite)
    with pulse.beating("cpu"), slot.lease, pulse.holding(slot):
        started = time.monotonic()
        with raises(BudgetSpent, subject="the study's device time of 2 s is used up"):
            train(pulse, 60)
        assert 1.4 < time.monotonic() - started < 10
    assert workers.account().device_seconds == pytest.approx(1.5)
    other = slot_of(sqlite)
    with pulse.beating("cpu"), other.lease, pytest.raises(BudgetSpent), pulse.holding(other):
        raise AssertionError("there was nothing left to begin with")


def test_what_a_trial_did_not_use_is_there_for_the_next_one(sqlite: SharedStorage) -> None:
    pulse = pulse_of(sqlite, device_seconds=60.0)
    with pulse.beating("cpu"):
        used = 0.0
        for _ in range(3):
            slot = slot_of(sqlite)
            with slot.lease, pulse.holding(slot):
                used += train(pulse, 0.2)
    charged = Workers(sqlite.engine, "s").account().device_seconds
    assert used <= charged < used + 1.0


def test_a_worker_with_half_a_device_pays_half(sqlite: SharedStorage) -> None:
    pulse, slot = pulse_of(sqlite, share=0.5), slot_of(sqlite)
    with pulse.beating("cpu"), slot.lease, pulse.holding(slot):
        used = train(pulse, 1.0)
    charged = Workers(sqlite.engine, "s").account().device_seconds
    assert used / 2 <= charged < used / 2 + 0.4


def test_the_studys_time_goes_on_over_its_runs(sqlite: SharedStorage) -> None:
    with pulse_of(sqlite).beating("cpu"):
        time.sleep(0.8)
    pulse = pulse_of(sqlite, active_seconds=2.0)
    with pulse.beating("cpu"):
        started = time.monotonic()
        with raises(BudgetSpent, subject="the study's time of 2 s is used up"):
            train(pulse, 60)
        assert 0.5 < time.monotonic() - started < 1.9


def test_a_stop_by_another_worker_is_seen_at_the_next_beat(sqlite: SharedStorage) -> None:
    pulse = pulse_of(sqlite)
    with pulse.beating("cpu"):
        train(pulse, 0.1)
        Workers(sqlite.engine, "s").stop_all("trial 3 met the same error again")
        with raises(StudyStopped, subject="trial 3 met the same error again"):
            train(pulse, 60)
    fresh = pulse_of(sqlite)
    with fresh.beating("cpu"):
        train(fresh, 0.6)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_is_the_systems(number: signal.Signals) -> None:
    stop = StopSignal()
    before = signal.getsignal(number)
    with stop.listening():
        stop.check()
        signal.raise_signal(number)
        with raises(Interrupted, subject=f"interrupted by {number.name}"):
            stop.check()
        assert signal.getsignal(number) is signal.SIG_DFL
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
