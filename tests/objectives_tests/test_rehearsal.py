"""A rehearsal against the stages that it foretells."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from objectives import rehearsal
from objectives.rehearsal import Rehearsal
from objectives.transfer import TransferObjective
from spaces.recipe import Recipe
from tests.objectives_tests.toys import run


def test_a_checkpoint_is_as_large_as_foretold_whose_stage_has_more_words(
    make_objective: Callable[..., TransferObjective],
    recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rehearsal, "UPDATES", 1)
    objective = make_objective("intermediate.epochs=[1, 3]")
    stage = recipe.routes[0].intermediate[0]
    saved = Rehearsal(objective, time.process_time).saving(recipe.backbone, stage)
    run(objective, recipe)
    sizes = {file.name: file.stat().st_size for file in tmp_path.rglob("*.safetensors")}
    assert saved.weights == pytest.approx(sizes["encoder.safetensors"], rel=0.05)
    assert saved.state == pytest.approx(sizes["training.safetensors"], rel=0.05)
