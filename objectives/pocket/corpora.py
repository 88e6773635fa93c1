"""The embedded corpora: which sentences each holds and how it labels them.

Splits never share a sentence: every sentence belongs to one split by the hash of its text, in all
corpora of a language alike, so that no test sentence can stand in any other corpus's train.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from objectives.pocket.grammar import Style, Word, write_sentence
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

Row = tuple[Any, ...]
Draw = Callable[[random.Random, str], tuple[Row, tuple[str, ...]]]
"""Draws one example in a language: its columns, and the sentences that it holds."""


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


def text_of(words: list[Word]) -> str:
    """The sentence as running text."""
    return " ".join(word.form for word in words)


def _tagged(
    draw_style: Callable[[random.Random], Style],
    tag: Callable[[Word], str],
    rng: random.Random,
    language: str,
) -> tuple[Row, tuple[str, ...]]:
    words = write_sentence(rng, language, draw_style(rng))
    return ([word.form for word in words], [tag(word) for word in words]), (text_of(words),)


def _spans(
    draw_style: Callable[[random.Random], Style],
    span_label: Callable[[Word], str],
    rng: random.Random,
    language: str,
) -> tuple[Row, tuple[str, ...]]:
    """IOB2: words next to each other with the same label are one span, unless a name begins."""
    words = write_sentence(rng, language, draw_style(rng))
    labels = [span_label(word) for word in words]
    tags: list[str] = []
    for i, label in enumerate(labels):
        goes_on = i > 0 and labels[i - 1] == label and not words[i].begins
        tags.append("O" if not label else f"I-{label}" if goes_on else f"B-{label}")
    return ([word.form for word in words], tags), (text_of(words),)


def _classified(
    draw: Callable[[random.Random], tuple[Style, str]], rng: random.Random, language: str
) -> tuple[Row, tuple[str, ...]]:
    style, label = draw(rng)
    text = text_of(write_sentence(rng, language, style))
    return (text, label), (text,)


def _pair(domain: str, rng: random.Random, language: str) -> tuple[Row, tuple[str, ...]]:
    """Two sentences, the second with some words of the first; the score is the share kept."""
    style = Style(domain, names=0.1)
    first = write_sentence(rng, language, style)
    kept = rng.random()
    second = [
        word
        if not word.concept or rng.random() < kept
        else _substitute(rng, language, style, word)
        for word in first
    ]
    content = [i for i, word in enumerate(first) if word.concept]
    same = sum(first[i].form == second[i].form for i in content)
    a, b = text_of(first), text_of(second)
    return (a, b, same / max(1, len(content))), (a, b)


def _substitute(rng: random.Random, language: str, style: Style, word: Word) -> Word:
    """Another word of the same part of speech."""
    while True:
        for candidate in write_sentence(rng, language, style):
            if candidate.pos == word.pos and candidate.concept not in {"", word.concept}:
                return candidate


def _mixed(domain: str, rng: random.Random) -> Style:
    """Sentences about anything, in one domain."""
    return Style(
        domain,
        names=rng.choice((0.0, 0.5)),
        topic=rng.choice(TOPICS),
        topic_words=rng.choice((0.0, 0.8)),
        polarity=rng.choice(("", "good", "bad")),
        adjectives=0.4,
        references=0.15,
    )


def _text(rng: random.Random, language: str) -> tuple[Row, tuple[str, ...]]:
    style = _mixed(rng.choice(DOMAINS), rng)
    text = text_of(write_sentence(rng, language, style))
    return (text,), (text,)


# Labels. A corpus with shared structure says the target's classes in other words; one with
# conflicting labels sorts the same words by a series that cuts across those classes, and so
# teaches an encoder to merge what the target must tell apart.

def _same(style: Style, rng: random.Random) -> Style:
    del rng
    return style


def _name_label(labels: Mapping[str, str], word: Word) -> str:
    return labels.get(word.name_class, "")


def _noun_series(labels: tuple[str, ...], word: Word) -> str:
    """Common nouns are the entities, by their ending; names stay outside."""
    return labels[word.cue % len(labels)] if word.pos == "NOUN" and word.concept else ""


def _figure_label(labels: Mapping[str, str], names: Mapping[str, str], word: Word) -> str:
    return labels.get(word.pos) or names.get(word.name_class, "")


def _word_class(first: str, second: str, word: Word) -> str:
    """Part of speech; nouns, verbs and adjectives fall into two classes by their ending."""
    if word.concept and word.pos in {"NOUN", "VERB", "ADJ"}:
        return word.pos + (second if word.cue % 2 else first)
    return word.pos


def _word_series(word: Word) -> str:
    """Classes of endings that merge parts of speech, and cut across their classes."""
    if word.concept or word.name_class:
        return "SECOND" if word.cue // 2 % 2 else "FIRST"
    return "OTHER"


def _layout(word: Word) -> str:
    return word.pos if word.pos in {"NUM", "SYM", "PUNCT"} else "WORD"


def _topic(
    domain: str, labels: tuple[str, ...], rng: random.Random, share: float = 0.9
) -> tuple[Style, str]:
    i = rng.randrange(len(TOPICS))
    return Style(domain, topic=TOPICS[i], topic_words=share), labels[i]


def _topic_series(domain: str, labels: tuple[str, ...], rng: random.Random) -> tuple[Style, str]:
    i = rng.randrange(len(labels))
    style = Style(domain, topic=rng.choice(TOPICS), topic_words=0.9)
    return replace(style, series=i, series_count=len(labels)), labels[i]


def _reference_class(domain: str, rng: random.Random) -> tuple[Style, str]:
    cites = rng.random() < 0.5
    return Style(domain, names=0.1, references=float(cites)), "citing" if cites else "plain"


def _numeral_class(domain: str, rng: random.Random) -> tuple[Style, str]:
    counted = rng.random() < 0.5
    style = Style(domain, names=0.1, numerals=0.9 if counted else 0.0)
    return style, "measured" if counted else "described"


def _polarity(domain: str, labels: tuple[str, str], rng: random.Random) -> tuple[Style, str]:
    good = rng.random() < 0.5
    style = Style(domain, polarity="good" if good else "bad", adjectives=0.8)
    return style, labels[0] if good else labels[1]


def _polarity_series(domain: str, labels: tuple[str, str], rng: random.Random) -> tuple[Style, str]:
    i = rng.randrange(2)
    style = Style(domain, polarity=rng.choice(("good", "bad")), adjectives=0.8)
    return replace(style, series=i, series_count=2), labels[i]


_TAGGED, _LABELLED, _PAIRED = ("tokens", "tags"), ("text", "label"), ("text_a", "text_b", "score")
_SOURCE = (SOURCE_LANGUAGE,)


def _target(columns: tuple[str, ...], draw: Draw) -> Corpus:
    return Corpus(columns, draw, (800, 200, 400), tuple(LANGUAGES))


def _intermediate(columns: tuple[str, ...], draw: Draw) -> Corpus:
    return Corpus(columns, draw, (1200, 200, 400), _SOURCE)


def _corpora() -> Iterator[tuple[str, Corpus]]:
    # Named entities.
    names, general = partial(_spans, partial(_same, Style(names=0.7))), Style()
    identity = {"PER": "PER", "LOC": "LOC", "ORG": "ORG"}
    parties = {"PER": "PARTY", "LOC": "VENUE", "ORG": "COURT"}
    figures = Style(names=0.15, numerals=0.3, references=0.8)
    assay = partial(_same, Style("biomedical", names=0.5))
    yield "ner", _target(_TAGGED, partial(names, partial(_name_label, identity)))
    for name, style, label in (
        ("ner_calendar", partial(_same, figures),
         partial(_figure_label, {"NUM": "FIGURE", "SYM": "MARK"}, identity)),
        ("ner_dosage", partial(_same, replace(figures, domain="biomedical")),
         partial(_figure_label, {"NUM": "DOSE", "SYM": "MARK"}, identity)),
        ("ner_assay", assay, partial(_noun_series, ("CHEMICAL", "DISEASE"))),
        ("ner_parties", partial(_same, Style("legal", names=0.6)),
         partial(_name_label, parties)),
        ("ner_statutes", partial(_same, replace(figures, domain="legal")),
         partial(_figure_label, {"NUM": "STATUTE", "SYM": "MARK"}, identity)),
    ):  # fmt: skip
        yield name, _intermediate(_TAGGED, partial(_spans, style, label))
    # Parts of speech.
    yield "pos", _target(
        _TAGGED, partial(_tagged, partial(_mixed, "general"), lambda word: word.pos)
    )
    for name, domain, tag in (
        ("pos_layout", "general", _layout),
        ("pos_clinical", "biomedical", partial(_word_class, "a", "b")),
        ("pos_registry", "legal", _word_series),
    ):
        yield name, _intermediate(_TAGGED, partial(_tagged, partial(_mixed, domain), tag))
    # Topics.
    yield "topic", _target(_LABELLED, partial(_classified, partial(_topic, "general", TOPICS)))
    desks = ("farms", "stage", "stadium", "market")
    for name, topical in (
        ("topic_desks", partial(_topic, "general", desks, share=0.9)),
        ("topic_cohorts", partial(_topic_series, "biomedical", tuple("ABCD"))),
        ("topic_citing", partial(_reference_class, "legal")),
    ):
        yield name, _intermediate(_LABELLED, partial(_classified, topical))
    # Sentiment.
    poles = ("positive", "negative")
    yield (
        "sentiment",
        _target(_LABELLED, partial(_classified, partial(_polarity, "general", poles))),
    )
    for name, polar in (
        ("sentiment_reviews", partial(_polarity, "general", ("satisfied", "dissatisfied"))),
        ("sentiment_measures", partial(_numeral_class, "biomedical")),
        ("sentiment_rulings", partial(_polarity_series, "legal", ("upheld", "dismissed"))),
    ):
        yield name, _intermediate(_LABELLED, partial(_classified, polar))
    # Similarity and plain text.
    for domain in DOMAINS:
        yield f"similarity_{domain}", _intermediate(_PAIRED, partial(_pair, domain))
    yield "text", Corpus(("text",), _text, (1200, 100, 100), tuple(LANGUAGES))


CORPORA: Mapping[str, Corpus] = dict(_corpora())
