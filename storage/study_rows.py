"""All rows of one study in our tables: given another name, or copied, also to another database."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from storage.outages import outlast
from storage.tables import (
    ACCOUNTS,
    CONFIRMATIONS,
    LOSSES,
    RESULTS,
    SCORES,
    SLOTS,
    STAGE_RUNS,
    STAGES,
    STUDIES,
    TEST_READS,
    WORKERS,
)

_NAMED = (STUDIES, RESULTS, CONFIRMATIONS, TEST_READS, STAGE_RUNS, SLOTS, WORKERS, ACCOUNTS)
# Of a trial, and of the checkpoints that it has scores of.
_OF_TRIALS = (RESULTS, STAGE_RUNS)
_OF_CHECKPOINTS = (STAGES, LOSSES, SCORES)
_KEYS = ("checkpoint_key", "baseline_key", "reference_key")
# Databases limit how many values a statement binds, and outcomes are large.
_BATCH = 100


def has_rows(engine: sa.Engine, study_name: str) -> bool:
    """Whether any table has a row of a study of that name."""

    def found() -> bool:
        with engine.connect() as connection:
            return any(
                connection.execute(
                    sa.select(sa.literal(1)).where(table.c.study_name == study_name).limit(1)
                ).scalar()
                for table in _NAMED
            )

    return outlast(found)


def rename_rows(engine: sa.Engine, names: Mapping[str, str]) -> None:
    """Give studies other names in all of our tables, in one transaction.

    Args:
        engine: Engine of the database.
        names: Name now -> name from now on, of which no table has a row yet.
    """

    def renamed() -> None:
        with engine.begin() as connection:
            for table in _NAMED:
                for old, new in names.items():
                    of_old = sa.update(table).where(table.c.study_name == old)
                    connection.execute(of_old.values(study_name=new))

    outlast(renamed)


def copy_rows(source: sa.Engine, target: sa.Engine, names: tuple[str, str], trials: int) -> None:
    """Copy what a study's first trials, its slots, looks and account are in our tables.

    Its definition is left to the caller, who writes it last; its workers stay where they are.
    What an earlier copy that was cut off has left is written over.

    Args:
        source: Engine of the database that has the study.
        target: Engine of the database that gets it; may be the same.
        names: Its name there, and here.
        trials: Number of trials that the copy has; rows of later ones stay.
    """
    old, new = names

    def written() -> None:
        with source.connect() as reading, target.begin() as writing:
            for table in (*_OF_TRIALS, SLOTS, CONFIRMATIONS, TEST_READS, ACCOUNTS):
                writing.execute(sa.delete(table).where(table.c.study_name == new))
                of_study = sa.select(table).where(table.c.study_name == old)
                if table in _OF_TRIALS:
                    of_study = of_study.where(table.c.trial_number < trials)
                if "id" in table.c:
                    of_study = of_study.order_by(table.c.id)
                for rows in _batches(reading, of_study):
                    writing.execute(sa.insert(table), [_renamed(row, new) for row in rows])

    outlast(written)
    if source is not target:
        _copy_checkpoints(source, target, old)


def _copy_checkpoints(source: sa.Engine, target: sa.Engine, study_name: str) -> None:
    """Copy the scores and the cost of the checkpoints that a study's rows name."""
    with source.connect() as reading:
        keys = set[str]()
        for table in _OF_TRIALS:
            for column in (table.c[x] for x in _KEYS if x in table.c):
                query = sa.select(column).where(table.c.study_name == study_name).distinct()
                keys.update(key for key in reading.execute(query).scalars() if key)
        ordered = sorted(keys)
        for start in range(0, len(ordered), _BATCH):
            some = ordered[start : start + _BATCH]
            for table in _OF_CHECKPOINTS:
                query = sa.select(table).where(table.c.checkpoint_key.in_(some))
                rows = [dict(row) for row in reading.execute(query).mappings()]
                _insert_new(target, table, some, rows)


def _insert_new(
    engine: sa.Engine, table: sa.Table, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert those of the rows, all of these checkpoints, that are not there yet."""
    place = [column.name for column in table.primary_key]

    def written() -> None:
        with engine.begin() as connection:
            query = sa.select(*table.primary_key).where(table.c.checkpoint_key.in_(keys))
            known = {tuple(row) for row in connection.execute(query)}
            new = [row for row in rows if tuple(row[name] for name in place) not in known]
            if new:
                connection.execute(sa.insert(table), new)

    outlast(written)


def _batches(
    connection: sa.Connection, query: sa.Select[Any]
) -> Iterator[list[Mapping[Any, Any]]]:
    rows = connection.execute(query).mappings().all()
    for start in range(0, len(rows), _BATCH):
        yield list(rows[start : start + _BATCH])


def _renamed(row: Mapping[Any, Any], name: str) -> dict[str, Any]:
    changed = {**row, "study_name": name}
    changed.pop("id", None)
    if "token" in changed:
        changed["token"] = uuid.uuid4().hex
    if "lease_key" in changed:
        changed |= {"lease_key": uuid.uuid4().hex, "recipe_key": None}
    return changed
