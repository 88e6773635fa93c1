"""Sections of a report, and those of them that say what the landscape of the search looks like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from objectives.gains.transfer_gain import in_points
from search.findings.choice_effects import FEWEST_FOR_FOREST, FEWEST_FOR_IMPORTANCE
from search.findings.landscape import Landscape
from search.findings.trial_tables import EPOCHS
from search.findings.verdict_words import points_with_interval
from search.reporting.figures import SHOWN_CURVES


@dataclass(frozen=True)
class Section:
    """A part of the report below the first screen.

    Attributes:
        name: Name of the section, and of its figure where it has one.
        title: Heading of the section.
        lines: Sentences above the table.
        columns: Heads of the table.
        rows: Cells of the table, row by row.
    """

    name: str
    title: str
    lines: list[str]
    columns: Sequence[str] = ()
    rows: list[list[str]] = field(default_factory=list)

    def is_text(self, place: int) -> bool:
        """Whether a column holds words, not numbers."""
        return not all(row[place][:1] in "+-0123456789" for row in self.rows)


def row(*cells: object) -> list[str]:
    """A row of a section's table."""
    return [str(cell) for cell in cells]


def landscape_sections(landscape: Landscape) -> list[Section]:
    """All of them, in the order of the report; those with nothing to say are empty."""
    return [
        _matrix_section(landscape),
        _additive_section(landscape),
        _surface_section(landscape),
        _importance_section(landscape),
        _pareto_section(landscape),
        _epochs_section(landscape),
    ]


def _matrix_section(landscape: Landscape) -> Section:
    matrix = landscape.matrix
    if not len(matrix):
        return Section("matrix", "Transfer matrix", [])
    flagged = matrix["transfer"].value_counts()
    harmful = matrix[matrix["transfer"] == "negative"]
    judged = len(matrix) - int(matrix["low"].isna().sum())
    lines = [
        "Mean paired gain (against the same target stage without the intermediate task) of each "
        "intermediate task's recipes."
    ]
    if judged:
        lines.append(
            f"{judged} of {len(matrix)} cells have the two recipes and two seeds that an interval "
            f"takes: {flagged.get('negative', 0)} show negative transfer, "
            f"{flagged.get('positive', 0)} positive. Each is tested by itself, so chance alone "
            f"would show some {max(1, round(0.05 * judged))}."
        )
    else:
        lines.append("None has the two recipes and two seeds that an interval takes.")
    if len(harmful):
        worst = harmful.nsmallest(5, "paired_gain")
        lines.append(
            "Negative transfer: "
            + "; ".join(
                f"{x.intermediate} to {x.task} {x.language} "
                f"{points_with_interval(x.paired_gain, x.low, x.high)}"
                for x in worst.itertuples()
            )
            + ("; ..." if len(harmful) > len(worst) else ".")
        )
    return Section(
        "matrix",
        "Transfer matrix",
        lines,
        ("intermediate", "target task", "language", "paired gain", "recipes", "seeds", "transfer"),
        [
            row(x.intermediate, x.task, x.language, gain, x.recipes, x.seeds, x.transfer)
            for x in matrix.itertuples()
            for gain in [points_with_interval(x.paired_gain, x.low, x.high)]
        ],
    )


def _additive_section(landscape: Landscape) -> Section:
    additive = landscape.additive
    if additive is None:
        return Section("additive", "Task plus language", [])
    named = [
        ("intermediate task", x.intermediate, x.recipes, x)
        for x in additive.tasks.sort_values("coefficient", ascending=False).itertuples()
    ]
    named += [
        ("target", f"{x.task} {x.language}", additive.recipes, x)
        for x in additive.cells.itertuples()
    ]
    share = additive.explained_adjusted
    adjusted = "unknown" if math.isnan(share) else f"{share:.0%}"
    rows = [
        row(kind, name, points_with_interval(x.coefficient, x.low, x.high), recipes)
        for kind, name, recipes, x in named
    ]
    return Section(
        "additive",
        "Task plus language",
        [
            f"Were the paired gain a(intermediate task) + b(target), that would explain "
            f"{additive.explained:.0%} of its variance over {additive.recipes} recipes and all "
            f"targets (adjusted for the number of coefficients: {adjusted}), and "
            f"{additive.explained_of_means:.0%} of the matrix. The rest is the match of task and "
            f"target, other choices, and noise.",
            "Points; a target's are beside the mean. 95 %: other recipes.",
        ],
        ("of", "name", "coefficient", "recipes"),
        rows,
    )


def _surface_section(landscape: Landscape) -> Section:
    surface = landscape.surface
    if surface is None:
        count = len(landscape.recipes)
        line = f"A forest takes {FEWEST_FOR_FOREST} recipes, found {count}."
        return Section("landscape", "The gain over all choices", [line] if count else [])
    verdict = (
        "It is better than the mean beyond chance"
        if surface.is_better
        else "It is NO better than predicting the mean, so do not read the map"
    )
    choices = surface.grid.columns[1:-3]
    rows = [
        row(
            x["arm"],
            *("-" if pd.isna(x[name]) else f"{x[name]:.3g}" for name in choices),
            f"{in_points(x['mean'])} ± {x['sd']:.1f}",
            x["recipes"],
        )
        for x in surface.grid.to_dict("records")
    ]
    return Section(
        "landscape",
        "The gain over all choices",
        [
            f"A random forest of {surface.recipes} recipes. In cross-validation it is off by "
            f"{surface.error:.1f} points, predicting the mean by {surface.error_of_mean:.1f}. "
            f"{verdict}. Gains over the reference baseline; ± is the standard deviation between "
            f"trees."
        ],
        ("arm", *choices, "predicted gain", "recipes tried"),
        rows,
    )


def _importance_section(landscape: Landscape) -> Section:
    importance, count = landscape.importance, len(landscape.recipes)
    if not len(importance):
        line = f"PED-ANOVA takes {FEWEST_FOR_IMPORTANCE} recipes, found {count}."
        return Section("importance", "Importance of each choice", [line] if count else [])
    above = importance[importance["importance"] > importance["chance"]]["choice"]
    return Section(
        "importance",
        "Importance of each choice",
        [
            f"PED-ANOVA: what sets the best tenth of recipes apart from all. Beyond what 95 % of "
            f"shuffled studies show: {', '.join(above) or 'nothing'}."
        ],
        ("choice", "importance", "95 % of chance", "recipes"),
        [
            row(x.choice, f"{x.importance:.4f}", f"{x.chance:.4f}", x.recipes)
            for x in importance.itertuples()
        ],
    )


def _pareto_section(landscape: Landscape) -> Section:
    recipes = landscape.recipes
    if not len(recipes):
        return Section("pareto", "Gain against time", [])
    front = recipes[recipes["is_on_front"]].sort_values("seconds")
    return Section(
        "pareto",
        "Gain against time",
        [
            "What a recipe's training asks for, per seed, were nothing shared. The front has the "
            "most gain for the time, and flatters as every best does. Seconds of different "
            "machines are not alike."
        ],
        ("trial", "arm", "task", "gain", "seeds", "seconds"),
        [
            row(x.trial, x.arm, x.intermediate or "-", gain, x.seeds, f"{x.seconds:.1f}")
            for x in front.itertuples()
            for gain in [points_with_interval(x.gain, x.low, x.high)]
        ],
    )


def _epochs_section(landscape: Landscape) -> Section:
    curves = landscape.curves
    if not len(curves):
        return Section("epochs", "Along the epochs", [])
    best = curves.groupby("curve")["gain"].max().nlargest(SHOWN_CURVES).index
    shown = curves[curves["curve"].isin(best)]
    return Section(
        "epochs",
        "Along the epochs",
        ["Recipes alike but for the epochs of the intermediate stage. 95 %: other seeds."],
        ("arm", "task", "epochs", "gain", "seeds", "trial"),
        [
            row(x["arm"], x["intermediate"], x[EPOCHS], gain, x["seeds"], x["trial"])
            for x in shown.to_dict("records")
            for gain in [points_with_interval(x["gain"], x["low"], x["high"])]
        ],
    )
