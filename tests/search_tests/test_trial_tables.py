"""The tables of a small study against figures worked by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from search.findings.landscape import Landscape
from search.reporting.figures import build_figures
from tests.studies import PLANS, landscape_of, write_study


def test_every_score_is_in_the_long_table_and_so_is_the_trial_that_failed(
    landscape: Landscape,
) -> None:
    scores = landscape.scores
    assert len(scores) == 5 * 4 + 1
    row = scores.query("trial == 2 and seed == 1 and language == 'qab'").iloc[0]
    assert (row["score"], row["baseline"], row["reference"]) == (0.48, 0.42, 0.40)
    assert (row["gain"], row["paired_gain"]) == (pytest.approx(8), pytest.approx(6))
    assert (row["arm"], row["intermediate"]) == ("general", "pocket_ner_calendar")
    assert (row["intermediate.epochs"], row["examples"]) == (2, 100)
    assert row["seconds"] == pytest.approx(2 * (2.0 + 1.0)), "the baseline was there already"
    failed = scores[scores["trial"] == 5].iloc[0]
    assert (failed["state"], failed["reason"]) == ("fail", "diverged")
    assert pd.isna(failed["score"])


def test_recipes_have_gain_interval_and_the_time_they_ask_for(landscape: Landscape) -> None:
    recipes = landscape.recipes.set_index("trial")
    assert recipes["gain"].to_dict() == pytest.approx({0: 2, 1: 5, 2: 6, 3: -27.5, 4: -29.5})
    assert recipes["paired_gain"][2] == pytest.approx(4)
    assert recipes["score"][2] == pytest.approx(0.50)
    assert recipes["seconds"].to_dict() == {0: 1.0, 1: 3.0, 2: 3.0, 3: 3.0, 4: 5.0}
    assert list(recipes.index[recipes["is_on_front"]]) == [0, 2]
    assert (recipes["low"] < recipes["gain"])[1:].all()
    assert (recipes["high"] - recipes["gain"]).to_numpy() == pytest.approx(
        (recipes["gain"] - recipes["low"]).to_numpy(), nan_ok=True
    )


def test_a_recipe_tried_twice_with_the_same_seeds_counts_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, [*PLANS, PLANS[2]])
    recipes = landscape_of(url).recipes.set_index("trial")
    assert list(recipes.index) == [0, 1, 2, 3, 4]
    assert (recipes["trials"][2], recipes["seeds"][2]) == (2, 2)
    assert recipes["seconds"][2] == 3.0


def test_curves_are_of_recipes_alike_but_for_their_epochs(landscape: Landscape) -> None:
    found = landscape.curves[["curve", "trial", "intermediate.epochs"]].to_numpy().tolist()
    assert found == [[1, 1, 1], [1, 2, 2], [3, 3, 1], [3, 4, 2]]


def test_leaders_are_held_against_the_tuned_baseline(landscape: Landscape) -> None:
    means = {x.trial: x.gain.points for x in landscape.leaders.recipes}
    assert means == pytest.approx({2: 4, 3: -29.5})
    assert len(landscape.leaders.cells) == 2 * 2


def test_a_study_without_a_complete_trial_has_an_empty_landscape(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, PLANS[-1:])
    landscape = landscape_of(url)
    assert len(landscape.scores) == 1
    assert landscape.recipes.empty
    assert not build_figures(landscape, (), pocket=False)
