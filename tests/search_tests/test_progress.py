"""What a person sees: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import io
import logging

import optuna
import pytest
from rich.console import Console

from objectives.gains.transfer_gain import TransferGain
from objectives.stages.stage import Position, StageProgress
from search.workers.progress import RunProgress
from spaces.recipe import Recipe, Route, Schedule, Stage
from storage.tables import PairedScore
from tests.studies import a_score

STAGE = Stage("panx", 2, 3e-5, 16, 100, 0.1, 128, Schedule.LINEAR)
FIRST = Stage("e_ner", 5, 1e-4, 16, 100, 0.1, 128, Schedule.CONSTANT)
RECIPE = Recipe("x", "e_ner", (Route((FIRST,), STAGE),))
DIRECT = Recipe("x", "", (Route((), STAGE),))
COMPLETE = optuna.trial.TrialState.COMPLETE
POSITIONS: tuple[Position, ...] = ("intermediate", "target", "scoring")
LANGUAGES = frozenset({"swa", "yor"})
OWN, ZERO = (("swa", 0.50), ("yor", 0.30)), (("swa", 0.46), ("yor", 0.32))


def _result(*, is_direct: bool = False) -> TransferGain:
    own, zero = ([a_score("panx", *x) for x in side] for side in (OWN, ZERO))
    pairs = zip(own, [None, None] if is_direct else zero, strict=True)
    return TransferGain(tuple(PairedScore(0, x, y) for x, y in pairs))


def _trial(state: optuna.trial.TrialState, **attributes: object) -> optuna.trial.FrozenTrial:
    value = 1.0 if state is optuna.trial.TrialState.COMPLETE else None
    trial = optuna.create_trial(state=state, value=value, user_attrs=attributes)
    trial.number = 6
    return trial


def _show(*, terminal: bool) -> str:
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=140, color_system=None)
    progress = RunProgress(console, LANGUAGES, clock=lambda: 0.0)
    with progress.showing():
        progress.begin("direct training", 0, 3)
        progress.on_trial_started(_trial(COMPLETE, seed=0), DIRECT)
        progress.on_trial_finished(_trial(COMPLETE), _result(is_direct=True), 1)
        progress.begin("direct training", 1, 5)
        progress.on_trial_finished(_trial(COMPLETE), _result(is_direct=True), 2)
        progress.begin("trial", 2, 8)
        progress.on_trial_started(_trial(COMPLETE, seed=4), RECIPE)
        for position in POSITIONS:
            progress.on_stage(StageProgress(position, "panx", 1, 3, 7))
        progress.on_trial_finished(_trial(COMPLETE), _result(), 3)
        logging.getLogger("objectives.data.study_corpora").warning("panx swa: 3 words are lost")
        pruned = _trial(optuna.trial.TrialState.PRUNED, reason="diverged: loss nan")
        progress.on_trial_finished(pruned, None, 4)
    return written.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_every_trial_leaves_its_line(terminal: bool) -> None:
    shown = _show(terminal=terminal)
    assert "2 of 8 trials are done already" in shown
    assert "trial 6 (3/8, 0 s) gain +1.0, score 40.0 [swa +4.0 yor -2.0]" in shown
    assert "e_ner (5 ep, 0.0001) -> panx (3e-05), seed 4" in shown
    assert "infeasible: diverged: loss nan" in shown
    assert "note: panx swa: 3 words are lost" in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_a_direct_training_has_a_score_and_no_gain(terminal: bool) -> None:
    shown = _show(terminal=terminal)
    assert "direct training 6 (1/3, 0 s) score 40.0 [swa 50.0 yor 30.0]" in shown
    assert "direct training 6 (2/5, 0 s) score 40.0" in shown, "more are needed by now"
    assert "of 5 direct trainings are done already" not in shown, "nobody resumed them"
    assert "none -> panx (3e-05), seed 0" in shown


def test_a_terminal_shows_the_stage() -> None:
    shown = _show(terminal=True)
    assert "scoring panx seed 1" in shown
    assert "3/7" in shown


def test_several_targets_are_shown_by_task() -> None:
    written = io.StringIO()
    progress = RunProgress(Console(file=written, width=140), LANGUAGES)
    other = PairedScore(0, a_score("xnli", "swa", 0.7), a_score("xnli", "swa", 0.6))
    progress.begin("trial", 0, 8)
    progress.on_trial_finished(_trial(COMPLETE), TransferGain((*_result().pairs, other)), 1)
    assert "gain +5.5, score 55.0 [panx +1.0 xnli +10.0]" in written.getvalue()


def test_a_log_has_no_control_characters() -> None:
    assert "\x1b" not in _show(terminal=False)
