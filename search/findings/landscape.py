"""The landscape of a study: what its gains say of tasks, languages and choices.

All of it is of the search, whose validation scores also chose what to try next: to explore by,
not to publish. What may be published, `search.confirm` finds. An interval is given where there
are two seeds or more, says what it carries over to, and stands for itself alone: of 100 intervals
about gains of nothing some 5 exclude 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from search.findings.choice_effects import Surface, choice_importance, fit_surface
from search.findings.judging import NO_VERDICTS, Verdicts, judge_gains
from search.findings.selection import Standings, standings_of
from search.findings.transfer_matrix import Additive, fit_additive, paired_gains, transfer_matrix
from search.findings.trial_tables import choices, epoch_curves, recipe_table, score_table
from search.studies.stored_study import StoredStudy


@dataclass(frozen=True)
class Landscape:
    """The tables, models and exploratory verdicts that a study's search allows.

    Attributes:
        scores: Table of every score (`score_table`).
        recipes: Table of every recipe (`recipe_table`).
        matrix: Intermediate tasks against targets (`transfer_matrix`).
        additive: What of the matrix is task plus language; None where fewer than two intermediate
            tasks or two cells were tried.
        surface: Forest over all choices; None with fewer than 10 recipes.
        importance: Table of the choices' importance (`choice_importance`).
        curves: Table of gains along the epochs (`epoch_curves`).
        standings: Order of the recipes, and the tuned baseline.
        leaders: Verdicts on each arm's leading recipe against the tuned baseline, on the seeds
            that both have and the languages that are judged. Exploratory: the scores that chose
            the recipes judge them.
    """

    scores: pd.DataFrame
    recipes: pd.DataFrame
    matrix: pd.DataFrame
    additive: Additive | None
    surface: Surface | None
    importance: pd.DataFrame
    curves: pd.DataFrame
    standings: Standings
    leaders: Verdicts


def read_landscape(study: StoredStudy) -> Landscape:
    """The landscape of a study as it is in its storage."""
    recipes = recipe_table(study)
    gains = paired_gains(study)
    standings = standings_of(study)
    return Landscape(
        scores=score_table(study),
        recipes=recipes,
        matrix=transfer_matrix(gains),
        additive=fit_additive(gains),
        surface=fit_surface(recipes, choices(recipes)),
        importance=choice_importance(study),
        curves=epoch_curves(recipes),
        standings=standings,
        leaders=judge_leaders(study, standings),
    )


def judge_leaders(study: StoredStudy, standings: Standings) -> Verdicts:
    """The leading recipe of each arm against the tuned baseline, on the seeds that both have."""
    gains = {}
    for arm in study.spec.arms:
        leader = standings.leader_of(arm)
        if leader is None:
            continue
        if (gain := standings.against_baseline(leader)) is not None:
            gains[leader.first.number] = gain
    if not gains:
        return NO_VERDICTS
    return judge_gains(gains, study.ledger, study.catalogue, standings.judged_on)
