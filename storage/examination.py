"""The examination of a database by `doctor`: whether it can be used, and what may hurt a study.

None of Optuna's tables or ours are made in it; all that is written is rolled back.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil
import sqlalchemy as sa

from spaces.errors import StorageError, first_line
from storage.embedded import embedded_url
from storage.leases import clock
from storage.opening import connect_arguments
from storage.schema import has_tables
from storage.urls import embedded_folder, parse_url, redacted, sqlite_file

# On which SQLite's locks are known to fail: https://www.sqlite.org/faq.html#q5
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smbfs", "smb3", "afs", "lustre", "beegfs", "gpfs", "ceph"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "9p"}
)
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
_LIMIT = "SELECT setting FROM pg_settings WHERE name = 'max_connections'"


@dataclass(frozen=True)
class Examination:
    """The state of a database.

    Attributes:
        name: Name and version of the database program.
        seconds: Seconds that a transaction of a few statements takes.
        clock_ahead: Seconds by which its clock is ahead of this machine's.
        connections: Connections in use, this one included; None for a file.
        most_connections: Connections that the server allows; None for a file.
    """

    name: str
    seconds: float
    clock_ahead: float
    connections: int | None
    most_connections: int | None


def examine_database(url: str) -> Examination:
    """Connect once, write, read, and take it back.

    Args:
        url: URL as for `open_storage`; a database that is not there is not made.

    Raises:
        StorageError: It cannot be reached, written or read, does not take back what was
            written, or has our tables in another version.
    """
    parsed, shown = parse_url(url), redacted(url)
    if (folder := embedded_folder(url)) is not None:
        parsed = parse_url(embedded_url(folder, create=False))
    file = sqlite_file(url)
    if file is not None and not file.is_file():
        raise StorageError(f"storage {shown}", expected="a database", found=f"no file {file}")
    arguments = connect_arguments(parsed)
    try:
        engine = sa.create_engine(parsed, poolclass=sa.NullPool, connect_args=arguments)
        with engine.connect() as connection:
            before = time.time()
            ahead = clock(connection) - (before + time.time()) / 2
            connections, limit = _connections(connection)
            has_tables(connection, shown)
        seconds = _write_and_take_back(engine, shown)
    except ImportError as error:
        raise StorageError(
            f"storage {shown}", expected=f"the driver {error.name!r} to be installed"
        ) from error
    except sa.exc.DBAPIError as error:
        reason = first_line(error.orig or error)
        raise StorageError(
            f"storage {shown}", expected="a usable database", found=reason
        ) from error
    return Examination(_name(engine), seconds, ahead, connections, limit)


def file_system_of(path: Path) -> str:
    """The kind of file system that a path lies on; empty where the system does not tell."""
    whole = path.absolute().resolve()
    mounts = {Path(x.mountpoint): x.fstype for x in psutil.disk_partitions(all=True)}
    return next((mounts[x] for x in (whole, *whole.parents) if x in mounts), "")


def _write_and_take_back(engine: sa.Engine, shown: str) -> float:
    """Seconds of a transaction that writes and reads a row, and is rolled back."""
    name = f"transfer_doctor_{uuid.uuid4().hex[:8]}"
    table = sa.Table(name, sa.MetaData(), sa.Column("written", sa.Integer, primary_key=True))
    table.create(engine)
    try:
        with engine.connect() as connection:
            began = time.monotonic()
            connection.execute(sa.insert(table), {"written": 1})
            read = connection.execute(sa.select(table.c.written)).scalars().all()
            connection.rollback()
            seconds = time.monotonic() - began
            left = connection.execute(sa.select(table.c.written)).scalars().all()
        if read != [1] or left:
            raise StorageError(
                f"storage {shown}",
                expected="to read what was written ([1]) and nothing after a rollback",
                found=f"{list(read)} and {list(left)}",
                advice="use a database with transactions",
            )
    finally:
        table.drop(engine)
    return seconds


def _connections(connection: sa.Connection) -> tuple[int | None, int | None]:
    if connection.dialect.name != "postgresql":
        return None, None
    used, limit = (
        int(connection.execute(sa.text(query)).scalar_one()) for query in (_CONNECTIONS, _LIMIT)
    )
    return used, limit


def _name(engine: sa.Engine) -> str:
    version = ".".join(map(str, engine.dialect.server_version_info or ()))
    names = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
    return f"{names[engine.dialect.name]} {version}"
