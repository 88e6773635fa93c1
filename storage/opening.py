"""Opening the database that a study lives in; the only place where a connection is made.

The study (through Optuna) and our own tables share one database and one SQLAlchemy engine.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL

from spaces.errors import StorageError, first_line
from storage.damage import NO_TEXT
from storage.embedded import embedded_url, start_again
from storage.journal import LEDGER_FILE, journal_engine, journal_studies, read_journal_studies
from storage.optuna_internals import database_storage, optuna_tables, with_cache
from storage.outages import outlast, wait_at_connect
from storage.outbox import Outbox, outbox_of
from storage.patient_storage import SharedStorage
from storage.schema import create_together, has_tables, make_tables
from storage.sqlite_files import FileGuard, can_be_written, read_only_url
from storage.url_options import PREPARE
from storage.urls import (
    database_name,
    embedded_folder,
    journal_folder,
    local_place,
    parse_url,
    redacted,
    sqlite_file,
)

# Seconds. Several workers may write one SQLite file: the default of 5 s gives "database is
# locked" under load, and each such error would lose a trial.
SQLITE_TIMEOUT = 120
IDLE_SECONDS = 30
"""A worker that is paused so long within a transaction loses it, and with it its locks, for which
all others wait meanwhile. No transaction of ours does anything but talk to the database."""

# A peer that is gone without a word, as behind a cut cable, is noticed within about half a minute,
# and so well within a lease; TCP's own defaults are minutes to hours.
CONNECT_SECONDS = 10
SILENT_SECONDS = 30
_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 15,  # seconds
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 1000 * SILENT_SECONDS,
}


def open_storage(url: str, *, create: bool = True, patient: bool = False) -> SharedStorage:
    """The storage at a URL; its tables are made where they are not there yet.

    A database that is not there now is an error, unless it was there before; one that goes away
    later is waited for (`storage.outages`).

    Args:
        url: SQLAlchemy URL of SQLite or PostgreSQL; or `embedded` or `embedded:FOLDER`, a
            PostgreSQL of this machine's own (`storage.embedded`); or `journal:FOLDER`, a folder
            that machines share (`storage.journal`).
        create: Whether a file or a folder that is not there is made.
        patient: Wait for a database that is not there now, too.

    Raises:
        StorageError: The URL is wrong, its driver is not installed, the database cannot be
            reached, or its tables are of another major version of Optuna or of another version
            of this program. The password is not shown.
    """
    parsed = parse_url(url)
    shown = redacted(url)
    place, file = local_place(url), sqlite_file(url)
    if place is not None and not create and not place.exists():
        kind = "folder" if file is None else "file"
        raise StorageError(f"storage {shown}", expected="a database", found=f"no {kind} {place}")
    if (shared := journal_folder(url)) is not None:
        return _open_journal(shared, url, create=create)
    if (folder := embedded_folder(url)) is not None:
        parsed = parse_url(embedded_url(folder, create=create))
    is_read_only = file is not None and file.exists() and not can_be_written(file)
    if file is not None and is_read_only:
        if create:
            raise _only_readable(shown)
        parsed = read_only_url(file)
    engine_options: dict[str, object] = {
        "pool_pre_ping": True,
        "connect_args": connect_arguments(parsed),
    }

    def opened() -> RDBStorage:
        written = None if is_read_only else file
        by_this_optuna, is_whole = _prepare(parsed, engine_options, shown, written)
        if is_read_only and not (by_this_optuna and is_whole):
            raise StorageError(
                f"storage {shown}",
                f"tables of this transfer-search and of Optuna {optuna.__version__}",
                "others, or none",
                "it can only be read; copy it to where it can be written",
            )
        whole = parsed.render_as_string(hide_password=False)
        if not by_this_optuna and parsed.get_backend_name() == "postgresql":
            # Optuna asks in a second session while a first one has a transaction open, which
            # behind a pooler of one connection waits for itself.
            step_by_step = {**engine_options, "isolation_level": "AUTOCOMMIT"}
            create_together(lambda: RDBStorage(whole, step_by_step).engine.dispose())
            by_this_optuna = True
        database = create_together(
            lambda: database_storage(whole, engine_options, is_made=by_this_optuna)
        )
        if not is_whole:
            make_tables(database.engine, shown)
        return database

    try:
        database = outlast(opened) if patient else opened()
    except StorageError:
        raise
    except ImportError as error:
        raise StorageError(
            f"storage {shown}",
            expected=f"the driver {error.name!r} to be installed",
            advice="for PostgreSQL use postgresql+psycopg://",
        ) from error
    except (sa.exc.OperationalError, sa.exc.DatabaseError) as error:
        reason = first_line(getattr(error, "orig", error))
        raise StorageError(
            f"storage {shown}", expected="a reachable database", found=reason
        ) from error
    except UnicodeDecodeError as error:  # SQLite's message of a schema that it cannot read
        raise StorageError(f"storage {shown}", "a whole database", NO_TEXT) from error
    except (RuntimeError, optuna.exceptions.StorageInternalError) as error:
        raise StorageError(f"storage {shown}", found=first_line(error)) from error
    # It shows a traceback for each connection that an outage has cut; the outage is said once.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    outbox = outbox_for(url)
    _bound_transactions(database.engine)
    if file is not None:
        FileGuard(file, shown, outbox.folder).watch(database.engine)
    wait_at_connect(database.engine, partial(start_again, folder) if folder else None)
    return SharedStorage(with_cache(database), database.engine, outbox, is_read_only=is_read_only)


def _only_readable(shown: str) -> StorageError:
    return StorageError(
        f"storage {shown}",
        "a database that can be written, and its folder",
        "one that can only be read",
        "name another with --storage; status, report, cost, compare and dashboard read it",
    )


def outbox_for(url: str) -> Outbox:
    """This machine's outbox for the database at a URL."""
    place = local_place(url)
    return outbox_of(str(place.absolute()) if place else database_name(url))


def _open_journal(folder: Path, url: str, *, create: bool) -> SharedStorage:
    """The storage in a shared folder, which is made if only its parent is there.

    Raises:
        StorageError: It cannot be written and is to be, or its tables are of another version.
    """
    outbox, ledger = outbox_for(url), folder / LEDGER_FILE
    if not create and ledger.exists() and not can_be_written(ledger):
        engine = sa.create_engine(read_only_url(ledger))
        return SharedStorage(read_journal_studies(folder), engine, outbox, is_read_only=True)
    try:
        folder.mkdir(exist_ok=True)
        studies = journal_studies(folder, lambda file: FileGuard(file, url, outbox.folder))
        engine = journal_engine(folder, SQLITE_TIMEOUT)
        make_tables(engine, url)
        FileGuard(ledger, url, outbox.folder).watch(engine)
    except (OSError, sa.exc.OperationalError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise StorageError(
            f"storage {url}", expected="a folder that can be written", found=reason
        ) from error
    return SharedStorage(studies, engine, outbox)


def _bound_transactions(engine: sa.Engine) -> None:
    """Have the server end transactions whose worker is silent or gone; only PostgreSQL's can.

    Behind a cut cable the server's end of a connection would hold its locks for two hours. It is
    said in each transaction, for that one: behind a pooler the next one may have another session,
    and a setting that stays in a session would be another client's.
    """
    if engine.dialect.name != "postgresql":
        return

    setting = f"'idle_in_transaction_session_timeout', '{IDLE_SECONDS}s'"

    def bound(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SELECT set_config({setting}, true)")

    sa.event.listen(engine, "begin", bound)


def connect_arguments(url: URL) -> dict[str, int | None]:
    """Arguments of the driver for each connection, so that no call hangs on a peer that is gone.

    Where the URL's query has one of them, that one holds.
    """
    backend, driver = url.get_backend_name(), url.get_driver_name()
    if backend == "sqlite":
        return {} if "timeout" in url.query else {"timeout": SQLITE_TIMEOUT}
    if not driver.startswith("psycopg"):
        return {}
    # https://www.postgresql.org/docs/18/libpq-connect.html
    arguments = {"connect_timeout": CONNECT_SECONDS, **_KEEPALIVES}
    own = {name: value for name, value in arguments.items() if name not in url.query}
    # A pooler gives each transaction another session, where the statement was not prepared, or
    # another client's was under the same name.
    return {**own, PREPARE: None} if driver == "psycopg" else {**own}


def _prepare(
    url: URL, engine_options: dict[str, object], shown: str, file: Path | None
) -> tuple[bool, bool]:
    """Connect once before Optuna does: for SQLite's log mode, and to see who wrote the tables.

    Args:
        url: URL to connect to.
        engine_options: Keyword arguments of `sqlalchemy.create_engine`.
        shown: URL for messages, without its password.
        file: SQLite file that is to be written; None: none is.

    Returns:
        Whether this very version of Optuna made its tables, and whether ours are all there.

    Raises:
        StorageError: An SQLite file's folder is not there, or another program, or another version
            of Optuna or of this program, made the tables.
    """
    if file is not None and not file.absolute().parent.is_dir():
        raise StorageError(f"storage {shown}", expected=f"the folder {file.parent} to exist")
    engine = sa.create_engine(url, **engine_options)
    try:
        with engine.connect() as connection:
            if file is not None:
                # Readers (the dashboard) and a writer no longer block each other.
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            return _made_by_this_optuna(connection, shown), has_tables(connection, shown)
    finally:
        engine.dispose()


def _made_by_this_optuna(connection: sa.Connection, shown: str) -> bool:
    """Whether this very version of Optuna made its tables; False where there are none.

    Raises:
        StorageError: Another major version, or another program, made them.
    """
    inspector = sa.inspect(connection)
    if not inspector.has_table("version_info"):
        # Those of an Optuna that makes its tables at this moment are as Optuna has them.
        there = set(inspector.get_table_names())
        foreign = [
            table.name
            for table in optuna_tables()
            if table.name in there
            and {x["name"] for x in inspector.get_columns(table.name)} != set(table.columns.keys())
        ]
        if foreign:
            raise StorageError(
                f"storage {shown}",
                "a database of its own",
                f"another program's table {foreign[0]!r}, which Optuna has one of that name of",
                "name another database",
            )
        return False
    version = connection.execute(sa.text("SELECT library_version FROM version_info")).scalar()
    ours = optuna.__version__
    if version is not None and version.split(".")[0] != ours.split(".")[0]:
        raise StorageError(
            f"storage {shown}",
            expected=f"tables of Optuna {ours.split('.')[0]}",
            found=f"Optuna {version}, which stores times otherwise",
            advice="use another database",
        )
    # Optuna writes this row last.
    return bool(version == ours) and inspector.has_table("alembic_version")
