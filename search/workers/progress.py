"""What a person sees while a study runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean

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
        total: Number of trials of the study.
        languages: Languages that the study selects on.
    """

    def __init__(self, console: Console, total: int, languages: frozenset[str]) -> None:
        self._console = console
        self._total = total
        self._languages = languages
        self._stage: tuple[object, ...] = ()
        self._best: tuple[float, str] | None = None
        self._recipe = ""
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            SpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._trial_bar = self._bars.add_task("trials", total=total, note="", unit="")
        self._stage_bar = self._bars.add_task(
            "", total=None, note="", unit="updates", visible=False
        )

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show the bars, and the program's notices as lines above them."""
        with self._bars, notices(self._console):
            yield

    def resume(self, done: int, best: tuple[float, str] | None) -> None:
        """Say how much of the study is there already.

        Args:
            done: Number of trials that are done.
            best: Highest gain in percentage points, and its recipe in words; None where no trial
                is complete.
        """
        self._best = best
        self._bars.update(self._trial_bar, completed=done, note=self._best_note())
        if done:
            self.say(f"{done} of {self._total} trials are done already")

    def on_trial_started(self, number: int, recipe: Recipe) -> None:
        """Say what a trial is about to train."""
        self._recipe = describe(recipe)
        if not self._console.is_terminal:
            self.say(f"trial {number}: {self._recipe}")

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
                note="",  # reset drops the fields that it is not given
            )
            if progress.position == "waiting":
                self.say(f"waiting: another worker trains {progress.task} seed {progress.seed}")
            if progress.position == "pretraining":
                self.say("pretraining the pocket encoder (once; it is kept in the cache)")
        self._bars.update(self._stage_bar, completed=progress.done, total=progress.total or None)

    def on_trial_finished(self, trial: FrozenTrial, gain: TransferGain | None, done: int) -> None:
        """Say how a trial ended, and its gain."""
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        head = f"trial {trial.number} ({done}/{self._total}, {seconds:.0f} s)"
        if gain is None:
            state = "infeasible" if trial.state is TrialState.PRUNED else "failed"
            self.say(f"{head} {state}: {TrialNotes.of(trial).reason or 'no reason kept'}")
        else:
            value = gain.overall_gain(self._languages)
            if self._best is None or value > self._best[0]:
                self._best = (value, self._recipe)
            score = 100 * gain.overall_score(self._languages)
            paired = in_points(gain.overall_paired_gain(self._languages))
            self.say(
                f"{head} gain {in_points(value)}, paired {paired}, score {score:.1f} "
                f"[{_parts(gain)}]" + self._aside(trial)
            )
            if self._console.is_terminal:
                self.say(f"  {self._recipe}")
        self._bars.update(self._trial_bar, completed=done, note=self._best_note())

    def _aside(self, trial: FrozenTrial) -> str:
        """How this trial differs from others, for the end of its line."""
        notes = TrialNotes.of(trial)
        if notes.repeat_of is not None:
            return f"; repeats trial {notes.repeat_of} with fresh seeds"
        return f"; {notes.stopped}" if notes.stopped else ""

    def _best_note(self) -> str:
        return f"best {in_points(self._best[0])}: {self._best[1]}" if self._best else ""

    def say(self, line: str) -> None:
        """Show a line."""
        self._console.print(line, markup=False, highlight=False)


def _parts(gain: TransferGain) -> str:
    """The gains that make up the mean: by language, or by task where there are several."""
    by_language = gain.by_language()
    tasks = sorted({task for task, _ in by_language})
    if len(tasks) == 1:
        return " ".join(
            f"{language} {in_points(points)}" for (_, language), points in by_language.items()
        )
    means = (fmean(v for (t, _), v in by_language.items() if t == task) for task in tasks)
    return " ".join(f"{task} {in_points(mean)}" for task, mean in zip(tasks, means, strict=True))


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

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(f"note: {record.getMessage()}", markup=False, highlight=False)


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
