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
RECIPE = Recipe("x", "e_ner", (Route((FIRST,), STAGE, STAGE),), (0,), "x")
POSITIONS: tuple[Position, ...] = ("intermediate", "target", "scoring")
LANGUAGES = frozenset({"swa", "yor"})
OWN, BASELINE = (("swa", 0.50), ("yor", 0.30)), (("swa", 0.46), ("yor", 0.32))


def _gain() -> TransferGain:
    own, base = ([a_score("panx", *x) for x in side] for side in (OWN, BASELINE))
    pairs = zip(own, base, strict=True)
    return TransferGain(tuple(PairedScore(0, x, y, y) for x, y in pairs))


def _trial(state: optuna.trial.TrialState, **attributes: str) -> optuna.trial.FrozenTrial:
    value = 1.0 if state is optuna.trial.TrialState.COMPLETE else None
    return optuna.create_trial(state=state, value=value, user_attrs=attributes)


def _show(*, terminal: bool) -> str:
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=140, color_system=None)
    progress = RunProgress(console, 8, LANGUAGES)
    with progress.showing():
        progress.resume(2, (0.5, "wnut17, target.batch_size 8"))
        progress.on_stage(StageProgress("pretraining", "pocket_text", 0, 1, 100))
        progress.on_trial_started(2, RECIPE)
        for position in POSITIONS:
            progress.on_stage(StageProgress(position, "panx", 1, 3, 7))
        progress.on_trial_finished(_trial(optuna.trial.TrialState.COMPLETE), _gain(), 3)
        logging.getLogger("objectives.data.study_corpora").warning("panx swa: 3 words are lost")
        pruned = _trial(optuna.trial.TrialState.PRUNED, reason="diverged: loss nan")
        progress.on_trial_finished(pruned, None, 4)
    return written.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_every_trial_leaves_its_line(terminal: bool) -> None:
    shown = _show(terminal=terminal)
    assert "2 of 8 trials are done already" in shown
    assert "pretraining the pocket encoder" in shown
    assert "gain +1.0, paired +1.0, score 40.0 [swa +4.0 yor -2.0]" in shown
    assert "e_ner (5 ep, 0.0001) -> panx (3e-05)" in shown
    assert "infeasible: diverged: loss nan" in shown
    assert "note: panx swa: 3 words are lost" in shown


def test_a_terminal_shows_the_stage_and_the_best_recipe() -> None:
    shown = _show(terminal=True)
    assert "intermediate panx seed 1" in shown
    assert "3/7" in shown
    assert "best +1.0: e_ner (5 ep, 0.0001) -> panx (3e-05)" in shown


def test_a_resumed_study_keeps_its_best_recipe_in_sight() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=140, color_system=None)
    progress = RunProgress(console, 8, LANGUAGES)
    with progress.showing():
        progress.resume(2, (6.2, "uner_ewt, target.batch_size 8"))
        progress.on_trial_started(2, RECIPE)
        progress.on_trial_finished(_trial(optuna.trial.TrialState.COMPLETE), _gain(), 3)
    assert "best +6.2: uner_ewt, target.batch_size 8" in written.getvalue()
    assert "best +1.0" not in written.getvalue()


def test_a_log_has_no_control_characters() -> None:
    assert "\x1b" not in _show(terminal=False)
