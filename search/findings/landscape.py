"""The landscape of a study: what its search model says of tasks, languages and choices.

All of it is of the search, whose validation scores also chose what to try next: to explore by,
not to publish. What may be published, `search.confirm` finds.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from search.findings.answer import StudyAnswer, answer_of
from search.findings.model import StudyModel
from search.findings.trial_tables import recipe_table, score_table
from search.studies.stored_study import StoredStudy


@dataclass(frozen=True)
class Landscape:
    """The tables that a study's search allows.

    Attributes:
        scores: Table of every score (`score_table`).
        recipes: Table of every recipe (`recipe_table`).
        answer: What the search found; None before its first recipe is finished.
    """

    scores: pd.DataFrame
    recipes: pd.DataFrame
    answer: StudyAnswer | None


def read_landscape(study: StoredStudy) -> Landscape:
    """The landscape of a study as it is in its storage."""
    model = StudyModel(study)
    return Landscape(score_table(study), recipe_table(study, model), answer_of(study, model))
