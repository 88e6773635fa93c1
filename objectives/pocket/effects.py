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
        effect: On the mean score over the target languages, against the best direct training. In
            "nothing" the labels have no bearing on the target, and what remains is the small
            effect of any training in between, under five points.
        mechanism: Why.
        points: What `python -m tests.benchmarks.planted` measured, in percentage points, of five
            to twelve seeds; None in "nothing", where it was -3.3 to +0.2.
    """

    intermediate: str
    target: str
    effect: Literal["helps", "hurts", "nothing"]
    mechanism: str
    points: float | None = None


_SHARED = "shared label structure: the target's classes under other names"
_FIGURES = "unrelated: figures and marks, and too few names to matter"
_SENTENCES = "unrelated: how many words two sentences share"
_ONE_CLASS = (
    "conflicting labels: names of all kinds are one class, and endings need not be told apart"
)
_NAMES = "unrelated: names, which the target knows by themselves"

PLANTED: tuple[PlantedEffect, ...] = (
    PlantedEffect("ner_parties", "ner", "helps", _SHARED, 22.5),
    PlantedEffect(
        "ner_assay",
        "ner",
        "hurts",
        "conflicting labels: names of all kinds are outside, and common nouns are the entities",
        -6.0,
    ),
    PlantedEffect("pos_layout", "ner", "hurts", _ONE_CLASS, -8.5),
    PlantedEffect("pos_clinical", "ner", "hurts", _ONE_CLASS, -15.5),
    PlantedEffect("pos_registry", "ner", "hurts", _ONE_CLASS, -8.5),
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
        -4.8,
    ),
    PlantedEffect(
        "pos_clinical", "pos", "nothing", "same labels, of which the target's own data is enough"
    ),
    PlantedEffect(
        "pos_layout",
        "pos",
        "nothing",
        "unrelated: names, figures and marks, which the target has no trouble with",
    ),
    PlantedEffect("ner_parties", "pos", "nothing", _NAMES),
    PlantedEffect("ner_assay", "pos", "nothing", "unrelated: common nouns, by their endings"),
    PlantedEffect("ner_calendar", "pos", "nothing", _FIGURES),
    PlantedEffect("ner_dosage", "pos", "nothing", _FIGURES),
    PlantedEffect("ner_statutes", "pos", "nothing", _FIGURES),
    PlantedEffect("topic_desks", "topic", "helps", _SHARED, 10.3),
    PlantedEffect(
        "topic_cohorts",
        "topic",
        "hurts",
        "conflicting labels: whether a text cites, with topics at random, to be overlooked",
        -12.0,
    ),
    PlantedEffect("sentiment_reviews", "sentiment", "helps", _SHARED, 11.5),
    PlantedEffect(
        "sentiment_measures",
        "sentiment",
        "hurts",
        "conflicting labels: whether a text counts, with polarity at random, to be overlooked",
        -10.7,
    ),
)
