"""Slots: exactly as many trials as asked for, each one worker's at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from storage.leases import LeaseLost, Leases
from storage.slots import Slot, Slots
from tests.processes import wait_until
from tests.scripts import Script
from tests.storage_tests.conftest import expire_leases

# Works at all slots that it can get.
GREEDY = """
options = {"timeout": 600} if sys.argv[2].startswith("sqlite") else {}
engine = sa.create_engine(sys.argv[2], connect_args=options)
make_tables(engine)
slots = Slots(engine, Leases(engine), "s")
together()
while (slot := slots.take(20)) is not None:
    with slot.lease:
        slots.begin(slot, None)
        print(slot.number)
        slots.close(slot)
engine.dispose()
"""
# Begins a trial and waits for ever.
HOLDING = """
slot = Slots(storage.engine, Leases(storage.engine, 3600), "s").take(1)
with slot.lease:
    Slots(storage.engine, Leases(storage.engine, 3600), "s").begin(slot, "recipe")
    print("training", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def slots(engine: sa.Engine) -> Slots:
    return Slots(engine, Leases(engine, 60), "s")


def taken(slots: Slots, limit: int = 9) -> Slot:
    slot = slots.take(limit)
    assert slot is not None
    return slot


def test_no_number_of_processes_makes_more_slots_than_asked_for(
    storage_url: str, slots: Slots, run_together: Callable[..., list[str]]
) -> None:
    processes = 3 if storage_url.startswith("sqlite") else 5
    worked_at = run_together(GREEDY, storage_url, processes=processes)
    assert sorted(int(x) for out in worked_at for x in out.split()) == list(range(20))
    assert slots.count_done() == 20
    assert slots.are_done(20)
    assert slots.take(20) is None


def test_a_larger_total_adds_slots_and_a_smaller_one_none(engine: sa.Engine, slots: Slots) -> None:
    for limit, fresh in ((1, 1), (3, 2), (2, 0)):
        for _ in range(fresh):
            slot = taken(slots, limit)
            with slot.lease:
                assert len(Leases(engine).held()) == 1
                slots.close(slot)
                assert Leases(engine).held() == {}
        assert slots.take(limit) is None
        assert slots.are_done(limit)
    assert slots.count_done() == 3
    assert slots.open_slots() == []
    assert not slots.are_done(4)


def test_studies_have_slots_of_their_own(engine: sa.Engine, slots: Slots) -> None:
    other = Slots(engine, Leases(engine), "another")
    assert [taken(slots).number, taken(other).number, taken(slots).number] == [0, 0, 1]
    slots.write([])
    assert slots.open_slots() == []
    slots.write([(1, True), (2, False)])
    assert [(opened.number, opened.attempts) for opened in slots.open_slots()] == [(1, 2)]
    assert [opened.number for opened in other.open_slots()] == [0]


def test_a_slot_that_was_begun_comes_before_a_fresh_one(slots: Slots) -> None:
    first, second = taken(slots), taken(slots)
    for slot in (second, first):
        with slot.lease:
            slots.begin(slot, None)
    again = taken(slots)
    assert (again.number, again.attempts) == (0, 1)
    assert (again.lease.fence, again.token) == (2, "0/2")
    assert first.token == "0/1"
    with again.lease:
        slots.begin(again, None)
        slots.release(again)
    assert taken(slots).attempts == 1, "one that was interrupted does not count"


def test_the_slot_of_a_killed_worker_is_taken_at_once(
    storage_url: str, slots: Slots, start: Callable[..., Script]
) -> None:
    process = start(HOLDING, storage_url)
    assert slots.take(1) is None
    (opened,) = slots.open_slots()
    assert opened.holder is not None
    assert f"/{process.pid}/" in opened.holder.owner
    process.kill()
    slot = taken(slots, 1)
    assert (slot.number, slot.attempts, slot.lease.fence) == (0, 1, 2)


def test_the_slot_of_a_silent_worker_is_taken_when_its_lease_has_run_out(
    engine: sa.Engine,
) -> None:
    slots = Slots(engine, Leases(engine, 1.0), "s")
    started = time.monotonic()
    taken(slots, 1)  # and its lease is never renewed
    slot = wait_until(lambda: slots.take(1))
    assert slot is not None
    assert time.monotonic() > started + 0.9
    assert slot.lease.fence == 2


def test_a_recipe_that_another_open_slot_has_is_refused_and_counts_no_attempt(
    slots: Slots,
) -> None:
    first, second = taken(slots), taken(slots)
    assert slots.begin(first, "a")
    assert slots.begin(first, "a"), "it is its own"
    assert not slots.begin(second, "a")
    assert [opened.attempts for opened in slots.open_slots()] == [1, 0]
    assert slots.begin(second, "b")
    assert [opened.attempts for opened in slots.open_slots()] == [1, 1]
    with first.lease:
        slots.close(first)
    assert slots.begin(second, "a"), "the other is done with it"


def test_a_slot_that_another_worker_has_taken_since_is_not_this_ones_to_change(
    engine: sa.Engine, slots: Slots
) -> None:
    late = taken(slots)
    slots.begin(late, "a")
    expire_leases(engine)
    other = taken(slots)
    assert other.number == late.number
    slots.begin(other, "b")
    for change in (
        lambda: slots.close(late),
        lambda: slots.release(late),
        lambda: slots.begin(late, "c"),
    ):
        with pytest.raises(LeaseLost, match="taken over"):
            change()
    (opened,) = slots.open_slots()
    assert opened.attempts == 2
    with other.lease:
        slots.close(other)
    assert slots.count_done() == 1
