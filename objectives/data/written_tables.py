"""Tables that a program wrote with Python's csv module or pandas, told from plain ones.

A plain table has whatever stands between its TABs, quotes of a text among it; a written one has
quotes around some fields, and those inside doubled or behind a backslash. Which of them a file is
cannot be asked of one field, but of the whole file: it is a written one if writing it again gives
the same text. Where that makes one field of several lines, which a text that begins with a quote
and a later one that ends with it do too, it is one only if its lines are no table by themselves.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# A field's text may be long; the module's own limit is 131,072 characters.
csv.field_size_limit(1 << 30)

_SPLITTING = frozenset("\t\n\r")

Rows = list[tuple[int, list[str]]]


def written_rows(text: str, *, of_one_line: bool = False) -> Rows | None:
    """The rows of a written table with the line that each ends at; None for a plain one.

    Args:
        text: The file's text, its lines ended by a line feed.
        of_one_line: Whether a field never has more than one line, as in a file of words.
    """
    if '"' not in text:
        return None
    if not of_one_line and (rows := _escaped_rows(text)) is not None:
        return rows
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
    try:
        rows = [(reader.line_num, fields) for fields in reader]
    except csv.Error:
        return None
    fields = [row for _, row in rows]
    lines = text.removesuffix("\n")
    if any(set(x) & _SPLITTING for row in fields for x in row) and (
        of_one_line or len({line.count("\t") for line in lines.split("\n")}) == 1
    ):
        return None
    if any(_written(fields, quoted).removesuffix("\n") == lines for quoted in _WAYS):
        return rows
    return None


def _escaped_rows(text: str) -> Rows | None:
    """The rows of a table written with a backslash before each quote; None for another."""
    way: dict[str, Any] = {"delimiter": "\t", "doublequote": False, "escapechar": "\\"}
    if '\\"' not in text:
        return None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, **way)
    again = io.StringIO()
    try:
        rows = [(reader.line_num, fields) for fields in reader]
        csv.writer(again, lineterminator="\n", **way).writerows(fields for _, fields in rows)
    except csv.Error:
        return None
    return rows if again.getvalue().removesuffix("\n") == text.removesuffix("\n") else None


def comma_rows(text: str) -> Rows:
    """The rows of a table with commas, as pandas and spreadsheets write it.

    Args:
        text: The file's text, its lines ended by a line feed.

    Raises:
        ValueError: A quote is not closed, or the like; says at which line.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(reader.line_num, fields) for fields in reader if fields]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def unquoted(field: str) -> str:
    """A field as the csv module quotes it: in quotes, with those inside doubled."""
    inner = field[1:-1]
    quoted = len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else field


def _written(rows: Sequence[Sequence[str]], is_quoted: Callable[[str], bool]) -> str:
    def field(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if is_quoted(text) else text

    return "".join("\t".join(map(field, row)) + "\n" for row in rows)


def _needs_quotes(field: str) -> bool:
    return any(character in field for character in '\t"\n\r')


# What is quoted: QUOTE_MINIMAL, QUOTE_ALL, QUOTE_NONNUMERIC.
_WAYS: tuple[Callable[[str], bool], ...] = (
    _needs_quotes,
    lambda field: True,
    lambda field: _NUMBER.fullmatch(field) is None,
)
