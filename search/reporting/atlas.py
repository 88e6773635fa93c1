"""Several studies on one page: an atlas of intermediate tasks against the targets of all of them.

Each study keeps its own zero, the best direct training of its target task, and its own search
model: gains stand beside each other and are never averaged. Each has its own report beside the
page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from search.findings.answer_words import gain_words, verdict_word
from search.findings.landscape import ALL_TARGETS
from search.findings.verdict_words import points_with_interval
from search.reporting.figures import finish
from search.reporting.first_screen import FirstScreen
from search.reporting.landscape_maps import draw_matrix
from search.reporting.landscape_sections import Section, row
from search.reporting.report_content import ReportContent
from spaces.errors import SpecError
from spaces.studies import NO_INTERMEDIATE

CELL = 104
"""Pixels of a target task beside another."""


@dataclass(frozen=True)
class Atlas:
    """What a page says of several studies; named as in `ReportContent`, which the page shows too.

    Attributes:
        study: Names of the studies.
        question: Heading of the page.
        is_pocket: Whether the figures are of the pocket corpora.
        first_screen: The answers of all, and what to do next.
        sections: Parts below the first screen.
        figures: Figure of a section, by its name.
    """

    study: str
    question: str
    is_pocket: bool
    first_screen: FirstScreen
    sections: list[Section]
    figures: dict[str, go.Figure]

    @property
    def title(self) -> str:
        """Title of the page."""
        return f"Atlas of {self.study}{' (pocket corpora)' if self.is_pocket else ''}"


def build_atlas(reports: Sequence[ReportContent]) -> Atlas:
    """Several studies beside each other.

    Args:
        reports: What each of them found; all of pocket corpora, or none.

    Raises:
        SpecError: Some are of pocket corpora and some are not.
    """
    if len({x.is_pocket for x in reports}) > 1:
        pocket = ", ".join(x.study for x in reports if x.is_pocket)
        raise SpecError(
            "--study",
            expected="studies of one kind of corpora",
            found=f"{pocket} of the pocket corpora, whose figures say nothing of real languages",
            advice="report them apart",
        )
    gains = _gains(reports)
    figures = {}
    if (drawn := draw_matrix(gains)) is not None:
        drawn.update_layout(
            title="Gain by intermediate task, study and target task, points<br><sub>each over its "
            "own study's best direct training; * 95 % interval excludes 0; in brackets: one "
            "run</sub>",
            meta={"width": 190 + CELL * len(gains[["target", "language"]].drop_duplicates())},
        )
        finish(drawn, reports[0].is_pocket)
        figures["atlas"] = drawn
    return Atlas(
        study=", ".join(x.study for x in reports),
        question="Which intermediate task helps which target task?",
        is_pocket=reports[0].is_pocket,
        first_screen=_first_screen(reports),
        sections=[x for x in (_map_section(gains), _arms_section(reports)) if x.rows],
        figures=figures,
    )


def _gains(reports: Sequence[ReportContent]) -> pd.DataFrame:
    """One row per intermediate task, study and target task, as `draw_matrix` wants them."""
    parts = []
    for report in reports:
        tasks = report.landscape.tasks
        is_own = (tasks["target"] != ALL_TARGETS) & (tasks["arm"] != NO_INTERMEDIATE)
        # Of a study the page has target tasks where the matrix has languages.
        parts.append(
            tasks[is_own & (tasks["runs"] > 0)]
            .rename(columns={"target": "language"})
            .assign(target=report.study)
        )
    gains = pd.concat(parts, ignore_index=True)
    sides = zip(gains["low"], gains["high"], strict=True)
    return gains.assign(
        transfer=["positive" if x > 0 else "negative" if y < 0 else "" for x, y in sides]
    )


def _first_screen(reports: Sequence[ReportContent]) -> FirstScreen:
    answers = [
        f"{x.study}: {line}" for x in reports for line in x.first_screen.answer.splitlines()
    ]
    unconfirmed = [x.study for x in reports if not x.confirmed]
    how_sure = [
        "Each gain is over the best direct training of its own study: studies with other "
        "languages, examples or encoders have other zeros, so read along columns first."
    ]
    if unconfirmed:
        how_sure.append(f"Not confirmed on test splits: {', '.join(unconfirmed)}.")
    return FirstScreen(
        answer="\n".join(answers),
        how_sure=how_sure,
        verdicts=[],
        asked=" ".join(f"{x.study}: {x.question}" for x in reports),
        cost=" ".join(f"{x.study}: {x.first_screen.cost}" for x in reports),
        next=[(f"{x.study}: {w}", c) for x in reports for w, c in x.first_screen.next[:1]],
    )


def _map_section(gains: pd.DataFrame) -> Section:
    rows = [
        row(x.arm, x.task, x.target, x.language, gain, x.runs, x.settings)
        for x in gains.itertuples()
        for gain in [points_with_interval(x.gain, x.low, x.high)]
    ]
    line = (
        "The gain that each study's search model expects of the recipe that it recommends with a "
        "task, of tasks that were run. An empty cell: not a task of that study, or never run."
    )
    columns = ("arm", "intermediate task", "study", "target task", "gain", "runs", "best with")
    return Section(
        "atlas", "Intermediate tasks against targets of all studies", [line], columns, rows
    )


def _arms_section(reports: Sequence[ReportContent]) -> Section:
    rows = []
    for report in reports:
        answer = report.landscape.answer
        for task, findings in answer.by_task.items() if answer else ():
            for arm, finding in findings.items():
                known, recipe = finding.known, finding.recipe
                found = (
                    ["", "-"]
                    if known is None or recipe is None
                    else [recipe.task, gain_words(known)]
                )
                tried = f"{known.tried if known else 0} of {finding.tasks}"
                rows.append(row(arm, report.study, task, *found, tried, verdict_word(known)))
    rows.sort(key=lambda cells: cells[0])
    columns = ("arm", "study", "target task", "intermediate task", "gain", "tasks tried", "so far")
    line = "The recommended recipe of each arm, arm by arm over all studies, by their searches."
    return Section("arms", "The same arms in all studies", [line], columns, rows)
