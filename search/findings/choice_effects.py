"""What the choices of a study do to the gain: a forest over all of them, and PED-ANOVA."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import create_trial

from search.findings.trial_tables import EPOCHS, RATE
from search.studies.stored_study import StoredStudy
from spaces.studies import NO_INTERMEDIATE

Floats = NDArray[np.float64]
TREES, FOLDS = 100, 5
SHUFFLES = 40
# Fewer recipes say nothing of a dimension: PED-ANOVA compares the best tenth with all.
FEWEST_FOR_FOREST, FEWEST_FOR_IMPORTANCE = 10, 20
MOST_FOR_IMPORTANCE = 1000
"""More are sampled: the shuffles of 5,000 take half a minute, and tell the same."""
BACKGROUND = 60
"""Recipes over which the forest's predictions are averaged in each place of the grid."""


@dataclass(frozen=True)
class Surface:
    """The gain as a random forest of all choices predicts it.

    Attributes:
        recipes: Number of recipes that it was fitted to.
        error: Root mean squared error in cross-validation, points.
        error_of_mean: The same error of predicting the mean of the other folds, points.
        is_better: Whether the forest's squared errors are smaller beyond chance (one-sided 5 %).
        grid: Predictions by `arm`, epochs and learning rate of the intermediate stage, where the
            study searches these: `mean` over recipes of the arm with the other choices as they
            are, `sd` between trees, points; `recipes` tried there.
        tasks: The same by `arm` and `intermediate`.
    """

    recipes: int
    error: float
    error_of_mean: float
    is_better: bool
    grid: pd.DataFrame
    tasks: pd.DataFrame


def fit_surface(recipes: pd.DataFrame, names: Sequence[str]) -> Surface | None:
    """A random forest (scikit-learn) of the recipes' gains over the reference baseline."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold

    if len(recipes) < FEWEST_FOR_FOREST:
        return None
    x, y = _features(recipes, names), recipes["gain"].to_numpy(float)

    def forest() -> Any:
        return RandomForestRegressor(TREES, min_samples_leaf=2, random_state=0)

    ours, means = np.empty(len(y)), np.empty(len(y))
    for learned, left in KFold(FOLDS, shuffle=True, random_state=0).split(x):
        ours[left] = forest().fit(x.iloc[learned], y[learned]).predict(x.iloc[left])
        means[left] = y[learned].mean()
    saved = (y - means) ** 2 - (y - ours) ** 2
    error_of_saved = saved.std(ddof=1) / math.sqrt(len(y))
    fitted = forest().fit(x, y)
    places = [name for name in (EPOCHS, RATE) if recipes.get(name, pd.Series()).nunique() > 1]
    return Surface(
        recipes=len(y),
        error=float(np.sqrt(((y - ours) ** 2).mean())),
        error_of_mean=float(np.sqrt(((y - means) ** 2).mean())),
        is_better=bool(saved.mean() > 1.645 * error_of_saved),
        grid=_predicted(fitted, recipes, names, x.columns, places),
        tasks=_predicted(fitted, recipes, names, x.columns, ["intermediate"]),
    )


def _features(recipes: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Names as a column each, rates as logarithms; what a recipe does not have is missing."""
    columns = {}
    for name in names:
        column = recipes[name]
        if pd.api.types.is_numeric_dtype(column):
            columns[name] = np.log(column) if name.endswith("learning_rate") else column
        else:
            for value in sorted(column.dropna().unique()):
                columns[f"{name}={value}"] = column == value
    return pd.DataFrame(columns, index=recipes.index).astype(float)


def _predicted(
    forest: Any,
    recipes: pd.DataFrame,
    names: Sequence[str],
    features: Sequence[str],
    places: Sequence[str],
) -> pd.DataFrame:
    """What the forest says where `places` are as given, averaged over recipes of the arm."""
    rows = []
    for arm, mine in recipes.groupby("arm", sort=False):
        background = mine.sample(min(len(mine), BACKGROUND), random_state=0)
        tried = mine.groupby(list(places)).size() if places else pd.Series()
        values = [sorted(recipes[name].dropna().unique()) for name in places]
        if arm == NO_INTERMEDIATE:
            values = [[] for _ in places]
        if places == ["intermediate"]:
            values = [sorted(mine["intermediate"].unique())]
        for point in product(*values):
            at = background.assign(**dict(zip(places, point, strict=True)))
            x = _features(at, names).reindex(columns=features, fill_value=0.0).to_numpy()
            by_tree = [tree.predict(x.astype(np.float32)).mean() for tree in forest.estimators_]
            place = point[0] if len(point) == 1 else point
            rows.append(
                {
                    "arm": arm,
                    **dict(zip(places, point, strict=True)),
                    "mean": fmean(by_tree),
                    "sd": float(np.std(by_tree, ddof=1)),
                    "recipes": int(tried.get(place, 0)) if places else len(mine),
                }
            )
    return pd.DataFrame(rows)


def choice_importance(study: StoredStudy) -> pd.DataFrame:
    """How much of what sets the best tenth of recipes apart each choice accounts for.

    PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255) as Optuna has it,
    conditional choices included. `importance` says little by itself, as it is above 0 for any
    choice; `chance` is its 95th percentile where gains are shuffled among recipes. Empty with
    fewer than 20 recipes; of more than 1,000 as many are drawn.
    """
    recipes = study.recipes
    columns = ["choice", "importance", "chance", "recipes"]
    if len(recipes) < FEWEST_FOR_IMPORTANCE:
        return pd.DataFrame(columns=columns)
    rng = np.random.default_rng(0)
    if len(recipes) > MOST_FOR_IMPORTANCE:
        chosen = rng.choice(len(recipes), MOST_FOR_IMPORTANCE, replace=False)
        recipes = [recipes[i] for i in sorted(chosen)]
    gains = np.array([x.gain.overall_gain(study.languages) for x in recipes])
    copied = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="maximize")
    copied.add_trials(
        create_trial(value=0.0, params=x.first.params, distributions=x.first.distributions)
        for x in recipes
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = PedAnovaImportanceEvaluator()

    def importance(values: Floats) -> dict[str, float]:
        with warnings.catch_warnings():
            # That it takes lower targets for better, and where few trials have a choice: of that
            # `chance` suffers as well.
            warnings.filterwarnings("ignore", ".*to achieve low `target` values", UserWarning)
            warnings.filterwarnings("ignore", "Some regimes for parameter", UserWarning)
            by_choice: dict[str, float] = evaluator.evaluate(
                copied, target=lambda trial: -float(values[trial.number])
            )
        return by_choice

    shuffled = pd.DataFrame([importance(rng.permutation(gains)) for _ in range(SHUFFLES)])
    chance = shuffled.quantile(0.95)
    rows = [
        (name, value, chance[name], sum(name in x.first.params for x in recipes))
        for name, value in importance(gains).items()
    ]
    return pd.DataFrame(rows, columns=columns)
