"""A run of a study that has all its trials: it shows what came of them, and loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from objectives.data.data_source import SourceKind
from search.command_line.next_commands import StudyAddress, next_command
from search.command_line.run_options import RunOptions
from search.studies.asked_study import AskedStudy
from search.studies.baseline import kept_baseline
from search.studies.definition import kept_definition, kept_fields
from search.studies.stored_study import StoredStudy, study_in
from search.studies.versions import newest_version
from storage.leases import Leases
from storage.ledger import Ledger
from storage.patient_storage import SharedStorage
from storage.slots import Slots


def finished_study(
    options: RunOptions, asked: AskedStudy, storage: SharedStorage
) -> StoredStudy | None:
    """The study that a run asks for, where it has all its trials; None where there is work.

    None, too, where the run may ask for another study than the stored one: whoever opens it to go
    on reads the data and says what differs.
    """
    spec, name = asked.spec, newest_version(options.name or asked.spec.name, storage)
    ledger = Ledger(storage.engine)
    kept = kept_definition(name, ledger)
    if kept is None or kept_baseline(name, ledger) is None:
        return None
    if not Slots(storage.engine, Leases(storage.engine), name).are_done(
        options.trials or spec.trials
    ):
        return None
    if dict(kept.spec) != kept_fields(spec) or kept.source != asked.source.kind:
        return None
    if options.precision not in {"auto", kept.precision}:
        return None
    study = study_in(storage, options.storage, name)
    address = study.address
    is_same = (address.data, address.backbone) == (asked.data, options.backbone)
    return study if is_same and not _is_newer(asked, study) else None


def spelled_again(options: RunOptions) -> list[str]:
    """The words of a run's options that are about this machine, as they were given."""
    kept = {
        "--cache-limit": options.cache_limit,
        "--device": None if options.device == "auto" else options.device,
        "--precision": None if options.precision == "auto" else options.precision,
        "--graphs": None if options.graphs == "auto" else options.graphs,
        "--threads": options.threads,
        "--workers": options.workers,
        "--workers-per-gpu": options.workers_per_gpu,
    }
    return [word for name, value in kept.items() if value for word in (name, str(value))]


def next_steps(address: StudyAddress, options: RunOptions, trials: int) -> list[str]:
    """What to do after a run, a line each: the command, and what it is for."""
    more = spelled_again(options)
    return [
        "next:",
        f"  confirm it, on test splits:  {next_command('confirm', address)}",
        f"  a page with all of it:       {next_command('report', address)}",
        f"  browse the trials:           {next_command('dashboard', address)}",
        f"  search on:                   "
        f"{next_command('run', address, '--trials', str(2 * trials), *more)}",
    ]


def _is_newer(asked: AskedStudy, study: StoredStudy) -> bool:
    """Whether a file of the data or of an encoder is newer than the study's last trial."""
    ends = [x.datetime_complete for x in study.optuna_study.get_trials(deepcopy=False)]
    last = max((end.timestamp() for end in ends if end is not None), default=0.0)
    folders = list(asked.source.folders) if asked.source.kind is not SourceKind.POCKET else []
    folders += [Path(name) for name in asked.spec.backbone if Path(name).is_dir()]
    return any(stamp > last for stamp in _stamps(folders))


def _stamps(folders: Iterable[Path]) -> Iterable[float]:
    for folder in folders:
        for place, _, files in os.walk(folder, followlinks=True):
            for file in files:
                yield (Path(place) / file).stat().st_mtime
