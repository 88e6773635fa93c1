"""Versions of a study: `NAME`, `NAME@2` and so on, each with a larger space (`search.extend`).

A name without a number means the newest version; `NAME@1` is the first.
"""

from __future__ import annotations

import re
from collections.abc import Collection


def version_of(study_name: str) -> tuple[str, int]:
    """A study's name without its version, and the version, from 1."""
    found = re.fullmatch(r"(.+)@(\d+)", study_name)
    return (found[1], int(found[2])) if found else (study_name, 1)


def version_name(name: str, version: int) -> str:
    """What a version of a study is called in the storage."""
    return name if version == 1 else f"{name}@{version}"


def resolved(name: str, whole: Collection[str]) -> str:
    """What a user's name means in a storage.

    Args:
        name: With a version or without.
        whole: The studies of the storage, without those that an extension left half made.
    """
    base, version = version_of(name)
    if "@" in name:
        return version_name(base, version)
    versions = [number for stem, number in map(version_of, whole) if stem == base]
    return version_name(base, max(versions, default=1))
