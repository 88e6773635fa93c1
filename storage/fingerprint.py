"""Fingerprints: one name for equal content, on every machine and in every process."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

_CONTAINERS = (dict, list, tuple)


def fingerprint(value: object) -> str:
    """SHA-256, in hex, of `value` as canonical JSON (keys sorted, no spaces, UTF-8).

    Tuples count as lists. Nothing is hashed by its `repr` or by pickle, so that a value that
    has no canonical form is refused rather than given a random name.

    Raises:
        TypeError: Something that JSON does not have, or a key that is no string.
        ValueError: A number that is not finite.
    """
    _check_keys(value)
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_keys(value: object) -> None:
    """Refuse keys that are no strings: JSON writes the keys 1 and "1" alike."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"expected string keys, found {key!r}")
        value = value.values()
    elif not isinstance(value, _CONTAINERS):
        return
    # A corpus has millions of leaves, for which even a look at each would be too much.
    if any(issubclass(kind, _CONTAINERS) for kind in set(map(type, value))):
        for item in value:
            _check_keys(item)
