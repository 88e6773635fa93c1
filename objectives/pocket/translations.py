"""Sentences and their translations into the source language, to be found again.

A translation says the same clause: the same concepts and names, in the other language's words and
order. The catalogue's side "english" is the source language of the pocket corpora.
"""

from __future__ import annotations

import random

from objectives.pocket.drawing import Row, mixed_style, move_to_split, text_of
from objectives.pocket.grammar import draw_clause, say
from objectives.pocket.languages import DOMAINS, LANGUAGES, SOURCE_LANGUAGE


def draw_translation(
    translated: float, rng: random.Random, language: str, split: str
) -> tuple[Row, tuple[str, ...]]:
    """A sentence and its translation; empty where it has none, or is none.

    Args:
        translated: Share of sentences with a translation. Of the rest, half are of the language
            and half of the source language.
        rng: Draws it.
        language: The language that is not the source language.
        split: That both must be of.
    """
    has_both = rng.random() < translated
    loose = SOURCE_LANGUAGE if rng.random() < 0.5 else language
    languages = (language, SOURCE_LANGUAGE) if has_both else (loose,)
    while True:
        style = mixed_style(rng.choice(DOMAINS), rng)
        clause, words = draw_clause(rng, style, LANGUAGES[languages[0]])
        said = {languages[0]: words}
        said |= {code: say(clause, LANGUAGES[code]) for code in languages[1:]}
        moved = move_to_split(rng, said, split)
        if moved:
            texts = {code: text_of(words) for code, words in moved.items()}
            both = texts.get(language, ""), texts.get(SOURCE_LANGUAGE, "")
            return both, tuple(texts.values())


def arrange_sides(rng: random.Random, language: str, rows: list[Row]) -> list[Row]:
    """Rows of `id, text, side, match`: one side after the other, each in an order of its own."""
    sides = []
    for side, code in enumerate((language, SOURCE_LANGUAGE)):
        present = [i for i, row in enumerate(rows) if row[side]]
        rng.shuffle(present)
        sides.append({i: f"{code}-{number:05}" for number, i in enumerate(present)})
    ours, english = sides
    return [
        *((ours[i], rows[i][0], "language", english.get(i, "")) for i in ours),
        *((english[i], rows[i][1], "english", "") for i in english),
    ]
