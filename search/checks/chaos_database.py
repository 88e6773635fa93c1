"""The databases of a chaos run, each in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from spaces.errors import StorageError
from storage.embedded import EmbeddedServer
from storage.urls import EMBEDDED

POOLER_SECONDS = 30.0
_PORT = 6432
# One connection for all clients: what one of them left in a session would meet the next one.
_POOLER = """\
[databases]
{database} = host={host} port={port} dbname={database} user={user}
[pgbouncer]
pool_mode = transaction
default_pool_size = 1
max_client_conn = 200
auth_type = any
listen_port = {listen}
unix_socket_dir = {folder}
server_login_retry = 1
logfile = {folder}/pgbouncer.log
"""


@dataclass(frozen=True)
class ChaosDatabase:
    """Where a study lives, and what may be done to it.

    Attributes:
        url: URL for its workers.
        server: The server, which may be stopped and killed; None for SQLite, which is a file.
    """

    url: str
    server: EmbeddedServer | None = None


@contextmanager
def chaos_database(kind: str, folder: Path) -> Iterator[ChaosDatabase]:
    """A new database of a kind in a folder; its servers end with the context.

    Args:
        kind: One of `search.checks.chaos_plan.DATABASES`.
        folder: An existing folder.

    Raises:
        StorageError: A server is not installed, or does not start.
    """
    if kind == "sqlite":
        yield ChaosDatabase(f"sqlite:///{folder}/study.sqlite")
        return
    place = folder / "postgresql"
    server = EmbeddedServer(place)
    try:
        if kind == "embedded":
            yield ChaosDatabase(f"{EMBEDDED}:{place}", server)
        elif kind == "pooler":
            with _pooler(sa.make_url(server.url), server.user, folder / "pgbouncer") as url:
                yield ChaosDatabase(url, server)
        else:
            yield ChaosDatabase(server.url, server)
    finally:
        server.close()


@contextmanager
def _pooler(behind: sa.URL, user: str | None, folder: Path) -> Iterator[str]:
    """A pgbouncer in front of a PostgreSQL, on a socket in `folder`, as the server's user."""
    if shutil.which("pgbouncer") is None:
        raise StorageError("the pooler", "pgbouncer in the PATH", "none", "install pgbouncer")
    folder.mkdir(mode=0o755)
    if user is not None:
        shutil.chown(folder, user)
    settings = folder / "pgbouncer.ini"
    host = behind.query.get("host", behind.host)
    text = _POOLER.format(
        database=behind.database,
        host=host,
        port=behind.port or 5432,
        user=behind.username,
        listen=_PORT,
        folder=folder,
    )
    settings.write_text(text, encoding="utf-8")
    log = folder / "pgbouncer.log"
    process = subprocess.Popen(
        ["pgbouncer", "-q", str(settings)], user=user, stderr=subprocess.DEVNULL, cwd=folder
    )
    try:
        began = time.monotonic()
        while not (folder / f".s.PGSQL.{_PORT}").exists():
            if process.poll() is not None or time.monotonic() - began > POOLER_SECONDS:
                lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
                reason = lines[-1] if lines else f"exit code {process.returncode}"
                raise StorageError("the pooler", "pgbouncer to start", reason)
            time.sleep(0.05)
        yield sa.URL.create(
            "postgresql+psycopg",
            username=behind.username,
            database=behind.database,
            query={"host": os.fspath(folder), "port": str(_PORT)},
        ).render_as_string()
    finally:
        process.terminate()
        process.wait()
