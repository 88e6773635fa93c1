"""Writing the results of trials: all of one at once, and those of a dead process if they count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from storage.leases import Lease, is_fenced
from storage.outages import outlasting
from storage.tables import RESULTS, SLOTS

Rows = Sequence[Mapping[str, Any]]


@outlasting
def record_results(
    engine: sa.Engine,
    results: Rows,
    lease: Lease | None,
    left_under: tuple[str, int] | None = None,
) -> None:
    """Keep the results of a trial, all or nothing; those of the same trial that are there stay.

    Args:
        engine: Engine of the study's database.
        results: Rows of one trial.
        lease: Lease of the trial's slot, confirmed in the same transaction.
        left_under: Key and fencing number of the lease that a dead process had: its results are
            kept only if nobody has taken the slot since.

    Raises:
        LeaseLost: Another worker has the slot; nothing is kept.
    """
    try:
        with engine.begin() as connection:
            if lease is not None:
                lease.confirm(connection)
            if left_under is not None and not is_fenced(connection, *left_under):
                return
            if left_under is not None:
                results = _under_its_name(connection, results, left_under[0])
            if not _has_results(connection, results):
                for row in results:
                    connection.execute(sa.insert(RESULTS), row)
    except sa.exc.IntegrityError:
        with engine.connect() as connection:
            if not _has_results(connection, results):
                raise
        # Another process recorded the trial between our look and our write.


def _has_results(connection: sa.Connection, results: Rows) -> bool:
    """Whether the ledger has results of the same trial, splits and seeds."""
    if not results:
        return True
    count = sa.select(sa.func.count()).where(
        RESULTS.c.study_name == results[0]["study_name"],
        RESULTS.c.trial_number == results[0]["trial_number"],
        RESULTS.c.split.in_({row["split"] for row in results}),
        RESULTS.c.seed.in_({row["seed"] for row in results}),
    )
    return connection.execute(count).scalar_one() > 0


def _under_its_name(connection: sa.Connection, results: Rows, lease_key: str) -> Rows:
    """Results as the study is called by now that has the slot of a lease."""
    query = sa.select(SLOTS.c.study_name).where(SLOTS.c.lease_key == lease_key)
    name = connection.execute(query).scalar()
    return [row if name is None else {**row, "study_name": name} for row in results]
