"""Opening the database that a study lives in; the only place where a connection is made.

The study (through Optuna) and our own tables share one database and one SQLAlchemy engine. With a
proxy, what Optuna reads and writes goes through that, and what must be done in one transaction
(leases, scores, budgets) goes to the database still.
"""

from __future__ import annotations

import gc
import logging
import random
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage
from sqlalchemy.engine import URL, make_url

from spaces.errors import StorageError
from storage.embedded import EMBEDDED, embedded_folder, embedded_url, start_again
from storage.fast_history import CachedHistory, HistoryStorage
from storage.journal import journal_engine, journal_folder, journal_studies
from storage.outages import outlast, wait_at_connect
from storage.outbox import Outbox, outbox_of
from storage.patient_storage import SharedStorage
from storage.proxy import ProxyClient

DIALECTS = ("sqlite", "postgresql", "mysql", "mariadb")

# Seconds. Several workers may write one SQLite file: the default of 5 s gives "database is
# locked" under load, and each such error would lose a trial.
SQLITE_TIMEOUT = 120
CREATE_ATTEMPTS = 6
PROXY_SECONDS = 20.0
IDLE_SECONDS = 30
"""A worker that is held up so long within a transaction loses it, and with it its locks, for which
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

T = TypeVar("T")


def open_storage(
    url: str, *, create: bool = True, proxy: str | None = None, patient: bool = False
) -> SharedStorage:
    """The storage at a database URL; its tables are made on first use.

    A database that is not there now is an error, unless it was there before; one that goes away
    later is waited for (`storage.outages`).

    Args:
        url: SQLAlchemy URL of SQLite, PostgreSQL or MySQL/MariaDB; or `embedded` or
            `embedded:FOLDER`, a PostgreSQL of this machine's own (`storage.embedded`); or
            `journal:FOLDER`, a folder that machines share (`storage.journal`).
        create: Whether a file or a folder that is not there is made.
        proxy: HOST:PORT of `search.proxy` in front of the database, for what Optuna asks.
        patient: Wait for a database that is not there now, too.

    Raises:
        StorageError: The URL is wrong, its driver is not installed, the database cannot be
            reached, or another major version of Optuna wrote it. The password is not shown.
    """
    parsed = parse_url(url)
    shown = redacted(url)
    place = _place(url)
    if place is not None and not create and not place.exists():
        kind = "folder" if sqlite_file(url) is None else "file"
        raise StorageError(f"storage {shown}: expected a database, found no {kind} {place}")
    if (shared := journal_folder(url)) is not None:
        return _open_journal(shared, url)
    if (folder := embedded_folder(url)) is not None:
        parsed = parse_url(embedded_url(folder, create=create))
    engine_options: dict[str, object] = {
        "pool_pre_ping": True,
        "connect_args": connect_arguments(parsed),
    }
    if parsed.get_backend_name() in {"mysql", "mariadb"}:
        # PostgreSQL's level. MySQL's own locks the gaps between rows, so that workers which add
        # rows at one time end in deadlocks.
        engine_options["isolation_level"] = "READ COMMITTED"

    def opened() -> HistoryStorage:
        is_made = _prepare(parsed, engine_options, shown)
        whole = parsed.render_as_string(hide_password=False)
        return create_together(lambda: HistoryStorage(whole, engine_options, is_made=is_made))

    try:
        database = outlast(opened) if patient else opened()
    except ImportError as error:
        raise StorageError(
            f"storage {shown}: expected the driver {error.name!r} to be installed; "
            f"for PostgreSQL use postgresql+psycopg://"
        ) from error
    except (sa.exc.OperationalError, sa.exc.DatabaseError) as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise StorageError(
            f"storage {shown}: expected a reachable database, found: {reason}"
        ) from error
    except (RuntimeError, optuna.exceptions.StorageInternalError) as error:
        raise StorageError(f"storage {shown}: {str(error).splitlines()[0]}") from error
    # It shows a traceback for each connection that an outage has cut; the outage is said once.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    _bound_transactions(database.engine)
    wait_at_connect(database.engine, partial(start_again, folder) if folder else None)
    studies: BaseStorage = CachedHistory(database)
    if proxy:
        try:
            studies = _connected(proxy)
        except StorageError:
            database.engine.dispose()
            raise
    return SharedStorage(studies, database.engine, outbox_for(url))


def outbox_for(url: str) -> Outbox:
    """This machine's outbox for the database at a URL."""
    place = _place(url)
    return outbox_of(str(place.absolute()) if place else redacted(url))


def _place(url: str) -> Path | None:
    """The file or folder of this machine that a study lives in; None for a server's database."""
    return sqlite_file(url) or embedded_folder(url) or journal_folder(url)


def _open_journal(folder: Path, url: str) -> SharedStorage:
    """The storage in a shared folder, which is made if only its parent is there.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
        studies, engine = journal_studies(folder), journal_engine(folder, SQLITE_TIMEOUT)
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except (OSError, sa.exc.OperationalError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise StorageError(
            f"storage {url}: expected a folder that can be written, found: {reason}"
        ) from error
    return SharedStorage(studies, engine, outbox_for(url))


def _bound_transactions(engine: sa.Engine) -> None:
    """Have the server end transactions whose worker is silent or gone; only PostgreSQL's can.

    Behind a cut cable the server's end of a connection would hold its locks for two hours.
    """
    if engine.dialect.name != "postgresql":
        return
    settings = {
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
        "tcp_keepalives_idle": str(_KEEPALIVES["keepalives_idle"]),
        "tcp_keepalives_interval": str(_KEEPALIVES["keepalives_interval"]),
        "tcp_keepalives_count": str(_KEEPALIVES["keepalives_count"]),
        "tcp_user_timeout": str(_KEEPALIVES["tcp_user_timeout"]),
    }
    query = "SELECT " + ", ".join(f"set_config('{x}', '{y}', false)" for x, y in settings.items())

    def bound(connection: Any, record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(query)
        connection.commit()

    sa.event.listen(engine, "connect", bound)
    engine.dispose()  # the connections made before


def _connected(proxy: str) -> ProxyClient:
    """Optuna's client of a proxy that answers.

    Raises:
        StorageError: It is no HOST:PORT, or none answers there.
    """
    host, _, port = proxy.rpartition(":")
    if not host or not port.isdecimal():
        raise StorageError(f"--proxy: expected HOST:PORT, found {proxy!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        client = ProxyClient(host=host, port=int(port))
    try:
        client.wait_server_ready(timeout=PROXY_SECONDS)
    except ConnectionError as error:
        client.close()
        raise StorageError(
            f"--proxy: expected an answer from {proxy} within {PROXY_SECONDS:.0f} s, found none; "
            f"start it with python -m search.proxy"
        ) from error
    return client


def connect_arguments(url: URL) -> dict[str, int]:
    """What the driver is told at each connection, so that no call hangs on a peer that is gone.

    What the URL's query says of its own comes first.
    """
    backend, driver = url.get_backend_name(), url.get_driver_name()
    if backend == "sqlite":
        return {"timeout": SQLITE_TIMEOUT}
    arguments = {"connect_timeout": CONNECT_SECONDS}
    if backend == "postgresql":
        # https://www.postgresql.org/docs/18/libpq-connect.html
        arguments = {**arguments, **_KEEPALIVES} if driver.startswith("psycopg") else {}
    elif driver == "pymysql":
        arguments |= {"read_timeout": 2 * SILENT_SECONDS, "write_timeout": SILENT_SECONDS}
    elif driver != "mysqldb":
        arguments = {}
    return {name: value for name, value in arguments.items() if name not in url.query}


def create_together(create: Callable[[], T]) -> T:
    """Make tables that another worker may be making at the same moment.

    Whoever comes second finds some of them there and others not yet, which is an error of many
    names; a moment later all of them are there. Other errors stay, and are passed on in the end.

    Args:
        create: Makes what is not there.
    """
    for _ in range(CREATE_ATTEMPTS - 1):
        try:
            return create()
        except sa.exc.DatabaseError:
            gc.collect()  # the connections of an engine that came to nothing
            time.sleep(random.uniform(0.1, 0.5))
    return create()


def parse_url(url: str) -> URL:
    """The parts of a database URL.

    Raises:
        StorageError: It is no URL, or of a database that a study cannot live in.
    """
    wanted = "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
    if embedded_folder(url) is not None:
        return URL.create("postgresql+psycopg", database=EMBEDDED)  # its place is found later
    if (folder := journal_folder(url)) is not None:
        return URL.create("sqlite", database=str(folder / "ledger.sqlite"))
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend not in DIALECTS:
            raise StorageError(f"storage: expected {wanted}, found a URL of {backend!r}")
        parsed.get_dialect()
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ValueError) as error:
        # The text itself is not shown: it may hold a password that could not be told apart.
        raise StorageError(f"storage: expected {wanted}, found no such URL") from error
    return parsed


def redacted(url: str) -> str:
    """The URL with its password, and whatever its query holds, hidden."""
    if embedded_folder(url) is not None or journal_folder(url) is not None:
        return url
    return parse_url(url).set(query={}).render_as_string(hide_password=True)


def is_of_one_machine(url: str) -> bool:
    """Whether only processes of one machine can share the database, as its URL says."""
    return parse_url(url).get_backend_name() == "sqlite" or embedded_folder(url) is not None


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for other databases and for `:memory:`."""
    parsed = parse_url(url)
    if journal_folder(url) is not None:
        return None
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        return None
    return Path(str(parsed.database))


def _prepare(url: URL, engine_options: dict[str, object], shown: str) -> bool:
    """Connect once before Optuna does: for SQLite's log mode, and to see who wrote the tables.

    Returns:
        Whether it was this very version of Optuna.
    """
    file = sqlite_file(url.render_as_string(hide_password=False))
    if file is not None and not file.absolute().parent.is_dir():
        raise StorageError(f"storage {shown}: expected the folder {file.parent} to exist")
    engine = sa.create_engine(url, **engine_options)
    try:
        with engine.connect() as connection:
            if url.get_backend_name() == "sqlite":
                # Readers (the dashboard) and a writer no longer block each other.
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            if sa.inspect(connection).has_table("version_info"):
                query = sa.text("SELECT library_version FROM version_info")
                found = connection.execute(query).scalar()
                ours = optuna.__version__
                if found is not None and found.split(".")[0] != ours.split(".")[0]:
                    raise StorageError(
                        f"storage {shown}: expected tables of Optuna {ours.split('.')[0]}, found "
                        f"Optuna {found}, which stores times otherwise; use another database"
                    )
                return bool(found == ours)
            return False
    finally:
        engine.dispose()
