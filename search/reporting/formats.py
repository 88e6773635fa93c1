"""A report's content as Markdown and as JSON."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from search.command_line.markdown import fenced, md
from search.findings.answer import ArmFinding, StudyAnswer
from search.findings.answer_words import verdict_word
from search.reporting.report_content import ReportContent
from search.reporting.study_figures import ANSWER

POCKET = (
    "Pocket corpora: generated text with planted effects. These figures say nothing about any "
    "real language."
)


def as_markdown(report: ReportContent, figures: Collection[str]) -> str:
    """The report as Markdown.

    Args:
        report: Content of the report.
        figures: Names of the figures that lie in `figures/` as PNG.
    """
    screen = report.first_screen
    lines = [f"# {md(report.title)}", ""]
    if report.is_pocket:
        lines += [f"> {POCKET}", ""]
    lines += [part for line in screen.answer.splitlines() for part in (f"**{md(line)}**", "")]
    lines += [f"- How sure: {md(line)}" for line in screen.how_sure]
    for verdict, below in screen.verdicts:
        lines += [f"- {md(verdict)}", *(f"  - {md(line)}" for line in below)]
    lines += [f"- What was asked: {md(screen.asked)}", f"- What it cost: {md(screen.cost)}"]
    for words, command in screen.next:
        lines += [f"- What to do next: {md(words)}", ""]
        block = fenced(command, "sh").splitlines() if command else []
        lines += [*(f"  {line}" for line in block), *([""] if block else [])]
    if ANSWER in figures:
        lines += [f"![Scores by target task and arm](figures/{ANSWER}.png)", ""]
    for section in report.sections:
        pocket = " (pocket corpora)" if report.is_pocket else ""
        lines += [f"## {md(section.title)}{'' if section.name == 'provenance' else pocket}", ""]
        for line in section.lines:
            lines += [md(line), ""]
        for name in section.figures(figures):
            lines += [f"![{md(section.title)}](figures/{name}.png)", ""]
        for heading, text in section.texts:
            lines += [f"### {md(heading)}", "", fenced(text), ""]
        if section.rows:
            marks = ("---" if section.is_text(i) else "--:" for i in range(len(section.columns)))
            rows = [[md(cell) for cell in row] for row in (section.columns, *section.rows)]
            lines += [f"| {' | '.join(row)} |" for row in (rows[0], list(marks), *rows[1:])]
            lines += [""]
    return "\n".join(lines)


def as_json(report: ReportContent) -> dict[str, Any]:
    """All numbers, in JSON's types; what is not known is null."""
    landscape, cost = report.landscape, report.cost
    content = {
        "study": report.study,
        "question": report.question,
        "is_pocket": report.is_pocket,
        **asdict(report.first_screen),
        "trials": dict(report.states),
        "baseline": report.baseline and report.baseline.as_json(),
        "found": landscape.answer and _answer(landscape.answer),
        "confirmations": [asdict(look) for look in report.confirmations],
        "test_splits": report.test_splits,
        "recipes": landscape.recipes,
        "tasks": landscape.tasks,
        "matrix": landscape.matrix,
        "importance": [asdict(x) for x in landscape.importance],
        "surfaces": [
            {**asdict(x), "gain": x.gain.tolist(), "runs": x.runs.tolist()}
            for x in landscape.surfaces
        ],
        "claims": [
            {"text": x.claim.text, "outcome": x.outcome, "because": x.because}
            for x in report.claims
        ],
        "cost": {
            "trials": cost.trials,
            "asked": asdict(cost.asked),
            "trained": asdict(cost.trained),
            "saved": {name: asdict(saved) for name, saved in cost.saved.items()},
            "spent_elsewhere": asdict(cost.spent_elsewhere),
        },
        "provenance": dict(report.provenance),
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _answer(answer: StudyAnswer) -> dict[str, Any]:
    parts = {**answer.by_task, "all": answer.arms}
    return {
        "recommended_arm": answer.recommended,
        "expected_regret": answer.regret,
        "regret_90": answer.regret_90,
        "by_target_task": {
            task: {arm: _finding(finding) for arm, finding in findings.items()}
            for task, findings in parts.items()
        },
    }


def _finding(finding: ArmFinding) -> dict[str, Any]:
    known, recipe = finding.known, finding.recipe
    if known is None or recipe is None:
        return {"tasks": finding.tasks, "tried": 0, "verdict": verdict_word(known)}
    return {
        **asdict(known),
        "recipe": recipe.in_words,
        "intermediate": recipe.task,
        "trial": recipe.first.number,
        "tasks": finding.tasks,
        "verdict": verdict_word(known),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return _plain(value.to_dict("records"))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
