"""What a person sees of a run at terminals of 60 to 200 columns, read back from a terminal."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.stages.stage import StageProgress
from search.command_line.lines import print_lines, wrapped
from search.workers.bars import Bar, Bars
from search.workers.forecast import Forecast, Typical
from search.workers.progress import RunProgress
from spaces.recipe import Recipe, Route, Schedule, Stage
from tests.search_tests.test_progress import COMPLETE, LANGUAGES, _result, _trial
from tests.terminal import Terminal

SNAPSHOTS = Path(__file__).with_name("snapshots")
WIDTHS = (60, 80, 120, 200)
FIRST = Stage("medical_question_pairs", 10, 4.64e-5, 16, 1200, 0.1, 128, Schedule.CONSTANT)
LAST = Stage("masakhaner_two", 4, 2.15e-5, 16, 2000, 0.1, 128, Schedule.CONSTANT)
LONG = Recipe("xlm-r", "medical_question_pairs", (Route((FIRST,), LAST),))
ANSWER = (
    "best so far: medical_question_pairs (biomedical) first, +2.1; within 0.8 points of the best "
    "there is"
)
COMMAND = (
    "python -m search.run --study studies/low-resource-ner.toml --data /shared/data:/home/me/x "
    '--backbone /models/xlm-roberta-base --set \'target.languages=["swa", "yor"]\' --trials 200'
)


class Clock:
    """A clock that is told the time."""

    now = 0.0

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now


def _run_at(columns: int) -> Terminal:
    """A terminal in the middle of the third trial of a study."""
    terminal, clock = Terminal(columns), Clock()
    progress = RunProgress(terminal.console(), LANGUAGES, clock)
    with progress.showing():
        progress.expect(Typical(500.0, 1250.0), 40)
        progress.begin("trial", 0, 40)
        for number in range(3):
            trial = _trial(COMPLETE, seed=number)
            trial.number = number
            progress.on_trial_started(trial, LONG)
            for done in range(0, 751, 50):
                clock.now += 15
                stage = StageProgress("intermediate", FIRST.task, number, done, 750)
                progress.on_stage(stage)
                if number == 2 and done == 400:
                    break
            if number < 2:
                progress.on_trial_finished(trial, _result(), number + 1)
                progress.on_answer(ANSWER)
        progress.say("note: panx swa: 3 of 12,345 words have no sub-word; they count as wrong")
        shown = Terminal(columns)
        shown.write("\n".join(terminal.lines))
    assert not terminal.is_cursor_hidden
    return shown


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_run_looks_as_it_did(columns: int) -> None:
    """After a change that is meant: remove the file, run once, look at what was written."""
    file = SNAPSHOTS / f"run_{columns}.txt"
    shown = "\n".join(_run_at(columns).lines) + "\n"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(shown, encoding="utf-8")
        pytest.fail(f"{file} was missing and is written now: look at it")
    assert shown == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [40, *WIDTHS])
def test_bars_stay_bars_and_say_how_far_all_is(columns: int) -> None:
    *_, whole, stage, answer = _run_at(columns).lines
    assert "2/40" in whole
    assert " left" in whole, "from the first trial on"
    assert "400/750" in stage
    assert "updates/s" in stage or columns < 80
    assert answer.startswith("best so far: medical_question_pairs")
    assert sum(mark in whole for mark in "━─") >= 1
    for line in (whole, stage):
        assert len(line) < columns
        assert sum(line.count(mark) for mark in "━─") >= 10 or columns < 60


@pytest.mark.parametrize("columns", WIDTHS)
def test_no_word_is_broken(columns: int) -> None:
    whole = {word for line in _run_at(400).lines for word in line.split()}
    for line in _run_at(columns).lines[:-3]:
        assert set(line.split()) <= whole, line


@given(st.integers(20, 180))
def test_a_command_of_many_lines_is_the_same_command(width: int) -> None:
    lines = wrapped(f"  search on:  {COMMAND}", width)
    first = next(i for i, line in enumerate(lines) if line.lstrip().startswith("python"))
    pasted = "\n".join(lines[first:])
    assert shlex.split(pasted.replace("\\\n", " ")) == shlex.split(COMMAND)
    # What is longer is an option with its value, which nothing breaks.
    assert all(len(line) <= width or len(line.split()) <= 4 for line in lines), lines


def test_an_interval_stays_on_one_line() -> None:
    line = "legal and panx: helps, +2.1 [+0.4, +3.8] points with e_ner first"
    assert all(part.count("[") == part.count("]") for part in wrapped(line, 32))


def test_in_a_file_a_line_stays_whole() -> None:
    terminal = Terminal(400)
    console = terminal.console()
    console._force_terminal = False
    print_lines(console, COMMAND)
    assert terminal.lines == [COMMAND]


def test_bars_without_a_total_and_in_ascii() -> None:
    bars = Bars(lambda: [Bar("reading 34 splits", 3, 0, "s")], lambda: "")
    (line,) = bars.lines(60, utf8=False)
    assert line.plain.isascii()
    assert "3 s" in line.plain


def test_the_time_left_is_known_from_the_first_training_on() -> None:
    clock = Clock()
    forecast = Forecast(clock)
    forecast.expect(Typical(100.0, 300.0), trials=10)
    forecast.begin(0, 4, is_direct=True)
    assert forecast.seconds_left() is None
    forecast.on_run_started()
    clock.now = 10.0
    forecast.on_updates(("target",), 20)
    # Half a second an update: 4 direct trainings of 100 and 10 trials of 300, less what is over.
    assert forecast.seconds_left() == pytest.approx(0.5 * (400 + 3000) - 10)
    clock.now = 60.0
    forecast.on_run_finished(1)
    assert forecast.seconds_left() == pytest.approx(0.6 * (300 + 3000)), "scoring counts, too"
    forecast.begin(0, 10, is_direct=False)
    assert forecast.seconds_left() == pytest.approx(0.6 * 3000), "as of the phase before"
    clock.now = 160.0
    forecast.on_run_finished(2)
    assert forecast.seconds_left() == pytest.approx(8 * 50), "two in 100 seconds, by all workers"
    clock.now = 180.0
    assert forecast.seconds_left() == pytest.approx(8 * 50 - 20)


def test_a_resumed_study_is_not_thought_quicker_for_what_was_there() -> None:
    clock = Clock()
    forecast = Forecast(clock)
    forecast.expect(Typical(1.0, 1.0), trials=100)
    forecast.begin(90, 100, is_direct=False)
    forecast.on_run_started()
    clock.now = 30.0
    forecast.on_run_finished(91)
    assert forecast.seconds_left() == pytest.approx(9 * 30)
