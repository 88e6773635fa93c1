"""The manifest of a checkpoint: which files an entry of the cache has, and the SHA-256 of each.

It lies at `KEY.json` and is written last and in one step, so that an entry is there whole or not
at all. One that is broken, or names another key, counts as absent.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from storage.fingerprint import file_sha256, fingerprint


@dataclass(frozen=True)
class Manifest:
    """One entry of the cache, as its manifest says.

    Attributes:
        key: Fingerprint of `inputs`.
        inputs: All that determines the files, in JSON's types.
        notes: What was noted about the making, in JSON's types.
        folder: Name of the folder with the files, beside the manifest.
        size: Bytes of all files.
        files: Name of each file -> its SHA-256.
    """

    key: str
    inputs: Mapping[str, Any]
    notes: Mapping[str, Any]
    folder: str
    size: int
    files: Mapping[str, str]

    def holds(self, folder: Path) -> bool:
        """Whether the files of a folder of this machine are those of the manifest; reads them."""
        try:
            size = 0
            for name, digest in self.files.items():
                # What is no file, as a pipe, would be waited for.
                if not (folder / name).is_file() or file_sha256(folder / name) != digest:
                    return False
                size += (folder / name).stat().st_size
        except FileNotFoundError:
            return False
        return size == self.size


def manifest_of(
    made: Path, key: str, inputs: Mapping[str, Any], notes: Mapping[str, Any]
) -> Manifest:
    """The manifest of files that were just made, in a folder of a new name.

    Args:
        made: Folder with the files, on this machine.
        key: Fingerprint of `inputs`.
        inputs: All that determines the files, in JSON's types.
        notes: What was noted about the making, in JSON's types.
    """
    files = sorted(path for path in made.iterdir() if path.is_file())
    return Manifest(
        key,
        inputs,
        notes,
        folder=f"{key}-{uuid.uuid4().hex}",
        size=sum(path.stat().st_size for path in files),
        files={path.name: file_sha256(path) for path in files},
    )


def read_manifest(files: AbstractFileSystem, place: str) -> Manifest | None:
    """The manifest at a place; None where there is none, or it is broken or another key's."""
    if isinstance(files, LocalFileSystem) and not files.isfile(place):
        return None  # evicted meanwhile, or a pipe, which would be waited for
    try:
        return _checked(Path(place).stem, json.loads(files.cat_file(place)))
    except (FileNotFoundError, ValueError, RecursionError):
        return None  # evicted meanwhile, or no JSON that Python reads


def write_manifest(files: AbstractFileSystem, place: str, manifest: Manifest) -> None:
    """Write a manifest in one step; on a local disk such that it survives a power cut."""
    text = json.dumps(asdict(manifest), indent=1, sort_keys=True).encode()
    if not isinstance(files, LocalFileSystem):
        files.pipe_file(place, text)
        return
    temporary = Path(f"{place}-{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)


def _checked(key: str, content: object) -> Manifest | None:
    match content:
        case {
            "key": str(own),
            "inputs": dict(inputs),
            "notes": dict(notes),
            "folder": str(folder),
            "size": int(size),
            "files": dict(files),
        }:
            if (
                own == fingerprint(inputs) == key
                and re.fullmatch(f"{key}-[0-9a-f]{{32}}", folder) is not None
                and all(isinstance(digest, str) for digest in files.values())
                and all(re.fullmatch(r"[^/\0]{1,255}", name) for name in files)
            ):
                return Manifest(own, inputs, notes, folder, size, files)
    return None
