"""The embedded corpora: which sentences each holds and how it labels them.

Splits never share a sentence: every sentence belongs to one split by the hash of its text, in all
corpora of a language alike, so that no test sentence can stand in any other corpus's train.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from objectives.pocket.drawing import (
    Draw,
    Row,
    citing_style,
    draw_classified,
    draw_pair,
    draw_spans,
    draw_tagged,
    draw_text,
    figure_label,
    layout_tag,
    measured_style,
    mixed_style,
    name_label,
    noun_series,
    polarity_style,
    pos_tag,
    same_style,
    tag_before,
    tag_each,
    topic_style,
)
from objectives.pocket.grammar import Style
from objectives.pocket.languages import (
    DOMAINS,
    LANGUAGES,
    SOURCE_LANGUAGE,
    TOPICS,
    named_random,
)

POCKET_VERSION = 1
"""Counts up whenever any corpus, lexicon or the encoder changes; part of provenance."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Corpus:
    """One embedded corpus.

    Attributes:
        columns: Names of the columns, as in `TaskKind.columns`.
        draw: Draws an example.
        sizes: Examples in train, validation and test.
        languages: The languages it exists in; only the source language has train, but for text.
    """

    columns: tuple[str, ...]
    draw: Draw
    sizes: tuple[int, int, int]
    languages: tuple[str, ...]


def pocket_split(corpus: str, language: str, split: str) -> dict[str, list[Any]]:
    """The columns of one split, always the same.

    Args:
        corpus: Name without the prefix `pocket_`.
        language: `qas`, or `qaa` to `qaf` where the corpus has it.
        split: train, validation or test.

    Raises:
        KeyError: There is no such corpus, language or split.
    """
    if corpus not in CORPORA:
        raise KeyError(f"expected one of the pocket corpora {sorted(CORPORA)}, found {corpus!r}")
    found = CORPORA[corpus]
    splits = SPLITS if corpus == "text" or language == SOURCE_LANGUAGE else SPLITS[1:]
    if language not in found.languages or split not in splits:
        raise KeyError(f"pocket corpus {corpus!r} has no split {split!r} in {language!r}")
    rows = _rows(corpus, language, split)
    return {name: [row[i] for row in rows] for i, name in enumerate(found.columns)}


@cache
def _rows(corpus: str, language: str, split: str) -> tuple[Row, ...]:
    found = CORPORA[corpus]
    rng = named_random("corpus", corpus, language, split)
    seen: set[tuple[str, ...]] = set()
    rows: list[Row] = []
    while len(rows) < found.sizes[SPLITS.index(split)]:
        row, sentences = found.draw(rng, language)
        if sentences in seen or any(split_of(sentence) != split for sentence in sentences):
            continue
        seen.add(sentences)
        rows.append(row)
    return tuple(rows)


def split_of(sentence: str) -> str:
    """The only split in which a sentence may stand."""
    share = hashlib.sha256(sentence.encode()).digest()[0] / 256
    return "train" if share < 0.6 else "validation" if share < 0.8 else "test"


_TAGGED, _LABELLED, _PAIRED = ("tokens", "tags"), ("text", "label"), ("text_a", "text_b", "score")
_SOURCE = (SOURCE_LANGUAGE,)


def _target(columns: tuple[str, ...], draw: Draw) -> Corpus:
    return Corpus(columns, draw, (800, 200, 400), tuple(LANGUAGES))


def _intermediate(columns: tuple[str, ...], draw: Draw) -> Corpus:
    return Corpus(columns, draw, (1200, 200, 200), _SOURCE)


def _corpora() -> Iterator[tuple[str, Corpus]]:
    # Named entities.
    names = partial(draw_spans, partial(same_style, Style(names=0.7)))
    identity = {"PER": "PER", "LOC": "LOC", "ORG": "ORG"}
    parties = {"PER": "PARTY", "LOC": "VENUE", "ORG": "COURT"}
    # Without any name an encoder would forget them, and a corpus of figures would hurt.
    figures = Style(names=0.03, numerals=0.3, references=0.8)
    assay = partial(same_style, Style("biomedical", names=0.6))
    yield "ner", _target(_TAGGED, partial(names, partial(name_label, identity)))
    for name, style, label in (
        ("ner_calendar", partial(same_style, replace(figures, names=0.025)),
         partial(figure_label, {"NUM": "FIGURE", "SYM": "MARK"}, identity)),
        ("ner_dosage", partial(same_style, replace(figures, domain="biomedical")),
         partial(figure_label, {"NUM": "DOSE", "SYM": "MARK"}, identity)),
        ("ner_assay", assay, partial(noun_series, ("CHEMICAL", "DISEASE"))),
        ("ner_parties", partial(same_style, Style("legal", names=0.6)),
         partial(name_label, parties)),
        ("ner_statutes", partial(same_style, replace(figures, domain="legal")),
         partial(figure_label, {"NUM": "STATUTE", "SYM": "MARK"}, identity)),
    ):  # fmt: skip
        yield name, _intermediate(_TAGGED, partial(draw_spans, style, label))
    # Parts of speech.
    yield (
        "pos",
        _target(_TAGGED, partial(draw_tagged, partial(mixed_style, "general"), tag_each(pos_tag))),
    )
    for name, domain, tag in (
        ("pos_layout", "general", tag_each(layout_tag)),
        ("pos_clinical", "biomedical", tag_each(pos_tag)),
        ("pos_registry", "legal", tag_before),
    ):
        yield name, _intermediate(_TAGGED, partial(draw_tagged, partial(mixed_style, domain), tag))
    # Topics.
    yield (
        "topic",
        _target(_LABELLED, partial(draw_classified, partial(topic_style, "general", TOPICS))),
    )
    desks = ("farms", "stage", "stadium", "market")
    matters = ("land", "performance", "contest", "contract")
    for name, topical in (
        ("topic_desks", partial(topic_style, "general", desks)),
        ("topic_cohorts", partial(citing_style, "biomedical")),
        ("topic_circulars", partial(topic_style, "legal", matters, right=0.45)),
    ):
        yield name, _intermediate(_LABELLED, partial(draw_classified, topical))
    # Sentiment.
    poles = ("positive", "negative")
    yield (
        "sentiment",
        _target(_LABELLED, partial(draw_classified, partial(polarity_style, "general", poles))),
    )
    for name, polar in (
        ("sentiment_reviews", partial(polarity_style, "general", ("satisfied", "dissatisfied"))),
        ("sentiment_measures", partial(measured_style, "biomedical")),
        (
            "sentiment_rulings",
            partial(polarity_style, "legal", ("upheld", "dismissed"), right=0.3),
        ),
    ):
        yield name, _intermediate(_LABELLED, partial(draw_classified, polar))
    # Similarity and plain text.
    for domain in DOMAINS:
        yield f"similarity_{domain}", _intermediate(_PAIRED, partial(draw_pair, domain))
    yield "text", Corpus(("text",), draw_text, (1200, 100, 100), tuple(LANGUAGES))


CORPORA: Mapping[str, Corpus] = dict(_corpora())
