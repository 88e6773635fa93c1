"""The complete trials of a study, each with its paired scores from the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from objectives.gain import TransferGain
from spaces.studies import NO_INTERMEDIATE, Aggregate
from storage.ledger import Ledger


@dataclass(frozen=True)
class FinishedTrial:
    """A complete trial and its paired scores."""

    trial: FrozenTrial
    gain: TransferGain

    @property
    def arm(self) -> str:
        """none, general, biomedical, legal or mixed."""
        return str(self.trial.params["intermediate.domain"])

    @property
    def task(self) -> str:
        """The intermediate task; empty in the arm "none"."""
        return str(self.trial.params.get(f"intermediate.task.{self.arm}", ""))

    @property
    def in_words(self) -> str:
        """Its choices, as in `pocket_ner_parties, intermediate.epochs 4, ...`."""
        rest = (
            f"{name} {value}"
            for name, value in self.trial.params.items()
            if not name.startswith(("intermediate.domain", "intermediate.task"))
        )
        return ", ".join((self.task or NO_INTERMEDIATE, *rest))


def finished_trials(study: Study, ledger: Ledger, aggregate: Aggregate) -> list[FinishedTrial]:
    """The complete trials of a study, in order."""
    pairs = ledger.pairs(study.study_name)
    return [
        FinishedTrial(trial, TransferGain(tuple(pairs[trial.number]), aggregate))
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if trial.number in pairs
    ]


def highest_gain(
    finished: Iterable[FinishedTrial], languages: frozenset[str]
) -> FinishedTrial | None:
    """The trial with the highest gain; None where there is none."""
    return max(finished, key=lambda item: item.gain.overall_gain(languages), default=None)
