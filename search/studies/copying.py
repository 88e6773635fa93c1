"""A study carried to another storage, with its direct trainings and all that the ledger has."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

from search.command_line.next_commands import check_new_name, next_command
from search.studies.identity import STUDY_ID, Carried, carry, is_half
from search.studies.stored_study import StoredStudy, open_stored_study
from search.studies.versions import version_of
from spaces.errors import StorageError
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.patient_storage import SharedStorage
from storage.urls import redacted
from storage.workers import Workers


@dataclass(frozen=True)
class CopiedStudy:
    """What was carried.

    Attributes:
        name: Name of the study where it is now.
        trials: Number of its trials.
        shown_url: URL of the storage without its password.
        command: Command that shows it there.
    """

    name: str
    trials: int
    shown_url: str
    command: str


def copy_stored(storage_url: str, study: str, to: str, name: str | None = None) -> CopiedStudy:
    """Carry a study to another storage; the one that is there stays as it is.

    Args:
        storage_url: URL of the storage that has it.
        study: Name of the study, or path of the file that it was made from.
        to: URL of the storage that gets it; its tables are made where they are not there yet.
        name: Name of the study there; None: the one it has.

    Raises:
        SpecError: The name is none.
        UnknownNameError: The storage has no such study.
        StorageError: The other storage has a study of that name, or the same study; or workers
            are at it.
    """
    if name is not None:
        check_new_name(name, "--name")
    if redacted(storage_url) == redacted(to):
        raise StorageError("--to", "another storage", redacted(to))
    old = open_stored_study(storage_url, study)
    workers = Workers(old.storage.engine, old.name).all()
    if alive := [worker for worker in workers if not worker.is_silent]:
        raise StorageError(
            f"study {old.name!r}", "no worker at it", str(len(alive)), "end them, then copy it"
        )
    new_name = name or old.name
    with closing(old.storage), closing(open_storage(to)) as target:
        trials = _carried(old, target, new_name)
    address = replace(old.address, storage=to, name=version_of(new_name)[0])
    return CopiedStudy(new_name, trials, redacted(to), next_command("status", address))


def _carried(old: StoredStudy, target: SharedStorage, new_name: str) -> int:
    """Carry it; where Optuna alone has copied it already, what it left out."""
    study_id, kept = old.optuna_study.user_attrs[STUDY_ID], Ledger(target.engine).names()
    ids = {x.study_name: x.user_attrs.get(STUDY_ID) for x in target.get_all_studies()}
    if study_id in kept:
        raise StorageError("--to", "a storage without this study", f"it, as {kept[study_id]!r}")
    is_there = ids.get(new_name) == study_id
    if new_name in kept.values() or (
        new_name in ids and not (is_there or is_half(new_name, target))
    ):
        raise StorageError("--to", "a name that is free there", repr(new_name), "give --name")
    carried = Carried(old.optuna_study, old.storage, target, new_name, study_id)
    return carry(carried, only_rows=is_there)
