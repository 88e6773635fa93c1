"""The truth about the pocket corpora: which intermediate corpus does what to which target.

The effects are planted by how corpora label the same words (`objectives.pocket.corpora`), and were
measured by training; the table says what a search on these corpora should find. It leaves out
`topic_circulars` and `sentiment_rulings`, mostly mislabelled: their effects could not be told from
nothing, nor from a few points either way.

No effect is claimed for the targets nli, pairs, similarity, qa, retrieval and mining, nor for the
texts as intermediate corpora: these have labels that are shared or conflict as above, so that
their studies run on something with structure, but what they bring has not been measured.
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
        effect: On the mean score over the target languages, against no intermediate stage:
            helps and hurts are five points or more. In "nothing" the labels have no bearing on
            the target, and what remains is the small effect of any training in between: -2.9 to
            -0.5 points for ner, where parties brings +12.0 and assay -11.0 (means of three
            seeds, `python -m tests.benchmarks.planted --target ner --seeds 3`).
        mechanism: Why.
        points: What `planted` measured, in percentage points; None of effects that are only known
            to be five points or more, or nothing.
    """

    intermediate: str
    target: str
    effect: Literal["helps", "hurts", "nothing"]
    mechanism: str
    points: float | None = None


_SHARED = "shared label structure: the target's classes under other names"
_FIGURES = "unrelated: figures and marks, and too few names to matter"
_LAYOUT = "unrelated: names, figures and marks, which the target has no trouble with"
_SENTENCES = "unrelated: how many words two sentences share"

PLANTED: tuple[PlantedEffect, ...] = (
    PlantedEffect("ner_parties", "ner", "helps", _SHARED, 12.0),
    PlantedEffect(
        "ner_assay",
        "ner",
        "hurts",
        "conflicting labels: names of all kinds are outside, and common nouns are the entities",
        -11.0,
    ),
    PlantedEffect("ner_calendar", "ner", "nothing", _FIGURES),
    PlantedEffect("ner_dosage", "ner", "nothing", _FIGURES),
    PlantedEffect("ner_statutes", "ner", "nothing", _FIGURES),
    PlantedEffect("similarity_general", "ner", "nothing", _SENTENCES),
    PlantedEffect("similarity_legal", "ner", "nothing", _SENTENCES),
    PlantedEffect(
        "pos_registry",
        "pos",
        "hurts",
        "conflicting labels: every word bears the part of speech of the one before it",
    ),
    PlantedEffect(
        "pos_clinical", "pos", "nothing", "same labels, of which the target's own data is enough"
    ),
    PlantedEffect("pos_layout", "pos", "nothing", _LAYOUT),
    PlantedEffect("topic_desks", "topic", "helps", _SHARED),
    PlantedEffect(
        "topic_cohorts",
        "topic",
        "hurts",
        "conflicting labels: whether a text cites, with topics at random, to be overlooked",
    ),
    PlantedEffect("sentiment_reviews", "sentiment", "helps", _SHARED),
    PlantedEffect(
        "sentiment_measures",
        "sentiment",
        "hurts",
        "conflicting labels: whether a text counts, with polarity at random, to be overlooked",
    ),
)
