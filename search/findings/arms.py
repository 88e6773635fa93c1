"""The arms of a study: how many recipes each has, its best one, and what that gains."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from optuna.study import Study

from objectives.gains.transfer_gain import TransferGain
from search.findings.selection import DirectTraining, Standings
from search.studies.recipes import FinishedRecipe
from spaces.studies import NO_INTERMEDIATE


@dataclass(frozen=True)
class ArmSummary:
    """One arm of a study; gains are percentage points, on the languages that are judged.

    Attributes:
        arm: none, general, biomedical, legal or mixed.
        recipes: Number of recipes that are finished.
        best: Its leading recipe; in the arm "none" the tuned baseline; None while it has none.
        gain: Scores of `best` beside those of the tuned baseline, on the seeds that both have;
            None where they have none in common.
        by_language: (task, language) -> gain of `best` over the tuned baseline.
        tuned_gain: Gain of `best` over the tuned baseline, all target tasks together.
        mean_paired_gain: Mean over its recipes, each against its own baseline.
    """

    arm: str
    recipes: int
    best: FinishedRecipe | DirectTraining | None = None
    gain: TransferGain | None = None
    by_language: Mapping[tuple[str, str], float] = field(default_factory=dict)
    tuned_gain: float = math.nan
    mean_paired_gain: float = math.nan


def summarize_arms(standings: Standings, arms: Iterable[str]) -> list[ArmSummary]:
    """One summary per arm, in the order given."""
    languages, summaries = standings.judged_on, []
    for arm in arms:
        mine = [recipe for recipe in standings.recipes if recipe.arm == arm]
        best = standings.baseline if arm == NO_INTERMEDIATE else standings.leader_of(arm)
        if best is None:
            summaries.append(ArmSummary(arm, len(mine)))
            continue
        gain = standings.against_baseline(best)
        paired = [recipe.gain.overall_paired_gain(languages) for recipe in mine]
        summaries.append(
            ArmSummary(
                arm=arm,
                recipes=len(mine),
                best=best,
                gain=gain,
                by_language={} if gain is None else gain.by_language(),
                tuned_gain=math.nan if gain is None else gain.overall_gain(languages),
                mean_paired_gain=fmean(paired) if paired else math.nan,
            )
        )
    return summaries


def trial_counts(study: Study) -> Mapping[str, int]:
    """State of a trial in lower case -> number of trials, without zeros."""
    trials = study.get_trials(deepcopy=False)
    return dict(Counter(trial.state.name.lower() for trial in trials))
