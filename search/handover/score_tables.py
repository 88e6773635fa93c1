"""The scores of predictions as tables for a terminal; scores are percent."""

from __future__ import annotations

from rich.table import Table

from objectives.xtreme.benchmark import GROUPS, TaskScores, group_means, overall_mean
from search.handover.evaluation import Evaluation

PARTS = ("score", "em", "f1")


def scores_table(evaluation: Evaluation, task: str | None) -> Table:
    """The languages of one task, or all tasks with XTREME's means over them.

    Args:
        evaluation: What was scored.
        task: Name of the task; None for all.
    """
    if task is not None:
        return _languages_table(evaluation, evaluation.scores[task])
    return _tasks_table(evaluation)


def _languages_table(evaluation: Evaluation, scores: TaskScores) -> Table:
    table = Table(
        title=f"{scores.task.name}, {evaluation.split}: {scores.task.metric}; data: "
        f"{evaluation.source}"
    )
    parts = [part for part in PARTS if part in next(iter(scores.languages.values()))]
    table.add_column("language")
    for part in parts:
        table.add_column(part.upper() if part != "score" else part, justify="right")
    for language, found in scores.languages.items():
        outside = "" if language in scores.wanted else " (not in the mean)"
        table.add_row(language + outside, *(_points(found[part]) for part in parts))
    if scores.mean:
        table.add_section()
        mean = f"mean over {_counted(scores)}"
        table.add_row(mean, *(_points(scores.mean[part]) for part in parts))
    if scores.missing:
        table.caption = f"not the task's score; missing: {' '.join(scores.missing)}"
    return table


def _tasks_table(evaluation: Evaluation) -> Table:
    scores = evaluation.scores
    table = Table(title=f"{evaluation.split}; data: {evaluation.source}")
    table.add_column("task")
    table.add_column("metric")
    for header in ("score", "EM", "F1"):
        table.add_column(header, justify="right")
    table.add_column("mean over", overflow="fold")
    for name, found in scores.items():
        parts = [_points(found.mean[part]) if part in found.mean else "" for part in PARTS]
        missing = f"; missing: {' '.join(found.missing)}" if found.missing else ""
        table.add_row(name, found.task.metric, *parts, f"{_counted(found)}{missing}")
    table.add_section()
    means = {**group_means(scores), "overall": overall_mean(scores)}
    members = {**GROUPS, "overall": [task for tasks in GROUPS.values() for task in tasks]}
    for group, mean in means.items():
        if not set(members[group]) & scores.keys():
            continue
        complete = [x for x in members[group] if x in scores and not scores[x].missing]
        lacking = [x for x in members[group] if x not in complete]
        note = f"{len(complete)} of {len(members[group])} tasks"
        note += f"; missing or incomplete: {' '.join(lacking)}" if lacking else ""
        table.add_row(group, "", "-" if mean is None else _points(mean), "", "", note)
    return table


def _counted(scores: TaskScores) -> str:
    count = len(scores.wanted)
    return f"{count - len(scores.missing)} of {count} languages"


def _points(score: float) -> str:
    return f"{100 * score:.2f}"
