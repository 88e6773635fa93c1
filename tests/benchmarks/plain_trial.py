"""A trial of Optuna's own as a search space asks one: the peers of some benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import Trial

from spaces.dimensions import ARM_PARAM, TASK_PARAM


class PlainTrial:
    """Has a parameter of each arm for the task, as whoever writes such a study by hand.

    Args:
        trial: Optuna's trial.

    Attributes:
        params: What it chose, under the names that a search space has.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self.params: dict[str, Any] = {}

    def suggest_categorical(
        self, name: str, choices: Sequence[Any], possible: Sequence[Any]
    ) -> Any:
        """One that it can be."""
        own = f"{name}.{self.params[ARM_PARAM]}" if name == TASK_PARAM else name
        self.params[name] = self._trial.suggest_categorical(own, possible)
        return self.params[name]


def queued_plainly(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a search space as `Study.enqueue_trial` gives them to such a trial."""
    own = f"{TASK_PARAM}.{params[ARM_PARAM]}"
    return {own if name == TASK_PARAM else name: value for name, value in params.items()}
