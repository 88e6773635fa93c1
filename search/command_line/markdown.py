"""Text of others in Markdown and in tables for spreadsheets: it is shown, and never obeyed.

A name, a question, a title or a licence comes from a study file, which may be a stranger's; a
model card is published, and optuna-dashboard renders HTML that stands in a note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# What GitHub's Markdown (https://github.github.com/gfm) or a formula in it may begin with.
_MARKS = re.compile(r"[\\`*~|$]|(?<!\w)_|_(?!\w)|\](?=[(\[:])|!(?=\[)")
# Of a formula, in a spreadsheet (https://owasp.org/www-community/attacks/CSV_Injection).
# The last four are wide forms of the first.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def md(text: str) -> str:
    """Text in one line of Markdown, or in a cell of its tables, that means nothing but itself."""
    line = " ".join(text.split())
    line = _MARKS.sub(lambda mark: f"\\{mark[0]}", line)
    line = line.replace("&", "&amp;").replace("<", "&lt;")
    if line[:1] in set("#>+=-"):
        return f"\\{line}"
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)


def code(text: str) -> str:
    """Text as code within a line."""
    line = " ".join(text.split())
    fence = "`" * (_longest(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def fenced(text: str, language: str = "") -> str:
    """Lines as a block of code, whose end nothing in them can be."""
    fence = "`" * max(3, _longest(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def md_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are Markdown already, as from `md` and `code`."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def for_spreadsheets(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers, as text too."""
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _longest(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
