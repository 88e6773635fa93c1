"""Sizes, times and tables as people read them."""

from __future__ import annotations

import sys
from collections.abc import Collection

from rich import box
from rich.console import Console
from rich.table import Table

from search.command_line.output import plain_console

WIDTH = 110
"""Columns of what commands print where no terminal says how many there are."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


def number_of(count: int, what: str) -> str:
    """As in `1 run` and `2 runs`."""
    return f"{count} {what}{'s' * (count != 1)}"


def in_bytes(size: int) -> str:
    """A size for people, as in `1.2 GB`."""
    value = float(size)
    for unit in _UNITS[:-1]:
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} {_UNITS[-1]}"


def in_hours(seconds: float) -> str:
    """A duration for people, as in `1.5 h`, `12 min` or `30 s`."""
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.0f} s"


def in_about(seconds: float) -> str:
    """A duration that is an estimate, as in `1.5 h`, `12 min` or `30 s`."""
    for unit, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= unit:
            value = seconds / unit
            return f"{value:.0f} {name}" if value >= 10 else f"{value:.1f} {name}"
    return f"{seconds:.0f} s"


def say(line: str) -> None:
    """Write a line for people beside what a command prints: to standard error."""
    print(line, file=sys.stderr)


def new_table(title: str, *columns: str, numbers: Collection[str] = ()) -> Table:
    """An empty table with its title and caption on the left.

    Args:
        title: Title of the table.
        columns: Heads of its columns.
        numbers: Those of them that hold numbers, which stand on the right.
    """
    table = Table(title=title, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    return table


def without_lines(table: Table) -> None:
    """Leave what room there is to words and numbers."""
    table.box, table.show_edge, table.padding = box.SIMPLE_HEAD, False, (0, 1, 0, 0)


def console_for(width: int = WIDTH) -> Console:
    """The terminal, or standard output with so many columns where it is none."""
    return plain_console(width=None if sys.stdout.isatty() else width)
