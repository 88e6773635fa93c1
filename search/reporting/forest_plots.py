"""Forest plots of a confirmation: every language of a target task, every recipe, its interval."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from objectives.gains.transfer_gain import in_points
from search.findings.confirmation import ConfirmationResult, Look
from search.findings.verdicts import JudgedGain, Verdicts
from search.reporting.colours import ARM_COLOURS, MARKERS

ROW, LINE = 14, 15
"""Pixels of a language beside its recipes, and of each recipe of it."""
ALL = "all languages"
_OTHERS = ("star", "pentagon", "cross", "triangle-down", "hexagon")


def draw_forests(done: tuple[Look, ConfirmationResult] | None) -> dict[str, go.Figure]:
    """`confirmed.TASK` over the best direct training, `confirmed-itself.TASK` over each alone."""
    if done is None:
        return {}
    look, result = done
    drawn = {}
    for name, verdicts, title in (
        ("confirmed", result.verdicts, "Confirmed gain over the best direct training"),
        ("confirmed-itself", result.paired, "By the intermediate task itself"),
    ):
        for task in dict.fromkeys(x.task for x in verdicts.cells):
            drawn[f"{name}.{task}"] = _forest(look, verdicts, task, title)
    return drawn


def _forest(look: Look, verdicts: Verdicts, task: str, title: str) -> go.Figure:
    recipes = look.plan.recipes
    languages = sorted({x.language for x in verdicts.cells if x.task == task})
    # Of one target task, the verdict on the recipe is that on all of its languages.
    place = task if verdicts.tasks else ""
    figure = go.Figure()
    step = 0.7 / max(1, len(recipes))
    for number, recipe in enumerate(recipes):
        gains = [
            (ALL, verdicts.gain_of(recipe.trial, place)),
            *((x, verdicts.gain_of(recipe.trial, task, x)) for x in languages),
        ]
        known = [(row, name, x) for row, (name, x) in enumerate(gains) if x is not None]
        before = sum(x.arm == recipe.arm for x in recipes[:number])
        figure.add_scatter(
            x=[x.points for _, _, x in known],
            y=[row + (number - (len(recipes) - 1) / 2) * step for row, _, _ in known],
            error_x=_bars([x for _, _, x in known]),
            mode="markers",
            name=f"{recipe.arm}: {recipe.name}, trial {recipe.trial}",
            showlegend=True,
            marker={
                "symbol": MARKERS[recipe.arm] if not before else _OTHERS[(before - 1) % 5],
                "size": 9,
                "color": ARM_COLOURS[recipe.arm],
            },
            customdata=[_in_words(name, x) for _, name, x in known],
            hovertemplate="%{customdata}<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(
        title=f"{title}: {task}<br><sub>points, test splits; intervals corrected as the verdicts "
        f"are</sub>",
        height=150 + 24 * len(recipes) + (ROW + LINE * len(recipes)) * (len(languages) + 1),
        xaxis={"rangemode": "tozero"},
        yaxis={
            "range": [len(languages) + 0.5, -0.5],
            "tickvals": list(range(len(languages) + 1)),
            "ticktext": [f"<b>{ALL}</b>", *languages],
            "zeroline": False,
        },
    )
    return figure


def _bars(gains: Sequence[JudgedGain]) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [None if x.high is None else x.high - x.points for x in gains],
        "arrayminus": [None if x.low is None else x.points - x.low for x in gains],
        "thickness": 1.3,
    }


def _in_words(name: str, gain: JudgedGain) -> str:
    interval = ""
    if gain.low is not None and gain.high is not None:
        interval = f" [{in_points(gain.low)}, {in_points(gain.high)}]"
    facts = f"{gain.seeds} seeds, {gain.examples:,} examples"
    return f"{name}: {in_points(gain.points)}{interval}<br>{gain.verdict}; {facts}"
