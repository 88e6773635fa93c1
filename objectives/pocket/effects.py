"""The truth about the pocket corpora: which intermediate corpus does what to which target.

The effects are planted by how corpora label the same words (`objectives.pocket.corpora`), and were
measured by training; the table says what a search on these corpora should find.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PlantedEffect:
    """What one intermediate corpus does to one target, and why.

    Attributes:
        intermediate: Name of the corpus, without the prefix `pocket_`.
        target: Name of the corpus, without the prefix `pocket_`.
        effect: On the mean score over the target languages, against no intermediate stage.
        mechanism: Why.
    """

    intermediate: str
    target: str
    effect: Literal["helps", "hurts", "nothing"]
    mechanism: str


_SHARED = "shared label structure: the target's classes under other names"
_CONFLICT = "conflicting labels: merges words that the target must tell apart"
_UNRELATED = "unrelated: labels what the target does not look at"

PLANTED: tuple[PlantedEffect, ...] = (
    PlantedEffect("ner_calendar", "ner", "nothing", _UNRELATED),
    PlantedEffect("ner_dosage", "ner", "nothing", _UNRELATED),
    PlantedEffect("ner_assay", "ner", "hurts", _CONFLICT),
    PlantedEffect("ner_parties", "ner", "helps", _SHARED),
    PlantedEffect("ner_statutes", "ner", "nothing", _UNRELATED),
    PlantedEffect("pos_layout", "pos", "nothing", _UNRELATED),
    PlantedEffect("pos_clinical", "pos", "helps", _SHARED),
    PlantedEffect("pos_registry", "pos", "hurts", _CONFLICT),
    PlantedEffect("topic_desks", "topic", "helps", _SHARED),
    PlantedEffect("topic_cohorts", "topic", "hurts", _CONFLICT),
    PlantedEffect("topic_citing", "topic", "nothing", _UNRELATED),
    PlantedEffect("sentiment_reviews", "sentiment", "helps", _SHARED),
    PlantedEffect("sentiment_measures", "sentiment", "nothing", _UNRELATED),
    PlantedEffect("sentiment_rulings", "sentiment", "hurts", _CONFLICT),
)
