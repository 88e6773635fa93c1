"""The file under an SQLite database: whether it is still the one, and reading what none may write.

A process that has a file open goes on writing it after somebody has removed it or put another one
in its place, and nobody will ever read what it wrote. So it is looked at whenever a connection is
taken and before each commit.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL

from spaces.errors import StorageError

_PROBE = "SELECT count(*) FROM sqlite_master"


def can_be_written(file: Path) -> bool:
    """Whether this process may write an SQLite file, and beside it, as SQLite must.

    True of a file that is not there yet, in such a folder.
    """
    folder = file.absolute().parent
    return os.access(folder, os.W_OK) and (not file.exists() or os.access(file, os.W_OK))


class FileGuard:
    """Raises where a file is not the one any more that it was.

    Args:
        file: That is there.
        shown_url: URL of the storage for messages.
        waiting: Folder in which finished results wait that the database has not taken.
    """

    def __init__(self, file: Path, shown_url: str, waiting: Path) -> None:
        self.file = file.absolute()
        self._shown, self._waiting = shown_url, waiting
        self._identity = _identity(self.file)
        self._rescued = ""

    def check(self, rescue: Callable[[Path], None] | None = None) -> None:
        """Look whether it is the same.

        Args:
            rescue: Saves what it had to a path, where that can still be read.

        Raises:
            StorageError: It is gone, or another one is in its place.
        """
        try:
            now = _identity(self.file)
        except FileNotFoundError:
            now = None
        except OSError:  # a share that is away: the database says so itself, and is waited for
            return
        if now == self._identity:
            return
        if rescue is not None and not self._rescued:
            self._rescue(rescue)
        saved = ""
        if self._rescued:
            saved = f"what it held is saved as {self._rescued}; put that in its place, and "
        raise StorageError(
            f"storage {self._shown}",
            "the file that this run began with",
            "that it was removed" if now is None else "another one in its place",
            f"{saved}start the same command again when it is back; results that it has not "
            f"taken wait in {self._waiting}",
        )

    def watch(self, engine: sa.Engine) -> None:
        """Look before each connection that `engine` makes or hands out, and before each commit."""

        def before_connecting(*_: object) -> None:
            self.check()

        def taken(connection: Any, *_: object) -> None:
            def copy(place: Path) -> None:
                with closing(sqlite3.connect(place)) as target:
                    connection.backup(target)

            self.check(copy)

        sa.event.listen(engine, "do_connect", before_connecting)
        sa.event.listen(engine, "checkout", taken)
        sa.event.listen(engine, "commit", before_connecting)

    def _rescue(self, rescue: Callable[[Path], None]) -> None:
        """Save what the file had beside it; of several workers, the first that comes does."""
        place = self.file.with_name(f"{self.file.name}.rescued-{self._identity[1]}")
        half = place.with_name(f"{place.name}.{os.getpid()}.part")
        if not place.exists():
            try:
                rescue(half)
                half.replace(place)
            except (OSError, sqlite3.Error):
                return  # the folder is gone, too
            finally:
                with suppress(OSError):
                    half.unlink()
        self._rescued = str(place)


def read_only_url(file: Path) -> URL:
    """The URL by which an SQLite file is read that cannot be written, nor its folder.

    SQLite itself reads it where it keeps no log, or where its writer is there and has the log's
    index open; otherwise nobody writes it, and it is read as it lies: with a log that was left,
    from a copy, as reading one means writing.
    """
    whole = f"file:{quote(str(file.absolute()))}"
    log = file.with_name(f"{file.name}-wal")
    if _is_readable(f"{whole}?mode=ro"):
        return _as_url(whole, mode="ro")
    if not log.exists() or log.stat().st_size == 0:
        return _as_url(whole, mode="ro", immutable="1")
    folder = tempfile.TemporaryDirectory(prefix="transfer-search-")
    atexit.register(folder.cleanup)
    for each in (file, log):
        shutil.copy(each, folder.name)
    copied = Path(folder.name, file.name)
    copied.chmod(0o600)
    return _as_url(f"file:{quote(str(copied))}")


def _identity(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino


def _is_readable(uri: str) -> bool:
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute(_PROBE)
    except sqlite3.Error:
        return False
    return True


def _as_url(uri: str, **options: str) -> URL:
    return URL.create("sqlite", database=uri, query={**options, "uri": "true"})
