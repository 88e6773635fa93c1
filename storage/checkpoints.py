"""The checkpoint cache: stages by content address, each trained once and never half there.

An entry is a manifest (`storage.checkpoint_manifest`) and the folder of files that it names. The
manifest is written last, so that a killed process leaves nothing that looks whole, and each file
is checked when it is read: a broken entry counts as absent. The cache lies in a folder or behind
any URL of fsspec (s3://, gs://, ...).
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from spaces.errors import CacheError, first_line
from storage.checkpoint_faults import faults_of_writing
from storage.checkpoint_folders import (
    MANIFESTS,
    PARTS,
    Downloads,
    is_leftover,
    new_partial,
    places_of,
)
from storage.checkpoint_manifest import manifest_of, read_manifest, write_manifest
from storage.fingerprint import fingerprint
from storage.leases import Lease, Leases, OnWait

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """One entry of the cache, on this machine.

    Attributes:
        key: Fingerprint of `inputs`.
        folder: Folder with its files; read only.
        inputs: All that determines the files.
        notes: Notes of `train` about the making: seconds, updates, device, versions.
        reused: Whether the entry was there before it was asked for.
    """

    key: str
    folder: Path
    inputs: Mapping[str, Any]
    notes: Mapping[str, Any]
    reused: bool


@dataclass(frozen=True)
class Entry:
    """What the cache holds under one key, without reading its files.

    Attributes:
        key: Fingerprint of `inputs`.
        inputs: All that determines the files.
        notes: Notes of `train` about the making.
        size: Bytes of its files.
        used_at: Time it was last made or found, in seconds since 1970.
    """

    key: str
    inputs: Mapping[str, Any]
    notes: Mapping[str, Any]
    size: int
    used_at: float


@dataclass(frozen=True)
class Collection:
    """The result of `CheckpointCache.collect`.

    Attributes:
        evicted: Number of entries removed.
        leftovers: Number of folders of killed processes removed.
        freed: Bytes that these took.
        kept: Bytes of the entries that stay.
    """

    evicted: int
    leftovers: int
    freed: int
    kept: int


class CheckpointCache:
    """A folder or URL of checkpoints. Any number of processes may use it at the same time.

    Args:
        location: A folder, made on first use, or a URL of fsspec.
        leases: Leases of the database that the processes share, so that only one of them trains;
            None is enough for looking and cleaning.
        limit: Bytes above which the least recently used entries are removed; None: no limit.
        needed_since: Entries used at or after this time (seconds since 1970) stay whatever the
            limit: a running trial needs them. None: no trial is running.

    Raises:
        CacheError: No such kind of URL, or its package is not installed.
    """

    def __init__(
        self,
        location: str | Path,
        leases: Leases | None = None,
        limit: int | None = None,
        needed_since: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.location = str(location)
        self._leases = leases
        self._limit = limit
        self._needed_since = needed_since
        try:
            # Other processes write, too, so that a listing is out of date soon.
            self._files, self._root = fsspec.url_to_fs(self.location, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise CacheError(
                f"checkpoint cache {self.location}",
                expected="a folder or a URL that fsspec opens",
                found=first_line(error),
            ) from error
        self._is_local = isinstance(self._files, LocalFileSystem)
        self._downloads: Downloads | None = None
        self._reported: set[str] = set()

    def get_or_create(
        self,
        inputs: Mapping[str, Any],
        train: Callable[[Path, Lease], Mapping[str, Any]],
        on_wait: OnWait,
    ) -> Checkpoint:
        """The checkpoint of `inputs`, made by `train` where it is not there yet.

        Args:
            inputs: All that determines the files, in JSON's types.
            train: Writes the files into the empty folder it is given and tells the lease how
                far it is; returns notes in JSON's types. What it raises is passed on, and
                nothing is kept.
            on_wait: Called while another process trains it.

        Raises:
            CacheError: The cache cannot be written.
        """
        key = fingerprint(inputs)

        def make(lease: Lease) -> Checkpoint:
            with self._scratch() as folder:
                notes = train(folder, lease)
                with self.writing():
                    return self._publish(folder, key, inputs, notes, lease)

        assert self._leases is not None, "training needs leases"
        made = self._leases.once(key, lambda: self._read(key), make, on_wait)
        if not made.reused and self._limit is not None:
            self.collect(self._limit, keep=made.key)
        return made

    def find(self, inputs: Mapping[str, Any]) -> Checkpoint | None:
        """The checkpoint of `inputs` if it is there, whole."""
        return self._read(fingerprint(inputs))

    def touch(self, inputs: Mapping[str, Any]) -> None:
        """Count the entry as used now, if it is there: a trial will need it."""
        place = self._manifest(fingerprint(inputs))
        try:
            if self._is_local:
                os.utime(place)
            else:  # written anew: object stores know no other way
                self._files.pipe_file(place, self._files.cat_file(place))
        except FileNotFoundError:
            return

    def writing(self) -> AbstractContextManager[None]:
        """Turn what goes wrong while files are written into a `CacheError`.

        Raises:
            CacheClosedError: Of what does not pass, as a read-only disk.
            CacheError: Of the rest.
        """
        return faults_of_writing(self.location)

    def check_writable(self) -> None:
        """Write a small file and remove it.

        Raises:
            CacheError: The cache cannot be written.
        """
        name = f"partial/{uuid.uuid4().hex}"
        with self.writing():
            if self._is_local:
                folder = new_partial(self._root)
                (folder / "probe").write_bytes(b"probe")
                shutil.rmtree(folder)
                return
            try:
                self._files.makedirs(f"{self._root}/partial", exist_ok=True)
                self._files.pipe_file(f"{self._root}/{name}", b"probe")
                self._files.rm_file(f"{self._root}/{name}")
            except OSError:
                raise
            except Exception as error:
                raise OSError(f"{type(error).__name__}: {first_line(error)}") from error

    # --- keeping house

    def entries(self) -> list[Entry]:
        """All entries, the least recently used first; those whose manifest is broken left out."""
        entries = [self._entry(place) for place in self._manifests()]
        return sorted((entry for entry in entries if entry), key=lambda entry: entry.used_at)

    def damaged(self, keys: Container[str] | None = None) -> list[str]:
        """The manifests of entries that do not read back whole; every file is read.

        Args:
            keys: Entries to look at; None: all.
        """
        manifests = ((Path(place).stem, place) for place in self._manifests())
        return [
            place
            for key, place in manifests
            if (keys is None or key in keys) and self._checked(key) is None
        ]

    def without_manifest(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that have a folder of files here, and no manifest that would name it."""
        named = {Path(place).stem for place in self._manifests()}
        folders = {Path(place).name.partition("-")[0] for place in self._parts()}
        return sorted((folders - named).intersection(keys))

    def leftovers(self) -> dict[str, int]:
        """Folders that belong to no entry and no living process: place -> bytes.

        A process killed in the middle of a training leaves one.
        """
        named = set()
        for place in self._manifests():
            manifest = read_manifest(self._files, place)
            if manifest is not None:
                named.add(manifest.folder)
        leftovers = {}
        for place in self._parts():
            try:
                if Path(place).name not in named and is_leftover(self._files, place):
                    leftovers[place] = int(self._files.du(place))
            except FileNotFoundError:
                continue  # published or removed meanwhile
        return leftovers

    def collect(self, limit: int | None, keep: str | None = None) -> Collection:
        """Remove leftovers, and the least recently used entries until the rest fits `limit`.

        Args:
            limit: Bytes; None: remove leftovers only.
            keep: Key of an entry that stays whatever the limit.

        Raises:
            CacheError: The cache cannot be written.
        """
        with self.writing():
            leftovers = self.leftovers()
            for place in leftovers:
                self._remove(place)
            entries = self.entries()
            kept = sum(entry.size for entry in entries)
            needed_since = self._needed_since()
            evicted: list[Entry] = []
            for entry in entries:
                if limit is None or kept <= limit:
                    break
                if entry.key == keep:
                    continue
                # Object stores tell whole seconds.
                if needed_since is not None and entry.used_at >= int(needed_since):
                    _log.warning(
                        "The checkpoint cache holds %d MB, more than its limit of %d MB: running "
                        "trials need the rest.",
                        *(kept // 10**6, limit // 10**6),
                    )
                    break
                self._evict(entry.key)
                evicted.append(entry)
                kept -= entry.size
        freed = sum(leftovers.values()) + sum(entry.size for entry in evicted)
        return Collection(len(evicted), len(leftovers), freed, kept)

    # --- one entry

    def _manifest(self, key: str) -> str:
        return f"{self._root}/{key[:2]}/{key}.json"

    def _read(self, key: str) -> Checkpoint | None:
        """The whole entry, counted as used now; None, with a warning if it is damaged."""
        place = self._manifest(key)
        if not self._files.exists(place):
            return None
        checkpoint = self._checked(key)
        if checkpoint is not None:
            self.touch(checkpoint.inputs)
        elif place not in self._reported:  # whoever waits for it looks again and again
            self._reported.add(place)
            _log.warning("Checkpoint %s is damaged; it is made anew.", place)
        return checkpoint

    def _checked(self, key: str) -> Checkpoint | None:
        """The entry if the SHA-256 of each of its files is right; a remote one is downloaded."""
        manifest = read_manifest(self._files, self._manifest(key))
        if manifest is None:
            return None
        try:
            folder = self._fetched(f"{self._root}/{key[:2]}/{manifest.folder}")
        except FileNotFoundError:
            return None
        if not manifest.holds(folder):
            return None
        return Checkpoint(key, folder, manifest.inputs, manifest.notes, reused=True)

    def _entry(self, place: str) -> Entry | None:
        manifest = read_manifest(self._files, place)
        try:
            if manifest is None:
                return None
            used_at = self._files.modified(place).timestamp()
            return Entry(manifest.key, manifest.inputs, manifest.notes, manifest.size, used_at)
        except FileNotFoundError:
            return None

    def _fetched(self, folder: str) -> Path:
        """The folder of an entry on this machine, downloaded from a remote cache."""
        if self._is_local:
            return Path(folder)
        if self._downloads is None:
            self._downloads = Downloads(self._files)
        return self._downloads.bring(folder)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """An empty folder to train into, on the file system it will be published from."""
        if not self._is_local:
            with tempfile.TemporaryDirectory(prefix="transfer-search-") as name:
                yield Path(name)
            return
        with self.writing():
            folder = new_partial(self._root)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # gone if it was published

    def _publish(
        self,
        made: Path,
        key: str,
        inputs: Mapping[str, Any],
        notes: Mapping[str, Any],
        lease: Lease,
    ) -> Checkpoint:
        old = read_manifest(self._files, self._manifest(key))
        if old is not None and (there := self._checked(key)) is not None:
            # Workers of another database, with leases of their own, were quicker: theirs is
            # in use and stays.
            return there
        manifest = manifest_of(made, key, inputs, notes)
        parent = f"{self._root}/{key[:2]}"
        place = f"{parent}/{manifest.folder}"
        self._files.makedirs(parent, exist_ok=True)
        try:
            if self._is_local:
                made.rename(place)
            else:
                for name in manifest.files:
                    self._files.put_file(str(made / name), f"{place}/{name}")
            lease.confirm()
            write_manifest(self._files, self._manifest(key), manifest)
        except BaseException:  # whatever it is, no manifest names these files: passed on
            self._remove(place)
            raise
        if old is not None:  # the damaged one
            self._remove(f"{parent}/{old.folder}")
        return Checkpoint(key, self._fetched(place), inputs, notes, reused=False)

    def _evict(self, key: str) -> None:
        """Remove an entry, its manifest first: without one, it is no entry."""
        manifest = read_manifest(self._files, self._manifest(key))
        self._remove(self._manifest(key))
        if manifest is not None:
            self._remove(f"{self._root}/{key[:2]}/{manifest.folder}")

    def _remove(self, place: str) -> None:
        try:
            self._files.rm(place, recursive=True)
        except FileNotFoundError:
            return  # another process was quicker

    def _manifests(self) -> list[str]:
        return places_of(MANIFESTS, self._files, self._root)

    def _parts(self) -> list[str]:
        return places_of(PARTS, self._files, self._root)
