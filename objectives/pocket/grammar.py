"""Sentences: what one says, drawn at random, and how a language says it.

A `Style` fixes the subject matter; `write_sentence` draws a clause of that style and puts its
words in the order of the language. `say` does so again for one `Clause`, in any language or word
order. Every word carries its part of speech, the kind of name it belongs to, and its `cue`, by
which some corpora sort words.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from objectives.pocket.languages import (
    ADVERBS,
    ENDINGS,
    FUNCTION_WORDS,
    LANGUAGES,
    NAME_CLASSES,
    NAME_STEMS,
    WORDS_PER_DOMAIN,
    WORDS_PER_POLARITY,
    WORDS_PER_TOPIC,
    Language,
    concepts,
    ending_index,
    in_greek,
    lexicon,
)

FREE_ORDER = 0.3
"""How often a language departs from its word order, so that endings say more than places."""

_ENDING_OF = {concept: ending_index(concept) for concept in concepts()}


@dataclass(frozen=True)
class Word:
    """One word of a sentence.

    Attributes:
        form: Word as written.
        pos: Part of speech.
        name_class: PER, LOC or ORG within a name, else empty.
        begins: Whether a name begins here.
        cue: Index of the ending among those of the word's class.
        concept: Meaning of the word; empty for function words, names and figures.
        inflection: "plural", "past", "object" or empty.
    """

    form: str
    pos: str
    name_class: str = ""
    begins: bool = False
    cue: int = 0
    concept: str = ""
    inflection: str = ""


@dataclass(frozen=True)
class Style:
    """What a sentence is about.

    Attributes:
        domain: Whose nouns, verbs and adjectives fill it.
        names: Probability that a noun phrase is a name.
        topic: Topic of the nouns that are not the domain's; empty for none.
        topic_words: Probability that a noun is one of the topic's.
        polarity: "good", "bad", or empty: whose adjectives it uses.
        adjectives: Probability that a noun has an adjective.
        numerals: Probability that a noun has a numeral.
        references: Probability that the sentence ends in a reference such as `§ 12 / 1987`.
    """

    domain: str = "general"
    names: float = 0.0
    topic: str = ""
    topic_words: float = 0.0
    polarity: str = ""
    adjectives: float = 0.3
    numerals: float = 0.1
    references: float = 0.0


def write_sentence(rng: random.Random, code: str, style: Style) -> list[Word]:
    """One sentence of 6 to 14 words."""
    writer = _Writer(rng, LANGUAGES[code], style)
    while True:
        words = writer.clause()
        if 6 <= len(words) <= 14:
            return words


@dataclass(frozen=True)
class Clause:
    """What a sentence says, whatever the language.

    Attributes:
        seed: Random seed that fixes what is drawn.
        style: Style that the clause is drawn from.
    """

    seed: int
    style: Style


def draw_clause(rng: random.Random, style: Style, language: Language) -> tuple[Clause, list[Word]]:
    """A clause, and what it is in that language: 6 to 14 words, as in every other."""
    while True:
        clause = Clause(rng.getrandbits(64), style)
        words = say(clause, language)
        if 6 <= len(words) <= 14:
            return clause, words


def say(clause: Clause, language: Language) -> list[Word]:
    """The clause in a language: as many words as in any other, the same concepts and names."""
    rng = random.Random(clause.seed)
    return _Writer(rng, language, clause.style, aligned=True).clause()


def with_concept(word: Word, concept: str, code: str) -> Word:
    """The word with another meaning, its part of speech and inflection kept."""
    return _inflected(code, concept, word.pos, word.inflection)


@dataclass(frozen=True)
class _Writer:
    rng: random.Random
    language: Language
    style: Style
    aligned: bool = False
    """Whether a language draws what it has no use for, so that all draw alike."""

    def clause(self) -> list[Word]:
        chance = self.rng.random
        parts = {
            "S": self.phrase((0.45, 0.20, 0.35), subject=True),
            "V": self.verb(),
            "O": self.phrase((0.30, 0.30, 0.40), marked=self.language.marks_object),
        }
        order = [*self.language.order]
        if chance() < FREE_ORDER:
            self.rng.shuffle(order)
        sentence = [word for role in order for word in parts[role]]
        if chance() < 0.6:
            sentence += self.oblique()
        if chance() < 0.3:
            sentence.insert(0, self.inflecting(f"adv.{self.rng.randrange(ADVERBS)}", "ADV"))
        if chance() < self.style.references:
            sentence += self.reference()
        return [*sentence, Word(".", "PUNCT")]

    def phrase(
        self, weights: tuple[float, float, float], *, subject: bool = False, marked: bool = False
    ) -> list[Word]:
        """A noun phrase; `weights` are those of PER, LOC and ORG if it is a name."""
        if self.rng.random() < self.style.names:
            return self.name(self.rng.choices(NAME_CLASSES, weights)[0])
        if subject and self.rng.random() < 0.15:
            return [self.function("PRON")]
        if self.rng.random() < 0.15:
            joined = [*self.common(marked), self.function("CCONJ"), *self.common(marked)]
            return joined
        return self.common(marked)

    def common(self, marked: bool) -> list[Word]:
        chance = self.rng.random
        plural = (self.aligned or not marked) and chance() < 0.3
        inflection = "object" if marked else "plural" if plural else ""
        noun = [self.inflecting(self.noun(), "NOUN", inflection)]
        if chance() < self.style.adjectives:
            adjective = self.inflecting(self.adjective(), "ADJ")
            first = self.language.adjective_first != (chance() < FREE_ORDER)
            noun = [adjective, *noun] if first else [*noun, adjective]
        if chance() < self.style.numerals:
            noun.insert(0, Word(str(self.rng.randrange(2, 100)), "NUM"))
        elif chance() < 0.6:
            noun.insert(0, self.function("DET"))
        return noun

    def name(self, name_class: str) -> list[Word]:
        """A name; a title or the kind of organisation may stand by it."""
        chance = self.rng.random
        count = 2 if name_class == "PER" and chance() < 0.5 else 1
        name = [self.name_word(name_class, begins=i == 0) for i in range(count)]
        if name_class == "ORG" and chance() < 0.3:
            head = self.function("HEAD")
            name.append(Word(head.form, "NOUN", "ORG"))
        if name_class == "PER" and chance() < 0.3:
            name.insert(0, self.function("TITLE"))
        return name

    def name_word(self, name_class: str, *, begins: bool) -> Word:
        cue = self.rng.randrange(ENDINGS[name_class])
        stem = self.rng.randrange(NAME_STEMS)
        return _name_word(self.language.code, stem, name_class, begins, cue)

    def verb(self) -> list[Word]:
        past = self.rng.random() < 0.4
        verb = self.inflecting(self.domain_word("verb"), "VERB", "past" if past else "")
        return [self.function("AUX"), verb] if self.rng.random() < 0.2 else [verb]

    def oblique(self) -> list[Word]:
        phrase = self.phrase((0.20, 0.50, 0.30))
        adposition = self.function("ADP")
        return [adposition, *phrase] if self.language.prepositions else [*phrase, adposition]

    def reference(self) -> list[Word]:
        number, year = self.rng.randrange(1, 400), self.rng.randrange(1900, 2030)
        marks = [Word("§", "SYM"), Word(str(number), "NUM")]
        return (
            marks
            if self.rng.random() < 0.5
            else [*marks, Word("/", "SYM"), Word(str(year), "NUM")]
        )

    def noun(self) -> str:
        if self.rng.random() < self.style.topic_words:
            return f"noun.{self.style.topic}.{self.rng.randrange(WORDS_PER_TOPIC)}"
        return self.domain_word("noun")

    def adjective(self) -> str:
        if self.style.polarity:
            return f"adj.{self.style.polarity}.{self.rng.randrange(WORDS_PER_POLARITY)}"
        return self.domain_word("adj")

    def domain_word(self, kind: str) -> str:
        return f"{kind}.{self.style.domain}.{self.rng.randrange(WORDS_PER_DOMAIN[kind])}"

    def inflecting(self, concept: str, pos: str, inflection: str = "") -> Word:
        return _inflected(self.language.code, concept, pos, inflection)

    def function(self, group: str) -> Word:
        return self.rng.choice(_function_words(self.language.code)[group])


@cache
def _inflected(code: str, concept: str, pos: str, inflection: str) -> Word:
    cue = _ENDING_OF[concept]
    form = _spelled(code, concept, pos, cue, inflection)
    return Word(form, pos, cue=cue, concept=concept, inflection=inflection)


@cache
def _name_word(code: str, stem: int, name_class: str, begins: bool, cue: int) -> Word:
    form = _spelled(code, f"name.{stem}", name_class, cue, "").capitalize()
    return Word(form, "PROPN", name_class, begins, cue)


@cache
def _function_words(code: str) -> dict[str, tuple[Word, ...]]:
    """Function words of a language: class -> words."""
    words = lexicon(code).function_words
    return {
        group: tuple(
            Word(words[gloss], "NOUN" if group in {"TITLE", "HEAD"} else group)
            for gloss in glosses
        )
        for group, glosses in FUNCTION_WORDS.items()
    }


def _spelled(code: str, concept: str, group: str, cue: int, inflection: str) -> str:
    """Stem, ending and affix, in the letters that the concept is written in."""
    words = lexicon(code)
    form = words.stems[concept] + words.endings[group][cue]
    if inflection:
        affix = words.inflections[inflection]
        form = f"{affix}-{form}" if LANGUAGES[code].prefixes else form + affix
    return in_greek(form) if concept in words.greek else form
