"""Places in a cache of checkpoints: found, trained into, downloaded, or left by a dead process."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
import uuid
import weakref
from pathlib import Path
from urllib.parse import quote, unquote

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from storage.processes import is_dead, process_identity

MANIFESTS = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}\.json")
PARTS = re.compile(r"(?:[0-9a-f]{2}/[0-9a-f]{64}(?:\.json)?|partial/.+)-[0-9a-f]{32}")
"""Paths in a cache: of manifests, and of folders and files that may be part of an entry."""
# Files without a manifest are left alone for so long: another machine may be at work on them.
LEFTOVER_SECONDS = 7 * 24 * 3600
# Entries of a remote cache that lie here at the same time.
DOWNLOADS = 4


class Downloads:
    """The last few folders of a remote cache, on this machine for as long as this object lives.

    Args:
        files: File system of the cache.
    """

    def __init__(self, files: AbstractFileSystem) -> None:
        self._files = files
        self._here = Path(tempfile.mkdtemp(prefix="transfer-search-"))
        weakref.finalize(self, shutil.rmtree, self._here, ignore_errors=True)

    def bring(self, folder: str) -> Path:
        """Copy a folder here; the oldest copies make room for it.

        Raises:
            FileNotFoundError: The cache has no such folder.
        """
        copies = sorted(self._here.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in copies[: max(0, len(copies) - DOWNLOADS + 1)]:
            shutil.rmtree(old)
        target = self._here / uuid.uuid4().hex
        self._files.get(folder, str(target), recursive=True)
        return target


def places_of(pattern: re.Pattern[str], files: AbstractFileSystem, root: str) -> list[str]:
    """Files and folders whose path within a cache matches; whatever else lies there is not ours.

    Args:
        pattern: `MANIFESTS` or `PARTS`.
        files: File system of the cache.
        root: Its folder there.
    """
    places = map(str, files.find(root, maxdepth=2, withdirs=True))
    return sorted(place for place in places if pattern.fullmatch(place.removeprefix(f"{root}/")))


def new_partial(root: str) -> Path:
    """An empty folder in a local cache, for files that are not whole yet."""
    # Named by its process, so that whoever collects knows whether it is still there.
    folder = Path(root, "partial", f"{quote(process_identity(), safe='')}-{uuid.uuid4().hex}")
    # A cache that we make is its user's; one that is there stays as open as it is.
    Path(root).mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    return folder


def is_leftover(files: AbstractFileSystem, place: str) -> bool:
    """Whether a place without a manifest is of a dead process, or has been still for a week."""
    path = Path(place)
    if path.parent.name == "partial" and is_dead(unquote(path.name.rpartition("-")[0])):
        return True
    times = [files.modified(file).timestamp() for file in files.find(place)] or (
        [path.stat().st_mtime] if isinstance(files, LocalFileSystem) else []
    )
    return bool(times) and time.time() - max(times) > LEFTOVER_SECONDS
