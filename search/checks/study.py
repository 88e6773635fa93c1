"""The invariants of a user's own study, which may be finished, interrupted or at work."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from search.checks.invariants import Invariant, check_checkpoints, check_outbox, check_study
from search.checks.remains import Expected, read_remains
from search.studies.baseline import baseline_name
from search.studies.stored_study import StoredStudy
from search.workers.trial_attempts import RETRIES
from storage.checkpoints import CheckpointCache
from storage.leases import Leases
from storage.slots import Slots
from storage.workers import Workers


@dataclass(frozen=True)
class CheckedStudy:
    """What is true of a study.

    Attributes:
        standing: How far it is, and what was left out for that, in words.
        invariants: All that were checked.
    """

    standing: str
    invariants: tuple[Invariant, ...]

    @property
    def is_held(self) -> bool:
        """Whether all invariants hold."""
        return all(x.is_held for x in self.invariants)


def check_stored_study(study: StoredStudy, cache: str) -> CheckedStudy:
    """Whether a study's trials, scores and checkpoints are as they must be.

    Nothing is changed. Of a study that has not all its trials, only what is done must be whole.

    Args:
        study: The study.
        cache: Folder or URL of its checkpoints.

    Raises:
        CacheError: The cache cannot be opened.
    """
    engine, name = study.storage.engine, study.name
    slots, directory = Slots(engine, Leases(engine), name), Workers(engine, name)
    remains = read_remains(study.optuna_study, study.ledger, slots)
    alive = {worker.worker for worker in directory.all() if not worker.is_silent}
    # Read after the slots: a run that asks for more does so before it takes one.
    asked = directory.account().trials
    expected = Expected(
        asked, is_over=remains.slots_done >= asked, at_work=alive, attempts=RETRIES + 1
    )
    stages = set(study.trained_stages)
    invariants = check_study(remains, study.spec, study.catalogue, expected)
    if study.baseline is not None:
        directly = Slots(engine, Leases(engine), baseline_name(name))
        trained = read_remains(study.direct_study, study.ledger, directly)
        planned = Expected(study.baseline.trials, attempts=RETRIES + 1)
        found = check_study(trained, study.spec, study.catalogue, planned)
        invariants += [replace(x, name=f"direct trainings: {x.name}") for x in found]
    if expected.is_over and not alive:
        invariants.append(check_outbox(_undelivered(study, stages)))
    if "://" in cache or Path(cache).is_dir():
        invariants.append(check_checkpoints(CheckpointCache(cache), stages))
    else:
        nothing = f"nothing looked at: there is no folder {cache}; --cache names another"
        invariants.append(Invariant("checkpoints whole", (), nothing))
    standing = f"study {name!r}: {remains.slots_done} of {asked} trials done"
    if not expected.is_over:
        begun, left = len(remains.slots_open), asked - remains.slots_begun
        standing += (
            f", {begun} begun, {left} to come, {len(alive)} workers at it: what is not done is "
            f"not counted as missing"
        )
        if not alive:
            standing += "; the next run goes on with it"
    return CheckedStudy(standing, tuple(invariants))


def _undelivered(study: StoredStudy, stages: Collection[str]) -> list[Path]:
    """What dead workers of this machine left in the outbox for a study."""
    undelivered, names = [], {study.name, baseline_name(study.name)}
    for file in study.storage.outbox.left():
        with suppress(FileNotFoundError):  # a worker of another study delivers it
            kind, content = study.storage.outbox.read(file)
            if kind == "scores":
                is_ours = content["stage"]["checkpoint_key"] in stages
            else:
                is_ours = any(x["study_name"] in names for x in content["results"])
            if is_ours:
                undelivered.append(file)
    return undelivered
