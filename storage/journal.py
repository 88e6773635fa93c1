"""A study in a folder that machines share, without a server: Optuna's journal and an SQLite file.

For network file systems on which SQLite's own locks cannot be trusted. Optuna's part is its
journal file, ours an SQLite file that is opened anew for each transaction; both are written under
a lock that is a symbolic link, which every file system makes in one step. What goes wrong with the
plain journal is mended here: a lock whose holder was killed on this machine is free at once
(elsewhere after `GRACE_SECONDS`), and half a line at the journal's end is cut off before the next
is written.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from spaces.errors import StorageError
from storage.processes import awake_seconds, is_dead, process_identity
from storage.sqlite_files import FileGuard

GRACE_SECONDS = 30.0
"""A lock that was not given back for so long is broken; nothing is done under one but writing."""
_PAUSE = 0.005


JOURNAL_FILE, LEDGER_FILE = "studies.journal", "ledger.sqlite"


def journal_studies(folder: Path, guarded: Callable[[Path], FileGuard]) -> JournalStorage:
    """Optuna's storage in a folder that is there.

    Args:
        folder: The folder.
        guarded: Makes what looks whether a file is still the one that it was.
    """
    file = folder / JOURNAL_FILE
    lock = FolderLock(file.with_suffix(".lock"))
    return JournalStorage(_MendedJournal(str(file), lock, guarded))


def read_journal_studies(folder: Path) -> JournalStorage:
    """The same of a folder that cannot be written."""
    return JournalStorage(_ReadJournal(folder / JOURNAL_FILE))


def journal_engine(folder: Path, timeout: float) -> sa.Engine:
    """The engine for our own tables in a folder, whose every transaction holds a lock.

    Args:
        folder: That is there.
        timeout: Seconds that SQLite itself waits, where its locks work.
    """
    lock = FolderLock(folder / "ledger.lock")
    engine = sa.create_engine(
        f"sqlite:///{folder / LEDGER_FILE}",
        # A file that is opened anew shows what other machines wrote.
        poolclass=sa.NullPool,
        connect_args={"timeout": timeout},
    )

    def begin(connection: sa.Connection) -> None:
        lock.acquire()

    def end(connection: sa.Connection) -> None:
        lock.release()

    sa.event.listen(engine, "begin", begin)
    sa.event.listen(engine, "commit", end)
    sa.event.listen(engine, "rollback", end)
    return engine


class FolderLock:
    """A lock between processes and threads, on any file system.

    Args:
        place: Path of the link, which names its holder.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._within = threading.Lock()
        self._token = ""

    def acquire(self) -> bool:
        """Wait for the lock and take it."""
        self._within.acquire()
        token = f"{process_identity()}#{uuid.uuid4().hex}"
        seen, since = "", 0.0
        while True:
            try:
                self._place.symlink_to(token)
            except FileExistsError:
                holder = self._holder()
                if holder != seen:
                    seen, since = holder, awake_seconds()
                elif holder and (
                    is_dead(holder.rpartition("#")[0]) or awake_seconds() - since > GRACE_SECONDS
                ):
                    self._break(holder)
                time.sleep(_PAUSE)
            except BaseException:  # whatever it is, this thread does not have the lock: passed on
                self._within.release()
                raise
            else:
                self._token = token
                return True

    def release(self) -> None:
        """Give the lock back, if it is still this process's."""
        if self._holder() == self._token:
            self._place.unlink(missing_ok=True)
        self._within.release()

    def _holder(self) -> str:
        try:
            return str(self._place.readlink())
        except FileNotFoundError:
            return ""

    def _break(self, holder: str) -> None:
        """Remove the lock of a dead process; of two that try, one finds it renamed."""
        aside = self._place.with_name(f"{self._place.name}-{uuid.uuid4().hex}")
        try:
            if self._holder() == holder:
                self._place.rename(aside)
                aside.unlink()
        except FileNotFoundError:
            return


class _MendedJournal(JournalFileBackend):
    """Optuna's journal, which a writer that was killed in its middle leaves readable."""

    def __init__(
        self, file_path: str, lock: FolderLock, guarded: Callable[[Path], FileGuard]
    ) -> None:
        # Optuna asks a lock for `acquire` and `release` only; its base class is private.
        super().__init__(file_path, lock_obj=cast(Any, lock))
        self._file, self._folder_lock = Path(file_path), lock
        self._guard = guarded(self._file)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Read as Optuna does."""
        self._guard.check()
        return super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append as Optuna does, after cutting off half a line at the end that nobody has read."""
        self._folder_lock.acquire()
        try:
            self._guard.check()
            with self._file.open("rb+") as file:
                size = file.seek(0, os.SEEK_END)
                end = size
                while end and not _ends_line(file, end):
                    end -= 1
                if end < size:
                    file.truncate(end)
                # Under the same lock: another writer may be killed in its middle at any time.
                file.seek(end)
                lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
                file.write("".join(lines).encode())
                file.flush()
                os.fsync(file.fileno())
        finally:
            self._folder_lock.release()


class _ReadJournal(BaseJournalBackend):
    """Optuna's journal, in a folder that cannot be written.

    Args:
        file: The journal.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Its whole lines from that number on."""
        with self._file.open("rb") as lines:
            for number, line in enumerate(lines):
                if number >= log_number_from and line.endswith(b"\n"):
                    yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse.

        Raises:
            StorageError: Always.
        """
        raise StorageError(f"storage {self._file.parent}", "a folder that can be written")


def _ends_line(file: Any, end: int) -> bool:
    file.seek(end - 1)
    return bool(file.read(1) == b"\n")
