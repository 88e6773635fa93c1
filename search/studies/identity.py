"""Which study of the ledger a study in Optuna is: told by an id that both keep, not by its name.

optuna-dashboard renames a study by copying it and deleting the old one, and `optuna.copy_study`
copies its attributes: the id goes along. So a study is found again under whatever name it has,
and a name that is free in Optuna says nothing about what the ledger keeps under it: that is moved
aside, never deleted.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.command_line.next_commands import BASELINE_SUFFIX
from search.studies.baseline import baseline_name
from search.studies.trial_notes import TrialNotes
from spaces.errors import StorageError
from storage.fingerprint import fingerprint
from storage.leases import Lease, Leases
from storage.ledger import Ledger
from storage.optuna_internals import study_id_of
from storage.patient_storage import SharedStorage
from storage.slots import Slots
from storage.study_rows import copy_rows, has_rows, rename_rows

STUDY_ID = "transfer_search_id"
"""User attribute of a study in Optuna; its direct trainings have the same with a suffix."""
_HALF = "transfer_search:half"


def new_study_id() -> str:
    """An id that no other study has."""
    return uuid.uuid4().hex


def baseline_id(study_id: str) -> str:
    """The id of the direct trainings of a study."""
    return f"{study_id}{BASELINE_SUFFIX}"


def recognise(name: str, storage: SharedStorage, shown_url: str) -> None:
    """Have a study's rows in our tables under the name that it has in Optuna now.

    Where it was renamed, they are renamed; where it was copied and the other is there too, they
    are copied, and it is a study of its own from then on. Nothing is done to a study as it was.

    Args:
        name: Name of a study in the storage.
        storage: Storage of the study.
        shown_url: URL of the storage, without its password.

    Raises:
        StorageError: It is another program's study under a name that the ledger has, or a copy
            whose rows were not copied, or what is to be done cannot be, as the storage can only
            be read.
    """
    kept, ids = Ledger(storage.engine).names(), _ids(storage)
    study_id = ids[name]
    known = {here: each for each, here in kept.items()}.get(name)
    if study_id is None:
        if known is not None:
            raise _foreign(name, shown_url)
        return
    if known == study_id:
        _keep_direct_trainings(name, study_id, storage, ids)
        return
    before = kept.get(study_id)
    if before is None:
        if known is None and not _has_trials(name, storage):
            return  # its first run has not begun yet
        raise _without_tables(name, shown_url)
    if storage.is_read_only:
        raise StorageError(
            f"storage {shown_url}",
            f"study {before!r}, as it was called when it was made",
            f"{name!r}, and a storage that can only be read",
            "look at it once where the storage can be written, which renames it",
        )
    done: list[bool] = []

    def found() -> bool | None:
        return True if done else None

    def made(lease: Lease) -> bool:
        _recognised(name, storage)
        done.append(True)
        return True

    key = fingerprint(["recognise", study_id])
    Leases(storage.engine).once(key, found, made, lambda holder: None)


def _recognised(name: str, storage: SharedStorage) -> None:
    """Do what `recognise` promises, as the only process; another may have done it meanwhile."""
    ids = _ids(storage)
    study_id = ids[name]
    before = Ledger(storage.engine).names().get(study_id or "")
    if before == name or before is None or study_id is None:
        return
    set_aside(name, storage)
    if ids.get(before) == study_id:
        copied = Carried(_load(before, storage), storage, storage, name, new_study_id())
        carry(copied, only_rows=True)
    else:
        _rename(before, name, study_id, storage)


def set_aside(name: str, storage: SharedStorage) -> None:
    """Free a name in our tables.

    What stands there goes to the study that has its id, under whatever name; where that was
    deleted in Optuna, under a name that says what it was, where it is found if it comes back.
    """
    if not any(has_rows(storage.engine, each) for each in (name, baseline_name(name))):
        return
    known = {here: each for each, here in Ledger(storage.engine).names().items()}.get(name)
    ids = _ids(storage)
    owner = next((x for x, its in ids.items() if known and its == known and x != name), None)
    _rename(name, owner or f"{name}~{(known or new_study_id())[:8]}", known, storage)


def free_direct_trainings(name: str, storage: SharedStorage) -> None:
    """Free in Optuna the name of the direct trainings of a study that is not there."""
    direct = baseline_name(name)
    if direct in optuna.get_all_study_names(storage):
        _rename_in_optuna(direct, baseline_name(f"{name}~{new_study_id()[:8]}"), storage)


def _rename(old: str, new: str, study_id: str | None, storage: SharedStorage) -> None:
    """Have under another name what our tables have of a study, and its direct trainings."""
    if has_rows(storage.engine, new):
        set_aside(new, storage)
    ids = _ids(storage)
    wanted = None if study_id is None else baseline_id(study_id)
    direct = next((x for x, its in ids.items() if wanted and its == wanted), None)
    direct = direct or (baseline_name(old) if baseline_name(old) in ids else None)
    if direct is not None and direct != baseline_name(new):
        _rename_in_optuna(direct, baseline_name(new), storage)
    pairs = {old: new, baseline_name(old): baseline_name(new)}
    rename_rows(storage.engine, pairs)


def _keep_direct_trainings(
    name: str, study_id: str, storage: SharedStorage, ids: Mapping[str, str | None]
) -> None:
    """Give its direct trainings their name back, where somebody renamed them alone."""
    wanted, direct = baseline_id(study_id), baseline_name(name)
    there = next((each for each, its in ids.items() if its == wanted), None)
    if there is None or direct in ids or storage.is_read_only:
        return
    _rename_in_optuna(there, direct, storage)


def _rename_in_optuna(old: str, new: str, storage: SharedStorage) -> None:
    """As optuna-dashboard does; a copy that was cut off is begun anew."""
    if new in optuna.get_all_study_names(storage):
        if not is_half(new, storage):
            return
        optuna.delete_study(study_name=new, storage=storage)
    copied = _load(old, storage)
    about = {"baseline_of": new.removesuffix(BASELINE_SUFFIX)}
    _copy_in_optuna(copied, storage, (new, storage), about)
    _finish(_load(new, storage), storage)
    optuna.delete_study(study_name=old, storage=storage)


@dataclass(frozen=True)
class Carried:
    """A study that is copied with all that our tables have of it.

    Attributes:
        study: The study in Optuna.
        source: Its storage.
        target: Storage that gets it; may be the same.
        new_name: Its name there.
        study_id: Its id there.
    """

    study: Study
    source: SharedStorage
    target: SharedStorage
    new_name: str
    study_id: str


def carry(job: Carried, *, only_rows: bool = False) -> int:
    """Copy a study, its direct trainings and its rows; returns how many trials it has.

    Its definition is written last: without that, nobody takes the copy for a study.

    Raises:
        StorageError: There is a study of that name, or the direct trainings are not there.

    Args:
        job: What is copied, and where to.
        only_rows: Whether the study itself is in Optuna already, as somebody's copy.
    """
    name = job.study.study_name
    direct = _load(baseline_name(name), job.source)
    _carry_part(
        replace(job, study=direct, new_name=baseline_name(job.new_name)),
        {STUDY_ID: baseline_id(job.study_id), "baseline_of": job.new_name},
        is_there=only_rows and baseline_name(job.new_name) in _ids(job.target),
    )
    return _carry_part(job, {STUDY_ID: job.study_id}, is_there=only_rows)


def _carry_part(job: Carried, about: Mapping[str, str], *, is_there: bool) -> int:
    """Copy one study of the two; returns how many trials it has."""
    study, target, name = job.study, job.target, job.new_name
    if not is_there:
        _drop_half(name, target)
        _copy_in_optuna(study, job.source, (name, target), about)
    copy = _load(name, target)
    trials = copy.get_trials(deepcopy=False)
    names = (study.study_name, name)
    copy_rows(job.source.engine, target.engine, names, len(trials))
    if len(trials) < len(study.get_trials(deepcopy=False)):
        # The other went on since somebody copied it.
        Slots(target.engine, Leases(target.engine), name).write(slots_of(trials))
    frozen = Ledger(job.source.engine).frozen_study(study.study_name)
    if frozen is not None:
        Ledger(target.engine).freeze_study(name, frozen, about[STUDY_ID])
    for key, value in about.items():
        copy.set_user_attr(key, value)
    _finish(copy, target)
    return len(trials)


def slots_of(trials: Sequence[FrozenTrial]) -> list[tuple[int, bool]]:
    """Attempts at each slot that trials say they are of, and whether it is done."""
    slots: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        number = TrialNotes.of(trial).slot
        if number is not None:
            slots.setdefault(number, []).append(trial)
    finished = (TrialState.COMPLETE, TrialState.PRUNED)
    return [
        (len(mine := slots.get(n, [])), any(x.state in finished for x in mine))
        for n in range(max(slots, default=-1) + 1)
    ]


def _copy_in_optuna(
    study: Study, source: SharedStorage, into: tuple[str, SharedStorage], about: Mapping[str, str]
) -> None:
    """Copy a study as `optuna.copy_study` does, marked as half a copy until `_finish`.

    Args:
        study: What is copied.
        source: Its storage.
        into: The copy's name and storage.
        about: User attributes that the copy has instead of the study's.
    """
    name, storage = into
    copy = optuna.create_study(study_name=name, storage=storage, directions=study.directions)
    number = study_id_of(copy)
    storage.set_study_system_attr(number, _HALF, True)
    own = source.get_study_system_attrs(study_id_of(study))
    for key, value in own.items():
        if key != _HALF:
            storage.set_study_system_attr(number, key, value)
    for key, value in {**study.user_attrs, **about}.items():
        copy.set_user_attr(key, value)
    copy.add_trials(study.get_trials(deepcopy=False))


def _finish(study: Study, storage: SharedStorage) -> None:
    if is_half(study.study_name, storage):
        storage.set_study_system_attr(study_id_of(study), _HALF, False)


def is_half(name: str, storage: SharedStorage) -> bool:
    """Whether a study of the storage is what is left of a copy that was cut off."""
    there = _load(name, storage)
    marks = storage.get_study_system_attrs(study_id_of(there))
    is_empty = not there.user_attrs and not there.get_trials(deepcopy=False)
    return is_empty or bool(marks.get(_HALF))


def _drop_half(name: str, storage: SharedStorage) -> None:
    """Delete a copy that was cut off; a whole study of that name is none of ours.

    Raises:
        StorageError: There is one.
    """
    if name not in optuna.get_all_study_names(storage):
        return
    if not is_half(name, storage):
        raise StorageError("--to", "a name that is free there", repr(name), "name another, --name")
    optuna.delete_study(study_name=name, storage=storage)


def _ids(storage: SharedStorage) -> dict[str, str | None]:
    """Name of each study in Optuna -> its id; None where it has none."""
    studies = storage.get_all_studies()
    return {study.study_name: study.user_attrs.get(STUDY_ID) for study in studies}


def _load(name: str, storage: SharedStorage) -> Study:
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        raise StorageError("the storage", f"study {name!r}", "none", "it was deleted") from error


def _has_trials(name: str, storage: SharedStorage) -> bool:
    return bool(_load(name, storage).get_trials(deepcopy=False))


def _foreign(name: str, shown_url: str) -> StorageError:
    return StorageError(
        f"storage {shown_url}",
        expected="a study made by transfer-search",
        found=f"study {name!r}, which was made by something else",
        advice="choose another name with --name",
    )


def _without_tables(name: str, shown_url: str) -> StorageError:
    return StorageError(
        f"storage {shown_url}",
        f"what transfer-search keeps of study {name!r}",
        "none of it: it was copied by Optuna alone",
        "`search.copy --study NAME --to URL`, at the storage that it is from, copies all of it",
    )
