"""Verdicts and confirmations as sentences, the same on page, card, note and terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from objectives.gains.intervals import Verdict
from objectives.gains.transfer_gain import in_points
from search.findings.confirmation import Look
from search.findings.judging import JudgedGain, RecipeVerdict, Verdicts
from spaces.studies import Aggregate

_MARKS = {Verdict.HELPS: " helps", Verdict.HURTS: " hurts", Verdict.UNDECIDED: ""}
"""What follows an interval in a table of many, where most verdicts are undecided."""


def with_interval(gain: JudgedGain) -> str:
    """A gain as people read it, as in `+1.3 [+0.2, +2.4]`."""
    return points_with_interval(gain.points, gain.low, gain.high)


def points_with_interval(gain: float, low: float | None, high: float | None) -> str:
    """A gain in points and its 95 % interval, whose ends are None or NaN where there is none."""
    if low is None or high is None or math.isnan(low):
        return f"{in_points(gain)} (no interval)"
    return f"{in_points(gain)} [{in_points(low)}, {in_points(high)}]"


def cell_rows(verdicts: Verdicts, trials: Sequence[int]) -> list[list[str]]:
    """A row for every target task and language: its examples, each recipe's gain and verdict."""
    cells = {(cell.task, cell.language, cell.trial): cell.gain for cell in verdicts.cells}
    rows = []
    for task, language in dict.fromkeys((task, language) for task, language, _ in cells):
        gains = [cells[task, language, trial] for trial in trials]
        shown = [with_interval(gain) + _MARKS[gain.verdict] for gain in gains]
        rows.append([task, language, str(gains[0].examples), *shown])
    return rows


def verdict_line(verdict: RecipeVerdict, name: str) -> str:
    """The verdict on a whole recipe in a sentence."""
    words = {
        Verdict.HELPS: "helps",
        Verdict.HURTS: "hurts",
        Verdict.UNDECIDED: "makes no reliable difference",
    }
    gain = verdict.gain
    line = f"{name} {words[gain.verdict]}: {with_interval(gain)} points"
    n = f"{gain.seeds} seeds, {gain.examples:,} examples"
    if gain.verdict is Verdict.UNDECIDED and gain.detectable is not None:
        return f"{line} ({n}; minimum detectable effect {gain.detectable:.1f} points)"
    return f"{line} ({n})"


def confirmation_lines(look: Look) -> list[str]:
    """A finished confirmation in words, its heading first; of an unfinished one, that it began."""
    when, plan = look.begun_at[:10], look.plan
    if look.result is None:
        return [f"confirmation begun on {when}, not finished: search.confirm goes on with it"]
    number = "" if look.number == 1 else f", look {look.number} at the test splits"
    head = (
        f"confirmed on {when}{number}: test splits, fresh seeds {_range(plan.seeds)}, against "
        f"the best direct training"
    )
    verdicts = look.result.verdicts
    lines = [head, *(f"  {verdict_line(x, plan.names[x.trial])}" for x in verdicts.recipes)]
    note = aggregate_note(plan.aggregate, len({cell.task for cell in verdicts.cells}))
    return [*lines, f"  {note}"] if note else lines


def aggregate_note(aggregate: Aggregate, targets: int) -> str:
    """That verdicts are on the mean over target tasks, where the study goes by something else.

    A median or minimum over tasks is no sum of gains, so neither its variance nor its
    distribution is known.
    """
    if targets < 2 or aggregate is Aggregate.MEAN:
        return ""
    return (
        f"verdicts are on the mean gain over the {targets} target tasks, though the study chose "
        f"its recipes by the {aggregate}"
    )


def _range(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
