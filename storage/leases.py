"""Leases: who trains a stage now, so that no two workers train the same one at one time.

A lease is a row of the study's database. Its holder renews it from a thread of its own while it
trains; one that is not renewed in time, or whose process is gone from this machine, may be
taken over. Each taking raises the row's fencing number, so that a holder that slept past its
expiry is told apart from the one that came after it, and cannot publish (Kleppmann 2016,
https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html). Times are the
database's own, so that the clocks of the workers' machines do not matter.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import sqlalchemy as sa

from storage.backends import create_together
from storage.liveness import is_dead, process_identity

# Seconds. Four renewals fit in a lease: one may be late, or meet a database that is away.
LEASE_SECONDS = 60.0
POLL_SECONDS = 0.5
NOBODY = ""

_log = logging.getLogger(__name__)
_tables = sa.MetaData()
_leases = sa.Table(
    "transfer_leases",
    _tables,
    sa.Column("stage_key", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("expires_at", sa.Float(53), nullable=False),
    sa.Column("done", sa.Integer, nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
)
# Seconds since 1970, by the database's clock at the moment of the statement.
_CLOCKS = {
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(sysdate(6))",
    "mariadb": "SELECT unix_timestamp(sysdate(6))",
}

T = TypeVar("T")


class LeaseLost(Exception):
    """Another worker took the lease over: what was trained under it must not be published.

    Never seen by a user: `Leases.once` looks for the other worker's result instead.
    """


@dataclass(frozen=True)
class Holder:
    """Who has a lease.

    Attributes:
        owner: As `process_identity` names it.
        fence: How many times the lease was taken, this one included.
        done: Updates done, as of the last renewal.
        total: Updates in all; 0 while unknown.
    """

    owner: str
    fence: int
    done: int
    total: int


OnWait = Callable[[Holder], None]
"""Called now and then while another worker trains the stage; may raise to end the waiting."""


class Lease:
    """A lease that this process has taken; a context, renewed while it is entered.

    Attributes:
        stage_key: What it is for.
        fence: Its fencing number.
    """

    def __init__(self, engine: sa.Engine, stage_key: str, fence: int, seconds: float) -> None:
        self.stage_key = stage_key
        self.fence = fence
        self._engine = engine
        self._seconds = seconds
        self._progress = (0, 0)
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
        with self._engine.begin() as connection:
            connection.execute(self._mine(sa.update(_leases)).values(owner=NOBODY, expires_at=0))

    def progress(self, done: int, total: int) -> None:
        """Note how far the training is; the next renewal tells those who wait."""
        self._progress = (done, total)

    def confirm(self, connection: sa.Connection | None = None) -> None:
        """Renew the lease now, right before publishing.

        Args:
            connection: Renew within its transaction, which then holds only with the lease.

        Raises:
            LeaseLost: Another worker has it.
        """
        if connection is None:
            with self._engine.begin() as connection:
                self.confirm(connection)
            return
        done, total = self._progress
        expires_at = _now(connection) + self._seconds
        renewal = self._mine(sa.update(_leases)).values(
            expires_at=expires_at, done=done, total=total
        )
        if connection.execute(renewal).rowcount != 1:
            raise LeaseLost(f"stage {self.stage_key}: the lease was taken over")

    def _mine(self, statement: sa.Update) -> sa.Update:
        return statement.where(
            _leases.c.stage_key == self.stage_key, _leases.c.fence == self.fence
        )

    def _keep_renewing(self) -> None:
        while not self._ended.wait(self._seconds / 4):
            try:
                self.confirm()
            except LeaseLost:
                return  # `confirm` before publishing tells the training itself
            except sa.exc.OperationalError as error:
                # The database may be back before the lease expires; if not, `confirm` tells.
                _log.warning("The lease of a stage could not be renewed: %s", error.orig)


class Leases:
    """The leases of one database; the table is made on first use.

    Args:
        engine: Of the study's database.
        seconds: For how long a lease holds without renewal.
    """

    def __init__(self, engine: sa.Engine, seconds: float = LEASE_SECONDS) -> None:
        self._engine = engine
        self._seconds = seconds
        create_together(lambda: _tables.create_all(engine))

    def once(
        self,
        stage_key: str,
        find: Callable[[], T | None],
        make: Callable[[Lease], T],
        on_wait: OnWait,
    ) -> T:
        """What `find` finds, after `make` has made it if nobody else has or does.

        Args:
            stage_key: Names what is made.
            find: Looks for it; None while it is not there.
            make: Makes and publishes it, and calls `Lease.confirm` right before publishing.
            on_wait: Called while another worker makes it.
        """
        while (found := find()) is None:
            lease = self._take(stage_key)
            if lease is None:
                if holder := self.holder(stage_key):
                    on_wait(holder)
                time.sleep(POLL_SECONDS)
                continue
            with lease:
                # It may have been published between our look and our lease.
                if (found := find()) is not None:
                    return found
                try:
                    return make(lease)
                except LeaseLost as lost:
                    _log.warning("%s while this process was held up; using the other's", lost)
        return found

    def holder(self, stage_key: str) -> Holder | None:
        """Who has the lease now; None where nobody has."""
        query = sa.select(_leases).where(_leases.c.stage_key == stage_key)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None or row["owner"] == NOBODY:
            return None
        return Holder(row["owner"], row["fence"], row["done"], row["total"])

    def _take(self, stage_key: str) -> Lease | None:
        """The lease, if it is free, expired, or of a process of this machine that is gone."""
        held = self.holder(stage_key)
        dead = held.owner if held and is_dead(held.owner) else NOBODY
        with self._engine.begin() as connection:
            now = _now(connection)
            taking = (
                sa.update(_leases)
                .where(
                    _leases.c.stage_key == stage_key,
                    sa.or_(_leases.c.owner.in_((NOBODY, dead)), _leases.c.expires_at < now),
                )
                .values(
                    owner=process_identity(),
                    fence=_leases.c.fence + 1,
                    expires_at=now + self._seconds,
                    done=0,
                    total=0,
                )
            )
            if connection.execute(taking).rowcount == 1:
                query = sa.select(_leases.c.fence).where(_leases.c.stage_key == stage_key)
                fence: int = connection.execute(query).scalar_one()
                return Lease(self._engine, stage_key, fence, self._seconds)
        if held is not None:
            return None
        row = {"stage_key": stage_key, "owner": process_identity(), "fence": 1}
        try:
            with self._engine.begin() as connection:
                expires_at = _now(connection) + self._seconds
                row |= {"expires_at": expires_at, "done": 0, "total": 0}
                connection.execute(sa.insert(_leases), row)
        except sa.exc.IntegrityError:
            return None  # another worker was quicker
        return Lease(self._engine, stage_key, 1, self._seconds)


def _now(connection: sa.Connection) -> float:
    clock = _CLOCKS[connection.dialect.name]
    return float(connection.execute(sa.text(clock)).scalar_one())
