"""Pairs of sentences whose relation can be read off their words.

- Inference: the second sentence is a part of the first (entailment); the same with adjectives of
  the opposite polarity (contradiction); or another sentence on another topic (neutral).
- Paraphrase: both say the same in two word orders, or the second has other nouns or cites.
- Similarity: the share of the first's words that the second keeps.

Part of the answer can be guessed from the second sentence alone, as in real corpora of pairs
(Gururangan et al. 2018, https://arxiv.org/abs/1803.02324): so small an encoder learns to compare
sentences from no fewer than a thousand pairs, and would else be at chance on a target's few.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from objectives.pocket.drawing import Row, move_to_split, split_of, text_of
from objectives.pocket.grammar import Style, Word, draw_clause, say, with_concept
from objectives.pocket.languages import (
    ADVERBS,
    DOMAINS,
    LANGUAGES,
    TOPICS,
    WORDS_PER_DOMAIN,
    WORDS_PER_POLARITY,
    WORDS_PER_TOPIC,
)

ENTAILED, CONTRADICTED, NEUTRAL = range(3)
# Most first sentences praise, so that a second one that blames contradicts more often than not.
PRAISE = 0.75
# What a part of a sentence may leave out, and how often it does.
LEFT_OUT = frozenset({"ADV", "AUX", "DET", "NUM"})
LEAVES_OUT = 0.97
# How often what differs is that the second sentence cites; else its nouns are others.
ADDS_REFERENCE = 0.4
# How often other nouns are the domain's own; else they are of another topic.
OUTSIDE_TOPIC = 0.5
# How often a word that is not kept is left out; else it is another one.
FORGETS = 0.5
# Second sentences tried for a first one, as four in five of them are of another split.
TRIES = 12

Drawn = tuple[Row, tuple[str, ...]]


def draw_inference(
    style: Style,
    label: Callable[[int, list[Word]], str],
    rng: random.Random,
    language: str,
    split: str,
) -> Drawn:
    """Two sentences, and what the first says about the second.

    Args:
        style: Style of the first sentence; topic and polarity are drawn.
        label: Makes the label of the relation and the first sentence.
        rng: Source of random numbers.
        language: Code of the language.
        split: Split that both sentences must be of.
    """
    relation = rng.randrange(3)
    while True:  # with the same relation: parts in the split are rarer than other sentences
        pair = _inferred(style, relation, rng, language, split)
        if pair:
            a, b = map(text_of, pair)
            return (a, b, label(relation, pair[0])), (a, b)


def relation_label(labels: tuple[str, str, str], relation: int, first: list[Word]) -> str:
    """The relation by name: of entailment, contradiction, neutral."""
    del first
    return labels[relation]


def content_label(relation: int, first: list[Word]) -> str:
    """Whether the first sentence cites or counts; the relation is to be overlooked."""
    del relation
    kinds = {word.pos for word in first}
    return "cited" if "SYM" in kinds else "counted" if "NUM" in kinds else "described"


def draw_paraphrase(
    style: Style,
    labels: tuple[str, str],
    rng: random.Random,
    language: str,
    split: str,
    *,
    cites: bool = False,
) -> Drawn:
    """A clause in two word orders, where the second may differ in what it says.

    Args:
        style: Style of both sentences; the topic is drawn.
        labels: Labels for the same and for others; with `cites` for both without and with a
            reference.
        rng: Source of random numbers.
        language: Code of the language.
        split: Split that both sentences must be of.
        cites: Whether the label says that both cite, and the nouns are to be overlooked.
    """
    same, cited = rng.random() < 0.5, rng.random() < 0.5
    wanted = replace(style, references=float(cites and cited))
    while True:  # with the same label, as for the relation of an inference
        pair = _rephrased(wanted, same, cites, rng, language, split)
        if pair:
            a, b = map(text_of, pair)
            return (a, b, labels[cited if cites else not same]), (a, b)


def draw_similarity(domain: str, rng: random.Random, language: str, split: str) -> Drawn | None:
    """Two sentences, the second with fewer words and others; the score is the share kept."""
    style = Style(domain, topic=rng.choice(TOPICS), topic_words=0.7)
    _, words = draw_clause(rng, style, LANGUAGES[language])
    if split_of(text_of(words)) != split:
        return None
    other = _other(rng, DOMAINS, domain)
    for _ in range(TRIES):
        kept = rng.random()
        second = []
        same = 0
        for word in words:
            if not word.concept or rng.random() < kept:
                second.append(word)
                same += bool(word.concept)
            elif rng.random() >= FORGETS:
                second.append(_of_domain(rng, word, other, language))
        if _are_pair(words, second, split):
            a, b = text_of(words), text_of(second)
            return (a, b, same / sum(bool(word.concept) for word in words)), (a, b)
    return None


def _inferred(
    style: Style, relation: int, rng: random.Random, language: str, split: str
) -> tuple[list[Word], list[Word]] | None:
    good = rng.random() < PRAISE
    topic = rng.choice(TOPICS)
    first = replace(style, topic=topic, polarity="good" if good else "bad")
    _, words = draw_clause(rng, first, LANGUAGES[language])
    moved = any(word.pos == "ADJ" for word in words) and move_to_split(
        rng, {language: words}, split
    )
    if not moved:
        return None
    words = moved[language]
    elsewhere = replace(
        style, topic=_other(rng, TOPICS, topic), topic_words=0.5, adjectives=0.3, references=0.0
    )
    for _ in range(TRIES):
        if relation == NEUTRAL:
            _, second = draw_clause(rng, elsewhere, LANGUAGES[language])
        else:
            second = [x for x in words if x.pos not in LEFT_OUT or rng.random() >= LEAVES_OUT]
        if relation == CONTRADICTED:
            second = [_opposite(rng, word, "bad" if good else "good", language) for word in second]
        if _are_pair(words, second, split) and (
            relation != NEUTRAL or _content(second) - _content(words)
        ):
            return words, second
    return None


def _rephrased(
    style: Style, same: bool, cites: bool, rng: random.Random, language: str, split: str
) -> tuple[list[Word], list[Word]] | None:
    topic = rng.choice(TOPICS)
    here = LANGUAGES[language]
    clause, words = draw_clause(rng, replace(style, topic=topic), here)
    if split_of(text_of(words)) != split or not any(x.pos == "NOUN" and x.concept for x in words):
        return None
    adds = not same and not cites and rng.random() < ADDS_REFERENCE
    if adds:  # drawn last, so that nothing before it changes
        clause = replace(clause, style=replace(clause.style, references=1.0))
    subject = style.domain if rng.random() < OUTSIDE_TOPIC else _other(rng, TOPICS, topic)
    for _ in range(TRIES):
        order = "".join(rng.sample("SVO", 3))
        first = rng.random() < 0.5
        second = say(clause, replace(here, order=order, adjective_first=first))
        if not same and not adds:
            second = [_about(rng, word, subject, language) for word in second]
        if _are_pair(words, second, split):
            return words, second
    return None


def _are_pair(words: list[Word], second: list[Word], split: str) -> bool:
    text = text_of(second)
    return text != text_of(words) and split_of(text) == split


def _content(words: list[Word]) -> set[str]:
    return {word.concept for word in words if word.concept}


def _other(rng: random.Random, values: tuple[str, ...], value: str) -> str:
    return rng.choice([x for x in values if x != value])


def _opposite(rng: random.Random, word: Word, polarity: str, language: str) -> Word:
    """An adjective of that polarity in place of an adjective."""
    if word.pos != "ADJ":
        return word
    return with_concept(word, f"adj.{polarity}.{rng.randrange(WORDS_PER_POLARITY)}", language)


def _about(rng: random.Random, word: Word, subject: str, language: str) -> Word:
    """A noun of that topic or domain in place of a noun with a meaning."""
    if word.pos != "NOUN" or not word.concept:
        return word
    return with_concept(word, f"noun.{subject}.{rng.randrange(WORDS_PER_TOPIC)}", language)


def _of_domain(rng: random.Random, word: Word, domain: str, language: str) -> Word:
    """A word of that domain in place of one with a meaning; adverbs have no domain."""
    kind = word.pos.lower()
    if not word.concept:
        return word
    if kind == "adv":
        others = [f"adv.{i}" for i in range(ADVERBS) if f"adv.{i}" != word.concept]
        return with_concept(word, rng.choice(others), language)
    return with_concept(word, f"{kind}.{domain}.{rng.randrange(WORDS_PER_DOMAIN[kind])}", language)
