"""What a person sees while a study runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import ParamSpec

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.live import Live

from objectives.gains.transfer_gain import TransferGain, in_points
from objectives.stages.stage import StageProgress
from search.command_line.lines import print_lines
from search.command_line.waiting import SILENCE_SECONDS
from search.command_line.words import in_about
from search.studies.trial_notes import Failure, TrialNotes
from search.workers.bars import Bar, Bars
from search.workers.forecast import Forecast, Typical
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


@dataclass
class _Stage:
    """The stage of the moment, and since when it is there."""

    name: str
    short: str
    unit: str
    total: int
    first: int
    began: float
    done: int = 0
    seen: float = 0.0

    def bar(self) -> Bar:
        """As a line of the terminal."""
        seconds, done = self.seen - self.began, self.done - self.first
        speed = done / seconds if done > 0 and seconds > 0 else None
        left = (self.total - self.done) / speed if speed and self.total else None
        return Bar(self.name, self.done, self.total, self.unit, speed, left, self.short)


class RunProgress:
    """Shows trials and stages on a console.

    Args:
        console: Console to show them on; plain lines unless it is a terminal.
        languages: Languages that the study selects on.
        clock: Seconds from any moment on.
    """

    def __init__(
        self,
        console: Console,
        languages: frozenset[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._languages, self._clock = console, languages, clock
        self._what, self._done, self._total = "trial", 0, 0
        self._key: tuple[object, ...] = ()
        self._stage: _Stage | None = None
        self._recipe, self._answer = "", ""
        self._running: int | None = None
        self._forecast = Forecast(clock)
        self._waits_for: tuple[str, float] | None = None
        self.shows_answers = console.is_terminal and not console.quiet
        """Whether the answer of the moment is shown after each trial."""

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show the bars, and the program's notices as lines above them."""
        live = Live(
            Bars(self._bars, lambda: self._answer),
            console=self._console,
            transient=True,
            # Standard output and error are written to by others' threads, and stay as they are.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        bars = live if self._console.is_terminal and not self._console.quiet else nullcontext()
        with bars, notices(self._console):
            yield

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say what is waited for before the first training."""
        began = self._clock()
        late = threading.Timer(SILENCE_SECONDS, self.say, (f"{what} ...",))
        if not self.shows_answers:
            late.daemon = True
            late.start()
        self._waits_for = what, began
        try:
            yield
        finally:
            late.cancel()
            self._waits_for = None

    def expect(self, typical: Typical, trials: int) -> None:
        """Say what the runs of the study are like, and how many trials there will be."""
        self._forecast.expect(typical, trials)

    def kept(self) -> str:
        """What an interruption now leaves, as in `12 of 40 trials are kept`."""
        kept = f"{self._done} of {self._total} {self._what}s are kept"
        if not self._total:
            return "interrupted before the first training"
        if self._running is None:
            return kept
        return f"{kept}; {self._what} {self._running} goes back"

    def _bars(self) -> list[Bar]:
        if self._waits_for is not None:
            what, since = self._waits_for
            return [Bar(what, round(self._clock() - since), 0, "s")]
        if not self._total and self._stage is None:
            return []
        whole = Bar(
            f"{self._what}s",
            self._done,
            self._total,
            seconds_left=self._forecast.seconds_left(),
        )
        bars = [whole] if self._total else []
        return [*bars, self._stage.bar()] if self._stage else bars

    @_shown
    def begin(self, what: str, done: int, total: int) -> None:
        """Say what comes now, and how much of it is there already.

        Args:
            what: What is counted: direct training, or trial.
            done: How many of these are done.
            total: How many there will be, as far as is known.
        """
        goes_on = self._what == what and self._total
        self._what, self._done, self._total = what, done, total
        self._forecast.begin(done, total, is_direct=what != "trial")
        if done and not goes_on:
            self.say(f"{done} of {total} {what}s are done already")

    @_shown
    def on_trial_started(self, trial: FrozenTrial, recipe: Recipe) -> None:
        """Say what a trial is about to train."""
        seed = TrialNotes.of(trial).seed
        self._running, self._recipe = trial.number, f"{describe(recipe)}, seed {seed}"
        self._forecast.on_run_started()
        if not self._console.is_terminal:
            self.say(f"{self._what} {trial.number}: {self._recipe}")

    @_shown
    def on_stage(self, progress: StageProgress) -> None:
        """Move the bar of the current stage."""
        key = (progress.position, progress.task, progress.seed)
        unit = "texts" if progress.position == "scoring" else "updates"
        now = self._clock()
        if key != self._key or self._stage is None:
            self._key = key
            seed = f" seed {progress.seed}" if progress.seed else ""
            name = f"{progress.position} {progress.task}{seed}"
            self._stage = _Stage(name, progress.task, unit, progress.total, progress.done, now)
            if progress.position == "waiting":
                self.say(f"waiting: another worker trains {progress.task} seed {progress.seed}")
        self._stage.done, self._stage.total, self._stage.seen = progress.done, progress.total, now
        if progress.position in {"intermediate", "target"}:
            self._forecast.on_updates(key, progress.done)

    @_shown
    def on_trial_finished(
        self, trial: FrozenTrial, result: TransferGain | None, done: int
    ) -> None:
        """Say how a trial ended, and its gain; of a direct training its score."""
        self._done = done
        notes = TrialNotes.of(trial)
        if notes.failure is Failure.INTERRUPTED and notes.reason == "interrupted":
            return  # how it goes on is said in the end (`kept`)
        self._running = None
        self._forecast.on_run_finished(done)
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        head = f"{self._what} {trial.number} ({done}/{self._total}, {seconds:.0f} s"
        left = self._forecast.seconds_left()
        head += f", {in_about(left)} left)" if left and left >= 1 else ")"
        if result is None:
            state = "infeasible" if trial.state is TrialState.PRUNED else "failed"
            self.say(f"{head} {state}: {notes.reason or 'no reason kept'}")
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

    @_shown
    def on_answer(self, line: str) -> None:
        """Show the answer of the moment below the bars."""
        self._answer = line

    @_shown
    def say(self, line: str) -> None:
        """Show a line."""
        print_lines(self._console, line)


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
        print_lines(self._console, f"note: {record.getMessage()}")


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
