"""Intermediate tasks against targets: a study worked by hand, intervals by simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from search.findings.landscape import Landscape
from search.findings.transfer_matrix import transfer_matrix


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
