"""Figures of a study's landscape, by names that stay: the page and the dashboard go by them.

The colours are Okabe & Ito's (https://jfly.uni-koeln.de/color/), told apart without red and green;
arms differ in their markers too. Lines are 95 % intervals, and what they carry over to is said in
the title.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from objectives.gains.transfer_gain import in_points
from search.findings.judging import RecipeVerdict
from search.findings.landscape import Landscape
from search.findings.trial_tables import EPOCHS, RATE
from spaces.studies import ARMS, NO_INTERMEDIATE

BLUE, ORANGE, GREEN, PINK, BLACK, VERMILION = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000", "#D55E00",
)  # fmt: skip
COLOURS = dict(zip(ARMS, (BLACK, BLUE, GREEN, VERMILION, PINK), strict=True))
MARKERS = dict(zip(ARMS, ("x", "circle", "square", "diamond", "triangle-up"), strict=True))
DIVERGING = [[0.0, VERMILION], [0.5, "#ffffff"], [1.0, BLUE]]
"""Losses to gains, white at 0."""
SHOWN_CURVES = 12
SHOWN_CHOICES = 15
ROW = 34
"""Pixels of a row with a name."""


def build_figures(
    landscape: Landscape, confirmed: Sequence[RecipeVerdict], pocket: bool
) -> dict[str, go.Figure]:
    """The figures that the study has enough for, by name."""
    drawn = {
        "arms": _arms(landscape, confirmed),
        "matrix": _matrix(landscape.matrix),
        "landscape": _surface(landscape),
        "importance": _importance(landscape.importance),
        "pareto": _pareto(landscape.recipes),
        "epochs": _epochs(landscape.curves),
    }
    figures = {name: figure for name, figure in drawn.items() if figure is not None}
    for figure in figures.values():
        _finish(figure, pocket)
    return figures


def _arms(landscape: Landscape, confirmed: Sequence[RecipeVerdict]) -> go.Figure | None:
    """The gain of each arm's best recipe over the tuned baseline."""
    searched = landscape.leaders.recipes
    if not searched:
        return None
    by_trial = landscape.recipes.set_index("trial")
    trials = list(dict.fromkeys(x.trial for x in (*searched, *confirmed)))
    once = {x.trial: ", 1 seed" for x in searched if x.gain.seeds == 1}
    figure = go.Figure()
    kinds = (
        ("search: chosen by these scores", searched, "circle-open", BLACK, -0.13),
        ("confirmed: fresh seeds, test splits", confirmed, "diamond", BLUE, 0.13),
    )
    for kind, verdicts, symbol, colour, shift in kinds:
        if not verdicts:
            continue
        figure.add_scatter(
            y=[trials.index(x.trial) + shift for x in verdicts],
            x=[x.gain.points for x in verdicts],
            error_x=_bars([x.gain.high for x in verdicts], [x.gain.points for x in verdicts]),
            mode="markers",
            name=kind,
            showlegend=True,
            marker={"symbol": symbol, "size": 11, "color": colour},
            line={"color": colour},
            text=[_name(by_trial, x.trial) for x in verdicts],
            customdata=[
                [x.gain.seeds, x.gain.examples, str(x.gain.verdict), x.gain.scope]
                for x in verdicts
            ],
            hovertemplate="%{text}: %{x:+.1f}<br>%{customdata[0]} seeds, %{customdata[1]} examples"
            "<br>%{customdata[2]}<br>95 %: %{customdata[3]}<extra></extra>",
        )
    figure.update_layout(
        title="Gain over the tuned baseline, points<br><sub>95 %: other examples, "
        "and seeds where several</sub>",
        height=170 + 55 * len(trials),
        xaxis={"rangemode": "tozero"},  # an interval is read against nothing
        yaxis={
            "range": [len(trials) - 0.5, -0.5],
            "tickvals": list(range(len(trials))),
            "ticktext": [_name(by_trial, trial) + once.get(trial, "") for trial in trials],
            "zeroline": False,
        },
    )
    return figure


def _name(by_trial: pd.DataFrame, trial: int) -> str:
    return (
        f"{by_trial.loc[trial, 'arm']}<br>{by_trial.loc[trial, 'intermediate'] or NO_INTERMEDIATE}"
    )


def _matrix(matrix: pd.DataFrame) -> go.Figure | None:
    """Mean paired gains: intermediate tasks by targets."""
    if not len(matrix):
        return None
    tasks = list(dict.fromkeys(matrix.sort_values("arm", kind="stable")["intermediate"]))
    cells = list(dict.fromkeys(zip(matrix["task"], matrix["language"], strict=True)))
    places = {
        (row.intermediate, (row.task, row.language)): row for row in matrix.itertuples(index=False)
    }
    grid = [[places.get((task, cell)) for cell in cells] for task in tasks]
    columns = [[task for task, _ in cells], [language for _, language in cells]]
    figure = _heatmap(
        x=columns,
        y=[task or NO_INTERMEDIATE for task in tasks],
        z=[[x.paired_gain if x else None for x in row] for row in grid],
        text=[[_cell(x.paired_gain, x.transfer) if x else "" for x in row] for row in grid],
        customdata=[[_cell_in_words(x) if x else "" for x in row] for row in grid],
        hovertemplate="%{y} to %{x}<br>%{customdata}<extra></extra>",
    )
    figure.update_layout(
        title="Paired gain by intermediate task and target<br><sub>* 95 % interval (other "
        "recipes, seeds) excludes 0</sub>",
        height=190 + ROW * len(tasks),
        yaxis={"autorange": "reversed"},
        xaxis={"type": "multicategory"},
        meta={"width": 190 + 42 * len(cells)},
    )
    return figure


def _heatmap(*, z: list[list[float | None]], **cells: Any) -> go.Figure:
    """Gains by their colours, white at 0; every cell says its number, so there is no scale."""
    top = max(abs(gain) for row in z for gain in row if gain is not None) or 1.0
    look = {"colorscale": DIVERGING, "zmin": -top, "zmax": top, "xgap": 1, "ygap": 1}
    return go.Figure(go.Heatmap(z=z, texttemplate="%{text}", showscale=False, **look, **cells))


def _cell(gain: float, transfer: str) -> str:
    return f"<b>{in_points(gain)}*</b>" if transfer else in_points(gain)


def _cell_in_words(row: Any) -> str:
    interval = f"[{in_points(row.low)}, {in_points(row.high)}]"
    if math.isnan(row.low):
        interval = "[too few for an interval]"
    return (
        f"{in_points(row.paired_gain)} {interval}, {_number(row.recipes, 'recipe')}, "
        f"{_number(row.seeds, 'seed')}"
    )


def _surface(landscape: Landscape) -> go.Figure | None:
    """What the forest predicts over arm, epochs and learning rate."""
    surface = landscape.surface
    if surface is None or not len(surface.grid):
        return None
    grid = surface.grid
    rates = [""]
    if RATE in grid:
        rates = [f"{rate:.3g}" for rate in sorted(grid[RATE].dropna().unique())]
    rows: dict[str, dict[str, Any]] = {}
    for point in grid.to_dict("records"):
        name = str(point["arm"])
        if EPOCHS in point and not pd.isna(point[EPOCHS]):
            name += f", {_number(int(point[EPOCHS]), 'epoch')}"
        rate = f"{point[RATE]:.3g}" if RATE in point else ""
        rows.setdefault(name, {})[rate] = point
    cells = [[row.get(rate) for rate in rates] for row in rows.values()]
    figure = _heatmap(
        x=[f"rate {rate}" if rate else "all" for rate in rates],
        y=list(rows),
        z=[[x["mean"] if x else None for x in row] for row in cells],
        text=[
            [f"{in_points(x['mean'])} ± {x['sd']:.1f}" if x else "" for x in row] for row in cells
        ],
        customdata=[
            [_number(x["recipes"], "recipe") + " tried here" if x else "" for x in row]
            for row in cells
        ],
        hovertemplate="%{y}, %{x}: %{text}<br>%{customdata}<extra></extra>",
    )
    worth = "" if surface.is_better else "NOT reliable: no better than the mean; "
    figure.update_layout(
        title=f"Predicted gain over the reference<br><sub>{worth}± sd between trees</sub>",
        height=150 + ROW * len(rows),
        xaxis={"type": "category"},
        yaxis={"autorange": "reversed"},
        meta={"width": 230 + 95 * len(rates)},
    )
    return figure


def _importance(importance: pd.DataFrame) -> go.Figure | None:
    """PED-ANOVA beside what chance gives."""
    if not len(importance):
        return None
    shown = importance.head(SHOWN_CHOICES)
    names = [name.replace("intermediate.", "interm.") for name in shown["choice"]]
    figure = go.Figure()
    figure.add_bar(
        y=names, x=shown["importance"], orientation="h", marker_color=BLUE, name="importance"
    )
    figure.add_scatter(
        y=names,
        x=shown["chance"],
        mode="markers",
        marker={"symbol": "line-ns", "size": 20, "line": {"width": 3, "color": ORANGE}},
        name="95 % of chance",
    )
    figure.update_layout(
        title="What sets the best tenth apart (PED-ANOVA)<br><sub>a bar short of its mark is no "
        "more than chance</sub>",
        height=180 + ROW * len(shown),
        yaxis={"autorange": "reversed"},
        xaxis={"title": "importance", "rangemode": "tozero"},
    )
    return figure


def _pareto(recipes: pd.DataFrame) -> go.Figure | None:
    """Gain against training time."""
    if not len(recipes):
        return None
    known = recipes.dropna(subset=["seconds"])
    if known.empty:
        return None
    figure = go.Figure()
    for arm, mine in known.groupby("arm", sort=False):
        figure.add_scatter(
            x=mine["seconds"].round(3),
            y=mine["gain"].round(3),
            mode="markers",
            name=str(arm),
            marker={"color": COLOURS[str(arm)], "symbol": MARKERS[str(arm)], "size": 7},
            opacity=0.9 if len(known) < 200 else 0.4,
            customdata=mine["trial"],
            hovertemplate="trial %{customdata}: %{y:+.1f}, %{x:.1f} s<extra></extra>",
        )
    front = known[known["is_on_front"]].sort_values("seconds")
    figure.add_scatter(
        x=front["seconds"].round(3),
        y=front["gain"].round(3),
        error_y=_bars(front["high"], front["gain"]),
        mode="lines+markers",
        line={"shape": "hv", "color": BLACK, "width": 1},
        marker={"size": 4, "color": BLACK},
        name="front",
        hoverinfo="skip",
    )
    figure.update_layout(
        title="Gain against training time of a seed<br><sub>95 % on the front: other seeds</sub>",
        height=420,
        xaxis={"title": "seconds of a seed, nothing shared", "rangemode": "tozero"},
        yaxis={"title": "gain over the reference, points"},
    )
    return figure


def _epochs(curves: pd.DataFrame) -> go.Figure | None:
    """Recipes alike but for the epochs of the intermediate stage."""
    if not len(curves):
        return None
    best = curves.groupby("curve")["gain"].agg(["size", "max"])
    order = best.sort_values(["size", "max"], ascending=False).index
    figure, named = go.Figure(), set()
    shown = order[:SHOWN_CURVES]
    for place, curve in enumerate(shown):
        mine = curves[curves["curve"] == curve]
        arm = str(mine["arm"].iloc[0])
        shift = (place - (len(shown) - 1) / 2) * 0.008 * float(curves[EPOCHS].max())
        figure.add_scatter(
            x=[float(x) + shift for x in mine[EPOCHS]],
            y=mine["gain"].round(3),
            error_y=_bars(mine["high"], mine["gain"]) | {"thickness": 1},
            mode="lines+markers",
            name=arm,
            legendgroup=arm,
            showlegend=arm not in named,
            marker={"symbol": MARKERS[arm], "size": 8},
            line={"color": COLOURS[arm], "width": 1},
            text=[f"trial {x}, {y or NO_INTERMEDIATE}" for x, y in zip(
                mine["trial"], mine["intermediate"], strict=True
            )],
            hovertemplate="%{text}: %{y:+.1f}<extra></extra>",
        )  # fmt: skip
        named.add(arm)
    count = f"{len(shown)} of {len(order)} rows of recipes"
    ticks = sorted({int(x) for x in curves[EPOCHS]})
    figure.update_layout(
        title=f"Gain along the intermediate epochs<br><sub>{count}, alike but for the epochs; "
        "95 %: other seeds</sub>",
        height=420,
        xaxis={"title": "epochs (shifted a little apart)", "tickvals": ticks},
        yaxis={"title": "gain over the reference, points"},
    )
    return figure


def _bars(high: Sequence[float | None], middle: Sequence[float]) -> dict[str, Any]:
    """Symmetric error bars; none where there is no interval."""
    half = [
        None if top is None or math.isnan(top) else round(top - gain, 3)
        for top, gain in zip(high, middle, strict=True)
    ]
    return {"type": "data", "array": half}


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _finish(figure: go.Figure, pocket: bool) -> None:
    title = figure.layout.title.text
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
        font={"size": 12, "family": "system-ui, Helvetica, Arial, sans-serif"},
        margin={"l": 8, "r": 8, "t": 76, "b": 8},
        legend={"orientation": "h", "y": 0, "yref": "container", "yanchor": "bottom"},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
    )
    figure.update_xaxes(automargin=True, gridcolor="#e5e5e5", zerolinecolor="#777777")
    figure.update_yaxes(automargin=True, gridcolor="#e5e5e5", zerolinecolor="#777777")
