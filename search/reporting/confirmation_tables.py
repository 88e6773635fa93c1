"""A confirmation on a terminal: shown in under a second, so nothing heavy is loaded for it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from search.command_line.lines import print_lines
from search.command_line.words import console_for, new_table, without_lines
from search.findings.confirmation import ConfirmationResult, Look, finished
from search.findings.test_splits import test_split_lines
from search.findings.verdict_words import cell_rows, confirmation_lines
from search.studies.stored_study import StoredStudy

WIDE = 100
"""Columns from which on there is room for the names of recipes."""
CAPTION = (
    "intervals are corrected for all looks and all of the table, as the verdicts are; where none "
    "stands it is undecided"
)


def show_confirmation(study: StoredStudy, look: Look) -> None:
    """Print the verdicts of a confirmation that has a result."""
    console = console_for()
    title = f"{study.title}: gains over the best direct training on test splits"
    ((look, result),) = finished([look])
    console.print(_cells_table(look, result, title, console.width))
    print_lines(console, *confirmation_lines(look, test_split_lines(study)))


def _cells_table(look: Look, result: ConfirmationResult, title: str, width: int) -> Table:
    """Every target task and language: the gain of each recipe, its interval and its verdict."""
    names = look.plan.names
    # Where columns are few, recipes are known by their numbers.
    heads: Sequence[str] = [f"trial {trial}" for trial in names]
    if width >= WIDE:
        heads = list(names.values())
    numbers = ["examples", *heads]
    table = new_table(title, "target task", "language", *numbers, numbers=numbers)
    without_lines(table)
    for column in table.columns[:2]:
        column.no_wrap = True
    for row in cell_rows(result.verdicts, list(names), look.plan.margin):
        table.add_row(*row)
    table.caption = CAPTION
    return table
