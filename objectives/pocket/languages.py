"""The seven invented languages: their grammar in numbers, and the lexicon of each.

One source language, `qas`, and six targets, `qaa` to `qaf` (codes that ISO 639-3 reserves for
private use). All of them name the same concepts. A target language takes some stems from `qas`
(loanwords) and some endings (shared morphology), and invents the rest from its own sounds: what it
takes is what a model can transfer. No word is copied from anywhere; a likeness to a real word is
chance.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

SOURCE_LANGUAGE = "qas"
TOPICS = ("harvest", "music", "sport", "trade")
DOMAINS = ("general", "biomedical", "legal")
NAME_CLASSES = ("PER", "LOC", "ORG")

WORDS_PER_TOPIC = 16
WORDS_PER_POLARITY = 20
WORDS_PER_DOMAIN: Mapping[str, int] = {"noun": 20, "verb": 12, "adj": 8}
ADVERBS = 12
NAME_STEMS = 60
ENDINGS: Mapping[str, int] = {
    "PER": 16, "LOC": 16, "ORG": 16, "NOUN": 20, "VERB": 16, "ADJ": 16, "ADV": 8
}  # fmt: skip
"""Endings of each class of words; those of names are the cue to their type."""

FUNCTION_WORDS: Mapping[str, tuple[str, ...]] = {
    "DET": ("the", "a", "this"),
    "ADP": ("in", "from", "for", "with", "of"),
    "CCONJ": ("and", "or"),
    "PRON": ("she", "they", "we"),
    "AUX": ("will", "has"),
    "TITLE": ("mister", "doctor", "judge", "captain"),
    "HEAD": ("society", "bureau", "bank", "works"),
}
"""Short words without an ending, by class; TITLE stands by persons, HEAD ends organisations."""

INFLECTIONS = ("plural", "past", "object")
_GREEK = str.maketrans("abdefghijklmnoprstuvyz", "αβδεφγηικκλμνοπρστυβξζ")


@dataclass(frozen=True)
class Language:
    """How a language builds sentences, and how much it shares with the source language.

    Attributes:
        code: ISO 639-3, private use.
        order: Order of subject, verb and object.
        adjective_first: Whether adjectives stand before their noun.
        prepositions: Whether adpositions stand before their phrase.
        prefixes: Whether inflection stands before the word, with a hyphen, or is a suffix.
        marks_object: Whether the object's noun is inflected.
        loans: Share of stems taken from the source language, in [0, 1].
        shared_endings: Share of endings that are those of the source language, in [0, 1].
        consonants: Consonants of the stems that are not loans.
        vowels: Vowels of the stems and endings that are not loans.
        latin: Share of words written in Latin letters; the rest is in Greek ones.
    """

    code: str
    order: str
    adjective_first: bool
    prepositions: bool
    prefixes: bool
    marks_object: bool
    loans: float
    shared_endings: float
    consonants: str
    vowels: str
    latin: float = 1.0


LANGUAGES: Mapping[str, Language] = {
    language.code: language
    for language in (
        Language("qas", "SVO", True, True, False, False, 1.0, 1.0, "bdfgklmnprstv", "aeiou"),
        Language("qaa", "SVO", False, True, False, False, 0.70, 1.00, "bdgklmnprst", "aeio"),
        Language("qab", "SOV", True, False, False, True, 0.60, 0.90, "dgklmnrstvz", "aeiuy"),
        Language("qac", "VSO", False, True, True, False, 0.55, 0.85, "bfhjklmnprt", "aou"),
        Language("qad", "SOV", False, False, True, True, 0.50, 0.75, "dghklmnpsz", "aei"),
        Language("qae", "OVS", True, False, False, True, 0.40, 0.65, "bjklmprtvz", "aeouy"),
        Language("qaf", "SVO", True, True, False, False, 0.70, 0.90, "dgklmnprst", "aeio", 0.5),
    )
}


@dataclass(frozen=True)
class Lexicon:
    """The words of one language.

    Attributes:
        stems: Concept -> stem; `noun.trade.3` is the same concept in every language.
        endings: Class of words -> its endings; the n-th is the same morpheme in every language.
        function_words: Gloss -> word.
        inflections: Inflection -> affix.
        greek: Concepts whose words are written in Greek letters, affixes and all.
    """

    stems: Mapping[str, str]
    endings: Mapping[str, tuple[str, ...]]
    function_words: Mapping[str, str]
    inflections: Mapping[str, str]
    greek: frozenset[str]


def lexicon(code: str) -> Lexicon:
    """The words of the language with this code."""
    return _all_lexicons()[code]


def named_random(*names: object) -> random.Random:
    """A generator fixed by names alone: the same in every process and on every machine."""
    text = "/".join(str(name) for name in names)
    return random.Random(hashlib.sha256(text.encode()).digest())


def concepts() -> dict[str, str]:
    """Every concept with an inflecting word -> the class of words it belongs to."""
    parts_of_speech = {f"noun.{t}.{i}": "NOUN" for t in TOPICS for i in range(WORDS_PER_TOPIC)}
    for kind, count in WORDS_PER_DOMAIN.items():
        parts_of_speech |= {f"{kind}.{d}.{i}": kind.upper() for d in DOMAINS for i in range(count)}
    for polarity in ("good", "bad"):
        parts_of_speech |= {f"adj.{polarity}.{i}": "ADJ" for i in range(WORDS_PER_POLARITY)}
    parts_of_speech |= {f"adv.{i}": "ADV" for i in range(ADVERBS)}
    return parts_of_speech


def ending_index(concept: str) -> int:
    """Which of its class's endings a concept takes, in every language."""
    return named_random("ending", concept).randrange(ENDINGS[concepts()[concept]])


@cache
def _all_lexicons() -> dict[str, Lexicon]:
    """All languages at once: a form belongs to one concept, so that likeness means kinship."""
    taken: set[str] = set()
    built: dict[str, Lexicon] = {}
    for language in LANGUAGES.values():
        built[language.code] = _build(language, built.get(SOURCE_LANGUAGE), taken)
    return built


def _build(language: Language, source: Lexicon | None, taken: set[str]) -> Lexicon:
    rng = named_random("lexicon", language.code)

    def borrow(form: str | None, share: float, shape: str) -> str:
        """The source's form, or a new one."""
        borrowed = rng.random() < share
        own = _coin(rng, language, shape, taken)
        return form if form is not None and borrowed else own

    names = [f"name.{i}" for i in range(NAME_STEMS)]
    stems = {
        concept: borrow(
            source.stems[concept] if source else None,
            # Names travel whole: what differs between languages is their ending.
            1.0 if concept.startswith("name.") else language.loans,
            rng.choice(("CVC", "CVCVC")),
        )
        for concept in (*names, *concepts())
    }
    endings = {
        group: tuple(
            borrow(source.endings[group][i] if source else None, language.shared_endings, "VCVC")
            for i in range(count)
        )
        for group, count in ENDINGS.items()
    }
    glosses = [gloss for words in FUNCTION_WORDS.values() for gloss in words]
    function_words = {
        gloss: borrow(source.function_words[gloss] if source else None, language.loans / 2, "CV")
        for gloss in glosses
    }
    affixes = {
        name: borrow(source.inflections[name] if source else None, language.loans / 2, "CV")
        for name in INFLECTIONS
    }
    greek = frozenset(name for name in stems if rng.random() >= language.latin)
    return Lexicon(stems, endings, function_words, affixes, greek)


def in_greek(form: str) -> str:
    """A form of the Latin letters in Greek ones."""
    return form.translate(_GREEK)


def _coin(rng: random.Random, language: Language, shape: str, taken: set[str]) -> str:
    """A form of that shape (C consonant, V vowel) that no language has yet."""
    while True:
        form = "".join(
            rng.choice(language.consonants if kind == "C" else language.vowels) for kind in shape
        )
        if form not in taken:
            taken.add(form)
            return form
        if shape in {"CV", "CVC"}:  # short forms run out
            shape += "C" if shape == "CV" else "VC"
