"""What `search.cost` shows people: what a study asked for, what it saved, what was trained."""

from __future__ import annotations

from rich.table import Table

from search.command_line.words import new_table
from search.findings.stage_costs import EVALUATION, StudyCost


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
