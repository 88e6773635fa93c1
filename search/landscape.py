"""The landscape of a study: what its gains say of tasks, languages and choices.

All of it is of the search, whose validation scores also chose what to try next: to explore by,
not to publish. What may be published, `search.confirm` finds. An interval is given where there
are two seeds or more, says what it carries over to, and stands for itself alone: of 100 intervals
about gains of nothing some 5 exclude 0.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy import special

from objectives.gain import TransferGain
from objectives.statistics import estimate_gains, gains_of_scores
from search.finished import FinishedRecipe, best_of_arm, leaders
from search.results import StudyResults
from search.summary import tuned_baseline
from search.verdicts import VerdictRow, judge_gains
from spaces.studies import NO_INTERMEDIATE
from storage.ledger import StageRun, TrainedStage

Floats = NDArray[np.float64]
EPOCHS, RATE = "intermediate.epochs", "intermediate.learning_rate"
TREES, FOLDS = 100, 5
SHUFFLES = 40
# Fewer recipes say nothing of a dimension: PED-ANOVA compares the best tenth with all.
FEWEST_FOR_FOREST, FEWEST_FOR_IMPORTANCE = 10, 20
MOST_FOR_IMPORTANCE = 1000
"""More are sampled: the shuffles of 5,000 take half a minute, and tell the same."""
_COUNTS = (".epochs", ".examples", ".shots", "_size", "_rank", "_layers", "_length", "_layer")
BACKGROUND = 60
"""Recipes over which the forest's predictions are averaged in each place of the grid."""


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
        recipes: How many.
    """

    tasks: pd.DataFrame
    cells: pd.DataFrame
    explained: float
    explained_adjusted: float
    explained_of_means: float
    recipes: int


@dataclass(frozen=True)
class Surface:
    """The gain as a random forest of all choices predicts it.

    Attributes:
        recipes: How many it has learned from.
        error: Root mean squared error in cross-validation, points.
        error_of_mean: Of predicting the mean of the other folds instead.
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


@dataclass(frozen=True)
class Landscape:
    """All of it.

    Attributes:
        scores: See `score_table`.
        recipes: See `recipe_table`.
        matrix: See `transfer_matrix`.
        additive: None where not two intermediate tasks and two cells were tried.
        surface: None with fewer than 10 recipes.
        importance: See `choice_importance`.
        curves: See `epoch_curves`.
        leaders: Verdicts on each arm's best recipe against the tuned baseline, on the seeds that
            both have. Exploratory: the scores that chose the recipes judge them.
    """

    scores: pd.DataFrame
    recipes: pd.DataFrame
    matrix: pd.DataFrame
    additive: Additive | None
    surface: Surface | None
    importance: pd.DataFrame
    curves: pd.DataFrame
    leaders: list[VerdictRow]


def read_landscape(results: StudyResults) -> Landscape:
    """The landscape of a study as it is in its storage."""
    recipes = recipe_table(results)
    gains = _paired_gains(results)
    return Landscape(
        scores=score_table(results),
        recipes=recipes,
        matrix=transfer_matrix(gains),
        additive=fit_additive(gains),
        surface=fit_surface(recipes, choices(recipes)),
        importance=choice_importance(results),
        curves=epoch_curves(recipes),
        leaders=judge_leaders(results),
    )


# --- tables


def score_table(results: StudyResults) -> pd.DataFrame:
    """One row per trial, seed, target task and language; one per trial that did not complete.

    Scores are in [0, 1], gains in percentage points; `seconds` is what the trial itself trained
    and scored, however many rows it has.
    """
    runs = results.ledger.stage_runs(results.name)
    finished = {x.trial.number: x.gain for recipe in results.recipes for x in recipe.trials}
    rows: list[dict[str, Any]] = []
    for trial in results.study.get_trials(deepcopy=False):
        arm = str(trial.params.get("intermediate.domain", ""))
        head = {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "reason": trial.user_attrs.get("reason", trial.user_attrs.get("stopped", "")),
            "repeat_of": trial.user_attrs.get("repeat_of"),
            "arm": arm,
            "intermediate": str(trial.params.get(f"intermediate.task.{arm}", "")),
            **_plain(trial.params),
            "seconds": sum(
                x.training_seconds + x.scoring_seconds for x in runs.get(trial.number, ())
            ),
        }
        if trial.number not in finished:
            rows.append(head)
            continue
        for pair in finished[trial.number].pairs:
            rows.append(
                head
                | {
                    "seed": pair.seed,
                    "task": pair.score.task,
                    "language": pair.score.language,
                    "metric": pair.score.metric,
                    "score": pair.score.score,
                    "baseline": pair.baseline.score,
                    "reference": pair.reference.score,
                    "gain": pair.gain,
                    "paired_gain": pair.paired_gain,
                    "examples": pair.score.examples,
                    "lost_words": pair.score.lost_words,
                }
            )
    return _with_whole_numbers(pd.DataFrame(rows))


def recipe_table(results: StudyResults) -> pd.DataFrame:
    """One row per finished recipe, by the number of its first trial.

    `gain` (over the reference baseline), `low`, `high` (95 %: other seeds, the same examples;
    variances moderated over all recipes), `paired_gain`: percentage points. `score`: in [0, 1].
    `seconds`: training of the intermediate and the target stage per seed, as asked for, not only
    what others had left to train. `is_on_front`: no other recipe has more gain for less.
    """
    languages = results.languages
    runs = results.ledger.stage_runs(results.name)
    stages = results.ledger.trained_stages(results.name)
    by_seed = {x.first.number: _gains_by_seed(x.gain, languages) for x in results.recipes}
    estimates = estimate_gains(
        {
            number: gains_of_scores(
                list(found), [gain / 100 for gain in found.values()], [0.0] * len(found)
            )
            for number, found in by_seed.items()
        }
    )
    rows = []
    for recipe in results.recipes:
        number = recipe.first.number
        gain, interval = recipe.gain.overall_gain(languages), estimates[number].interval
        half = (interval[1] - interval[0]) / 2 if interval else math.nan
        rows.append(
            {
                "trial": number,
                "arm": recipe.arm,
                "intermediate": recipe.task,
                **_plain(recipe.first.params),
                "trials": len(recipe.trials),
                "seeds": recipe.gain.seeds,
                "gain": gain,
                "low": gain - half,
                "high": gain + half,
                "paired_gain": recipe.gain.overall_paired_gain(languages),
                "score": recipe.gain.overall_score(languages),
                "seconds": _seconds_asked(recipe, runs, stages),
            }
        )
    table = _with_whole_numbers(pd.DataFrame(rows))
    if len(table):
        table["is_on_front"] = _on_front(table["gain"].to_numpy(), table["seconds"].to_numpy())
    return table


def _with_whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Counts stay counts where some rows have none (of epochs, in the arm "none")."""
    counts = {"repeat_of", "seed", "examples", "lost_words"}
    counts |= {x for x in table if x.endswith(_COUNTS)}
    return table.astype({name: "Int64" for name in table if name in counts})


def choices(recipes: pd.DataFrame) -> list[str]:
    """The columns of a `recipe_table` that hold what a study searches over."""
    known = {"trial", "trials", "seeds", "gain", "low", "high", "paired_gain", "score"}
    return [x for x in recipes if x not in known | {"seconds", "is_on_front"}]


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters but for the arm and its task, which have columns of their own."""
    hidden = ("intermediate.domain", "intermediate.task.")
    return {name: value for name, value in params.items() if not name.startswith(hidden)}


def _gains_by_seed(gain: TransferGain, languages: frozenset[str]) -> dict[int, float]:
    pairs: dict[int, list[Any]] = {}
    for pair in gain.pairs:
        pairs.setdefault(pair.seed, []).append(pair)
    return {
        seed: replace(gain, pairs=tuple(found)).overall_gain(languages)
        for seed, found in pairs.items()
    }


def _seconds_asked(
    recipe: FinishedRecipe,
    runs: Mapping[int, Sequence[StageRun]],
    stages: Mapping[str, TrainedStage],
) -> float:
    """Per seed; NaN where the ledger does not know a stage."""
    own = ("baseline",) if recipe.arm == NO_INTERMEDIATE else ("intermediate", "target")
    # Each stage once, though trials of the same recipe and seeds asked for it again.
    asked = {
        (run.seed, run.position, run.task): stages[run.checkpoint_key].training_seconds
        for item in recipe.trials
        for run in runs.get(item.trial.number, ())
        if run.updates_asked and run.finished and run.position in own
    }
    seeds = {seed for seed, *_ in asked}
    return sum(asked.values()) / len(seeds) if seeds else math.nan


def _on_front(gains: Floats, seconds: Floats) -> NDArray[np.bool_]:
    """Whether no other has at least the gain for at most the seconds, one of them better."""
    front, best = np.zeros(len(gains), bool), -math.inf
    for place in np.lexsort((-gains, seconds)):
        if gains[place] > best and not math.isnan(seconds[place]):
            front[place], best = True, gains[place]
    return front


# --- transfer matrix


def _paired_gains(results: StudyResults) -> pd.DataFrame:
    """Paired gains of all recipes with an intermediate task in the target languages."""
    spec, catalogue = results.spec, results.catalogue
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
        for recipe in results.recipes
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


# --- the gain over all choices


def fit_surface(recipes: pd.DataFrame, names: Sequence[str]) -> Surface | None:
    """A random forest (scikit-learn) of the recipes' gains over the reference baseline.

    Args:
        recipes: A `recipe_table`.
        names: Its columns to learn from.
    """
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
        for point in _product(values):
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


def _product(values: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    points: list[tuple[Any, ...]] = [()]
    for column in values:
        points = [(*point, value) for point in points for value in column]
    return points


# --- single choices, and the leaders


def choice_importance(results: StudyResults) -> pd.DataFrame:
    """How much of what sets the best tenth of recipes apart each choice accounts for.

    PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255) as Optuna has it,
    conditional choices included. `importance` says little by itself, as it is above 0 for any
    choice; `chance` is its 95th percentile where gains are shuffled among recipes. Empty with
    fewer than 20 recipes; of more than 1,000 as many are drawn.
    """
    recipes = results.recipes
    columns = ["choice", "importance", "chance", "recipes"]
    if len(recipes) < FEWEST_FOR_IMPORTANCE:
        return pd.DataFrame(columns=columns)
    rng = np.random.default_rng(0)
    if len(recipes) > MOST_FOR_IMPORTANCE:
        chosen = rng.choice(len(recipes), MOST_FOR_IMPORTANCE, replace=False)
        recipes = [recipes[i] for i in sorted(chosen)]
    gains = np.array([x.gain.overall_gain(results.languages) for x in recipes])
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="maximize")
    study.add_trials([_copy(recipe.first, 0.0) for recipe in recipes])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = PedAnovaImportanceEvaluator()

    def of(values: Floats) -> dict[str, float]:
        with warnings.catch_warnings():
            # That it takes lower targets for better, and where few trials have a choice: of that
            # `chance` suffers as well.
            warnings.filterwarnings("ignore", ".*to achieve low `target` values", UserWarning)
            warnings.filterwarnings("ignore", "Some regimes for parameter", UserWarning)
            found: dict[str, float] = evaluator.evaluate(
                study, target=lambda trial: -float(values[trial.number])
            )
        return found

    found = of(gains)
    shuffled = pd.DataFrame([of(rng.permutation(gains)) for _ in range(SHUFFLES)])
    chance = shuffled.quantile(0.95)
    counts = {name: sum(name in x.first.params for x in recipes) for name in found}
    rows = [(name, value, chance[name], counts[name]) for name, value in found.items()]
    return pd.DataFrame(rows, columns=columns)


def _copy(trial: FrozenTrial, value: float) -> FrozenTrial:
    return create_trial(
        state=TrialState.COMPLETE,
        value=value,
        params=trial.params,
        distributions=trial.distributions,
    )


def epoch_curves(recipes: pd.DataFrame) -> pd.DataFrame:
    """Recipes alike but for the epochs of their intermediate stage, in order of these.

    The rows of a `recipe_table`, with `curve`: the trial number of the curve's first recipe.
    """
    if EPOCHS not in recipes or not len(recipes):
        return pd.DataFrame(columns=["curve", *recipes.columns])
    alike = [name for name in choices(recipes) if name != EPOCHS]
    parts = [
        group.sort_values(EPOCHS).assign(curve=group["trial"].min())
        for _, group in recipes.dropna(subset=[EPOCHS]).groupby(alike, dropna=False, sort=False)
        if group[EPOCHS].nunique() > 1
    ]
    return pd.concat(parts) if parts else pd.DataFrame(columns=["curve", *recipes.columns])


def judge_leaders(results: StudyResults) -> list[VerdictRow]:
    """The best recipe of each arm against the tuned baseline, on the seeds that both have."""
    recipes, languages = results.recipes, results.languages
    tuned = tuned_baseline(recipes, languages)
    if tuned is None:
        return []
    zero = {(x.seed, x.score.task, x.score.language): x.baseline for x in tuned.gain.pairs}
    leading, gains = leaders(recipes, languages), {}
    for arm in results.spec.arms:
        best = best_of_arm(leading, arm)
        if best is None or arm == NO_INTERMEDIATE:
            continue
        pairs = tuple(
            replace(pair, reference=zero[place])
            for pair in best.gain.pairs
            if (place := (pair.seed, pair.score.task, pair.score.language)) in zero
        )
        if pairs:
            gains[best.first.number] = replace(best.gain, pairs=pairs)
    return judge_gains(gains, results.ledger, results.catalogue, languages)
