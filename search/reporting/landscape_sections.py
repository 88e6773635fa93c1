"""Sections of a report, and those of them that say what the landscape of the search looks like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from objectives.gains.transfer_gain import in_points
from search.findings.landscape import ALL_TARGETS, Landscape
from search.findings.verdict_words import points_with_interval
from search.surrogate.effects import INTERACTIONS
from spaces.studies import NO_INTERMEDIATE


@dataclass(frozen=True)
class Section:
    """A part of the report below the first screen.

    Attributes:
        name: Name of the section, and of its figure where it has one.
        title: Heading of the section.
        lines: Sentences above the table.
        columns: Heads of the table.
        rows: Cells of the table, row by row.
        texts: Texts to copy, each under its heading.
    """

    name: str
    title: str
    lines: list[str]
    columns: Sequence[str] = ()
    rows: list[list[str]] = field(default_factory=list)
    texts: Sequence[tuple[str, str]] = ()

    def figures(self, drawn: Iterable[str]) -> list[str]:
        """Of these names, the figure of the section's own name and those of its parts."""
        return [x for x in drawn if x == self.name or x.startswith(f"{self.name}.")]

    def is_text(self, place: int) -> bool:
        """Whether a column holds words, not numbers."""
        return not all(row[place][:1] in "+-0123456789" for row in self.rows)


def row(*cells: object) -> list[str]:
    """A row of a section's table."""
    return [str(cell) for cell in cells]


def landscape_sections(landscape: Landscape) -> list[Section]:
    """All of them, in the order of the report; those with nothing to say are empty."""
    return [
        _tasks_section(landscape.tasks),
        _surfaces_section(landscape),
        _matrix_section(landscape.matrix),
        _importance_section(landscape),
    ]


def _tasks_section(tasks: pd.DataFrame) -> Section:
    title = "Every intermediate task"
    if not len(tasks):
        return Section("tasks", title, [])
    indirect = tasks[tasks["arm"] != NO_INTERMEDIATE]
    overall = indirect[indirect["target"] == ALL_TARGETS]
    untried = overall[overall["runs"] == 0]["task"]
    lines = [
        "What the search model expects of the best recipe with each task: percentage points over "
        "the best direct training, which is 0, and the 95 % interval. All tasks are held against "
        "each other at their best settings, whatever settings they happened to be run with.",
        _clear(overall),
    ]
    if len(untried):
        lines.append(f"Not tried, so little more than a guess: {', '.join(untried)}.")
    targets = list(dict.fromkeys(tasks["target"]))
    if len(targets) == 2:  # one target task, which is all of them
        targets = targets[:1]
    rows = [
        row(target or "all", x.arm, x.task, gain, x.runs, x.recipes, x.settings)
        for target in targets
        for x in indirect[indirect["target"] == target].itertuples()
        for gain in [points_with_interval(x.gain, x.low, x.high)]
    ]
    columns = ("target task", "arm", "intermediate task", "gain", "runs", "recipes", "best with")
    return Section("tasks", title, lines, columns, rows)


def _clear(tasks: pd.DataFrame) -> str:
    """Which tasks have an interval without 0."""
    words = []
    for word, mine in (("above", tasks["low"] > 0), ("below", tasks["high"] < 0)):
        found = tasks[mine].sort_values("gain", ascending=word == "below")
        named = (f"{x.task} ({in_points(x.gain)})" for x in found.itertuples())
        words.append(f"{word} 0: {', '.join(named) or 'none'}")
    return f"Of {len(tasks)} tasks these have an interval that is {'; '.join(words)}."


def _surfaces_section(landscape: Landscape) -> Section:
    title, rows = "Rate and epochs of the intermediate stage", []
    for surface in landscape.surfaces:
        if not surface.runs.any():
            continue
        for i, j in np.ndindex(surface.gain.shape):
            gain = surface.gain[i, j]
            rows.append(
                row(
                    *(surface.arm, surface.task),
                    *(_known(surface.rates[i]), _known(surface.epochs[j])),
                    "-" if np.isnan(gain) else in_points(float(gain)),
                    int(surface.runs[i, j]),
                )
            )
    if not rows:
        return Section("surfaces", title, [])
    never = sum(cells[-1] == "0" for cells in rows)
    lines = [
        "The gain that the search model expects at each rate and number of epochs, with the best "
        "of all other choices, the same for all tasks. That need not have been run, so it may be "
        "above what is recommended with a task, which was. A dash stands where training probably "
        "diverges or does not fit the device.",
        f"At {never} of {len(rows)} places nothing was ever run: there it is a guess from the "
        "places beside them and from other tasks.",
    ]
    columns = ("arm", "intermediate task", "learning rate", "epochs", "gain", "runs")
    return Section("surfaces", title, lines, columns, rows)


def _known(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}"


def _matrix_section(matrix: pd.DataFrame) -> Section:
    title = "Transfer matrix"
    if not len(matrix):
        return Section("matrix", title, [])
    counts = matrix["transfer"].value_counts()
    lines = [
        "Gain of each intermediate task's best recipe in every target task and language, by a "
        "search model of that cell's own scores.",
        f"{counts.get('negative', 0)} of {len(matrix)} cells show negative transfer, "
        f"{counts.get('positive', 0)} positive: their 95 % interval excludes 0. Each is tested by "
        f"itself, so chance alone would show some {max(1, round(0.05 * len(matrix)))}.",
    ]
    harmful = matrix[matrix["transfer"] == "negative"]
    if len(harmful):
        worst = harmful.nsmallest(5, "gain")
        named = (
            f"{x.task} to {x.target} {x.language} {points_with_interval(x.gain, x.low, x.high)}"
            for x in worst.itertuples()
        )
        more = "; ..." if len(harmful) > len(worst) else "."
        lines.append(f"Negative transfer: {'; '.join(named)}{more}")
    rows = [
        row(x.arm, x.task, x.target, x.language, gain, x.runs, x.transfer)
        for x in matrix.itertuples()
        for gain in [points_with_interval(x.gain, x.low, x.high)]
    ]
    columns = ("arm", "intermediate task", "target task", "language", "gain", "runs", "transfer")
    return Section("matrix", title, lines, columns, rows)


def _importance_section(landscape: Landscape) -> Section:
    title, shares = "What the gain depends on", landscape.importance
    if not shares:
        return Section("importance", title, [])
    first = shares[0]
    lines = [
        f"Share of the variance of the expected gain, over all recipes with an intermediate task, "
        f"that each choice accounts for by itself; {INTERACTIONS} are what only several choices "
        f"together do. Most depends on {first.choice} ({first.share:.0%}).",
    ]
    rows = [row(x.choice, f"{x.share:.1%}") for x in shares]
    return Section("importance", title, lines, ("choice", "share of variance"), rows)
