"""What this program keeps with a trial in Optuna, beside its parameters and its value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import Any

from optuna.trial import FrozenTrial


class Failure(StrEnum):
    """Why an attempt has no value.

    LOST: its worker died, or was cut off for longer than its lease. INTERRUPTED: somebody ended
    the run, or the budget. PASSING: a fault of the machine, such as a full disk. INFEASIBLE: the
    recipe diverges or does not fit the device, which the sampler learns. ERROR: broken data or a
    bug; the second one alike stops the study.
    """

    LOST = "lost"
    INTERRUPTED = "interrupted"
    PASSING = "passing"
    INFEASIBLE = "infeasible"
    ERROR = "error"


@dataclass(frozen=True)
class TrialNotes:
    """The user attributes of a trial, each under its own name.

    Attributes:
        slot: Number of the slot that the trial is an attempt at; None for a trial that waits in
            Optuna's queue.
        worker: Identity of the process that made the trial.
        attempt: Token of the attempt, by which a trial is made once however often it is asked for
            (`storage.patient_storage.SharedStorage.TOKEN`).
        reason: Why the trial has no value, in words.
        failure: Why it has none, as a kind; None for a trial that has a value or still runs.
        seed: Random seed of the trial; a recipe's first trial has the study's first seed, the next
            one the next.
        gains: Target task -> gain of the trial in it, percentage points.
        score: Mean score of a complete trial that has a gain, percent.
        draw: How many proposals for the slot were given up before this one, as other workers were
            at them.
        retry_of: Number of the attempt before at the same slot.
        retry_reason: `reason` of that attempt.
    """

    slot: int | None = None
    worker: str = ""
    attempt: str = ""
    reason: str = ""
    failure: Failure | None = None
    seed: int | None = None
    gains: Mapping[str, float] = field(default_factory=dict)
    score: float | None = None
    draw: int = 0
    retry_of: int | None = None
    retry_reason: str = ""

    @classmethod
    def of(cls, trial: FrozenTrial) -> TrialNotes:
        """Read them from a trial; user attributes of other programs are passed over."""
        attributes = trial.user_attrs
        kept = {name: attributes[name] for name in _SILENT if name in attributes}
        if "failure" in kept:
            kept["failure"] = Failure(kept["failure"])
        return cls(**kept)

    @property
    def attributes(self) -> dict[str, Any]:
        """Those that say something, in JSON's types, as Optuna keeps them."""
        said = {name: getattr(self, name) for name in _SILENT}
        kept = {name: value for name, value in said.items() if value != _SILENT[name]}
        if self.retry_of is not None:
            kept["retry_reason"] = self.retry_reason
        return kept


# What each of them is where it says nothing, in the order in which they are kept.
_SILENT = {
    each.name: {} if each.default is MISSING else each.default for each in fields(TrialNotes)
}
