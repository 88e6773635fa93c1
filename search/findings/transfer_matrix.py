"""Intermediate tasks against targets: the transfer matrix, and what of it is additive."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from search.studies.stored_study import StoredStudy
from spaces.studies import NO_INTERMEDIATE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Additive:
    """Paired gain = a(intermediate task) + b(target task, language), by least squares.

    Attributes:
        tasks: `intermediate`, `coefficient`, `standard_error`, `low`, `high` (95 %: other recipes
            of the task), `recipes`; points. The coefficient is the task's mean over all cells.
        cells: The same by `task` and `language`, 0 in the mean.
        explained: R squared of the recipes' gains, each the mean over its seeds.
        explained_adjusted: The same less what as many coefficients explain by chance.
        explained_of_means: R squared of the transfer matrix, weighted by recipes.
        recipes: Number of recipes that it was fitted to.
    """

    tasks: pd.DataFrame
    cells: pd.DataFrame
    explained: float
    explained_adjusted: float
    explained_of_means: float
    recipes: int


def paired_gains(study: StoredStudy) -> pd.DataFrame:
    """Paired gains of all recipes with an intermediate task in the target languages."""
    spec, catalogue = study.spec, study.catalogue
    cells = {
        (task.name, language)
        for task in spec.target_tasks(catalogue)
        for language in spec.target_languages(task)
    }
    rows = [
        (
            recipe.first.number,
            recipe.arm,
            recipe.task,
            pair.seed,
            pair.score.task,
            pair.score.language,
            pair.paired_gain,
        )
        for recipe in study.recipes
        if recipe.arm != NO_INTERMEDIATE
        for pair in recipe.gain.pairs
        if (pair.score.task, pair.score.language) in cells
    ]
    columns = ["trial", "arm", "intermediate", "seed", "task", "language", "paired_gain"]
    return pd.DataFrame(rows, columns=columns)


def transfer_matrix(gains: pd.DataFrame) -> pd.DataFrame:
    """Mean paired gain of each intermediate task in each target task and language, in points.

    `low` and `high` are of 95 % for other recipes of the same task and other seeds, on the same
    examples. Recipes and seeds are crossed, so the standard error is clustered both ways
    (Cameron, Gelbach & Miller 2011, https://doi.org/10.1198/jbes.2010.07136), never below that of
    one way alone, with the degrees of freedom of the fewer. There is none with one recipe or one
    seed. `transfer` is positive or negative where the interval excludes 0, else empty.

    Args:
        gains: `trial`, `arm`, `intermediate`, `seed`, `task`, `language`, `paired_gain`.
    """
    rows = []
    keys = ["arm", "intermediate", "task", "language"]
    for place, group in gains.groupby(keys, sort=False):
        values = group["paired_gain"].to_numpy(float)
        half = _crossed_half_width(values, group["trial"], group["seed"])
        mean = float(values.mean())
        transfer = ""
        if half < abs(mean):
            transfer = "positive" if mean > 0 else "negative"
        counts = (group["trial"].nunique(), group["seed"].nunique())
        rows.append((*place, mean, mean - half, mean + half, *counts, transfer))
    columns = [*keys, "paired_gain", "low", "high", "recipes", "seeds", "transfer"]
    return pd.DataFrame(rows, columns=columns)


def _crossed_half_width(
    values: Floats, first: Iterable[Hashable], second: Iterable[Hashable]
) -> float:
    """Half of the 95 % interval of a mean over two crossed kinds of clusters, or NaN."""
    labels = [pd.factorize(np.asarray(x))[0] for x in (first, second)]
    sizes = [int(x.max()) + 1 for x in labels]
    if min(sizes) < 2:
        return math.nan
    left = values - values.mean()
    between = [
        size / (size - 1) * float((np.bincount(x, left) ** 2).sum())
        for x, size in zip(labels, sizes, strict=True)
    ]
    both = len(values) / (len(values) - 1) * float((left**2).sum())
    variance = max(sum(between) - both, *between) / len(values) ** 2
    if variance < 1e-12:  # runs that agree to the last digit do not measure it
        return math.nan
    return float(special.stdtrit(min(sizes) - 1, 0.975)) * math.sqrt(variance)


def fit_additive(gains: pd.DataFrame) -> Additive | None:
    """Task and cell effects; all recipes are scored in the same cells, so means are the fit.

    The standard error of a task's coefficient is of its recipes (their variance is pooled over
    tasks), that of a cell's is of how recipes differ there.
    """
    recipes = gains.pivot_table(
        index=["arm", "intermediate", "trial"],
        columns=["task", "language"],
        values="paired_gain",
        sort=False,
    )
    names = recipes.index.get_level_values("intermediate")
    if names.nunique() < 2 or recipes.shape[1] < 2:
        return None
    y = recipes.to_numpy(float)
    assert not np.isnan(y).any(), "every recipe is scored in every cell"
    groups = pd.factorize(names)[0]
    counts = np.bincount(groups)
    own, overall = y.mean(axis=1), y.mean()
    a = np.bincount(groups, own) / counts
    b = y.mean(axis=0) - overall
    freedom = len(own) - len(counts)
    pooled = float(((own - a[groups]) ** 2).sum()) / freedom if freedom else math.nan
    of_tasks = np.sqrt(pooled / counts)
    of_cells = (y - own[:, None]).std(axis=0, ddof=1) / math.sqrt(len(y))
    fit = a[groups][:, None] + b
    means = np.stack([y[groups == i].mean(axis=0) for i in range(len(counts))])
    spread = (counts[:, None] * (means - overall) ** 2).sum()
    explained = _share(((y - fit) ** 2).sum(), ((y - overall) ** 2).sum())
    parameters = len(counts) + len(b) - 1
    left = y.size - parameters
    unexplained = (1 - explained) * (y.size - 1) / left if left > 0 else math.nan
    return Additive(
        tasks=pd.DataFrame(
            {
                "intermediate": list(dict.fromkeys(names)),
                **_with_errors(a, of_tasks, freedom),
                "recipes": counts,
            }
        ),
        cells=pd.DataFrame(
            {
                "task": recipes.columns.get_level_values("task"),
                "language": recipes.columns.get_level_values("language"),
                **_with_errors(b, of_cells, len(y) - 1),
            }
        ),
        explained=explained,
        explained_adjusted=1 - unexplained,
        explained_of_means=_share((counts[:, None] * (means - a[:, None] - b) ** 2).sum(), spread),
        recipes=len(y),
    )


def _with_errors(coefficients: Floats, errors: Floats, freedom: int) -> dict[str, Floats]:
    half = errors * (special.stdtrit(freedom, 0.975) if freedom else math.nan)
    return {
        "coefficient": coefficients,
        "standard_error": errors,
        "low": coefficients - half,
        "high": coefficients + half,
    }


def _share(left: float, whole: float) -> float:
    """R squared; NaN where nothing varies."""
    return 1 - float(left) / float(whole) if whole > 0 else math.nan
