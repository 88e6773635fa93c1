"""The answer of a study's search as a table, for a terminal and the note in optuna-dashboard."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from objectives.gains.transfer_gain import in_points
from search.command_line.words import new_table, without_lines
from search.findings.answer import ArmFinding, StudyAnswer
from search.findings.answer_words import gain_words, verdict_word

WIDE = 100
"""Columns from which on a terminal has room for all that is known of an arm."""
NARROW = 72
"""Columns below which a table has no room for a column of target tasks beside what is known."""


def answer_tables(answer: StudyAnswer, title: str, width: int) -> list[Table]:
    """What each arm gains over direct training in each target task, by its recommended recipe.

    Args:
        answer: What the search found.
        title: Title of the first table.
        width: Columns of the terminal; where they are few, what the answer's sentences say too is
            left out, and each target task has a table of its own.
    """
    parts = dict(answer.by_task)
    if len(parts) > 1:
        parts["all of them"] = answer.arms
    if width >= NARROW:
        return [_answer_table(parts, title, is_wide=width >= WIDE)]
    tables = []
    for place, (task, findings) in enumerate(parts.items()):
        head = f"{title}\n\n{task}" if place == 0 else f"\n{task}"
        table = new_table(head, "arm", "gain [95 %]", "so far", numbers=("gain [95 %]",))
        without_lines(table)
        for finding in findings.values():
            _, arm, gain, *_, word = _cells(task, finding, is_wide=False)
            table.add_row(arm, gain, word)
        tables.append(table)
    return tables


def _answer_table(
    parts: Mapping[str, Mapping[str, ArmFinding]], title: str, *, is_wide: bool
) -> Table:
    columns: tuple[str, ...] = ("target task", "arm", "gain [95 %]", "tried", "so far")
    if is_wide:
        columns = (*columns[:3], "itself", "recommended task", *columns[3:])
    table = new_table(title, *columns, numbers=("gain [95 %]", "itself", "tried"))
    without_lines(table)
    for column in table.columns:
        # Names and numbers are never broken, words between are.
        column.no_wrap = column.header != "so far"
    for task, findings in parts.items():
        for finding in findings.values():
            table.add_row(*_cells(task, finding, is_wide=is_wide))
    return table


def _cells(task: str, finding: ArmFinding, *, is_wide: bool) -> list[str]:
    known, recipe = finding.known, finding.recipe
    found = ["", "", ""]
    if known is not None and recipe is not None:
        found = [gain_words(known), in_points(known.itself), recipe.task]
    tried = f"{known.tried if known else 0} of {finding.tasks}"
    return [task, finding.arm, *found[: 3 if is_wide else 1], tried, verdict_word(known)]
