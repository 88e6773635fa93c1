"""The landscape of a small study against figures worked by hand."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState
from scipy import stats

from search.figures import build_figures
from search.landscape import Landscape, fit_surface, read_landscape, transfer_matrix
from search.results import open_results
from tests.search_tests.synthetic_study import Plan, write_study

BASELINE = {(0, "qaa"): 50, (0, "qab"): 40, (1, "qaa"): 52, (1, "qab"): 42}
GENERAL = {"intermediate.domain": "general", "intermediate.task.general": "pocket_ner_calendar"}
LEGAL = {"intermediate.domain": "legal", "intermediate.task.legal": "pocket_ner_parties"}


def scored(*gains: int) -> dict[tuple[int, str], tuple[int, int, int]]:
    """Paired gains by seed, then language; the reference is two points below the baseline."""
    places = zip(BASELINE.items(), gains, strict=True)
    return {place: (base + gain, base, base - 2) for (place, base), gain in places}


def choice(arm: dict[str, str], epochs: int) -> dict[str, object]:
    return {**arm, "intermediate.epochs": epochs, "intermediate.learning_rate": 1e-4}


# Two recipes of each task, alike but for their epochs; one trial failed.
PLANS = [
    Plan({"intermediate.domain": "none"}, scored(0, 0, 0, 0)),
    Plan(choice(GENERAL, 1), scored(1, 3, 3, 5)),
    Plan(choice(GENERAL, 2), scored(2, 4, 4, 6)),
    Plan(choice(LEGAL, 1), scored(-30, -28, -31, -29)),
    Plan(choice(LEGAL, 2), scored(-32, -30, -33, -31), seconds=(4.0, 1.0)),
    Plan(choice(LEGAL, 2), attributes={"reason": "diverged"}, state=TrialState.FAIL),
]


def read(url: str) -> Landscape:
    return read_landscape(open_results(argparse.Namespace(study="synthetic", storage=url)))


@pytest.fixture(scope="module")
def landscape(tmp_path_factory: pytest.TempPathFactory) -> Landscape:
    url = f"sqlite:///{tmp_path_factory.mktemp('landscape') / 'study.db'}"
    write_study(url, PLANS)
    return read(url)


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
    recipes = read(url).recipes.set_index("trial")
    assert list(recipes.index) == [0, 1, 2, 3, 4]
    assert (recipes["trials"][2], recipes["seeds"][2]) == (2, 2)
    assert recipes["seconds"][2] == 3.0


def test_the_matrix_has_means_intervals_over_recipes_and_seeds_and_flags(
    landscape: Landscape,
) -> None:
    matrix = landscape.matrix.set_index(["intermediate", "language"])
    general, legal = (matrix.loc[(f"pocket_ner_{x}", "qaa")] for x in ("calendar", "parties"))
    # Paired gains 1, 3 and 2, 4. Clusters' sums of deviations: recipes -1 and 1, seeds -2 and 2;
    # variances 4, 16 and, of both together, 4/3 * 5, so that seeds alone are the most: 16 / 4**2.
    half = stats.t.ppf(0.975, 1)
    assert general["paired_gain"] == pytest.approx(2.5)
    assert (general["low"], general["high"]) == pytest.approx((2.5 - half, 2.5 + half))
    assert (general["recipes"], general["seeds"], general["transfer"]) == (2, 2, "")
    assert legal["paired_gain"] == pytest.approx(-31.5)
    assert legal["high"] < 0
    assert legal["transfer"] == "negative"


def test_one_recipe_or_one_seed_has_no_interval_and_no_flag() -> None:
    columns = ["trial", "arm", "intermediate", "seed", "task", "language", "paired_gain"]
    head = ("legal", "parties")
    rows = [(1, *head, seed, "nli", "qaa", -20.0 - seed) for seed in (0, 1, 2)]
    rows += [(trial, *head, 0, "nli", "qab", -20.0 - trial) for trial in (1, 2, 3)]
    matrix = transfer_matrix(pd.DataFrame(rows, columns=columns))
    assert matrix["paired_gain"].tolist() == [-21, -22]
    assert matrix["low"].isna().all()
    assert matrix["transfer"].tolist() == ["", ""]


def test_intervals_of_the_matrix_seldom_exclude_the_truth() -> None:
    """Recipes, seeds and both together vary as much; 300 cells of 4 recipes and 3 seeds each."""
    rng = np.random.default_rng(0)
    parts = []
    for cell in range(300):
        of_recipe, of_seed, of_both = rng.normal(size=4), rng.normal(size=3), rng.normal(size=12)
        gains = (of_recipe[:, None] + of_seed).ravel() + of_both
        parts.append(
            pd.DataFrame(
                {
                    "trial": np.repeat(range(4), 3),
                    "seed": np.tile(range(3), 4),
                    "paired_gain": gains,
                    "language": f"l{cell}",
                }
            ).assign(arm="legal", intermediate="parties", task="nli")
        )
    flags = transfer_matrix(pd.concat(parts))["transfer"]
    assert (flags != "").mean() <= 0.07


def test_the_additive_part_is_that_of_least_squares(landscape: Landscape) -> None:
    additive = landscape.additive
    assert additive is not None
    tasks = additive.tasks.set_index("intermediate")
    cells = additive.cells.set_index("language")
    assert tasks["coefficient"].to_dict() == pytest.approx(
        {"pocket_ner_calendar": 3.5, "pocket_ner_parties": -30.5}
    )
    assert cells["coefficient"].to_dict() == pytest.approx({"qaa": -1, "qab": 1})
    # Recipes' means are 3, 4 and -29.5, -31.5: 2.5 squared, of 2 degrees of freedom.
    error = math.sqrt(2.5 / 2 / 2)
    assert tasks["standard_error"].tolist() == pytest.approx([error, error])
    half = stats.t.ppf(0.975, 2) * error
    assert tasks["high"].tolist() == pytest.approx([3.5 + half, -30.5 + half])
    assert additive.explained == pytest.approx(1 - 5 / 2325)
    assert additive.explained_of_means == pytest.approx(1)


def test_curves_are_of_recipes_alike_but_for_their_epochs(landscape: Landscape) -> None:
    found = landscape.curves[["curve", "trial", "intermediate.epochs"]].to_numpy().tolist()
    assert found == [[1, 1, 1], [1, 2, 2], [3, 3, 1], [3, 4, 2]]


def test_leaders_are_held_against_the_tuned_baseline(landscape: Landscape) -> None:
    means = {row["trial"]: row["gain"] for row in landscape.leaders if not row["task"]}
    assert means == pytest.approx({2: 4, 3: -29.5})
    assert len(landscape.leaders) == 2 * (1 + 2)


def test_too_few_recipes_make_no_forest_and_no_importance(landscape: Landscape) -> None:
    assert landscape.surface is None
    assert landscape.importance.empty
    assert set(build_figures(landscape, (), pocket=True)) == {
        "arms",
        "matrix",
        "pareto",
        "epochs",
    }


def test_a_study_without_a_complete_trial_has_an_empty_landscape(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, PLANS[-1:])
    landscape = read(url)
    assert len(landscape.scores) == 1
    assert landscape.recipes.empty
    assert not build_figures(landscape, (), pocket=False)


def many(effect: float, count: int = 48) -> list[Plan]:
    """Recipes whose gain depends on the learning rate alone, and on luck."""
    rng = np.random.default_rng(1)
    plans = [Plan({"intermediate.domain": "none"}, scored(0, 0, 0, 0))]
    for number in range(count):
        params = {
            **(GENERAL, LEGAL)[number % 2],
            "intermediate.epochs": (1, 2)[number // 2 % 2],
            "intermediate.learning_rate": (1e-4, 1e-3)[number // 4 % 2],
            "intermediate.batch_size": 8 * (number // 8 + 1),
        }
        good = effect * (params["intermediate.learning_rate"] == 1e-3)
        plans.append(Plan(params, scored(*(int(x) for x in rng.normal(good, 2, 4).round()))))
    return plans


def test_the_forest_and_the_importance_find_the_choice_that_matters(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, many(effect=10))
    landscape = read(url)
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
