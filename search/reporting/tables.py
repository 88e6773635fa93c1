"""Tables of a study's findings for a terminal and for the note in optuna-dashboard."""

from __future__ import annotations

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from search.command_line.words import new_table
from search.findings.answer import ArmFinding
from search.findings.answer_words import gain_words, verdict_word
from search.findings.judging import Verdicts
from search.findings.stage_costs import EVALUATION, StudyCost
from search.findings.verdict_words import cell_rows, points_with_interval


def arms_table(findings: Mapping[str, ArmFinding], title: str) -> Table:
    """What each arm gains over direct training, by its recommended recipe."""
    numbers = ("gain", "P(gain)", "of itself", "tasks tried", "runs")
    columns = ("arm", *numbers[:-2], "recommended task", *numbers[-2:], "so far")
    table = new_table(title, *columns, numbers=numbers)
    for arm, finding in findings.items():
        known, recipe = finding.known, finding.recipe
        if known is None or recipe is None:
            table.add_row(arm, "", "", "", "", f"0 of {finding.tasks}", "0", verdict_word(known))
            continue
        table.add_row(
            arm,
            escape(gain_words(known)),
            f"{known.probability_gain:.2f}",
            escape(points_with_interval(known.itself, *known.itself_interval)),
            recipe.task,
            f"{known.tried} of {finding.tasks}",
            str(known.runs),
            verdict_word(known),
        )
    return table


def cells_table(verdicts: Verdicts, names: Mapping[int, str], title: str) -> Table:
    """Every target task and language: the gain of each recipe, its interval and its verdict."""
    numbers = ["examples", *names.values()]
    table = new_table(title, "target task", "language", *numbers, numbers=numbers)
    for row in cell_rows(verdicts, list(names)):
        table.add_row(*row)
    table.caption = "95 % intervals, each by itself; a verdict is corrected for all of the table"
    return table


def cost_table(cost: StudyCost, title: str) -> Table:
    """What was asked for, saved and trained."""
    numbers = ("updates", "seconds", "share")
    table = new_table(title, "", *numbers, numbers=numbers)
    parts = {
        "asked for": cost.asked,
        **{f"saved by {name}": saved for name, saved in cost.saved.items()},
        "trained": cost.trained,
    }
    if cost.spent_elsewhere.seconds:
        parts["besides, for trials that did not complete"] = cost.spent_elsewhere
    for name, part in parts.items():
        share = part.seconds / cost.asked.seconds if cost.asked.seconds else 0.0
        updates = f"{part.updates:,}" if name != f"saved by {EVALUATION}" else ""
        table.add_row(name, updates, f"{part.seconds:,.1f}", f"{share:.0%}")
    table.caption = f"{cost.trials} complete trials; {cost.ratio:.1f} times less than asked for"
    return table
