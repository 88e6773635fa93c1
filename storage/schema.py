"""The version of our own tables: written when they are made, compared whenever they are opened.

A change of any table in `storage.tables` raises `VERSION`. The row with the version is written
after all tables are there, so that a process killed in between leaves nothing that looks whole.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from spaces.errors import StorageError
from storage.tables import SCHEMA, TABLES

VERSION = 6
"""Of the tables in `storage.tables`."""
CREATE_ATTEMPTS = 6

T = TypeVar("T")


def make_tables(engine: sa.Engine, shown_url: str = "") -> None:
    """Make our tables where they are not there yet; other processes may be doing the same.

    Args:
        engine: Engine of the study's database.
        shown_url: URL for error messages, without its password; default: the engine's.

    Raises:
        StorageError: The database has our tables in another version.
    """
    shown = shown_url or engine.url.set(query={}).render_as_string(hide_password=True)

    def make() -> None:
        with engine.connect() as connection:
            if has_tables(connection, shown):
                return
        TABLES.create_all(engine)
        try:
            with engine.begin() as connection:
                connection.execute(sa.insert(SCHEMA), {"version": VERSION})
        except sa.exc.IntegrityError:
            return  # another process wrote it first

    create_together(make)


def has_tables(connection: sa.Connection, shown_url: str) -> bool:
    """Whether all of our tables are there; False also where some of them are still to be made.

    Tables without a version were made before there was one. They count as version 1 if they have
    its columns.

    Args:
        connection: Connection to the study's database; nothing is written.
        shown_url: URL for error messages, without its password.

    Raises:
        StorageError: The tables are of another version.
    """
    inspector = sa.inspect(connection)
    if inspector.has_table(SCHEMA.name):
        version = connection.execute(sa.select(sa.func.max(SCHEMA.c.version))).scalar()
        if version is not None:
            if version != VERSION:
                age = "a newer" if version > VERSION else "an older"
                raise _other_version(shown_url, f"version {version}, of {age} transfer-search")
            return True
    there = set(inspector.get_table_names())
    for table in TABLES.sorted_tables:
        if table.name in there:
            columns = {column["name"] for column in inspector.get_columns(table.name)}
            for missing in sorted({column.name for column in table.c} - columns):
                raise _other_version(
                    shown_url, f"another version: {table.name} has no column {missing!r}"
                )
            for unknown in sorted(columns - {column.name for column in table.c}):
                raise _other_version(
                    shown_url, f"another version: {table.name} has a column {unknown!r}"
                )
    return False


def create_together(create: Callable[[], T]) -> T:
    """Make tables that another worker may be making at the same moment.

    Whoever comes second finds some of them there and others not yet, which is an error of many
    names; a moment later all of them are there. An error that persists is passed on.

    Args:
        create: Makes what is not there yet.
    """
    for _ in range(CREATE_ATTEMPTS - 1):
        try:
            return create()
        except sa.exc.DatabaseError:
            gc.collect()  # the connections of an engine that came to nothing
            time.sleep(random.uniform(0.1, 0.5))
    return create()


def _other_version(shown_url: str, found: str) -> StorageError:
    return StorageError(
        f"storage {shown_url}",
        expected=f"tables of transfer-search in version {VERSION}",
        found=found,
        advice="use another database, or the transfer-search that made this one",
    )
