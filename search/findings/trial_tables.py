"""The tables of a study: every score, and every recipe with its gain and its time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from search.findings.study_model import StudyModel
from search.studies.recipes import FinishedRecipe
from search.studies.stored_study import StoredStudy
from search.studies.trial_notes import TrialNotes
from search.surrogate.gains import expected_gains
from spaces.dimensions import ARM_PARAM, TASK_PARAM, beside_task
from storage.tables import PairedScore, StageRun, TrainedStage

_COUNTS = (".epochs", ".examples", ".shots", "_size", "_rank", "_layers", "_length", "_layer")
_KNOWN = {"trial", "runs", "gain", "measured_gain", "score", "seconds"}


def score_table(study: StoredStudy) -> pd.DataFrame:
    """One row per trial, target task and language; one per trial that did not complete.

    Direct trainings come first, and are numbered by themselves: `kind` is direct or trial. Scores
    are in [0, 1]; `baseline` is the best direct training's, and `gain` the percentage points over
    it; `seconds` is what the trial itself trained and scored, however many rows it has.
    """
    direct = study.direct_study.get_trials(deepcopy=False)
    trials = study.optuna_study.get_trials(deepcopy=False)
    rows = [
        *_rows("direct", direct, study.direct, study.direct_stage_runs),
        *_rows("trial", trials, study.recipes, study.stage_runs),
    ]
    return _with_whole_numbers(pd.DataFrame(rows))


def _rows(
    kind: str,
    trials: Sequence[FrozenTrial],
    recipes: Sequence[FinishedRecipe],
    runs: Mapping[int, Sequence[StageRun]],
) -> Iterator[dict[str, Any]]:
    finished = {x.trial.number: x.gain for recipe in recipes for x in recipe.trials}
    for trial in trials:
        notes = TrialNotes.of(trial)
        head = {
            "kind": kind,
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "reason": notes.reason,
            "arm": str(trial.params.get(ARM_PARAM, "")),
            "intermediate": str(trial.params.get(TASK_PARAM, "")),
            **beside_task(trial.params),
            "seed": notes.seed,
            "seconds": sum(
                x.training_seconds + x.scoring_seconds for x in runs.get(trial.number, ())
            ),
        }
        if trial.number not in finished:
            yield head
            continue
        for pair in finished[trial.number].pairs:
            yield head | _scored(pair)


def _scored(pair: PairedScore) -> dict[str, Any]:
    held = {}
    if pair.reference is not None:
        held = {"baseline": pair.reference.score, "gain": pair.gain}
    return {
        "task": pair.score.task,
        "language": pair.score.language,
        "setting": pair.score.setting,
        "metric": pair.score.metric,
        "score": pair.score.score,
        **held,
        "examples": pair.score.examples,
        "lost_words": pair.score.lost_words,
    }


def recipe_table(study: StoredStudy, model: StudyModel) -> pd.DataFrame:
    """One row per finished recipe with an intermediate task, by its first trial's number.

    Means over the languages that recipes are selected on, as are the values of the study's
    trials. `gain` is what the search model expects of the recipe, `measured_gain` the mean of its
    `runs`, both percentage points; `score` in [0, 1]; `seconds`: training of the stages of a run,
    as asked for, not only what others had left to train.
    """
    languages, runs, stages = study.languages, study.stage_runs, study.trained_stages
    if not study.recipes:
        return pd.DataFrame(columns=["trial", "arm", "intermediate", *sorted(_KNOWN - {"trial"})])
    expected = expected_gains(model.of_all(languages), model.zero_of_all(languages))
    rows = []
    for recipe in study.recipes:
        place = model.table.place(recipe.first.params)
        rows.append(
            {
                "trial": recipe.first.number,
                "arm": recipe.arm,
                "intermediate": recipe.task,
                **beside_task(recipe.first.params),
                "runs": len(recipe.gain.seeds),
                "gain": math.nan if place is None else expected[place],
                "measured_gain": recipe.gain.overall_gain(languages),
                "score": recipe.gain.overall_score(languages),
                "seconds": _seconds_asked(recipe, runs, stages),
            }
        )
    return _with_whole_numbers(pd.DataFrame(rows))


def _with_whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Counts stay counts where some rows have none (of epochs, in direct training)."""
    counts = {"seed", "examples", "lost_words"}
    counts |= {x for x in table if x.endswith(_COUNTS)}
    return table.astype({name: "Int64" for name in table if name in counts})


def choices(recipes: pd.DataFrame) -> list[str]:
    """The columns of a `recipe_table` that hold what a study searches over."""
    return [x for x in recipes if x not in _KNOWN]


def _seconds_asked(
    recipe: FinishedRecipe,
    runs: Mapping[int, Sequence[StageRun]],
    stages: Mapping[str, TrainedStage],
) -> float:
    """Per run; NaN where the ledger does not know a stage."""
    asked = {
        (run.seed, run.position, run.task): stages[run.checkpoint_key].training_seconds
        for item in recipe.trials
        for run in runs.get(item.trial.number, ())
        if run.updates_asked and run.finished
    }
    seeds = {seed for seed, *_ in asked}
    return sum(asked.values()) / len(seeds) if seeds else math.nan
