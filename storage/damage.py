"""Looking for what in a database is not as its tables say: asked after an error, not before.

A table that somebody edited or half restored may hold a text where a number was written, or JSON
that ends in the middle, or lack rows that others need. Whatever reads it then meets an error of
its own, which is no bug of this program: the first such place is named.
"""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import sqlalchemy as sa

from spaces.errors import StorageError
from storage.optuna_internals import optuna_tables
from storage.tables import RESULTS, SCORES, STAGE_RUNS, STAGES, TABLES
from storage.urls import parse_url, redacted

# What a column of a type may hold beside its own Python type.
_ALSO: dict[type, tuple[type, ...]] = {
    float: (int, float),
    bool: (bool, int),
    dict: (dict, list),
}
NO_TEXT = "one with text that is no UTF-8"
_UNREADABLE = "Could not decode to UTF-8"  # sqlite3's, of a value that it reads as text
_ADVICE = "restore it from a copy"
# Table, the one that has a row for each of its rows, and the columns that say which.
_NEEDED = (
    (STAGE_RUNS, STAGES, ("checkpoint_key",)),
    (RESULTS, SCORES, ("checkpoint_key", "corpus_key", "task", "language", "split")),
)


def damage_of(url: str) -> StorageError | None:
    """The error for the first damaged value of a study's database; None where all are whole.

    Args:
        url: URL of the storage.
    """
    engine = sa.create_engine(parse_url(url))
    try:
        with engine.connect() as connection:
            inspector, shown = sa.inspect(connection), redacted(url)
            there = set(inspector.get_table_names())
            for table in (*TABLES.sorted_tables, *optuna_tables()):
                where = f"storage {shown}, table {table.name}"
                if table.name not in there:
                    return StorageError(where, "a table", "none", _ADVICE)
                names = {column["name"] for column in inspector.get_columns(table.name)}
                for column in table.columns:
                    if column.name not in names:
                        return StorageError(where, f"a column {column.name}", "none", _ADVICE)
                    if (found := _first_wrong(connection, column)) is not None:
                        expected = f"whole values in column {column.name}"
                        return StorageError(where, expected, found, _ADVICE)
            for table, other, keys in _NEEDED:
                whose = sa.and_(*(table.c[key] == other.c[key] for key in keys))
                lost = sa.select(sa.func.count()).where(~sa.exists().where(whose))
                if count := connection.execute(lost.select_from(table)).scalar_one():
                    where = f"storage {shown}, table {other.name}"
                    expected = f"a row for each of {table.name}"
                    return StorageError(where, expected, f"none for {count}", _ADVICE)
    except UnicodeDecodeError:  # SQLite's message of a schema that it cannot read
        return StorageError(f"storage {redacted(url)}", "a whole database", NO_TEXT, _ADVICE)
    except (sa.exc.SQLAlchemyError, OSError):
        return None  # it cannot be asked, which is another error
    finally:
        engine.dispose()
    return None


def _first_wrong(connection: sa.Connection, column: sa.Column[Any]) -> str | None:
    kind = dict if isinstance(column.type, sa.JSON) else column.type.python_type
    is_enum = isinstance(column.type, sa.Enum)
    wanted = (object,) if is_enum else _ALSO.get(kind, (kind,))
    try:
        for value in connection.execute(sa.select(column)).scalars():
            if value is None:
                is_whole = bool(column.nullable)
            elif kind is datetime.datetime:
                is_whole = isinstance(value, datetime.datetime)
            else:
                is_whole = isinstance(value, wanted)
            if is_whole and kind is float and value is not None:
                is_whole = math.isfinite(value)
            if is_whole and column.name.endswith("_json") and value is not None:
                made = json.loads(value)
                is_whole = isinstance(made, dict) or column.name != "distribution_json"
            if not is_whole:
                return f"a {type(value).__name__} that is none"
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        return f"one that is none ({type(error).__name__})"
    except sa.exc.OperationalError as error:
        if _UNREADABLE not in str(error.orig):
            raise
        return NO_TEXT
    return None
