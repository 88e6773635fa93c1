"""Maps of gains in colour: over rate and epochs of each task, and over targets and languages.

Losses are vermilion and gains blue, white at 0, on one scale for all of a figure. The colours are
light, and numbers black upon all of them, on a light page and on a dark one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from objectives.gains.transfer_gain import in_points
from search.command_line.words import number_of
from search.reporting.colours import GAIN, LOSS, NOTHING
from search.surrogate.effects import Surface

DIVERGING = [[0.0, LOSS], [0.5, NOTHING], [1.0, GAIN]]
"""Losses to gains, white at 0."""
ABREAST = 3
"""Surfaces in a row."""
ROW, CELL = 34, 52
"""Pixels of a row with a name, and of a cell beside another."""
GAP, LEAST = 90, 70
"""Pixels between two rows of surfaces, and of a row at least."""


def draw_surfaces(surfaces: Sequence[Surface]) -> go.Figure | None:
    """A small map per task, cells that were never run hatched; tasks that were run only."""
    tried = [x for x in surfaces if x.runs.any()]
    if not tried:
        return None
    rows, height = math.ceil(len(tried) / ABREAST), max(LEAST, ROW * len(tried[0].epochs))
    height_of_all = rows * height + (rows - 1) * GAP
    figure = make_subplots(
        rows=rows,
        cols=ABREAST,
        # Of two lines: those of narrow maps would reach into each other.
        subplot_titles=[f"{x.task}<br>({x.arm})" for x in tried],
        horizontal_spacing=0.04,
        vertical_spacing=GAP / height_of_all if rows > 1 else 0,
    )
    top = _top(np.concatenate([x.gain.ravel() for x in tried]))
    for place, surface in enumerate(tried):
        _add_surface(figure, surface, top, place // ABREAST + 1, place % ABREAST + 1)
    figure.update_annotations(font={"size": 12})
    figure.update_xaxes(tickangle=0, showgrid=False, zeroline=False)
    figure.update_yaxes(showgrid=False, zeroline=False)
    figure.update_layout(
        title="Gain over rate and epochs of the intermediate stage, points<br><sub>the best over "
        "all other choices, run or not; one scale; hatched: never run there</sub>",
        height=166 + height_of_all,
        barmode="overlay",
        bargap=0,
        meta={"width": 120 + ABREAST * (70 + 48 * len(tried[0].rates))},
    )
    return figure


def _add_surface(figure: go.Figure, surface: Surface, top: float, row: int, column: int) -> None:
    # Numbers of places, so that hatches lie upon cells; their names are the ticks.
    rates, epochs = surface.gain.shape
    shown = surface.gain.T
    figure.add_heatmap(
        z=[[None if np.isnan(x) else round(float(x), 3) for x in line] for line in shown],
        x=list(range(rates)),
        y=list(range(epochs)),
        text=[["-" if np.isnan(x) else in_points(x) for x in line] for line in shown],
        customdata=[[number_of(int(x), "run") for x in line] for line in surface.runs.T],
        texttemplate="%{text}",
        hovertemplate="%{text}, %{customdata} there<extra></extra>",
        **_look(top),
        row=row,
        col=column,
    )
    for rate, epoch in np.argwhere(surface.runs == 0):
        figure.add_bar(
            x=[int(rate)],
            y=[1],
            base=[int(epoch) - 0.5],
            width=0.98,
            marker={
                "color": "rgba(0,0,0,0)",
                "pattern": {"shape": "/", "fgcolor": "rgba(60,60,60,0.45)", "size": 7},
            },
            hoverinfo="skip",
            showlegend=False,
            row=row,
            col=column,
        )
    figure.update_xaxes(
        **_ticks([f"{x:.3g}" if x else "" for x in surface.rates]), row=row, col=column
    )
    figure.update_yaxes(
        **_ticks([number_of(x, "epoch") if x else "" for x in surface.epochs]),
        showticklabels=column == 1,  # they are the same in all
        row=row,
        col=column,
    )


def _ticks(names: Sequence[str]) -> dict[str, Any]:
    """An axis of places with names."""
    places = list(range(len(names)))
    return {"tickvals": places, "ticktext": names, "range": [-0.5, len(names) - 0.5]}


def draw_matrix(matrix: pd.DataFrame) -> go.Figure | None:
    """Intermediate tasks by target tasks and languages, cells of one run in brackets."""
    if not len(matrix):
        return None
    tasks = list(dict.fromkeys(matrix["task"]))
    cells = list(dict.fromkeys(zip(matrix["target"], matrix["language"], strict=True)))
    places = {(x.task, (x.target, x.language)): x for x in matrix.itertuples(index=False)}
    top = _top(matrix["gain"].to_numpy(float))
    columns = [[target for target, _ in cells], [language for _, language in cells]]
    grid = [[places.get((task, cell)) for cell in cells] for task in tasks]
    figure = go.Figure()
    figure.add_heatmap(
        x=columns,
        y=tasks,
        z=[[round(x.gain, 3) if x else None for x in row] for row in grid],
        text=[[_cell(x) if x else "" for x in row] for row in grid],
        customdata=[[_in_words(x) if x else "" for x in row] for row in grid],
        texttemplate="%{text}",
        hovertemplate="%{y} to %{x}<br>%{customdata}<extra></extra>",
        hoverongaps=False,
        **_look(top),
    )
    figure.update_layout(
        title="Gain by intermediate task, target and language, points<br><sub>* 95 % interval "
        "excludes 0; in brackets: one run</sub>",
        height=190 + ROW * len(tasks),
        yaxis={"type": "category", "categoryarray": tasks[::-1]},
        xaxis={"type": "multicategory"},
        meta={"width": 190 + CELL * len(cells)},
    )
    return figure


def _look(top: float) -> dict[str, Any]:
    """By colour and in words: every cell says its number, so there is no scale."""
    colours = {"colorscale": DIVERGING, "zmin": -top, "zmax": top}
    numbers = {"textfont": {"color": "#101010", "size": 11}}
    return {**colours, **numbers, "xgap": 1, "ygap": 1, "showscale": False}


def _top(gains: np.ndarray) -> float:
    """The largest gain or loss, which has the full colour."""
    return float(np.abs(gains[~np.isnan(gains)]).max(initial=0.0)) or 1.0


def _cell(cell: Any) -> str:
    words = f"<b>{in_points(cell.gain)}*</b>" if cell.transfer else in_points(cell.gain)
    return f"({words})" if cell.runs <= 1 else words


def _in_words(cell: Any) -> str:
    interval = f"[{in_points(cell.low)}, {in_points(cell.high)}]"
    return f"{in_points(cell.gain)} {interval}, {number_of(cell.runs, 'run')} with the task"
