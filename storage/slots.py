"""Slots: the trials that a study is to have, each with at most one worker at a time.

`--trials 40` are the slots 0 to 39, so that no number of workers and restarts makes 41 of them. A
worker takes a slot under a lease, makes a trial of Optuna's for it (an attempt), and closes the
slot when the trial is finished. The lease of a worker that died runs out, and whoever takes the
slot next makes another attempt with the same parameters. Nothing here knows what a trial is.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from storage.leases import Holder, Lease, Leases
from storage.outages import outlasting
from storage.processes import is_dead
from storage.tables import SLOTS


@dataclass(frozen=True)
class Slot:
    """A slot that this process has taken.

    Attributes:
        number: Number of the slot, from 0.
        lease: Lease of the slot, to be entered while it is worked at.
        attempts: Attempts begun before, without those that were interrupted on purpose.
    """

    number: int
    lease: Lease
    attempts: int

    @property
    def token(self) -> str:
        """A name for one attempt: no other taking of any slot has it in its study."""
        return f"{self.number}/{self.lease.fence}"


@dataclass(frozen=True)
class OpenSlot:
    """A slot that is not done, as anybody sees it.

    Attributes:
        number: Number of the slot, from 0.
        attempts: Attempts begun so far.
        lease_key: Key of its lease.
        holder: The process that has it; None if no process does.
    """

    number: int
    attempts: int
    lease_key: str
    holder: Holder | None


class Slots:
    """The slots of one study.

    Args:
        engine: Engine of the study's database.
        leases: Leases in the same database.
        study_name: Name of the study in the same database.
    """

    def __init__(self, engine: sa.Engine, leases: Leases, study_name: str) -> None:
        self._engine = engine
        self._leases = leases
        self._study = study_name

    @outlasting
    def take(self, limit: int) -> Slot | None:
        """A slot below `limit` that is not done and nobody has; those begun before come first."""
        for opened in self.open_slots(limit):
            if opened.holder is not None and not self._may_be_taken(opened.holder):
                continue
            lease = self._leases.take(opened.lease_key)
            if lease is None:
                continue
            row = self._row(opened.number)
            if row["done"]:  # its holder closed it between our look and our lease
                with lease:
                    continue
            return Slot(opened.number, lease, row["attempts"])
        return self._fresh(limit)

    @outlasting
    def begin(self, slot: Slot, recipe_key: str | None) -> bool:
        """Count a new attempt; False, and nothing is counted, where another has the recipe.

        Args:
            slot: Taken.
            recipe_key: No other open slot will have the same meanwhile; None shares it.

        Raises:
            LeaseLost: Another worker has the slot.
        """
        try:
            self._update(slot, attempts=slot.attempts + 1, recipe_key=recipe_key)
        except sa.exc.IntegrityError:
            return False
        return True

    @outlasting
    def release(self, slot: Slot) -> None:
        """Let the attempt that was begun not count: it was interrupted on purpose.

        Raises:
            LeaseLost: Another worker has the slot.
        """
        self._update(slot, attempts=slot.attempts, recipe_key=None)

    @outlasting
    def close(self, slot: Slot) -> None:
        """Count the slot as done, and give its lease back.

        Raises:
            LeaseLost: Another worker has the slot.
        """
        with self._engine.begin() as connection:
            slot.lease.end(connection)
            self._write(connection, slot, done=True, recipe_key=None)

    def count_done(self) -> int:
        """How many slots are done."""
        return self._counted(sa.select(sa.func.count()).where(self._mine, SLOTS.c.done))

    def are_done(self, limit: int) -> bool:
        """Whether all slots below `limit` are done."""
        query = sa.select(sa.func.count()).where(self._mine, SLOTS.c.done, SLOTS.c.slot < limit)
        return self._counted(query) >= limit

    @outlasting
    def open_slots(self, limit: int | None = None) -> list[OpenSlot]:
        """Those that are not done, in order."""
        query = sa.select(SLOTS).where(self._mine, sa.not_(SLOTS.c.done)).order_by(SLOTS.c.slot)
        if limit is not None:
            query = query.where(SLOTS.c.slot < limit)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        if not rows:
            return []
        holders = self._leases.holders([row["lease_key"] for row in rows])
        return [
            OpenSlot(
                row["slot"],
                row["attempts"],
                row["lease_key"],
                holders.get(row["lease_key"]),
            )
            for row in rows
        ]

    @outlasting
    def write(self, slots: Sequence[tuple[int, bool]]) -> None:
        """Have these slots in place of those that there are, of a study that was copied.

        Args:
            slots: Attempts at each slot so far, and whether it is done, from number 0 on.
        """
        rows = [
            {"study_name": self._study, "slot": number, "attempts": attempts, "done": done}
            for number, (attempts, done) in enumerate(slots)
        ]
        with self._engine.begin() as connection:
            connection.execute(sa.delete(SLOTS).where(self._mine))
            if rows:
                keyed = [{**row, "lease_key": uuid.uuid4().hex} for row in rows]
                connection.execute(sa.insert(SLOTS), keyed)

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return SLOTS.c.study_name == self._study

    def _row(self, number: int) -> Any:
        query = sa.select(SLOTS).where(self._mine, SLOTS.c.slot == number)
        with self._engine.connect() as connection:
            return connection.execute(query).mappings().one()

    @outlasting
    def _counted(self, query: sa.Select[Any]) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def _may_be_taken(self, holder: Holder) -> bool:
        """Whether a lease is free at a glance; asking for it would cost a transaction."""
        return holder.seconds_left < 0 or is_dead(holder.owner)

    def _fresh(self, limit: int) -> Slot | None:
        """The next slot that nobody has had, if there is one below `limit`."""
        while True:
            with self._engine.connect() as connection:
                if self._next(connection) >= limit:
                    return None
                lease_key = uuid.uuid4().hex
                lease = self._leases.create(lease_key, connection)
                # Last of all: whoever looks before this is committed must look again.
                number = self._next(connection)
                if number >= limit:
                    return None  # and no lease is kept
                row = {"study_name": self._study, "slot": number, "lease_key": lease_key}
                try:
                    connection.execute(sa.insert(SLOTS), {**row, "attempts": 0, "done": False})
                except sa.exc.IntegrityError:
                    connection.rollback()
                    time.sleep(random.uniform(0.0, 0.02))  # another worker was quicker
                    continue
                connection.commit()
            return Slot(number, lease, 0)

    def _next(self, connection: sa.Connection) -> int:
        last = connection.execute(sa.select(sa.func.max(SLOTS.c.slot)).where(self._mine)).scalar()
        return 0 if last is None else int(last) + 1

    def _update(self, slot: Slot, **values: object) -> None:
        """Change the row of a slot, if this process still holds it."""
        with self._engine.begin() as connection:
            slot.lease.confirm(connection)
            self._write(connection, slot, **values)

    def _write(self, connection: sa.Connection, slot: Slot, **values: object) -> None:
        update = sa.update(SLOTS).where(self._mine, SLOTS.c.slot == slot.number)
        connection.execute(update.values(**values))
