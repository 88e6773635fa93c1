"""The checkpoint cache: stages by content address, each trained once and never half there.

An entry is a folder named by the fingerprint of all that determines its files. The manifest is
written last and the folder then renamed into place, so that a killed process leaves nothing
that looks whole. Each file's SHA-256 is checked on reading; a broken entry counts as absent.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.fingerprint import file_sha256, fingerprint

MANIFEST = "manifest.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """One entry of the cache.

    Attributes:
        key: Fingerprint of `inputs`.
        folder: Where its files lie; read only.
        inputs: All that determines the files.
        notes: What `train` returned about the making: seconds, updates, device, versions.
        reused: Whether it was there before it was asked for.
    """

    key: str
    folder: Path
    inputs: Mapping[str, Any]
    notes: Mapping[str, Any]
    reused: bool


class CheckpointCache:
    """A folder of checkpoints. Any number of processes may use it at the same time.

    Args:
        folder: Made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_or_create(
        self, inputs: Mapping[str, Any], train: Callable[[Path], Mapping[str, Any]]
    ) -> Checkpoint:
        """The checkpoint of `inputs`, made by `train` where it is not there yet.

        Args:
            inputs: All that determines the files, in JSON's types.
            train: Writes the files into the empty folder it is given; returns notes in JSON's
                types. What it raises is passed on, and nothing is kept.

        Raises:
            OSError: The cache cannot be written.
        """
        key = fingerprint(inputs)
        if found := self._read(key):
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"partial-{key[:12]}-", dir=self.folder))
        try:
            started = time.perf_counter()
            notes = {**train(partial), "cache_seconds": time.perf_counter() - started}
            files = {path.name: file_sha256(path) for path in sorted(partial.iterdir())}
            manifest = {"key": key, "inputs": inputs, "notes": notes, "files": files}
            with (partial / MANIFEST).open("w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            self._publish(partial, key)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return Checkpoint(key, self._place(key), inputs, notes, reused=False)

    def _place(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _read(self, key: str) -> Checkpoint | None:
        folder = self._place(key)
        if not folder.exists():
            return None
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            broken = [
                name
                for name, digest in manifest["files"].items()
                if file_sha256(folder / name) != digest
            ]
            if not broken and manifest["key"] == key:
                return Checkpoint(key, folder, manifest["inputs"], manifest["notes"], reused=True)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            broken = [MANIFEST]  # not there, no JSON, or JSON of another shape
        _log.warning("Checkpoint %s is damaged (%s); it is made anew.", folder, broken)
        return None

    def _publish(self, partial: Path, key: str) -> None:
        place = self._place(key)
        place.parent.mkdir(exist_ok=True)
        try:
            partial.rename(place)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            if self._read(key) is None:  # a damaged entry stands in the way
                shutil.rmtree(place)
                partial.rename(place)
            # Otherwise another process made the same entry meanwhile: the same bytes.
