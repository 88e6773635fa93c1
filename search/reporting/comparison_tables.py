"""What `search.compare` shows people: two studies as lines and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from objectives.gains.transfer_gain import in_points
from search.command_line.words import new_table
from search.findings.comparison import (
    Both,
    ComparedArm,
    ComparedCell,
    ComparedGain,
    StudyComparison,
)
from search.findings.verdict_words import points_with_interval


def comparison_parts(comparison: StudyComparison) -> Iterator[str | Table]:
    """Two studies side by side, as lines and tables in the order in which they are read."""
    for letter, study in zip("AB", comparison.studies, strict=True):
        pocket = " (pocket corpora)" if study.pocket else ""
        yield f"{letter}: {study.name}{pocket}: {study.question}"
    yield from (f"warning: {warning}" for warning in comparison.warnings)
    if comparison.differences:
        yield _differences_table(comparison.differences)
    else:
        yield "what defines them is the same"
    yield _arms_table(comparison.arms)
    for letter, best in zip("AB", comparison.best, strict=True):
        known = "confirmed on test splits" if best.confirmed else "not confirmed, validation"
        seeds = f"{best.gain.seeds} seed{'s' * (best.gain.seeds > 1)}"
        itself = ""
        if best.itself is not None:
            itself = f"; {in_points(best.itself)} of it by the intermediate task itself"
        yield (
            f"{letter} best: {_with_verdict(best.gain, best.margin)} ({known}, {seeds}{itself}), "
            f"trial {best.trial}: {best.recipe}"
        )
        yield from (f"  {line}" for line in best.test_splits)
    if comparison.languages:
        yield _languages_table(comparison.languages, [best.margin for best in comparison.best])
    else:
        yield "they have no target task and language in common"
    costs = new_table("Cost", "", "A", "B")
    first, second = map(asdict, comparison.cost)
    for name in first:
        costs.add_row(name.replace("_", " "), f"{first[name]:,.0f}", f"{second[name]:,.0f}")
    yield costs


def _differences_table(differences: Mapping[str, Both[Any]]) -> Table:
    table = new_table("What differs", "field", "A", "B")
    for name, values in differences.items():
        table.add_row(name, *(_shown(value) for value in values))
    return table


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "-" if value is None else str(value)


def _arms_table(arms: Mapping[str, Both[ComparedArm | None]]) -> Table:
    columns = ("arm", "study", "tasks tried", "gain", "recommended intermediate task")
    table = new_table("Gains by arm, on validation splits", *columns)
    for name, both in arms.items():
        for letter, arm in zip("AB", both, strict=True):
            if arm is None:
                table.add_row(name, letter, "not an arm of it")
                continue
            gain = "" if arm.gain is None else points_with_interval(arm.gain, arm.low, arm.high)
            tried = f"{arm.tried} of {arm.tasks}"
            table.add_row(name, letter, tried, gain, arm.best or "-")
    table.caption = "what the search model expects; the search's own scores chose these recipes"
    return table


def _languages_table(cells: Sequence[ComparedCell], margins: Sequence[float]) -> Table:
    columns = ("task", "language", "A examples", "A gain", "B examples", "B gain", "B less A")
    table = new_table("Gains of the best recipes, each over its own direct training", *columns)
    for cell in cells:
        shown = []
        for gain, margin in zip(cell.gains, margins, strict=True):
            shown += [f"{gain.examples:,}", _with_verdict(gain, margin)]
        table.add_row(cell.task, cell.language, *shown, in_points(cell.difference))
    confirmed = any(gain.verdict for cell in cells for gain in cell.gains)
    how = "corrected as its verdicts are" if confirmed else "of 95 %, each by itself"
    table.caption = f"intervals of each study {how}; none is known of the difference"
    return table


def _with_verdict(gain: ComparedGain, margin: float) -> str:
    interval = points_with_interval(gain.gain, gain.low, gain.high, margin)
    return f"{interval} {gain.verdict or ''}".rstrip()
