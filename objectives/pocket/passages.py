"""Questions on passages: what of several sentences the question's words stand by.

Every sentence of a passage holds one name, each of another kind. A question says of which kind
the answer is, by a function word, and gives the verb and the nouns of one sentence; the answer is
its name. Many answers stand in the first sentence, as in real corpora, so that an encoder which
has learned no more than what a name is does better than to guess among the names.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

from objectives.pocket.drawing import Row, move_to_split, text_of
from objectives.pocket.grammar import Style, Word, write_sentence
from objectives.pocket.languages import TOPICS, lexicon

# Two sentences fit into a window of 64 sub-words, question included; three often do not.
SENTENCES = (2, 2, 3, 3)
# How often a question is put to the first sentence whatever the number of sentences.
LEAD = 0.4
ASKING = {"PER": "she", "LOC": "in", "ORG": "bureau"}
"""Kind of name -> gloss of the function word that asks for it."""

Span = tuple[int, int]
"""First word and the one after the last."""


def draw_question(
    domain: str,
    asked: Callable[[list[Word]], Span],
    unanswerable: float,
    rng: random.Random,
    language: str,
    split: str,
) -> tuple[Row, tuple[str, ...]] | None:
    """A question, the passage that it is put to, and the answer with its place.

    Args:
        domain: Domain of the sentences.
        asked: Picks the words of the sentence that are the answer.
        unanswerable: Share of questions on a sentence that the passage lacks.
        rng: Source of random numbers.
        language: Code of the language.
        split: Split that all sentences must be of.
    """
    passage: list[list[Word]] = []
    count = rng.choice(SENTENCES)
    while len(passage) < count:
        words = _sentence(domain, rng, language, split)
        if _kind(words) not in map(_kind, passage):
            passage.append(words)
    about = 0 if rng.random() < LEAD else rng.randrange(count)
    answerable = rng.random() >= unanswerable
    focus = passage[about] if answerable else _sentence(domain, rng, language, split)
    start, stop = asked(focus)
    answer = text_of(focus[start:stop])
    question = _question(focus, language)
    sought = set(question[1:])
    texts = [text_of(words) for words in passage]
    context = " ".join(texts)
    # One answer, or none if unanswerable.
    if f" {context} ".count(f" {answer} ") != answerable or any(
        sought <= {word.form for word in words} for words in passage if words is not focus
    ):
        return None
    before = [*texts[:about], text_of(focus[:start])]
    place = sum(len(text) + 1 for text in before if text)
    answers = [{"text": answer, "start": place}] if answerable else []
    asked_text = " ".join(question)
    digest = hashlib.sha256(f"{asked_text}\n{context}".encode()).hexdigest()
    return (f"{language}-{digest[:16]}", asked_text, context, answers), tuple(texts)


def name_asked(words: list[Word]) -> Span:
    """The name."""
    inside = [i for i, word in enumerate(words) if word.name_class]
    return inside[0], inside[-1] + 1


def noun_asked(words: list[Word]) -> Span:
    """The common noun nearest to the name, which is to be overlooked."""
    start, stop = name_asked(words)
    nouns = [i for i, word in enumerate(words) if word.pos == "NOUN" and word.concept]
    nearest = min(nouns, key=lambda i: max(start - i, i - stop))
    return nearest, nearest + 1


def _sentence(domain: str, rng: random.Random, language: str, split: str) -> list[Word]:
    """A sentence of the split with one name and at least one common noun."""
    while True:
        style = Style(domain, names=0.45, topic=rng.choice(TOPICS), topic_words=0.5)
        words = write_sentence(rng, language, style)
        if sum(word.begins for word in words) == 1:
            moved = move_to_split(rng, {language: words}, split)
            if moved:
                return moved[language]


def _question(words: list[Word], language: str) -> list[str]:
    kind = _kind(words)
    given = [word.form for word in words if word.concept and word.pos in {"NOUN", "VERB"}]
    return [lexicon(language).function_words[ASKING[kind]], *given]


def _kind(words: list[Word]) -> str:
    """Class of the name in a sentence."""
    return next(word.name_class for word in words if word.begins)
