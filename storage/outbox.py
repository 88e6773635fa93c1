"""The outbox: finished results on this machine's disk until the database has them.

A database may be away when a training ends, and the worker be killed while it waits for it. Its
results are delivered by the next worker that starts on this machine. Each entry is a file of
JSON named after its process, written in one step; delivering one twice changes nothing.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from storage.fingerprint import fingerprint
from storage.processes import is_dead, process_identity

STATE_VARIABLE = "TRANSFER_SEARCH_STATE"
_log = logging.getLogger(__name__)


class Outbox:
    """The entries for one database.

    Args:
        folder: Folder of the entries; made on first use, for this user only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def keeping(
        self, kind: str, content: Mapping[str, Any], unless: type[Exception] | tuple[()] = ()
    ) -> Iterator[None]:
        """Keep `content` on disk while it is brought to the database.

        It stays there if the process dies or gives up within. A disk that cannot be written is
        logged, and costs nothing but the safety.

        Args:
            kind: Kind of the content, by which the receiver tells entries apart.
            content: The content in JSON's types.
            unless: Error after which nobody wants the content any more.
        """
        file = self.folder / f"{quote(process_identity(), safe='')}-{uuid.uuid4().hex}.json"
        try:
            self._write(file, json.dumps({"kind": kind, **content}))
        except OSError as error:
            _log.warning("outbox %s: cannot be written: %s", self.folder, error.strerror)
            yield
            return
        try:
            yield
        except unless:
            file.unlink(missing_ok=True)
            raise
        file.unlink(missing_ok=True)

    def deliver(self, take: Callable[[str, dict[str, Any]], None]) -> int:
        """Hand over what processes left that are gone, oldest first; returns how many entries.

        Args:
            take: Called with the kind and the content; if it raises, the entry stays.
        """
        delivered = 0
        for file in self.left():
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue  # another worker delivers it
            take(content.pop("kind"), content)
            file.unlink(missing_ok=True)
            delivered += 1
        return delivered

    def left(self) -> list[Path]:
        """Entries of processes that are gone, oldest first."""
        files = []
        try:
            for file in self.folder.iterdir():
                if file.suffix == ".json" and is_dead(_writer(file)):
                    with suppress(FileNotFoundError):  # another worker delivers it
                        files.append((file.stat().st_mtime, file))
        except OSError:
            return []  # there is none, or none that this user may read
        return [file for _, file in sorted(files)]

    def unfinished(self) -> list[Path]:
        """Half-written files of processes that are gone: no entries, and of no use."""
        return [file for file in self.folder.glob("*.part") if is_dead(_writer(file))]

    def _write(self, file: Path, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = file.with_suffix(".part")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as lines:
                lines.write(text)
                lines.flush()
                os.fsync(lines.fileno())
            temporary.replace(file)
        finally:
            with suppress(OSError):
                temporary.unlink()


def _writer(file: Path) -> str:
    """The process that wrote the file."""
    return unquote(file.stem.rpartition("-")[0])


def outbox_of(database: str) -> Outbox:
    """This machine's outbox for a database.

    Args:
        database: A name that no other database has here; no password.
    """
    state = os.environ.get(STATE_VARIABLE) or os.environ.get("XDG_STATE_HOME")
    try:
        root = Path(state) if state else Path.home() / ".local" / "state"
    except RuntimeError:  # a container's user without a home
        root = Path.cwd()
    return Outbox(root / "transfer-search" / "outbox" / fingerprint(database)[:16])
