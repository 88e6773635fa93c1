"""Callbacks of a run of a study: told, in plain values, of each stage and of each run.

Whoever runs a study from Python gives them (`search.notebook.study`); `search.callbacks` has those
for MLflow, TensorBoard and Weights & Biases.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import TransferGain
from search.studies.trial_notes import TrialNotes
from search.workers.progress import RunProgress
from search.workers.trial_attempts import OpenStudy
from spaces.recipe import Recipe
from spaces.studies import SEARCH_SPLIT
from storage.processes import process_identity
from storage.tables import StageRun

_log = logging.getLogger(__name__)

Kind = Literal["direct", "trial"]


@dataclass(frozen=True)
class FinishedStage:
    """A stage that a run trained, or found trained.

    Attributes:
        study: Name of the study.
        kind: Whether its run is a direct training or a trial.
        run: Number of the run among those of its kind.
        position: intermediate or target.
        task: Name of the task that it trains on.
        seed: Random seed of its training.
        updates: Optimizer steps that the run took itself, those of a shorter stage on the way
            among them; 0 where the stage was there already.
        seconds: Wall seconds of these.
        losses: Mean training loss of each epoch, from the first one on; empty where not known.
    """

    study: str
    kind: Kind
    run: int
    position: str
    task: str
    seed: int
    updates: int
    seconds: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class FinishedRun:
    """A run that came to its end: a recipe with one seed.

    Attributes:
        study: Name of the study.
        kind: Whether it is a direct training or a trial.
        run: Number of the run among those of its kind.
        state: complete, pruned (diverged, or too large for the device) or fail.
        reason: Why it is not complete; empty where it is.
        seed: Random seed of all its stages.
        params: Choices of the recipe, by their names in Optuna.
        seconds: Wall seconds from its start to its end.
        score: Score in [0, 1], the mean over target tasks and the languages selected on; None
            unless complete.
        gain: Percentage points over the best direct training; None of a direct training, and
            unless complete.
        scores: `TASK/LANGUAGE` -> score in [0, 1].
        gains: Target task -> gain in percentage points.
        stages: Stages of the recipe, those that were there already among them.
    """

    study: str
    kind: Kind
    run: int
    state: str
    reason: str
    seed: int | None
    params: Mapping[str, Any]
    seconds: float
    score: float | None
    gain: float | None
    scores: Mapping[str, float]
    gains: Mapping[str, float]
    stages: tuple[FinishedStage, ...]


class RunCallback(Protocol):
    """Is told of stages and runs.

    What it raises is said once and ends nothing: no trial is lost by a tracker that is away.
    KeyboardInterrupt passes, and ends the run of the study.
    """

    def on_stage(self, stage: FinishedStage) -> None:
        """A run has trained a stage; its run's other stages may still be to come."""

    def on_run(self, run: FinishedRun) -> None:
        """A run is over."""

    def on_end(self) -> None:
        """The study is done, or its run was interrupted: nothing more comes."""


class Callbacks:
    """Several callbacks, none of which can fail a trial.

    Args:
        callbacks: The callbacks, called in this order.
    """

    def __init__(self, callbacks: Iterable[RunCallback]) -> None:
        self._callbacks = tuple(callbacks)
        self._failures = Counter[int]()

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def on_stage(self, stage: FinishedStage) -> None:
        """Tell all of a stage."""
        self._tell(lambda callback: callback.on_stage(stage))

    def on_run(self, run: FinishedRun) -> None:
        """Tell all of a run."""
        self._tell(lambda callback: callback.on_run(run))

    @contextmanager
    def until_the_end(self) -> Iterator[Callbacks]:
        """Tell all of the end, however it comes, and say how often each failed."""
        try:
            yield self
        finally:
            self._end()

    def _end(self) -> None:
        self._tell(lambda callback: callback.on_end())
        for place, times in self._failures.items():
            if times > 1:
                name = type(self._callbacks[place]).__name__
                _log.warning("callback %s failed %d times in all", name, times)

    def _tell(self, call: Callable[[RunCallback], None]) -> None:
        for place, callback in enumerate(self._callbacks):
            try:
                call(callback)
            except Exception as error:  # noqa: BLE001, as it is anybody's code
                self._failures[place] += 1
                if self._failures[place] == 1:
                    name, kind = type(callback).__name__, type(error).__name__
                    what = "callback %s failed: %s: %s; the study goes on, and it is called on"
                    # The traceback is for whoever listens to the program's log.
                    _log.warning(what, name, kind, error, exc_info=True)


@dataclass
class CallbackListener:
    """Listens to a worker: shows what it does, and tells callbacks.

    Attributes:
        shown: Shows it.
        callbacks: Callbacks to tell.
        study: Name of the study.
        opened: The study, or its direct trainings.
        has_fellows: Whether this run has further workers: their runs are told of too, each when
            a run of this worker's own, or the work, is over.
    """

    shown: RunProgress
    callbacks: Callbacks
    study: str
    opened: OpenStudy
    has_fellows: bool

    def __post_init__(self) -> None:
        self.shows_answers = self.shown.shows_answers
        self._told = {x.number for x in self._finished()} if self.callbacks else set()
        self._runs: dict[int, list[StageRun]] = {}

    @property
    def _kind(self) -> Kind:
        return "direct" if self.opened.baseline is None else "trial"

    def on_answer(self, line: str) -> None:
        """Show the answer of the moment."""
        self.shown.on_answer(line)

    def on_trial_started(self, trial: FrozenTrial, recipe: Recipe) -> None:
        """Show it."""
        self.shown.on_trial_started(trial, recipe)

    def on_stage_run(self, trial: FrozenTrial, run: StageRun) -> None:
        """Tell of a stage that is asked for and trained, whichever is said last."""
        if not self.callbacks:
            return
        runs = self._runs.setdefault(trial.number, [])
        runs.append(run)
        same = [x for x in runs if x.checkpoint_key == run.checkpoint_key]
        if any(map(_is_training, same)) and any(x.updates_asked for x in same):
            self.callbacks.on_stage(self._stage(trial, run, runs))

    def on_trial_finished(
        self, trial: FrozenTrial, result: TransferGain | None, done: int
    ) -> None:
        """Show it, and tell of it."""
        self.shown.on_trial_finished(trial, result, done)
        if not self.callbacks:
            return
        runs = self._runs.pop(trial.number, [])
        self._told.add(trial.number)
        self.callbacks.on_run(self._run(trial, result, runs))
        self.catch_up()

    def say(self, line: str) -> None:
        """Show a line."""
        self.shown.say(line)

    def catch_up(self) -> None:
        """Tell of the runs of this machine's other workers, from what the storage keeps."""
        if not self.callbacks or not self.has_fellows:
            return
        machine = _machine_of(process_identity())
        new = [
            trial
            for trial in self._finished()
            if trial.number not in self._told
            and _machine_of(TrialNotes.of(trial).worker) == machine
        ]
        if not new:
            return
        name, ledger = self.opened.study.study_name, self.opened.ledger
        stage_runs = ledger.stage_runs(name)
        for trial in new:
            self._told.add(trial.number)
            runs = stage_runs.get(trial.number, [])
            for stage in self._stages(trial, runs):
                if stage.updates:
                    self.callbacks.on_stage(stage)
            result = None
            if trial.state is TrialState.COMPLETE:
                pairs = ledger.pairs(name, SEARCH_SPLIT, trial.number)
                result = self.opened.result(pairs[trial.number])
            self.callbacks.on_run(self._run(trial, result, runs))

    def _finished(self) -> list[FrozenTrial]:
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        return self.opened.trials(*states)

    def _stages(self, trial: FrozenTrial, runs: Sequence[StageRun]) -> tuple[FinishedStage, ...]:
        return tuple(self._stage(trial, run, runs) for run in runs if run.updates_asked)

    def _stage(
        self, trial: FrozenTrial, stage: StageRun, runs: Sequence[StageRun]
    ) -> FinishedStage:
        """One stage, and what its trial trained of it."""
        key = stage.checkpoint_key
        place = stage.position, stage.task
        work = [x for x in runs if _is_training(x) and (x.position, x.task) == place]
        return FinishedStage(
            *(self.study, self._kind, trial.number, *place, stage.seed),
            updates=sum(x.updates_trained for x in work),
            seconds=sum(x.training_seconds for x in work),
            losses=tuple(self.opened.ledger.losses({key}).get(key, ())),
        )

    def _run(
        self, trial: FrozenTrial, result: TransferGain | None, runs: Sequence[StageRun]
    ) -> FinishedRun:
        notes, languages = TrialNotes.of(trial), self.opened.languages
        is_held = result is not None and self.opened.baseline is not None
        return FinishedRun(
            *(self.study, self._kind, trial.number, trial.state.name.lower()),
            reason=notes.reason,
            seed=notes.seed,
            params=dict(trial.params),
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
            score=result.overall_score(languages) if result else None,
            gain=result.overall_gain(languages) if result and is_held else None,
            scores={"/".join(x): score for x, score in result.scores().items()} if result else {},
            gains=result.by_task(languages) if result and is_held else {},
            stages=self._stages(trial, runs),
        )


def _is_training(run: StageRun) -> bool:
    return bool(run.updates_trained) and run.finished


def _machine_of(identity: str) -> str:
    return identity.rsplit("/", 2)[0]
