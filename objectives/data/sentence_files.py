"""Sentences with their translations, as in a data folder: two files with a sentence a line.

Line n translates line n, or lines are `ID TAB sentence` and a third file has `ID TAB ID`.
"""

from __future__ import annotations

from pathlib import Path

from objectives.data.file_formats import Columns, numbered_lines
from spaces.errors import DataError


def read_sentences(
    paths: tuple[Path, ...], gold: Path | None, *, may_have_ids: bool, hidden_allowed: bool
) -> Columns:
    """The rows of the language, then the English ones.

    Args:
        paths: The sentences of the language, then the English ones.
        gold: File of gold pairs of ids; None where there is none.
        may_have_ids: Whether lines may begin with an id, so that line n need not translate line n.
        hidden_allowed: Whether gold pairs may be hidden.
    """
    language, english = (_sentences(path, may_have_ids) for path in paths)
    where = " and ".join(map(str, paths))
    match: list[str | None]
    if gold:
        pairs = _gold_pairs(gold, paths, language, english)
        match = [pairs.get(x, "") for x in language]
    elif may_have_ids:
        if not hidden_allowed:
            raise DataError(where, "gold pairs in a file beside them", "none")
        match = [None] * len(language)
    else:
        if len(language) != len(english):
            raise DataError(
                where,
                "a translation in each line",
                f"{len(language)} and {len(english)} lines",
            )
        match = [*language]
    return {
        "id": [*language, *english],
        "text": [*language.values(), *english.values()],
        "side": ["language"] * len(language) + ["english"] * len(english),
        "match": [*match, *[""] * len(english)],
    }


def _sentences(file: Path, may_have_ids: bool) -> dict[str, str]:
    """Id -> sentence. Without ids in the file it is the number of the line, counted from 0."""
    lines = [*numbered_lines(file)]
    if lines == [(1, "")]:
        return {}
    with_ids = may_have_ids and "\t" in lines[0][1]
    sentences: dict[str, str] = {}
    for number, line in lines:
        name, tab, text = line.partition("\t") if with_ids else (str(number - 1), "\t", line)
        if not (name.strip() and tab and text.strip()):
            expected = "id TAB sentence" if with_ids else "a sentence"
            raise DataError(f"{file}:{number}", expected, f"{line[:60]!r}")
        if name in sentences:
            raise DataError(f"{file}:{number}", "each id once", f"{name!r} again")
        sentences[name] = text.strip()
    return sentences


def _gold_pairs(
    file: Path, paths: tuple[Path, ...], language: dict[str, str], english: dict[str, str]
) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for number, line in numbered_lines(file):
        left, _, right = (part.strip() for part in line.partition("\t"))
        if not line.strip():
            continue
        if left not in language or right not in english:
            raise DataError(
                f"{file}:{number}",
                f"an id of {paths[0].name} TAB an id of {paths[1].name}",
                f"{line[:60]!r}",
            )
        if pairs.setdefault(left, right) != right:
            raise DataError(f"{file}:{number}", f"one translation of {left!r}", "two")
    return pairs
