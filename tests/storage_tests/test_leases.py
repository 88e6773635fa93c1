"""Leases: one of many workers makes a thing, and none waits for a dead one or undoes a living."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from spaces.errors import Interrupted
from storage.leases import Holder, Lease, Leases
from storage.outages import outlast
from tests.conftest import Server
from tests.processes import wait_until
from tests.scripts import Script
from tests.storage_tests.conftest import expire_leases, never

ELSEWHERE = "elsewhere/pid:[1]/77/1.00"

# Holds the lease until it is killed.
HOLDING = """
def make(lease):
    print("training", flush=True)
    sys.stdin.readline()
Leases(storage.engine, 3600).once("stage", lambda: None, make, print)
"""

# Whoever makes it goes on only when another process has waited for it.
ONE_OF_TWO = """
number, folder = sys.argv[1], Path(sys.argv[3])
storage = open_storage(sys.argv[2])
leases = Leases(storage.engine)
def find():
    return (folder / "made").read_text() if (folder / "made").exists() else None
def make(lease):
    with (folder / "makers").open("a") as file:
        file.write(number)
    while not (folder / "waiting").exists():
        time.sleep(0.05)
    lease.confirm()
    (folder / "part").write_text(number)
    (folder / "part").replace(folder / "made")
    return number
together()
print(leases.once("stage", find, make, lambda holder: (folder / "waiting").touch()))
storage.engine.dispose()
"""


@dataclass
class Made:
    """Something that is made under a lease, in this process."""

    value: str | None = None
    makes: int = 0
    waited_for: list[Holder] = field(default_factory=list)

    def find(self) -> str | None:
        """Look for it."""
        return self.value

    def make(self, lease: Lease) -> str:
        """Make and publish it."""
        self.makes += 1
        lease.confirm()
        self.value = f"made at {self.makes}"
        return self.value

    def once(self, leases: Leases) -> str:
        """Find it, or make it if nobody else does."""
        return leases.once("stage", self.find, self.make, self.waited_for.append)


@pytest.fixture
def leases(engine: sa.Engine) -> Leases:
    return Leases(engine)


def write_lease(
    engine: sa.Engine, expires_at: float, key: str = "stage", owner: str = ELSEWHERE
) -> None:
    """A lease that a process of another machine has."""
    row = {"key": key, "owner": owner, "expires_at": expires_at}
    query = "INSERT INTO transfer_leases VALUES (:key, :owner, 4, :expires_at, 3, 10)"
    with engine.begin() as connection:
        connection.execute(sa.text(query), row)


def read_lease(engine: sa.Engine) -> sa.RowMapping:
    query = "SELECT * FROM transfer_leases WHERE lease_key = 'stage'"
    with engine.connect() as connection:
        return connection.execute(sa.text(query)).mappings().one()


# --- one worker


def test_what_is_not_there_is_made_and_then_found(leases: Leases) -> None:
    made = Made()
    assert made.once(leases) == made.once(leases) == "made at 1"
    assert made.waited_for == []


def test_a_lease_is_held_while_it_is_made_and_by_nobody_after(
    leases: Leases, engine: sa.Engine
) -> None:
    before = time.time()

    def make(lease: Lease) -> str:
        lease.progress(5, 9)
        lease.confirm()
        holder = leases.holder("stage")
        assert holder is not None
        assert (holder.fence, holder.done, holder.total) == (1, 5, 9)
        assert leases.holder("another") is None
        assert before + 60 - 1 < read_lease(engine)["expires_at"] < time.time() + 60 + 1
        return "made"

    assert leases.once("stage", lambda: None, make, never) == "made"
    assert leases.holder("stage") is None
    assert leases.once("stage", lambda: None, lambda lease: lease.fence, never) == 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_making_that_raises_gives_its_lease_back(
    leases: Leases, error: type[BaseException]
) -> None:
    def fail(lease: Lease) -> str:
        raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        leases.once("stage", lambda: None, fail, never)
    assert leases.holder("stage") is None
    made = Made()
    assert made.once(leases) == "made at 1"
    assert made.waited_for == []


def test_what_was_published_before_the_lease_was_taken_is_not_made_again(leases: Leases) -> None:
    """The first look finds nothing, the look under the lease does."""
    looks = iter([None, "made by another"])
    found = leases.once("stage", lambda: next(looks), lambda lease: pytest.fail("made"), never)
    assert found == "made by another"
    assert leases.holder("stage") is None


# --- many workers


def test_of_two_processes_one_takes_over_what_ran_out(
    engine: sa.Engine,
    leases: Leases,
    storage_url: str,
    tmp_path: Path,
    run_together: Callable[..., list[str]],
) -> None:
    write_lease(engine, expires_at=time.time() - 1)
    found = run_together(ONE_OF_TWO, storage_url, str(tmp_path))
    makers = (tmp_path / "makers").read_text()
    assert len(makers) == 1
    assert found == [f"{makers}\n"] * 2
    assert read_lease(engine)["fence"] == 5


def test_the_next_makes_it_at_once_when_the_holder_was_killed(
    storage_url: str, leases: Leases, start: Callable[..., Script]
) -> None:
    process = start(HOLDING, storage_url)
    held = leases.holder("stage")
    assert held is not None
    assert f"/{process.pid}/" in held.owner
    process.kill()
    made = Made()
    assert made.once(leases) == "made at 1"
    assert made.waited_for == [], "it did not wait for the lease to run out"


def test_a_worker_of_another_machine_is_waited_for_until_its_lease_runs_out(
    engine: sa.Engine, leases: Leases
) -> None:
    write_lease(engine, expires_at=time.time() + 3600)
    made = Made()

    def wait(holder: Holder) -> None:
        assert made.makes == 0
        made.waited_for.append(holder)
        if len(made.waited_for) == 3:
            expire_leases(engine)

    assert leases.once("stage", made.find, made.make, wait) == "made at 1"
    seen = [(x.owner, x.fence, x.done, x.total) for x in made.waited_for]
    assert seen == [(ELSEWHERE, 4, 3, 10)] * 3
    left = [holder.seconds_left for holder in made.waited_for]
    assert 3601 > left[0] > left[1] > left[2] > 0


def test_the_waiting_can_be_ended(engine: sa.Engine, leases: Leases) -> None:
    write_lease(engine, expires_at=time.time() + 3600)
    before = read_lease(engine)
    made = Made()

    def stop(holder: Holder) -> None:
        raise Interrupted("asked to stop")

    with pytest.raises(Interrupted, match="asked to stop"):
        leases.once("stage", made.find, made.make, stop)
    assert made.makes == 0
    assert read_lease(engine) == before


def test_a_making_longer_than_the_lease_keeps_it(engine: sa.Engine) -> None:
    leases = Leases(engine, seconds=2)
    made, other = Made(), Made()
    waiting = threading.Thread(
        target=lambda: leases.once("stage", made.find, other.make, other.waited_for.append),
        daemon=True,
    )

    def make(lease: Lease) -> str:
        expires_at = read_lease(engine)["expires_at"]
        waiting.start()
        wait_until(lambda: time.time() > expires_at + 0.5 and len(other.waited_for) > 2)
        return made.make(lease)

    assert leases.once("stage", made.find, make, never) == "made at 1"
    waiting.join()
    assert (made.makes, other.makes) == (1, 0)
    assert {holder.fence for holder in other.waited_for} == {1}


def test_a_holder_that_lost_its_lease_returns_what_the_other_made(
    engine: sa.Engine, leases: Leases, caplog: pytest.LogCaptureFixture
) -> None:
    other = Made()

    def make(lease: Lease) -> str:
        expire_leases(engine)
        other.once(leases)
        lease.confirm()
        raise AssertionError("it published")

    with caplog.at_level(logging.WARNING):
        assert leases.once("stage", other.find, make, never) == "made at 1"
    assert other.makes == 1
    assert "lease stage: taken over while this process was paused" in caplog.text


def test_a_lease_that_ran_out_and_that_nobody_took_is_still_the_holders(
    engine: sa.Engine, leases: Leases
) -> None:
    """A laptop that slept, with no other worker: nothing has to be trained again."""
    made = Made()

    def make(lease: Lease) -> str:
        expire_leases(engine)
        return made.make(lease)

    assert leases.once("stage", made.find, make, never) == "made at 1"


@pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
def test_a_database_that_is_away_for_longer_than_the_lease_does_not_end_the_making(
    storage_url: str, engine: sa.Engine, server: Server
) -> None:
    def make(lease: Lease) -> str:
        server.stop()
        for _ in range(40):  # two seconds at least
            lease.progress(1, 9)
            time.sleep(0.05)
        server.start()
        wait_until(lambda: read_lease(engine)["done"] == 1)
        lease.confirm()
        return "made"

    assert Leases(engine, seconds=1).once("stage", lambda: None, make, never) == "made"


@pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
def test_after_an_outage_a_living_holder_has_time_to_renew_before_anybody_takes_over(
    engine: sa.Engine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was: a lease that expired in it says nothing of its holder."""
    leases = Leases(engine, seconds=3600)
    write_lease(engine, time.time() - 3600)
    write_lease(engine, 0, key="free", owner="")
    server.stop()
    back = server.start_in(0.5)
    outlast(lambda: read_lease(engine))
    back.join()
    assert leases.take("stage") is None
    assert leases.take("free") is not None
    monkeypatch.setattr("storage.leases.seconds_since_outage", lambda: 3600.0)
    assert leases.take("stage") is not None
