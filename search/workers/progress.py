"""What a person sees while a study runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ParamSpec

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from objectives.gains.transfer_gain import TransferGain, in_points
from objectives.stages.stage import StageProgress
from search.studies.trial_notes import TrialNotes
from spaces.recipe import Method, Recipe, Stage

P = ParamSpec("P")
_log = logging.getLogger(__name__)


def _shown(method: Callable[P, None]) -> Callable[P, None]:
    """A method that shows something and costs no trial: what cannot be shown is logged."""

    @functools.wraps(method)
    def show(*given: P.args, **named: P.kwargs) -> None:
        try:
            method(*given, **named)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (rich ends a process by SystemExit)
            _log.debug("cannot be shown: %r", error)

    return show


class SpeedColumn(ProgressColumn):
    """Updates per second of a stage."""

    def render(self, task: Task) -> Text:
        """The speed, once it is known."""
        unit = task.fields.get("unit", "")
        return Text(f"{task.speed:.1f} {unit}/s" if task.speed and unit else "", "cyan")


class RunProgress:
    """Shows trials and stages on a console.

    Args:
        console: Console to show them on; plain lines unless it is a terminal.
        languages: Languages that the study selects on.
    """

    def __init__(self, console: Console, languages: frozenset[str]) -> None:
        self._console = console
        self._languages = languages
        self._what, self._total = "trial", 0
        self._stage: tuple[object, ...] = ()
        self._recipe = ""
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            SpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._trial_bar = self._bars.add_task("", total=None, unit="", visible=False)
        self._stage_bar = self._bars.add_task("", total=None, unit="updates", visible=False)

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show the bars, and the program's notices as lines above them."""
        with self._bars, notices(self._console):
            yield

    @_shown
    def begin(self, what: str, done: int, total: int) -> None:
        """Say what comes now, and how much of it is there already.

        Args:
            what: What is counted: direct training, or trial.
            done: How many of these are done.
            total: How many there will be, as far as is known.
        """
        goes_on = self._what == what and self._total
        self._what, self._total = what, total
        self._bars.update(
            self._trial_bar, description=f"{what}s", completed=done, total=total, visible=True
        )
        if done and not goes_on:
            self.say(f"{done} of {total} {what}s are done already")

    @_shown
    def on_trial_started(self, trial: FrozenTrial, recipe: Recipe) -> None:
        """Say what a trial is about to train."""
        seed = TrialNotes.of(trial).seed
        self._recipe = f"{describe(recipe)}, seed {seed}"
        if not self._console.is_terminal:
            self.say(f"{self._what} {trial.number}: {self._recipe}")

    @_shown
    def on_stage(self, progress: StageProgress) -> None:
        """Move the bar of the current stage."""
        stage = (progress.position, progress.task, progress.seed)
        name = f"{progress.position} {progress.task}" + (
            f" seed {progress.seed}" if progress.seed else ""
        )
        if stage != self._stage:
            self._stage = stage
            self._bars.reset(
                self._stage_bar,
                total=progress.total,
                description=name,
                visible=True,
                unit="texts" if progress.position == "scoring" else "updates",
            )
            if progress.position == "waiting":
                self.say(f"waiting: another worker trains {progress.task} seed {progress.seed}")
            if progress.position == "pretraining":
                self.say("pretraining the pocket encoder (once; it is kept in the cache)")
        self._bars.update(self._stage_bar, completed=progress.done, total=progress.total or None)

    @_shown
    def on_trial_finished(
        self, trial: FrozenTrial, result: TransferGain | None, done: int
    ) -> None:
        """Say how a trial ended, and its gain; of a direct training its score."""
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        head = f"{self._what} {trial.number} ({done}/{self._total}, {seconds:.0f} s)"
        if result is None:
            state = "infeasible" if trial.state is TrialState.PRUNED else "failed"
            self.say(f"{head} {state}: {TrialNotes.of(trial).reason or 'no reason kept'}")
        else:
            score = f"score {100 * result.overall_score(self._languages):.1f}"
            if all(pair.reference is None for pair in result.pairs):
                parts = _parts(result.scores_by_task(self._languages), result.scores())
                shown = " ".join(f"{name} {100 * x:.1f}" for name, x in parts.items())
                self.say(f"{head} {score} [{shown}]")
            else:
                value = in_points(result.overall_gain(self._languages))
                parts = _parts(result.by_task(self._languages), result.by_language())
                shown = " ".join(f"{name} {in_points(x)}" for name, x in parts.items())
                self.say(f"{head} gain {value}, {score} [{shown}]")
            if self._console.is_terminal:
                self.say(f"  {self._recipe}")
        self._bars.update(self._trial_bar, completed=done)

    @_shown
    def say(self, line: str) -> None:
        """Show a line."""
        self._console.print(line, markup=False, highlight=False, emoji=False)


def _parts(
    by_task: Mapping[str, float], by_language: Mapping[tuple[str, str], float]
) -> Mapping[str, float]:
    """What makes up a mean: by language, or by task where there are several."""
    if len(by_task) > 1:
        return by_task
    return {language: value for (_, language), value in by_language.items()}


def describe(recipe: Recipe) -> str:
    """A recipe in one line."""
    targets = [route.target for route in recipe.routes]
    last = " + ".join(stage.task for stage in targets)
    if trained := [stage for stage in targets if stage.epochs]:
        last += f" ({_method_in_words(trained[0])})"
    if not recipe.intermediate:
        return f"none -> {last}"
    first = recipe.routes[0].intermediate[0]
    return f"{recipe.intermediate} ({first.epochs} ep, {_method_in_words(first)}) -> {last}"


def _method_in_words(stage: Stage) -> str:
    parts = [f"{stage.learning_rate:.3g}"]
    if stage.method is not Method.FULL:
        parts.append(stage.method)
    if stage.frozen_layers:
        parts.append(f"{stage.frozen_layers} frozen")
    return ", ".join(parts)


class _Notices(logging.Handler):
    """The program's own warnings, as lines above the bars."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    @_shown
    def emit(self, record: logging.LogRecord) -> None:
        line = f"note: {record.getMessage()}"
        self._console.print(line, markup=False, highlight=False, emoji=False)


@contextmanager
def notices(console: Console) -> Iterator[None]:
    """Show what the program's modules log as a warning."""
    handler = _Notices(console)
    loggers = [logging.getLogger(name) for name in ("objectives", "storage", "search")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
