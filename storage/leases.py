"""Leases: which worker runs a trial or trains a stage, so that no two do so at the same time.

A lease is a row of the study's database. Its holder renews it from a thread of its own while it
works; one that is not renewed in time, or whose process is gone from this machine, may be
taken over. Each taking raises the row's fencing number, so that a holder that was paused past
its lease is told apart from the one that came after it, and cannot publish (Kleppmann 2016,
https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html). Times are the
database's own, so that the clocks of the workers' machines do not matter.

The thread outlives an outage of the database: it tries until the holder ends. After an outage all
leases have expired, so that workers which were in it leave each other time to renew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import sqlalchemy as sa

from storage.outages import outlast, outlasting, reached, seconds_since_outage
from storage.processes import awake_seconds, is_dead, process_identity
from storage.tables import LEASES

# Seconds. Four renewals fit in a lease: one may be late, or meet a database that is away.
LEASE_SECONDS = 60.0
POLL_SECONDS = 0.5
# Between attempts to renew while the database is away.
OUTAGE_SECONDS = 2.0
NOBODY = ""

_log = logging.getLogger(__name__)
# Seconds since 1970, by the database's clock at the moment of the statement.
_CLOCKS = {
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
}

T = TypeVar("T")


class LeaseLost(Exception):
    """Another worker took the lease over: nothing made under it may be published.

    Never seen by a user: `Leases.once` looks for the other worker's stage instead, and a worker
    that lost a trial goes on with another one.
    """


@dataclass(frozen=True)
class Holder:
    """The process that has a lease.

    Attributes:
        owner: Identity of the process (`process_identity`).
        fence: How many times the lease was taken, this one included.
        done: Optimizer steps done, as of the last renewal.
        total: Optimizer steps in all; 0 while unknown.
        seconds_left: Seconds until the lease may be taken over, if it is not renewed.
    """

    owner: str
    fence: int
    done: int
    total: int
    seconds_left: float


OnWait = Callable[[Holder], None]
"""Called now and then while another worker trains the stage; may raise to end the waiting."""


class Lease:
    """A lease that this process has taken; a context, renewed while it is entered.

    Attributes:
        key: Name of the stage or slot that the lease is for.
        fence: Fencing number of this taking.
    """

    def __init__(self, engine: sa.Engine, key: str, fence: int, seconds: float) -> None:
        self.key = key
        self.fence = fence
        self._engine = engine
        self._seconds = seconds
        self._progress = (0, 0)
        self._good_until = awake_seconds() + seconds
        self._lost = self._away = self._given_back = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if not self._given_back:
            outlast(self._release)

    def progress(self, done: int, total: int) -> None:
        """Note how far the work is, for those who wait, and `check`."""
        self._progress = (done, total)
        self.check()

    def check(self) -> None:
        """Stop where it is safe, if another worker has the lease by now.

        Asks the database only after a time in which the lease may have run out, as when this
        process was stopped or its machine slept. While the database is away the work goes on: then
        nobody else can take the lease either, and `confirm` has the last word.

        Raises:
            LeaseLost: Another worker has it.
        """
        if self._lost:
            raise LeaseLost(f"lease {self.key[:12]}: taken over")
        if awake_seconds() > self._good_until and not self._away:
            self.confirm()

    def confirm(self, connection: sa.Connection | None = None) -> None:
        """Renew the lease now, right before publishing.

        Args:
            connection: Renew within its transaction, which then holds only with the lease.

        Raises:
            LeaseLost: Another worker has it.
        """
        if connection is None:
            outlast(self._renew)
        else:
            self._renew_within(connection)

    def end(self, connection: sa.Connection) -> None:
        """Give the lease back within a transaction, which then holds only with the lease.

        Raises:
            LeaseLost: Another worker has it.
        """
        ending = self._mine(sa.update(LEASES)).values(owner=NOBODY, expires_at=0)
        if connection.execute(ending).rowcount != 1:
            self._lost = True
            raise LeaseLost(f"lease {self.key[:12]}: taken over")
        self._ended.set()
        self._given_back = True

    def _renew(self) -> None:
        with self._engine.begin() as connection:
            self._renew_within(connection)

    def _renew_within(self, connection: sa.Connection) -> None:
        done, total = self._progress
        asked_at = awake_seconds()
        expires_at = clock(connection) + self._seconds
        renewal = self._mine(sa.update(LEASES)).values(
            expires_at=expires_at, done=done, total=total
        )
        if connection.execute(renewal).rowcount != 1:
            self._lost = True
            raise LeaseLost(f"lease {self.key[:12]}: taken over")
        self._good_until = asked_at + self._seconds

    def _release(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(self._mine(sa.update(LEASES)).values(owner=NOBODY, expires_at=0))

    def _mine(self, statement: sa.Update) -> sa.Update:
        return statement.where(LEASES.c.lease_key == self.key, LEASES.c.fence == self.fence)

    def _keep_renewing(self) -> None:
        pause = self._seconds / 4
        while not self._ended.wait(pause):
            try:
                self._away = not reached(self._renew)
            except LeaseLost:
                return  # `check` and `confirm` tell the work itself
            pause = min(OUTAGE_SECONDS, self._seconds / 4) if self._away else self._seconds / 4


class Leases:
    """The leases of one database.

    Args:
        engine: Engine of the study's database.
        seconds: Seconds that a lease holds without renewal.
    """

    def __init__(self, engine: sa.Engine, seconds: float = LEASE_SECONDS) -> None:
        self._engine = engine
        self._seconds = seconds

    def once(
        self,
        key: str,
        find: Callable[[], T | None],
        make: Callable[[Lease], T],
        on_wait: OnWait,
    ) -> T:
        """The result of `find`, made by `make` first if no other worker has made it or does.

        Args:
            key: Name of the lease under which it is made.
            find: Looks for the result; None while there is none.
            make: Makes and publishes the result, and calls `Lease.confirm` right before.
            on_wait: Called now and then while another worker makes it.
        """
        while (value := find()) is None:
            lease = self.take(key)
            if lease is None:
                if holder := self.holder(key):
                    on_wait(holder)
                time.sleep(POLL_SECONDS)
                continue
            with lease:
                # It may have been published between our look and our lease.
                if (value := find()) is not None:
                    return value
                try:
                    return make(lease)
                except LeaseLost as lost:
                    _log.warning("%s while this process was paused; using the other's", lost)
        return value

    @outlasting
    def holder(self, key: str) -> Holder | None:
        """Who has the lease now; None where nobody has."""
        return self.holders([key]).get(key)

    @outlasting
    def holders(self, keys: Collection[str]) -> dict[str, Holder]:
        """Who has each of these leases now; those that nobody has are left out."""
        return self._holders(LEASES.c.lease_key.in_(keys))

    @outlasting
    def held(self) -> dict[str, Holder]:
        """All leases that anybody has, of every study of the database."""
        return self._holders(sa.true())

    def _holders(self, wanted: sa.ColumnElement[bool]) -> dict[str, Holder]:
        query = sa.select(LEASES).where(wanted, LEASES.c.owner != NOBODY)
        with self._engine.connect() as connection:
            now = clock(connection)
            rows = connection.execute(query).mappings().all()
        return {
            row["lease_key"]: Holder(
                row["owner"], row["fence"], row["done"], row["total"], row["expires_at"] - now
            )
            for row in rows
        }

    @outlasting
    def take(self, key: str) -> Lease | None:
        """The lease, if it is free, expired, or of a process of this machine that is gone.

        A process that was in an outage of the database takes no expired lease for as long as a
        lease holds, so that living holders can renew theirs first.
        """
        held = self.holder(key)
        dead = held.owner if held and is_dead(held.owner) else NOBODY
        has_waited = seconds_since_outage() >= self._seconds
        with self._engine.begin() as connection:
            now = clock(connection)
            taking = (
                sa.update(LEASES)
                .where(
                    LEASES.c.lease_key == key,
                    sa.or_(
                        LEASES.c.owner.in_((NOBODY, dead)),
                        LEASES.c.expires_at < (now if has_waited else 0.0),
                    ),
                )
                .values(
                    owner=process_identity(),
                    fence=LEASES.c.fence + 1,
                    expires_at=now + self._seconds,
                    done=0,
                    total=0,
                )
            )
            if connection.execute(taking).rowcount == 1:
                return Lease(self._engine, key, _fence(connection, key), self._seconds)
        if held is not None:
            return None
        try:
            with self._engine.begin() as connection:
                return self.create(key, connection)
        except sa.exc.IntegrityError:
            return None  # another worker was quicker

    def create(self, key: str, connection: sa.Connection) -> Lease:
        """The lease of what nobody has had yet, taken within a transaction.

        Raises:
            sqlalchemy.exc.IntegrityError: Somebody had it.
        """
        row = {"lease_key": key, "owner": process_identity(), "fence": 1, "done": 0, "total": 0}
        expires_at = clock(connection) + self._seconds
        connection.execute(sa.insert(LEASES), row | {"expires_at": expires_at})
        return Lease(self._engine, key, 1, self._seconds)


def is_fenced(connection: sa.Connection, key: str, fence: int) -> bool:
    """Whether nobody took a lease since it had this fencing number, until the transaction ends."""
    own = sa.and_(LEASES.c.lease_key == key, LEASES.c.fence == fence)
    kept = sa.update(LEASES).where(own).values(fence=fence)
    return connection.execute(kept).rowcount == 1


def _fence(connection: sa.Connection, key: str) -> int:
    query = sa.select(LEASES.c.fence).where(LEASES.c.lease_key == key)
    return int(connection.execute(query).scalar() or 0)


def clock(connection: sa.Connection) -> float:
    """Seconds since 1970 by the clock of the database."""
    query = _CLOCKS[connection.dialect.name]
    return float(connection.execute(sa.text(query)).scalar_one())
