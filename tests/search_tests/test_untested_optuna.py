"""A study without Optuna's private names: the same trials as with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from objectives.gains.transfer_gain import TransferGain
from spaces.recipe import Recipe
from tests.search_tests.loop import Loop, gain_of
from tests.studies import small_space

SPACE = small_space(
    {"none": (), "general": ("a", "b"), "legal": ("c", "d")},
    epochs=(1, 2, 4),
    learning_rate=(1e-5, 3e-5, 1e-4),
)


def points_of(recipe: Recipe, go_on: Any) -> TransferGain:
    """In the place of a training: one task pays, and more epochs pay."""
    task = {"": 0.0, "c": 8.0}.get(recipe.intermediate, 2.0)
    return gain_of(task + recipe.routes[0].target.epochs / 7)


def trials_of(loop: Loop, trials: int) -> list[tuple[Any, ...]]:
    """What a worker proposed and was told, trial by trial."""
    loop.space = SPACE
    loop.run(points_of, trials)
    found = [
        (trial.number, trial.state, trial.values, trial.params, trial.user_attrs["slot"])
        for trial in loop.trials
    ]
    loop.storage.close()
    return found


def test_a_worker_runs_the_same_trials(
    tmp_path: Path, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """Long enough that TPE proposes, and resumed once."""
    runs = []
    for name in ("tested", "untested"):
        if name == "untested":
            request.getfixturevalue("untested_optuna")
        folder = tmp_path / name
        folder.mkdir()
        url = f"sqlite:///{folder / 'study.db'}"
        first = trials_of(Loop(url, str(folder / "cache")), 14)
        whole = trials_of(Loop(url, str(folder / "cache")), 24)
        assert whole[:14] == first
        runs.append(whole)
    assert len(runs[0]) == 24
    assert runs[0] == runs[1]
    said = [x for x in caplog.records if "was not tested" in x.getMessage()]
    assert len(said) == 1
