"""What optuna-dashboard's own panels show of a study: gains that its search model expects.

Optuna's value of a trial is the gain of one run, and the best of many runs is a lucky one: as
"Best Trial" and in the history it would contradict the answer. So our dashboard has the gain of
the trial's recipe in its place, of which the highest is the answer's. What the run itself gained
stands, under its own name, in the trial's note, in Optuna's storage, in the table to be downloaded
and in the plots that the server draws for those who want Plotly's Python library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from search.findings.landscape import Landscape
from search.findings.standings import judged_languages
from search.studies.stored_study import StoredStudy
from search.surrogate.effects import Importance
from storage.optuna_internals import study_id_of


@dataclass(frozen=True)
class DashboardGains:
    """The gains of a study's trials as its search model has them at one moment.

    Attributes:
        study_id: Id of the study in Optuna.
        name: Name of the gains.
        name_of_runs: Name of Optuna's own values; empty where they have none.
        by_trial: Number of a complete trial -> gain of its recipe in percentage points, to a
            tenth; None where the recipe is none of the study's space, or its scores are lost.
        best: Number of the first trial of the recipe with the highest gain; None without one.
        importance: What each choice accounts for.
    """

    study_id: int
    name: str
    name_of_runs: str = ""
    by_trial: Mapping[int, float | None] = field(default_factory=dict)
    best: int | None = None
    importance: Sequence[Importance] = ()

    def put_into(self, trial: dict[str, Any]) -> None:
        """Give a trial, as optuna-dashboard has it, the gain of its recipe as its only value.

        One that completed since is shown as running: a page asks again for these alone.
        """
        trial.pop("values", None)
        if trial["state"] != "Complete":
            return
        if trial["number"] not in self.by_trial:
            trial["state"] = "Running"
        elif (gain := self.by_trial[trial["number"]]) is not None:
            trial["values"] = [gain]

    def importances(self) -> dict[str, Any]:
        """The importance as optuna-dashboard has it: of one objective."""
        kind = "CategoricalDistribution"
        shares = [
            {"name": x.choice, "importance": x.share, "distribution": kind}
            for x in self.importance
        ]
        return {"param_importances": [shares]}


def dashboard_gains(
    study: StoredStudy, landscape: Landscape | None = None, complete: Iterable[int] = ()
) -> DashboardGains:
    """The gains of a study's trials.

    Args:
        study: The study.
        landscape: Its landscape; None where it is not read yet, so that no gain is known.
        complete: Numbers of the trials that were complete before it was read.
    """
    names = study.optuna_study.metric_names or [""]
    nothing = DashboardGains(study_id_of(study.optuna_study), _name(study), names[0])
    if landscape is None:
        return nothing
    gains = landscape.recipes.set_index("trial")["gain"]
    shown = dict[int, float | None].fromkeys(complete) | {
        item.trial.number: None if pd.isna(gain) else round(float(gain), 1) + 0.0
        for recipe in study.recipes
        for item, gain in ((x, gains[recipe.first.number]) for x in recipe.trials)
    }
    best = None if gains.isna().all() else int(gains.idxmax())
    return replace(nothing, by_trial=shown, best=best, importance=landscape.importance)


def _name(study: StoredStudy) -> str:
    words = "gain expected of the recipe, points"
    if study.languages != judged_languages(study.spec, study.catalogue):
        words += f", on {', '.join(sorted(study.languages))}"
    return f"{words} (pocket corpora)" if study.is_pocket else words
