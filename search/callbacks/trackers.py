"""What is the same in all trackers: names of stages, runs and figures, and which runs are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from spaces.errors import SpecError

if TYPE_CHECKING:
    from search.workers.callbacks import FinishedRun, FinishedStage

Kept = TypeVar("Kept")
"""What a tracker knows a run by: its id, or an object that writes it."""


class OpenRuns(Generic[Kept]):
    """The runs that a tracker has begun and not ended.

    Args:
        begin: Begins a run in the tracker, by the first that is told of it.
    """

    def __init__(self, begin: Callable[[FinishedRun | FinishedStage], Kept]) -> None:
        self._begin = begin
        # By study, kind and number.
        self._open: dict[tuple[str, str, int], Kept] = {}

    def of(self, told: FinishedRun | FinishedStage) -> Kept:
        """The run that is told of, or that a stage is of; begun where it is not yet."""
        place = told.study, told.kind, told.run
        if place not in self._open:
            self._open[place] = self._begin(told)
        return self._open[place]

    def forget(self, run: FinishedRun) -> None:
        """A run that was ended."""
        del self._open[run.study, run.kind, run.run]

    def cut_off(self) -> Iterator[Kept]:
        """Those that nothing more will be told of, each forgotten as it is given out."""
        while self._open:
            yield self._open.popitem()[1]


def run_name(told: FinishedRun | FinishedStage) -> str:
    """A run's name in a tracker, as in `trial 12`."""
    return f"{told.kind} {told.run}"


def loss_name(stage: FinishedStage) -> str:
    """The name of a stage's training loss, as in `loss/intermediate/mnli`."""
    return f"loss/{stage.position}/{stage.task}"


def params_of(run: FinishedRun) -> dict[str, Any]:
    """What determined a run."""
    return {"kind": run.kind, "seed": run.seed, **run.params}


def metrics_of(run: FinishedRun) -> dict[str, float]:
    """All figures of a run: gains are points, scores lie in [0, 1], times are seconds."""
    whole = {"gain": run.gain, "score": run.score, "seconds": run.seconds}
    trained = (x for x in run.stages if x.updates)
    return {
        **{name: value for name, value in whole.items() if value is not None},
        # No name is the beginning of another: MLflow's files have one as a folder, then.
        **{f"gains/{task}": gain for task, gain in run.gains.items()},
        **{f"scores/{place}": score for place, score in run.scores.items()},
        **{f"stage_seconds/{x.position}/{x.task}": x.seconds for x in trained},
    }


def library(name: str, extra: str) -> ModuleType:
    """A tracker's library.

    Raises:
        SpecError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise SpecError(
            f"callback for {extra}",
            f"the package {(error.name or name).partition('.')[0]!r} to be installed",
            "none",
            f"pip install 'transfer-search[{extra}]'",
        ) from error
