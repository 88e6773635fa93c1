"""The landscape of a study: what its gains say of tasks, languages and choices.

All of it is of the search, whose validation scores also chose what to try next: to explore by,
not to publish. What may be published, `search.confirm` finds. An interval is given where there
are two seeds or more, says what it carries over to, and stands for itself alone: of 100 intervals
about gains of nothing some 5 exclude 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from search.findings.choice_effects import Surface, choice_importance, fit_surface
from search.findings.judging import VerdictRow, judge_gains
from search.findings.transfer_matrix import Additive, fit_additive, paired_gains, transfer_matrix
from search.findings.trial_tables import choices, epoch_curves, recipe_table, score_table
from search.reporting.terminal import tuned_baseline
from search.studies.recipes import best_of_arm, leaders
from search.studies.stored_study import StoredStudy
from spaces.studies import NO_INTERMEDIATE


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


def read_landscape(results: StoredStudy) -> Landscape:
    """The landscape of a study as it is in its storage."""
    recipes = recipe_table(results)
    gains = paired_gains(results)
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


def judge_leaders(results: StoredStudy) -> list[VerdictRow]:
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
