"""Whether the choice that matters is found, and where none does, that this is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from search.findings.choice_effects import fit_surface
from search.findings.landscape import Landscape
from search.reporting.figures import build_figures
from tests.studies import landscape_of, many, write_study


def test_too_few_recipes_make_no_forest_and_no_importance(landscape: Landscape) -> None:
    assert landscape.surface is None
    assert landscape.importance.empty
    assert set(build_figures(landscape, (), pocket=True)) == {
        "arms",
        "matrix",
        "pareto",
        "epochs",
    }


def test_the_forest_and_the_importance_find_the_choice_that_matters(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, many(effect=10))
    landscape = landscape_of(url)
    surface, importance = landscape.surface, landscape.importance.set_index("choice")
    assert surface is not None
    assert surface.is_better
    assert surface.error < 3 < surface.error_of_mean
    rate = "intermediate.learning_rate"
    by_rate = surface.grid.dropna().groupby(rate)["mean"].mean()
    assert by_rate[1e-3] - by_rate[1e-4] == pytest.approx(10, abs=3)
    assert (surface.grid["sd"] > 0).all()
    assert importance.index[0] == rate
    assert importance.loc[rate, "importance"] > importance.loc[rate, "chance"]
    figures = build_figures(landscape, (), pocket=True)
    assert set(figures) == {"arms", "matrix", "landscape", "importance", "pareto", "epochs"}
    for figure in figures.values():
        assert "pocket corpora" in figure.layout.title.text


def test_where_nothing_matters_the_forest_is_said_to_be_no_better_than_the_mean() -> None:
    rng = np.random.default_rng(2)
    recipes = pd.DataFrame(
        {
            "arm": ["general", "legal"] * 20,
            "intermediate": ["a", "b", "c", "d"] * 10,
            "intermediate.epochs": [1, 2, 5, 10, 20] * 8,
            "gain": rng.normal(0, 2, 40),
        }
    )
    surface = fit_surface(recipes, ["arm", "intermediate", "intermediate.epochs"])
    assert surface is not None
    assert not surface.is_better
