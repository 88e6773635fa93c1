"""Figures of a study's landscape, by names that stay: the page and the dashboard go by them.

All gains are posterior means of the search model in percentage points over the best direct
training, which stands at 0; lines are 95 % intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from search.command_line.words import number_of
from search.findings.landscape import ALL_TARGETS, Landscape
from search.findings.verdicts import RecipeVerdict
from search.reporting.colours import ARM_COLOURS, BLACK, BLUE, GRID, INK, MARKERS, ZERO
from search.reporting.landscape_maps import draw_matrix, draw_surfaces
from search.surrogate.effects import Importance
from spaces.studies import ARMS, NO_INTERMEDIATE

ROW, TASK_ROW = 34, 24
"""Pixels of a row with a name; of one of many."""
SHOWN_CHOICES = 15
TITLE_HEIGHT = 44
"""Pixels that a title and the line below it take."""


def build_figures(
    landscape: Landscape, confirmed: Sequence[RecipeVerdict], pocket: bool
) -> dict[str, go.Figure]:
    """The figures that the study has enough for, by name."""
    drawn = {
        "arms": _arms(landscape, confirmed),
        **_task_panels(landscape),
        "surfaces": draw_surfaces(landscape.surfaces),
        "matrix": draw_matrix(landscape.matrix),
        "importance": _importance(landscape.importance),
    }
    figures = {name: figure for name, figure in drawn.items() if figure is not None}
    for figure in figures.values():
        finish(figure, pocket)
    return figures


def _arms(landscape: Landscape, confirmed: Sequence[RecipeVerdict]) -> go.Figure | None:
    """The gain of each arm's recommended recipe, and what was confirmed beside it."""
    if landscape.answer is None:
        return None
    searched = [
        (f"{arm}<br>{x.recipe.task}", x.recipe.first.number, x.known)
        for arm, x in landscape.answer.arms.items()
        if x.recipe is not None and x.known is not None
    ]
    labels = {number: label for label, number, _ in searched}
    by_trial = landscape.recipes.set_index("trial")
    for verdict in confirmed:
        if verdict.trial not in labels:
            row = by_trial.loc[verdict.trial]
            labels[verdict.trial] = f"{row['arm']}<br>{row['intermediate']}"
    places = {trial: place for place, trial in enumerate(labels)}
    figure = go.Figure()
    figure.add_scatter(
        y=[places[number] - 0.13 for _, number, _ in searched],
        x=[known.gain for _, _, known in searched],
        error_x=_intervals(
            [known.interval for _, _, known in searched], [known.gain for _, _, known in searched]
        ),
        mode="markers",
        name="search: by its model",
        showlegend=True,
        marker={"symbol": "circle-open", "size": 11, "color": BLACK},
        text=[label for label, _, _ in searched],
        customdata=[[known.runs, known.tried, known.tasks] for _, _, known in searched],
        hovertemplate="%{text}: %{x:+.1f}<br>%{customdata[0]} runs of the arm, "
        "%{customdata[1]} of %{customdata[2]} tasks<extra></extra>",
    )
    if confirmed:
        figure.add_scatter(
            y=[places[x.trial] + 0.13 for x in confirmed],
            x=[x.gain.points for x in confirmed],
            error_x=_intervals(
                [(x.gain.low, x.gain.high) for x in confirmed], [x.gain.points for x in confirmed]
            ),
            mode="markers",
            name="confirmed: fresh seeds, test splits",
            showlegend=True,
            marker={"symbol": "diamond", "size": 11, "color": BLUE},
            text=[labels[x.trial] for x in confirmed],
            customdata=[
                [x.gain.seeds, x.gain.examples, str(x.gain.verdict), x.gain.scope]
                for x in confirmed
            ],
            hovertemplate="%{text}: %{x:+.1f}<br>%{customdata[0]} seeds, %{customdata[1]} examples"
            "<br>%{customdata[2]}<br>corrected interval: %{customdata[3]}<extra></extra>",
        )
    figure.update_layout(
        title="Gain over the best direct training, points<br><sub>each arm's recommended recipe, "
        "all target tasks; search 95 %, confirmed corrected</sub>",
        height=170 + 55 * len(labels),
        xaxis={"rangemode": "tozero"},  # an interval is read against nothing
        yaxis={
            "range": [len(labels) - 0.5, -0.5],
            "tickvals": list(places.values()),
            "ticktext": list(labels.values()),
            "zeroline": False,
        },
    )
    return figure


def _task_panels(landscape: Landscape) -> dict[str, go.Figure]:
    """`tasks` over all target tasks and, of several, `tasks.TASK` of each, in the same order."""
    overall = landscape.tasks_of()
    if not len(overall):
        return {}
    order = overall.assign(place=[ARMS.index(arm) for arm in overall["arm"]])
    order = order.sort_values(["place", "gain"], ascending=[True, False], kind="stable")
    names = list(zip(order["arm"], order["task"], strict=True))
    targets = [x for x in dict.fromkeys(landscape.tasks["target"]) if x != ALL_TARGETS]
    if len(targets) == 1:
        return {"tasks": _tasks(order, names, targets[0])}
    panels = {"tasks": _tasks(order, names, "all target tasks")}
    for target in targets:
        panels[f"tasks.{target}"] = _tasks(landscape.tasks_of(target), names, target)
    return panels


def _tasks(tasks: pd.DataFrame, in_order: Sequence[tuple[str, str]], target: str) -> go.Figure:
    """Every intermediate task on one axis, by arm, the best of each first; untried ones hollow."""
    order = tasks.set_index(["arm", "task"], drop=False).loc[list(in_order)]
    order = order.reset_index(drop=True)
    names = [task or NO_INTERMEDIATE for _, task in in_order]
    figure = go.Figure()
    for arm, mine in order.groupby("arm", sort=False):
        is_direct = arm == NO_INTERMEDIATE
        hollow = [not runs for runs in mine["runs"]]
        symbol = MARKERS[str(arm)]
        figure.add_scatter(
            y=[task or NO_INTERMEDIATE for task in mine["task"]],
            x=mine["gain"].round(3),
            error_x=_intervals(zip(mine["low"], mine["high"], strict=True), mine["gain"]),
            mode="markers",
            name=str(arm),
            marker={
                "symbol": [f"{symbol}-open" if x else symbol for x in hollow],
                "size": 9,
                "color": ARM_COLOURS[str(arm)],
            },
            customdata=[
                "the best direct training" if is_direct else _tried(runs, recipes, settings)
                for runs, recipes, settings in zip(
                    mine["runs"], mine["recipes"], mine["settings"], strict=True
                )
            ],
            hovertemplate="%{y}: %{x:+.1f}<br>%{customdata}<extra></extra>",
        )
    figure.update_layout(
        title=f"Gain with every intermediate task: {target}<br><sub>points over the best direct "
        f"training; 95 %; hollow: not tried</sub>",
        height=180 + TASK_ROW * len(names),
        xaxis={"rangemode": "tozero"},
        yaxis={"type": "category", "categoryarray": names[::-1], "zeroline": False},
    )
    return figure


def _tried(runs: int, recipes: int, settings: str) -> str:
    words = f"{number_of(runs, 'run')} of {number_of(recipes, 'recipe')}" if runs else "not tried"
    return f"{words}; with {settings}"


def _importance(importance: Sequence[Importance]) -> go.Figure | None:
    """Share of the variance of gains that each choice accounts for."""
    if not importance:
        return None
    *choices, rest = importance
    shown = [*choices[:SHOWN_CHOICES], rest]
    figure = go.Figure()
    figure.add_bar(
        y=[x.choice.replace("intermediate.", "interm.") for x in shown],
        x=[round(x.share, 4) for x in shown],
        orientation="h",
        marker_color=BLUE,
        text=[f"{x.share:.0%}" for x in shown],
        textposition="outside",  # readable whatever the page makes of the bars' colour
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    figure.update_layout(
        title="What the gain depends on<br><sub>share of the variance over all recipes, each "
        "choice by itself</sub>",
        height=140 + ROW * len(shown),
        yaxis={"autorange": "reversed"},
        # The shares stand beside their bars, also in a figure as narrow as a phone.
        xaxis={
            "tickformat": ".0%",
            "tickvals": [0, 0.25, 0.5, 0.75, 1],
            "range": [0, 1.3 * max(x.share for x in shown)],
        },
    )
    return figure


def _intervals(
    intervals: Iterable[tuple[float | None, float | None]], middle: Sequence[float]
) -> dict[str, Any]:
    """Error bars from both ends of intervals, which need not be symmetric; some have none."""
    ends = list(zip(intervals, middle, strict=True))
    return {
        "type": "data",
        "symmetric": False,
        "array": [None if high is None else round(high - gain, 3) for (_, high), gain in ends],
        "arrayminus": [None if low is None else round(gain - low, 3) for (low, _), gain in ends],
    }


def finish(figure: go.Figure, pocket: bool) -> None:
    """Title, margins and colours, the same in all figures; those of pocket corpora say so."""
    title = figure.layout.title.text
    lines = max((x.text.count("<br>") for x in figure.layout.annotations), default=0)
    if pocket:
        title = title.replace("<br><sub>", "<br><sub>pocket corpora; ", 1)
    figure.update_layout(
        template="none",
        title={
            "text": title,
            "font": {"size": 15},
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "pad": {"l": 8, "t": 22},
        },
        font={"size": 12, "color": INK, "family": "system-ui, Helvetica, Arial, sans-serif"},
        margin={"l": 8, "r": 8, "t": TITLE_HEIGHT + 32 + 16 * lines, "b": 8},
        legend={"orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom"},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
    )
    figure.update_xaxes(automargin=True, gridcolor=GRID, zerolinecolor=ZERO)
    figure.update_yaxes(automargin=True, gridcolor=GRID, zerolinecolor=ZERO)
