"""A pooler in front of a PostgreSQL of one's own, to see what becomes of work behind one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from spaces.errors import StorageError
from storage.embedded import EmbeddedServer

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


@contextmanager
def pooler(server: EmbeddedServer, folder: Path) -> Iterator[str]:
    """Run a pgbouncer in front of a server, as the server's user; yields the URL for clients.

    Args:
        server: The server.
        folder: A new folder, with the socket, the settings and the log.

    Raises:
        StorageError: pgbouncer is not installed, or does not start.
    """
    if shutil.which("pgbouncer") is None:
        raise StorageError("the pooler", "pgbouncer in the PATH", "none", "install pgbouncer")
    behind, user = sa.make_url(server.url), server.user
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
