"""The picture on the first screen: scores, and what of each the intermediate task itself does.

A panel per target task, a row per recipe: the best direct training, the same target stage without
the intermediate task, and with it. So a gain falls into two parts that can be seen: what the
target stage does, and what the intermediate task does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from objectives.gains.transfer_gain import in_points
from search.findings.confirmation import ConfirmationResult, Look
from search.findings.landscape import Landscape
from search.findings.standings import judged_languages
from search.reporting.colours import ARM_COLOURS, BLACK, MARKERS
from search.studies.stored_study import StoredStudy

ROW, HEAD = 42, 58
"""Pixels of a row, and above the rows of a panel."""
LEAST = 150
"""Pixels of all panels at least: the legend of a phone has four lines, and half of the room."""


@dataclass(frozen=True)
class PictureRow:
    """One recipe in one target task; scores are percent.

    Attributes:
        arm: general, biomedical, legal or mixed.
        name: Name of the recipe for people, its intermediate task in it.
        direct: Score of the best direct training.
        alone: Score of the recipe's target stage without the intermediate task; None where that
            was not measured.
        score: Score of the recipe.
        low: Lower end of the interval of its gain, upon `direct`; None where none is known.
        high: Upper end of that interval.
    """

    arm: str
    name: str
    direct: float
    alone: float | None
    score: float
    low: float | None
    high: float | None


Panels = Mapping[str, Sequence[PictureRow]]
"""Target task -> its rows, the arms in their order."""


def draw_answer(
    study: StoredStudy, landscape: Landscape, done: tuple[Look, ConfirmationResult] | None
) -> go.Figure | None:
    """What explains the answer: of the last confirmation where there is one, else of the search.

    Args:
        study: The study.
        landscape: What its search found.
        done: The last confirmation that has a result.
    """
    panels = _searched(study, landscape) if done is None else _confirmed(study, *done)
    panels = {task: rows for task, rows in panels.items() if rows}
    if not panels:
        return None
    how = (
        "search: validation, 95 %; not confirmed"
        if done is None
        else "confirmed: test splits, fresh seeds, corrected"
    )
    metrics = {x.name: x.metric for x in study.spec.target_tasks(study.catalogue)}
    # A confirmation's recipes stop at different numbers of seeds, each beside its own zero.
    direct = "best direct training" if done is None else "best direct training, same seeds"
    return _draw(panels, {task: f"{task} ({metrics[task]})" for task in panels}, how, direct)


def _searched(study: StoredStudy, landscape: Landscape) -> Panels:
    if landscape.answer is None or study.baseline is None:
        return {}
    judged_on = judged_languages(study.spec, study.catalogue)
    panels: dict[str, list[PictureRow]] = {}
    for task, findings in landscape.answer.by_task.items():
        scores = study.baseline.tasks[task].scores
        direct = 100 * fmean(scores[x] for x in scores if x in judged_on)
        panels[task] = [
            PictureRow(
                arm=arm,
                name=finding.recipe.task,
                direct=direct,
                alone=direct + finding.known.gain - finding.known.itself,
                score=direct + finding.known.gain,
                low=direct + finding.known.interval[0],
                high=direct + finding.known.interval[1],
            )
            for arm, finding in findings.items()
            if finding.known is not None and finding.recipe is not None
        ]
    return panels


def _confirmed(study: StoredStudy, look: Look, result: ConfirmationResult) -> Panels:
    def rows(task: str) -> Iterator[PictureRow]:
        # Of one target task the verdict on the recipe is that on the task.
        place = task if result.verdicts.tasks else ""
        for recipe in look.plan.recipes:
            gain = result.verdicts.gain_of(recipe.trial, place)
            itself = result.paired.gain_of(recipe.trial, place)
            if gain is None:
                continue
            yield PictureRow(
                arm=recipe.arm,
                name=f"{recipe.name}, trial {recipe.trial}",
                direct=gain.against,
                alone=None if itself is None else itself.against,
                score=gain.score,
                low=None if gain.low is None else gain.against + gain.low,
                high=None if gain.high is None else gain.against + gain.high,
            )

    return {task: list(rows(task)) for task in study.spec.target.tasks}


def _draw(panels: Panels, titles: Mapping[str, str], how: str, direct: str) -> go.Figure:
    heights = [len(rows) * ROW for rows in panels.values()]
    total = sum(heights) + HEAD * (len(panels) - 1)
    figure = make_subplots(
        rows=len(panels),
        cols=1,
        row_heights=heights,
        vertical_spacing=HEAD / total if len(panels) > 1 else 0,
        subplot_titles=[titles[task] for task in panels],
    )
    for place, rows in enumerate(panels.values(), start=1):
        _add_panel(figure, rows, place, direct)
    figure.update_annotations(font={"size": 12}, x=0, xanchor="left", xref="paper")
    figure.update_layout(
        title=f"Scores, and what the intermediate task itself does<br><sub>percent; {how}</sub>",
        height=170 + max(total, LEAST),
        barmode="overlay",
        bargap=0.7,
    )
    return figure


def _add_panel(figure: go.Figure, rows: Sequence[PictureRow], place: int, direct: str) -> None:
    names = [f"{x.arm}<br>{x.name}" for x in rows]
    where = {"row": place, "col": 1}
    shown = {"showlegend": place == 1}
    explained = [(name, x, x.alone) for name, x in zip(names, rows, strict=True)]
    for name, x, alone in explained:
        if alone is not None:
            figure.add_scatter(
                x=[alone, x.score],
                y=[name, name],
                mode="lines",
                line={"width": 7, "color": ARM_COLOURS[x.arm]},
                opacity=0.35,
                name="by the intermediate task itself",
                legendgroup="itself",
                showlegend=place == 1 and name == names[0],
                hoverinfo="skip",
                **where,
            )
    figure.add_scatter(
        x=[x.direct for x in rows],
        y=names,
        mode="markers",
        marker={"symbol": "line-ns", "size": 26, "line": {"width": 2, "color": BLACK}},
        name=direct,
        legendgroup="direct",
        hovertemplate=f"{direct}: %{{x:.1f}}<extra></extra>",
        **shown,
        **where,
    )
    figure.add_scatter(
        x=[x.alone for x in rows],
        y=names,
        mode="markers",
        marker={"symbol": "circle-open", "size": 10, "color": BLACK, "line": {"width": 2}},
        name="its target stage alone",
        legendgroup="alone",
        hovertemplate="the same target stage without the task: %{x:.1f}<extra></extra>",
        **shown,
        **where,
    )
    figure.add_scatter(
        x=[x.score for x in rows],
        y=names,
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [None if x.high is None else x.high - x.score for x in rows],
            "arrayminus": [None if x.low is None else x.score - x.low for x in rows],
            "color": BLACK,
            "thickness": 1.2,
        },
        mode="markers",
        marker={
            "symbol": [MARKERS[x.arm] for x in rows],
            "size": 11,
            "color": [ARM_COLOURS[x.arm] for x in rows],
        },
        name="with the intermediate task",
        legendgroup="with",
        customdata=[_in_words(x) for x in rows],
        hovertemplate="%{customdata}<extra></extra>",
        **shown,
        **where,
    )
    figure.update_yaxes(
        type="category", categoryarray=names[::-1], zeroline=False, range=[-0.6, len(rows) - 0.4],
        **where,
    )  # fmt: skip
    figure.update_xaxes(zeroline=False, **where)


def _in_words(row: PictureRow) -> str:
    words = f"{row.score:.1f}: {in_points(row.score - row.direct)} over direct training"
    if row.low is not None and row.high is not None:
        words += f" [{in_points(row.low - row.direct)}, {in_points(row.high - row.direct)}]"
    if row.alone is not None:
        words += f"<br>by the intermediate task itself {in_points(row.score - row.alone)}"
    return words
