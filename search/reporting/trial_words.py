"""What is said of each trial in optuna-dashboard: what it tried, what came of it, why it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from objectives.gains.transfer_gain import in_points
from search.command_line.markdown import code, md, md_table
from search.findings.landscape import Landscape
from search.studies.recipes import FinishedRecipe, FinishedTrial
from search.studies.stored_study import StoredStudy
from search.studies.trial_notes import TrialNotes
from spaces.dimensions import ARM_PARAM, TASK_PARAM, beside_task
from spaces.studies import NO_INTERMEDIATE
from storage.optuna_internals import study_id_of

Notes = Mapping[int, Mapping[int, str]]
"""Id of a study in Optuna -> number of a trial -> its note, in Markdown."""
SHOWN_RUNS = 10


def trial_notes(study: StoredStudy, landscape: Landscape) -> Notes:
    """A note for every trial of a study and for every direct training of it."""
    by_recipe = landscape.recipes.set_index("trial").to_dict("index")
    notes = {
        study_id_of(study.optuna_study): _notes(
            study, study.optuna_study.get_trials(deepcopy=False), study.recipes, by_recipe
        )
    }
    if study.direct:
        direct = study.direct_study
        trials = direct.get_trials(deepcopy=False)
        notes[study_id_of(direct)] = _notes(study, trials, study.direct, {})
    return notes


def _notes(
    study: StoredStudy,
    trials: Sequence[FrozenTrial],
    recipes: Sequence[FinishedRecipe],
    by_recipe: Mapping[int, Mapping[str, object]],
) -> dict[int, str]:
    finished = {x.trial.number: (x, recipe) for recipe in recipes for x in recipe.trials}
    pocket = "\n\nPocket corpora: generated text." if study.is_pocket else ""
    notes = {}
    for trial in trials:
        parts = [_recipe(trial)]
        if trial.number in finished:
            item, recipe = finished[trial.number]
            expected = by_recipe.get(recipe.first.number)
            result = _result(study, item, is_direct=recipe.arm == NO_INTERMEDIATE)
            parts = [*result, *parts, *_runs(recipe, expected)]
        else:
            parts = [_why_none(trial), *parts]
        notes[trial.number] = "\n\n".join(parts) + pocket
    return notes


def _recipe(trial: FrozenTrial) -> str:
    arm, task = (str(trial.params.get(name, "")) for name in (ARM_PARAM, TASK_PARAM))
    if not arm:
        return "It has no recipe."
    first = f"first on {code(task)} ({arm})" if task else "directly, on the target task alone"
    rest = [[code(name), code(str(value))] for name, value in beside_task(trial.params).items()]
    table = f"\n\n{md_table(['choice', 'value'], rest)}" if rest else ""
    return f"**Recipe**: trained {first}, with {_seed(trial)}.{table}"


def _seed(trial: FrozenTrial) -> str:
    seed = TrialNotes.of(trial).seed
    return "no seed kept" if seed is None else f"seed {seed}"


def _result(study: StoredStudy, item: FinishedTrial, *, is_direct: bool) -> list[str]:
    languages = study.languages
    score = f"score {100 * item.gain.overall_score(languages):.1f}"
    if is_direct:
        return [f"## {score}", "A direct training: the best of them is what gains are over."]
    head = f"## {in_points(item.gain.overall_gain(languages))} points in this run"
    gains = item.gain.by_task(languages)
    rows = [[code(task), in_points(gain)] for task, gain in gains.items()]
    words = f"Over the best direct training; {score}. One run: part of it is the luck of its seed."
    return [head, words, md_table(["target task", "gain"], rows)]


def _runs(recipe: FinishedRecipe, expected: Mapping[str, object] | None) -> list[str]:
    numbers = [str(x.trial.number) for x in recipe.trials]
    more = f" and {len(numbers) - SHOWN_RUNS} more" if len(numbers) > SHOWN_RUNS else ""
    runs = ", ".join(numbers[:SHOWN_RUNS]) + more
    if recipe.arm == NO_INTERMEDIATE or expected is None:
        return [f"Runs of this recipe: {runs}."]
    gain = expected["gain"]
    told = ""
    if isinstance(gain, float) and not pd.isna(gain):
        told = f"; the search model expects {in_points(gain)}, the value shown of it"
    mean = float(str(expected["measured_gain"]))
    return [f"Runs of this recipe: {runs}; their mean is {in_points(mean)}{told}."]


def _why_none(trial: FrozenTrial) -> str:
    if trial.state is TrialState.RUNNING:
        return "It runs."
    if trial.state is TrialState.WAITING:
        return "It waits in Optuna's queue."
    notes = TrialNotes.of(trial)
    kind = f" ({notes.failure})" if notes.failure else ""
    return f"**No result{kind}**: {md(notes.reason or 'no reason was kept')}."
