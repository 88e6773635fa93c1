"""What the ledger should have of a study's complete trials and lacks: said, not passed over."""

from __future__ import annotations

from collections.abc import Collection

import optuna
from optuna.trial import TrialState

from search.studies.baseline import baseline_name, kept_baseline
from search.studies.recipes import whole_trials
from spaces.studies import SEARCH_SPLIT
from storage.ledger import Ledger
from storage.optuna_internals import study_id_of
from storage.patient_storage import SharedStorage

SHOWN = 5


def missing_lines(study_name: str, storage: SharedStorage) -> list[str]:
    """What is missing of a study, and what it is left out of; a line for each kind.

    Args:
        study_name: Name of a study in the storage.
        storage: Storage of the study.
    """
    ledger = Ledger(storage.engine)
    names = {"direct training": baseline_name(study_name), "trial": study_name}
    there = optuna.get_all_study_names(storage)
    lines = []
    for kind, name in names.items():
        complete = _complete(name, storage) if name in there else set()
        runs, stages = ledger.stage_runs(name), ledger.trained_stages(name)
        unscored = complete - whole_trials(ledger.pairs(name, SEARCH_SPLIT))
        costless = {
            number
            for number in complete
            if not runs.get(number)
            or any(x.finished and x.checkpoint_key not in stages for x in runs[number])
        }
        if unscored:
            lines.append(
                f"the ledger lacks scores of {_numbered(kind, unscored)}, complete in Optuna and "
                f"left out of everything here"
            )
        if costless:
            lines.append(
                f"the ledger lacks the stages of {_numbered(kind, costless)}: what they cost is "
                f"not counted"
            )
    if kept_baseline(study_name, ledger) is None and _complete(study_name, storage):
        lines.append(
            "the ledger lacks the baseline: no gain can be told, and all trials are left out"
        )
    return lines


def _complete(name: str, storage: SharedStorage) -> set[int]:
    study = optuna.load_study(study_name=name, storage=storage)
    trials = storage.get_all_trials(
        study_id_of(study), deepcopy=False, states=(TrialState.COMPLETE,)
    )
    return {trial.number for trial in trials}


def _numbered(kind: str, numbers: Collection[int]) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:SHOWN]))
    more = len(numbers) - SHOWN
    return f"{kind}{'s' * (len(numbers) > 1)} {shown}" + (f" and {more} more" if more > 0 else "")
