"""Workers and their account: who is there, what is used up, and that nobody uses more."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from storage.processes import process_identity
from storage.workers import Account, Activity, Workers
from tests.scripts import Script

# Takes device time until none is left; prints what it got.
GREEDY = """
options = {"timeout": 600} if sys.argv[2].startswith("sqlite") else {}
engine = sa.create_engine(sys.argv[2], connect_args=options)
make_tables(engine)
workers = Workers(engine, "s")
workers.join(process_identity(), "cpu")
together()
total = 0.0
while True:
    _, taken = workers.beat(process_identity(), Activity(), 7.0, 100.0)
    total += taken
    if taken < 7.0:
        break
print(total)
workers.leave(process_identity())
engine.dispose()
"""
THERE = """
Workers(storage.engine, "s").join(process_identity(), "cuda:0")
print("training", flush=True)
sys.stdin.readline()
"""
A, B = "elsewhere/x/1/1.00", "elsewhere/x/2/1.00"


@pytest.fixture
def workers(engine: sa.Engine) -> Workers:
    return Workers(engine, "s")


def beat(workers: Workers, worker: str, seconds: float = 0.0) -> Account:
    return workers.beat(worker, Activity(), seconds, None)[0]


def test_no_number_of_processes_uses_more_device_time_than_there_is(
    storage_url: str, workers: Workers, run_together: Callable[..., list[str]]
) -> None:
    processes = 2 if storage_url.startswith("sqlite") else 4
    got = [float(out) for out in run_together(GREEDY, storage_url, processes=processes)]
    assert sum(got) == 100.0
    assert workers.account().device_seconds == 100.0
    assert workers.all() == []


def test_what_was_taken_and_not_used_goes_back(workers: Workers) -> None:
    workers.join(A, "cpu")
    assert workers.beat(A, Activity(), 30.0, 20.0)[1] == 20.0
    assert beat(workers, A, -12.0).device_seconds == 8.0
    assert workers.beat(A, Activity(), 30.0, 20.0)[1] == 12.0


def test_time_in_which_several_are_there_counts_once(workers: Workers) -> None:
    before = time.monotonic()
    for worker in (A, B):
        workers.join(worker, "cpu")
    both = time.monotonic()
    for _ in range(12):
        for worker in (A, B):
            beat(workers, worker)
        time.sleep(0.05)
    passed = time.monotonic() - both
    counted = beat(workers, A).active_seconds
    assert passed - 0.1 < counted < time.monotonic() - before + 0.1, "the clocks are two"


def test_time_in_which_nobody_is_there_does_not_count(workers: Workers) -> None:
    workers.join(A, "cpu")
    before = beat(workers, A).active_seconds
    workers.leave(A)
    time.sleep(0.5)
    there = time.monotonic()
    workers.join(B, "cpu")
    counted = beat(workers, B).active_seconds - before
    assert counted < time.monotonic() - there + 0.1, "the clocks are two"


def test_a_stop_is_seen_by_every_worker_at_its_next_sign_of_life(
    engine: sa.Engine, workers: Workers
) -> None:
    assert workers.join(A, "cpu").stops == 0
    other = Workers(engine, "s")
    other.join(B, "cpu")
    other.stop_all("the same error twice")
    account = beat(workers, A)
    assert (account.stops, account.stop_reason) == (1, "the same error twice")
    assert workers.join(A, "cpu").stops == 1, "whoever starts again knows that it was before"


def test_a_worker_shows_what_it_is_at_until_it_leaves(workers: Workers) -> None:
    before = time.time()
    workers.join(A, "cuda:0")
    workers.beat(A, Activity(3, "target panx seed 0", 50, 200), 0.0, None)
    (seen,) = workers.all()
    assert (seen.worker, seen.device) == (A, "cuda:0")
    assert seen.activity == Activity(3, "target panx seed 0", 50, 200)
    after = time.time()
    assert before - 1 < seen.started_at < after + 1
    assert 0 <= seen.silent_seconds < after - before + 1
    assert not seen.is_silent
    workers.leave(A)
    assert workers.all() == []


def test_a_killed_worker_and_one_that_says_nothing_for_a_lease_are_silent(
    storage_url: str,
    engine: sa.Engine,
    workers: Workers,
    start: Callable[..., Script],
) -> None:
    process = start(THERE, storage_url)
    workers.join(A, "cpu")
    workers.join(process_identity(), "cpu")
    assert [worker.is_silent for worker in workers.all()] == [False] * 3
    process.kill()
    with engine.begin() as connection:
        query = sa.text("UPDATE transfer_workers SET seen_at = seen_at - 61 WHERE worker = :a")
        connection.execute(query, {"a": A})
    assert [worker.is_silent for worker in workers.all()] == [True, True, False]
