"""How examples are drawn and labelled: one function for each shape of data and way of labelling.

A corpus with shared label structure says the target's classes in other words. One with conflicting
labels asks for something else of the same sentences, so that an encoder learns to overlook what
the target must tell apart.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from typing import Any

from objectives.pocket.grammar import Style, Word, with_concept, write_sentence
from objectives.pocket.languages import TOPICS, WORDS_PER_DOMAIN, WORDS_PER_TOPIC

Row = tuple[Any, ...]
Draw = Callable[[random.Random, str], tuple[Row, tuple[str, ...]]]
"""Draws one example in a language: its columns, and the sentences that it holds."""
SplitDraw = Callable[[random.Random, str, str], tuple[Row, tuple[str, ...]] | None]
"""Draws one example in a language for a split, for examples of several sentences, few of which
would be of one split by chance; None where what it tried was of no use."""


def split_of(sentence: str) -> str:
    """The only split in which a sentence may stand."""
    share = hashlib.sha256(sentence.encode()).digest()[0] / 256
    return "train" if share < 0.6 else "validation" if share < 0.8 else "test"


def for_any_split(draw: Draw) -> SplitDraw:
    """Draws without regard to the split, for examples of one sentence."""
    return lambda rng, language, split: draw(rng, language)


def text_of(words: list[Word]) -> str:
    """The sentence as running text."""
    return " ".join(word.form for word in words)


def move_to_split(
    rng: random.Random, sentences: Mapping[str, list[Word]], split: str
) -> dict[str, list[Word]] | None:
    """The sentences with another of their common nouns, such that all are of the split.

    Far quicker than to draw sentences until one is of the split by chance.

    Args:
        rng: Draws the noun.
        sentences: Language -> what says the same as in the other languages.
        split: That all must be of.

    Returns:
        None where no noun of the same kind will do.
    """
    nouns = [x.concept for x in next(iter(sentences.values())) if x.pos == "NOUN" and x.concept]
    if not nouns:
        return None
    old = rng.choice(nouns)
    kind = old.rpartition(".")[0]
    count = WORDS_PER_TOPIC if kind.endswith(TOPICS) else WORDS_PER_DOMAIN["noun"]
    for number in rng.sample(range(count), count):
        moved = {
            code: [
                with_concept(word, f"{kind}.{number}", code) if word.concept == old else word
                for word in words
            ]
            for code, words in sentences.items()
        }
        if all(split_of(text_of(words)) == split for words in moved.values()):
            return moved
    return None


def draw_tagged(
    draw_style: Callable[[random.Random], Style],
    tag: Callable[[list[Word]], list[str]],
    rng: random.Random,
    language: str,
) -> tuple[Row, tuple[str, ...]]:
    """Words and a tag for each."""
    words = write_sentence(rng, language, draw_style(rng))
    return ([word.form for word in words], tag(words)), (text_of(words),)


def draw_spans(
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


def draw_classified(
    draw: Callable[[random.Random], tuple[Style, str]], rng: random.Random, language: str
) -> tuple[Row, tuple[str, ...]]:
    """A text and its class, drawn together with the style of the text."""
    style, label = draw(rng)
    text = text_of(write_sentence(rng, language, style))
    return (text, label), (text,)


def draw_pair(domain: str, rng: random.Random, language: str) -> tuple[Row, tuple[str, ...]]:
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


def mixed_style(domain: str, rng: random.Random) -> Style:
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


def draw_domain_text(
    domain: str, rng: random.Random, language: str
) -> tuple[Row, tuple[str, ...]]:
    """A text without labels, of one domain."""
    text = text_of(write_sentence(rng, language, mixed_style(domain, rng)))
    return (text,), (text,)


def same_style(style: Style, rng: random.Random) -> Style:
    """The style itself: the corpus has only one."""
    del rng
    return style


def name_label(labels: Mapping[str, str], word: Word) -> str:
    """The label of the kind of name that the word belongs to; empty outside names."""
    return labels.get(word.name_class, "")


def noun_series(labels: tuple[str, ...], word: Word) -> str:
    """Common nouns are the entities, by their ending; names stay outside."""
    return labels[word.cue % len(labels)] if word.pos == "NOUN" and word.concept else ""


def figure_label(labels: Mapping[str, str], names: Mapping[str, str], word: Word) -> str:
    """A label for figures and marks by part of speech, and one for the rare name."""
    return labels.get(word.pos) or names.get(word.name_class, "")


def tag_each(tag: Callable[[Word], str]) -> Callable[[list[Word]], list[str]]:
    """Tags each word by itself."""
    return lambda words: [tag(word) for word in words]


def pos_tag(word: Word) -> str:
    """The part of speech."""
    return word.pos


def tag_before(words: list[Word]) -> list[str]:
    """To each word the part of speech of the one it follows."""
    return ["start", *(f"after_{word.pos.lower()}" for word in words[:-1])]


def layout_tag(word: Word) -> str:
    """Name, figure, mark or word: what a page shows without reading it."""
    return word.pos if word.pos in {"NUM", "SYM", "PUNCT", "PROPN"} else "WORD"


def topic_style(
    domain: str, labels: tuple[str, ...], rng: random.Random, right: float = 1.0
) -> tuple[Style, str]:
    """A text on a topic; `right` is the share of labels that are not drawn at random."""
    i = rng.randrange(len(TOPICS))
    label = labels[i] if rng.random() < right else rng.choice(labels)
    return Style(domain, topic=TOPICS[i], topic_words=0.9), label


def polarity_style(
    domain: str, labels: tuple[str, str], rng: random.Random, right: float = 1.0
) -> tuple[Style, str]:
    """A text with good or bad adjectives; `right` as for `topic_style`."""
    i = rng.randrange(2)
    label = labels[i] if rng.random() < right else rng.choice(labels)
    return Style(domain, polarity=("good", "bad")[i], adjectives=0.8), label


def citing_style(domain: str, rng: random.Random) -> tuple[Style, str]:
    """The label is whether the text cites; its topic, drawn apart, is to be overlooked."""
    i = rng.randrange(2)
    style = Style(domain, topic=rng.choice(TOPICS), topic_words=0.9, references=float(i))
    return style, ("plain", "citing")[i]


def measured_style(domain: str, rng: random.Random) -> tuple[Style, str]:
    """The label is whether the text counts; its polarity, drawn apart, is to be overlooked."""
    i = rng.randrange(2)
    polarity = rng.choice(("good", "bad"))
    style = Style(domain, polarity=polarity, adjectives=0.8, numerals=0.9 * i)
    return style, ("described", "measured")[i]
