"""The outbox: finished results on this machine's disk until the database has them.

A database may be away when a training ends, and the worker be killed while it waits for it. Its
results are delivered by the next worker that starts on this machine. Each entry is a file of
JSON named after its process, written in one step; delivering one twice changes nothing.

Whoever may write into the folder may put files there that are no entries, or forge a score. An
entry is therefore signed with a key that lies beside the folder and only its user can read; what
is not signed with it is set aside, said once, and never an error of the worker that finds it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from storage.fingerprint import fingerprint
from storage.processes import is_dead, process_identity

STATE_VARIABLE = "TRANSFER_SEARCH_STATE"
ASIDE = "set-aside"
FORMAT = 1
"""Version of the entries; those of another one are set aside."""
LARGEST_ENTRY = 256 * 1024 * 1024
"""Bytes."""
_NAME = re.compile(r"(?P<writer>[^/]+%2F[^/]*%2F\d{1,10}%2F[\d.]{1,20})-[0-9a-f]{32}")
_log = logging.getLogger(__name__)


class StrangeEntryError(ValueError):
    """A file in the outbox that is no entry of ours, or one that the receiver has no use for."""


class Outbox:
    """The entries for one database.

    Args:
        folder: Folder of the entries; made on first use, for this user only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key_file = folder.with_name(f"{folder.name}.key")
        self._named: set[str] = set()

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
            self._write(file, kind, content)
        except OSError as error:
            _log.warning("outbox %s: cannot be written: %s", self.folder, error.strerror or error)
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

        What is no entry of ours is set aside.

        Args:
            take: Called with the kind and the content; if it raises, the entry stays, but for a
                `StrangeEntryError`, after which the entry is set aside.
        """
        delivered = 0
        for file in self._files():
            try:
                if not _is_of_the_dead(file):
                    continue
                kind, content = self.read(file)
                take(kind, content)
            except FileNotFoundError:
                continue  # another worker delivers it
            except StrangeEntryError as error:
                self._set_aside(file, str(error))
                continue
            with suppress(OSError):
                file.unlink(missing_ok=True)
            delivered += 1
        return delivered

    def left(self) -> list[Path]:
        """Entries of processes that are gone, oldest first; what is no entry is left out."""
        left = []
        for file in self._files():
            with suppress(StrangeEntryError, FileNotFoundError):
                if _is_of_the_dead(file):
                    self.read(file)
                    left.append(file)
        return left

    def read(self, file: Path) -> tuple[str, dict[str, Any]]:
        """The kind and the content of an entry.

        Raises:
            StrangeEntryError: It is none of ours.
            FileNotFoundError: It is not there any more.
        """
        try:
            # Of a FIFO nothing is waited for, and a link leads nowhere.
            number = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StrangeEntryError(f"it cannot be read ({error.strerror})") from error
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_ENTRY:
            os.close(number)
            raise StrangeEntryError("it is no file of an entry's size")
        with os.fdopen(number, "rb") as opened:
            data = opened.read()
        try:
            signed = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise StrangeEntryError("it is no JSON") from error
        match signed:
            case {"format": int(version), "entry": str(text), "signature": str(signature)}:
                pass
            case _:
                raise StrangeEntryError("it is not signed")
        if version != FORMAT:
            raise StrangeEntryError(f"it is of format {version}, and not {FORMAT}")
        key = self._key()
        if key is None or not hmac.compare_digest(
            _signature(key, text).encode(), signature.encode("utf-8", "replace")
        ):
            raise StrangeEntryError("its signature is not by this folder's key")
        entry = json.loads(text)
        return str(entry["kind"]), dict(entry["content"])

    def unfinished(self) -> list[Path]:
        """Half-written files of processes that are gone: no entries, and of no use."""
        unfinished = []
        for file in self._files(".part"):
            with suppress(StrangeEntryError):
                if _is_of_the_dead(file):
                    unfinished.append(file)
        return unfinished

    def set_aside(self) -> list[Path]:
        """What was found in the folder and is no entry."""
        try:
            return sorted((self.folder / ASIDE).iterdir())
        except OSError:
            return []

    def _files(self, suffix: str = ".json") -> list[Path]:
        """What has an entry's ending, oldest first."""
        files = []
        try:
            for file in self.folder.iterdir():
                if file.suffix == suffix:
                    with suppress(FileNotFoundError):  # another worker delivers it
                        files.append((file.lstat().st_mtime, file))
        except OSError:
            return []  # there is none, or none that this user may read
        return [file for _, file in sorted(files)]

    def _set_aside(self, file: Path, reason: str) -> None:
        """Move what is no entry out of the way, and say so once."""
        aside = self.folder / ASIDE
        try:
            aside.mkdir(mode=0o700, exist_ok=True)
            file.rename(aside / f"{uuid.uuid4().hex[:8]}-{file.name}"[:250])
        except FileNotFoundError:
            return  # another worker did
        except OSError:
            aside = self.folder  # it stays, and is said once by each worker
        if file.name not in self._named:
            self._named.add(file.name)
            _log.warning(
                "outbox: %r is no result of this program's on this machine: %s; it is set aside "
                "in %s",
                *(file.name[:100], reason, aside),
            )

    def _write(self, file: Path, kind: str, content: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = self._key() or self._new_key()
        text = json.dumps({"kind": kind, "content": content})
        signed = {"format": FORMAT, "entry": text, "signature": _signature(key, text)}
        _write_new(file, json.dumps(signed).encode())

    def _key(self) -> bytes | None:
        """The folder's key; None where there is none that only this user could have written."""
        try:
            number = os.open(self._key_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        status = os.fstat(number)
        is_ours = status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode)
        if not is_ours or stat.S_IMODE(status.st_mode) & 0o077:
            os.close(number)
            return None
        with os.fdopen(number, "rb") as opened:
            key = opened.read(1024)
        return key if len(key) == hashlib.sha256().digest_size else None

    def _new_key(self) -> bytes:
        """A key, or that of another process which made it at the same time.

        Raises:
            OSError: It cannot be written.
        """
        place = self._key_file
        made = place.with_name(f"{place.name}-{uuid.uuid4().hex}")
        try:
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(hashlib.sha256().digest_size))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(made, place)  # only one of several processes can
            except FileExistsError:
                if self._key() is None:  # a stranger's
                    made.replace(place)
            except OSError:  # a disk that has no links
                made.replace(place)
        finally:
            made.unlink(missing_ok=True)
        key = self._key()
        if key is None:
            raise OSError(None, f"no key of this user's at {place}")
        return key


def _write_new(file: Path, data: bytes) -> None:
    """Write a file of this user's alone, in one step."""
    temporary = file.with_suffix(".part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(file)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _signature(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _is_of_the_dead(file: Path) -> bool:
    """Whether the process that wrote the file was of this machine, and is gone.

    Raises:
        StrangeEntryError: Its name is none that we give.
    """
    match = _NAME.fullmatch(file.stem)
    if match is None:
        raise StrangeEntryError("its name is none of an entry")
    return is_dead(unquote(match["writer"]))


def outbox_of(database: str) -> Outbox:
    """This machine's outbox for a database.

    Args:
        database: A name that no other database has here; no password.
    """
    state = os.environ.get(STATE_VARIABLE, "").strip() or os.environ.get("XDG_STATE_HOME")
    try:
        root = Path(state) if state else Path.home() / ".local" / "state"
    except RuntimeError:  # a container's user without a home
        root = Path.cwd()
    return Outbox(root / "transfer-search" / "outbox" / fingerprint(database)[:16])
