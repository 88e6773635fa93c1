"""Versions of a study: `NAME`, `NAME@2` and so on, each with a larger space (`search.extend`).

A name without a number means the newest version; `NAME@1` is the first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

import optuna

from search.command_line.next_commands import file_stem
from search.studies.baseline import study_of_baseline
from spaces.errors import StorageError, unknown_name
from storage.ledger import Ledger
from storage.patient_storage import SharedStorage
from storage.urls import redacted


def version_of(study_name: str) -> tuple[str, int]:
    """A study's name without its version, and the version, from 1."""
    match = re.fullmatch(r"(.+)@(\d+)", study_name)
    return (match[1], int(match[2])) if match else (study_name, 1)


def version_name(name: str, version: int) -> str:
    """What a version of a study is called in the storage."""
    return name if version == 1 else f"{name}@{version}"


def resolved(name: str, whole: Collection[str]) -> str:
    """What a user's name means in a storage.

    Args:
        name: Name of a study, with a version or without.
        whole: Names of the studies in the storage, without those that an extension left half
            made.
    """
    base, version = version_of(name)
    if "@" in name:
        return version_name(base, version)
    versions = [number for stem, number in map(version_of, whole) if stem == base]
    return version_name(base, max(versions, default=1))


def newest_version(name: str, storage: SharedStorage) -> str:
    """The study that a name means in a storage: its newest version, where it has several."""
    names = optuna.get_all_study_names(storage)
    if not any(version_of(known)[1] > 1 for known in names):
        return resolved(name, names)
    ledger = Ledger(storage.engine)
    return resolved(name, [x for x in names if ledger.frozen_study(x) is not None])


def _meant(study: str, names: Collection[str]) -> str:
    """The name that a user means: one of a storage, in any Unicode form, or that of a file.

    A study's own name may look like the path of a file.
    """
    forms = {unicodedata.normalize("NFC", x): x for x in names}
    forms |= {unicodedata.normalize("NFC", version_of(x)[0]): version_of(x)[0] for x in names}
    for given in (study, file_stem(study)):
        if (known := forms.get(unicodedata.normalize("NFC", given))) is not None:
            return known
    return file_stem(study)


def existing_study(study: str, storage: SharedStorage, storage_url: str) -> str:
    """The name in the storage of a study that is there.

    Raises:
        UnknownNameError: The storage has no such study.
        StorageError: It is the direct trainings of a study.
    """
    names = optuna.get_all_study_names(storage)
    name = _meant(study, names)
    if (whose := study_of_baseline(name)) is not None:
        raise StorageError(
            f"--study {study}",
            "the name of a study",
            f"that of the direct trainings of {whose!r}",
            f"name {whose}, whose pages and tables have them",
        )
    whole_name = newest_version(name, storage)
    if whole_name not in names:
        known = [x for x in names if study_of_baseline(x) is None]
        raise unknown_name("Study", name, known, f"in {redacted(storage_url)}")
    return whole_name
