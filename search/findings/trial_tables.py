"""The tables of a study: every score, and every recipe with its gain and its time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from objectives.gains.intervals import estimate_gains
from objectives.gains.seed_gains import gains_of_scores
from search.studies.recipes import FinishedRecipe
from search.studies.stored_study import StoredStudy
from search.studies.trial_notes import TrialNotes
from spaces.studies import NO_INTERMEDIATE
from storage.tables import StageRun, TrainedStage

Floats = NDArray[np.float64]
EPOCHS, RATE = "intermediate.epochs", "intermediate.learning_rate"
_COUNTS = (".epochs", ".examples", ".shots", "_size", "_rank", "_layers", "_length", "_layer")


def score_table(study: StoredStudy) -> pd.DataFrame:
    """One row per trial, seed, target task and language; one per trial that did not complete.

    Scores are in [0, 1], gains in percentage points; `seconds` is what the trial itself trained
    and scored, however many rows it has.
    """
    runs = study.stage_runs
    finished = {x.trial.number: x.gain for recipe in study.recipes for x in recipe.trials}
    rows: list[dict[str, Any]] = []
    for trial in study.optuna_study.get_trials(deepcopy=False):
        arm = str(trial.params.get("intermediate.domain", ""))
        notes = TrialNotes.of(trial)
        head = {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "reason": notes.reason or notes.stopped,
            "repeat_of": notes.repeat_of,
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
                    "setting": pair.score.setting,
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


def recipe_table(study: StoredStudy) -> pd.DataFrame:
    """One row per finished recipe, by the number of its first trial, as the search saw it.

    Gains and scores are means over the languages that recipes are selected on, as are the values
    of the study's trials; what is judged is `Landscape.leaders`.

    `gain` (over the reference baseline), `low`, `high` (95 %: other seeds, the same examples;
    variances moderated over all recipes), `paired_gain`: percentage points. `score`: in [0, 1].
    `seconds`: training of the intermediate and the target stage per seed, as asked for, not only
    what others had left to train. `is_on_front`: no other recipe has more gain for less.
    """
    languages = study.languages
    runs = study.stage_runs
    stages = study.trained_stages
    by_seed = {
        recipe.first.number: {
            seed: gain.overall_gain(languages) for seed, gain in recipe.gain.by_seed().items()
        }
        for recipe in study.recipes
    }
    estimates = estimate_gains(
        {
            number: gains_of_scores(
                list(of_seeds), [gain / 100 for gain in of_seeds.values()], [0.0] * len(of_seeds)
            )
            for number, of_seeds in by_seed.items()
        }
    )
    rows = []
    for recipe in study.recipes:
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


def epoch_curves(recipes: pd.DataFrame) -> pd.DataFrame:
    """Recipes alike but for the epochs of their intermediate stage, in order of these.

    The rows of a `recipe_table`, with `curve`: the trial number of the curve's first recipe.
    """
    if EPOCHS not in recipes or not len(recipes):
        return pd.DataFrame(columns=["curve", *recipes.columns])
    alike = [name for name in choices(recipes) if name != EPOCHS]
    # Not a loop over groups: of thousands of recipes hardly two are alike.
    known = recipes.dropna(subset=[EPOCHS])
    groups = known.groupby(alike, dropna=False, sort=False)
    several = groups[EPOCHS].transform("nunique") > 1
    curves = known.assign(curve=groups["trial"].transform("min"))[several]
    return curves.sort_values(["curve", EPOCHS], kind="stable")
