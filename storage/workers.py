"""The workers of a study, the time and device time they have used, and a stop for all of them.

Every worker gives a sign of life several times a minute. In the same transaction it moves the
study's clock, which runs while any worker lives, and takes device time from the study's account
before it is used, so that no number of workers uses more than the budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from storage.leases import LEASE_SECONDS, clock
from storage.outages import outlasting
from storage.processes import is_dead
from storage.tables import ACCOUNTS, WORKERS


@dataclass(frozen=True)
class Activity:
    """What a worker is doing.

    Attributes:
        slot: Number of its slot; None while it has none.
        doing: Description of its work for people.
        done: Optimizer steps of the stage done so far.
        total: Optimizer steps of the stage in all; 0 while unknown.
    """

    slot: int | None = None
    doing: str = "starting"
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class LiveWorker:
    """A worker as anybody sees it.

    Attributes:
        worker: Identity of its process (`process_identity`).
        device: Name of its device for people.
        started_at: Time of its start in seconds since 1970, by the database's clock.
        silent_seconds: Seconds since its last sign of life.
        activity: What it was doing at its last sign of life.
    """

    worker: str
    device: str
    started_at: float
    silent_seconds: float
    activity: Activity

    @property
    def is_silent(self) -> bool:
        """Whether it is dead or cut off: its lease has run out, or its process is gone."""
        return self.silent_seconds > LEASE_SECONDS or is_dead(self.worker)


@dataclass(frozen=True)
class Account:
    """What a study has used, over all its workers and runs.

    Attributes:
        active_seconds: Seconds during which at least one worker was there.
        device_seconds: Device seconds taken by trials; those of a worker that died stay taken.
        trials: The largest number of trials that any run asked for.
        stops: How many times the study was stopped for all workers.
        stop_reason: Reason of the last stop.
    """

    active_seconds: float = 0.0
    device_seconds: float = 0.0
    trials: int = 0
    stops: int = 0
    stop_reason: str = ""


class Workers:
    """The workers and the account of one study.

    Args:
        engine: Engine of the study's database.
        study_name: Name of the study in the same database.
    """

    def __init__(self, engine: sa.Engine, study_name: str) -> None:
        self._engine = engine
        self._study = study_name

    @outlasting
    def join(self, worker: str, device: str, trials: int = 0) -> Account:
        """Count as a worker from now on; returns what was used so far.

        Args:
            worker: Identity of the process.
            device: Name of its device for people.
            trials: Trials that its run asks for in all.
        """
        self._ensure_account()
        others = [x for x in self.all() if x.worker != worker and not x.is_silent]
        with self._engine.begin() as connection:
            now = clock(connection)
            account = ACCOUNTS.c.study_name == self._study
            if not others:  # the time in which nobody was there does not count
                connection.execute(sa.update(ACCOUNTS).where(account).values(seen_at=now))
            fewer = sa.and_(account, ACCOUNTS.c.trials < trials)
            connection.execute(sa.update(ACCOUNTS).where(fewer).values(trials=trials))
            own = self._own(worker)
            connection.execute(sa.delete(WORKERS).where(own))
            row = {
                "study_name": self._study,
                "worker": worker,
                "device": device,
                "started_at": now,
                "seen_at": now,
                **asdict(Activity()),
            }
            connection.execute(sa.insert(WORKERS), row)
        return self.account()

    @outlasting
    def leave(self, worker: str) -> None:
        """Count as a worker no more."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(WORKERS).where(self._own(worker)))

    def beat(
        self, worker: str, activity: Activity, seconds: float, limit: float | None
    ) -> tuple[Account, float]:
        """Give a sign of life, and take device time before it is used, or give some back.

        Not repeated after an outage: it would take the device time twice.

        Args:
            worker: Identity of the process.
            activity: What it is doing.
            seconds: Device seconds to take; below 0 to give back.
            limit: Device seconds of the whole study; None: no limit.

        Returns:
            What is used so far, and how many of `seconds` were left to take.
        """
        with self._engine.begin() as connection:
            # First a write, so that what is read stays so until the end of the transaction.
            own = ACCOUNTS.c.study_name == self._study
            connection.execute(sa.update(ACCOUNTS).where(own).values(stops=ACCOUNTS.c.stops))
            row = connection.execute(sa.select(ACCOUNTS).where(own)).mappings().one()
            now = clock(connection)
            passed = min(max(0.0, now - row["seen_at"]), LEASE_SECONDS)
            left = float("inf") if limit is None else max(0.0, limit - row["device_seconds"])
            taken = min(seconds, left)
            account = Account(
                row["active_seconds"] + passed,
                row["device_seconds"] + taken,
                row["trials"],
                row["stops"],
                row["stop_reason"],
            )
            connection.execute(
                sa.update(ACCOUNTS)
                .where(own)
                .values(
                    active_seconds=account.active_seconds,
                    device_seconds=account.device_seconds,
                    seen_at=max(now, row["seen_at"]),
                )
            )
            connection.execute(
                sa.update(WORKERS).where(self._own(worker)).values(seen_at=now, **asdict(activity))
            )
        return account, taken

    @outlasting
    def stop_all(self, reason: str) -> None:
        """Have every worker that is there now stop at its next step."""
        self._ensure_account()
        own = ACCOUNTS.c.study_name == self._study
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(ACCOUNTS)
                .where(own)
                .values(stops=ACCOUNTS.c.stops + 1, stop_reason=reason)
            )

    @outlasting
    def account(self) -> Account:
        """What is used so far."""
        query = sa.select(ACCOUNTS).where(ACCOUNTS.c.study_name == self._study)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return Account() if row is None else Account(**_fields(Account, row))

    @outlasting
    def all(self) -> list[LiveWorker]:
        """All workers that have not left, those that died among them, in the order they came."""
        query = (
            sa.select(WORKERS)
            .where(WORKERS.c.study_name == self._study)
            .order_by(WORKERS.c.started_at)
        )
        with self._engine.connect() as connection:
            now = clock(connection)
            rows = connection.execute(query).mappings().all()
        return [
            LiveWorker(
                row["worker"],
                row["device"],
                row["started_at"],
                now - row["seen_at"],
                Activity(**_fields(Activity, row)),
            )
            for row in rows
        ]

    def _own(self, worker: str) -> sa.ColumnElement[bool]:
        return sa.and_(WORKERS.c.study_name == self._study, WORKERS.c.worker == worker)

    def _ensure_account(self) -> None:
        row = {"study_name": self._study, "seen_at": 0.0, **asdict(Account())}
        try:
            with self._engine.begin() as connection:
                row["seen_at"] = clock(connection)
                connection.execute(sa.insert(ACCOUNTS), row)
        except sa.exc.IntegrityError:
            return  # it is there


def _fields(kind: Any, row: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: row[name] for name in kind.__dataclass_fields__}
