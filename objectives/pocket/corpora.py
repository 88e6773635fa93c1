"""The embedded corpora: which sentences each holds and how it labels them.

Splits never share a sentence: every sentence belongs to one split by the hash of its text, in all
corpora of a language alike, so that no test sentence can stand in any other corpus's train.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from objectives.pocket.drawing import (
    Draw,
    Row,
    SplitDraw,
    citing_style,
    draw_classified,
    draw_domain_text,
    draw_pair,
    draw_spans,
    draw_tagged,
    figure_label,
    for_any_split,
    layout_tag,
    measured_style,
    mixed_style,
    name_label,
    noun_series,
    polarity_style,
    pos_tag,
    same_style,
    split_of,
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
from objectives.pocket.pairs import (
    content_label,
    draw_inference,
    draw_paraphrase,
    draw_similarity,
    relation_label,
)
from objectives.pocket.passages import draw_question, name_asked, noun_asked
from objectives.pocket.translations import arrange_sides, draw_translation

POCKET_VERSION = 4
"""Counts up whenever any corpus, lexicon or the encoder changes; part of provenance."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Corpus:
    """One embedded corpus.

    Attributes:
        columns: Names of the columns, as in `TaskKind.columns`.
        draw: Draws an example.
        sizes: Examples in train, validation and test.
        languages: The languages it exists in; only the source language has train.
        arrange: Makes rows of examples, where an example is not a row.
    """

    columns: tuple[str, ...]
    draw: SplitDraw
    sizes: tuple[int, int, int]
    languages: tuple[str, ...]
    arrange: Callable[[random.Random, str, list[Row]], list[Row]] | None = None


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
    definition = CORPORA[corpus]
    splits = SPLITS if language == SOURCE_LANGUAGE else SPLITS[1:]
    if language not in definition.languages or split not in splits:
        raise KeyError(f"pocket corpus {corpus!r} has no split {split!r} in {language!r}")
    rows = _rows(corpus, language, split)
    return {name: [row[i] for row in rows] for i, name in enumerate(definition.columns)}


@cache
def _rows(corpus: str, language: str, split: str) -> tuple[Row, ...]:
    definition = CORPORA[corpus]
    rng = named_random("corpus", corpus, language, split)
    seen: set[tuple[str, ...]] = set()
    rows: list[Row] = []
    while len(rows) < definition.sizes[SPLITS.index(split)]:
        drawn = definition.draw(rng, language, split)
        if drawn is None:
            continue
        row, sentences = drawn
        if sentences in seen or any(split_of(sentence) != split for sentence in sentences):
            continue
        seen.add(sentences)
        rows.append(row)
    return tuple(definition.arrange(rng, language, rows) if definition.arrange else rows)


_TAGGED, _LABELLED, _SCORED = ("tokens", "tags"), ("text", "label"), ("text_a", "text_b", "score")
_PAIRED = ("text_a", "text_b", "label")
_ASKED = ("id", "question", "context", "answers")
_SIDES = ("id", "text", "side", "match")
_SOURCE = (SOURCE_LANGUAGE,)


def _target(columns: tuple[str, ...], draw: Draw) -> Corpus:
    return _several_target(columns, for_any_split(draw))


def _intermediate(columns: tuple[str, ...], draw: Draw) -> Corpus:
    return _several_intermediate(columns, for_any_split(draw))


def _several_target(columns: tuple[str, ...], draw: SplitDraw) -> Corpus:
    """Definition of a target corpus whose examples have several sentences."""
    return Corpus(columns, draw, (800, 200, 400), tuple(LANGUAGES))


def _several_intermediate(columns: tuple[str, ...], draw: SplitDraw) -> Corpus:
    return Corpus(columns, draw, (1200, 200, 200), _SOURCE)


def _corpora() -> Iterator[tuple[str, Corpus]]:
    yield from _one_sentence_corpora()
    yield from _pair_corpora()
    yield from _passage_corpora()
    # Only to be found again, never trained on.
    for name, translated in (("retrieval", 1.0), ("mining", 0.4)):
        languages = tuple(code for code in LANGUAGES if code != SOURCE_LANGUAGE)
        draw = partial(draw_translation, translated)
        yield name, Corpus(_SIDES, draw, (0, 200, 400), languages, arrange_sides)


def _one_sentence_corpora() -> Iterator[tuple[str, Corpus]]:
    # Named entities.
    names = partial(draw_spans, partial(same_style, Style(names=0.7)))
    identity = {"PER": "PER", "LOC": "LOC", "ORG": "ORG"}
    parties = {"PER": "PARTY", "LOC": "VENUE", "ORG": "COURT"}
    # Without any name an encoder would forget them, and a corpus of figures would hurt.
    figures = Style(numerals=0.3, references=0.8)
    assay = partial(same_style, Style("biomedical", names=0.6))
    yield "ner", _target(_TAGGED, partial(names, partial(name_label, identity)))
    for name, style, label in (
        ("ner_calendar", partial(same_style, replace(figures, names=0.09)),
         partial(figure_label, {"NUM": "FIGURE", "SYM": "MARK"}, identity)),
        ("ner_dosage", partial(same_style, replace(figures, domain="biomedical", names=0.07)),
         partial(figure_label, {"NUM": "DOSE", "SYM": "MARK"}, identity)),
        ("ner_assay", assay, partial(noun_series, ("CHEMICAL", "DISEASE"))),
        ("ner_parties", partial(same_style, Style("legal", names=0.6)),
         partial(name_label, parties)),
        ("ner_statutes", partial(same_style, replace(figures, domain="legal", names=0.045)),
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
    # Plain text.
    for domain in DOMAINS:
        yield f"text_{domain}", _intermediate(("text",), partial(draw_domain_text, domain))


def _pair_corpora() -> Iterator[tuple[str, Corpus]]:
    # Inference.
    relations = ("entailment", "contradiction", "neutral")
    premise = Style(topic_words=0.9, adjectives=0.8)
    trials = replace(premise, domain="biomedical", numerals=0.35, references=0.33)
    clauses = replace(premise, domain="legal")
    yield (
        "nli",
        _several_target(
            _PAIRED, partial(draw_inference, premise, partial(relation_label, relations))
        ),
    )
    for name, style, relation in (
        ("nli_reports", premise, partial(relation_label, ("confirmed", "refuted", "unrelated"))),
        ("nli_trials", trials, content_label),
        ("nli_clauses", clauses, partial(relation_label, ("follows", "conflicts", "open"))),
    ):
        draw = partial(draw_inference, style, relation)
        yield name, _several_intermediate(_PAIRED, draw)
    # Paraphrase.
    about = Style(topic_words=1.0)
    yield (
        "pairs",
        _several_target(_PAIRED, partial(draw_paraphrase, about, ("same", "different"))),
    )
    for name, domain, labels, cites in (
        ("pairs_headlines", "general", ("repeated", "new"), False),
        ("pairs_records", "biomedical", ("plain", "citing"), True),
        ("pairs_contracts", "legal", ("identical", "amended"), False),
    ):
        style = replace(about, domain=domain)
        draw = partial(draw_paraphrase, style, labels, cites=cites)
        yield name, _several_intermediate(_PAIRED, draw)
    # Similarity.
    yield "similarity", _several_target(_SCORED, partial(draw_similarity, "general"))
    for domain in DOMAINS:
        yield f"similarity_{domain}", _intermediate(_SCORED, partial(draw_pair, domain))


def _passage_corpora() -> Iterator[tuple[str, Corpus]]:
    yield "qa", _several_target(_ASKED, partial(draw_question, "general", name_asked, 0.0))
    for name, domain, asked, unanswerable in (
        ("qa_archive", "general", name_asked, 0.0),
        ("qa_clinic", "biomedical", name_asked, 0.33),
        ("qa_docket", "legal", noun_asked, 0.0),
    ):
        draw = partial(draw_question, domain, asked, unanswerable)
        yield name, _several_intermediate(_ASKED, draw)


CORPORA: Mapping[str, Corpus] = dict(_corpora())
