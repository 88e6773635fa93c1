"""Predictions in XTREME's submission format, scored: which files, which split, which means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from objectives.data.choosing import choose_source
from objectives.data.data_source import DataSource
from objectives.xtreme.benchmark import (
    GROUPS,
    TaskScores,
    benchmark_split,
    group_means,
    overall_mean,
    score_predictions,
)
from objectives.xtreme.submission import (
    file_language,
    file_split,
    find_predictions,
    read_predictions,
    reading_note,
)
from search.handover.origin import PredictionsOrigin
from search.handover.requests import EvaluationRequest
from spaces.errors import DataError, SpecError, unknown_name
from spaces.task import Task


@dataclass(frozen=True)
class Evaluation:
    """The scores of predictions.

    Attributes:
        split: test or validation.
        source: Where the gold labels come from.
        scores: Task -> its scores by language.
        notes: Lines on what other scorers read otherwise (XTREME's script, the corpus's own), and
            on looks at a study's test splits that could not be counted.
    """

    split: str
    source: DataSource
    scores: Mapping[str, TaskScores]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it in JSON's types, scores in [0, 1]."""
        tasks = {
            name: {
                "metric": str(of_task.task.metric),
                "languages": of_task.languages,
                "mean": of_task.mean,
                "languages_wanted": len(of_task.wanted),
                "languages_missing": of_task.missing,
            }
            for name, of_task in self.scores.items()
        }
        return {
            "split": self.split,
            "data": str(self.source),
            "tasks": tasks,
            "groups": group_means(self.scores),
            "overall": overall_mean(self.scores),
        }


def evaluate(request: EvaluationRequest) -> Evaluation:
    """Score the predictions of every task and language that is asked for.

    Raises:
        DataError: There are no predictions, too few or too many, or the gold labels are hidden.
        SpecError: The split that a file's name says is another than the one asked for.
        UnknownNameError: There is no such task or language.
    """
    split, files = _files(request)
    needed = [(task, language, split) for task, by_language in files for language in by_language]
    source = choose_source(request.data, needed)
    scores = {task.name: _scores(task, by_language, split, source) for task, by_language in files}
    read = [(file, task) for task, by_language in files for file in by_language.values()]
    notes = [*(_types_note(task) for task, _ in files), *(reading_note(*x) for x in read)]
    if split == "test":
        notes += _counted_looks([file.parent for file, _ in read])
    return Evaluation(split, source, scores, tuple(filter(None, notes)))


def _types_note(task: Task) -> str:
    """What entity types of a corpus are read as none; empty where all are read."""
    tags = [tag for layout in task.layouts for tag, ours in layout.labels.items() if ours == "O"]
    types = sorted({tag.partition("-")[2] for tag in tags})
    if not types:
        return ""
    return (
        f"{task.name}: {', '.join(types)} of the corpus is read as no entity, as the source "
        f"language has none; scores on all of its types differ"
    )


def _counted_looks(folders: Iterable[Path]) -> list[str]:
    """Count the scoring of a study's own predictions; what hinders it, in words."""
    origins = [PredictionsOrigin.of_folder(folder) for folder in sorted(set(folders))]
    return [origin.count_as_scored() for origin in origins if origin is not None]


def _files(request: EvaluationRequest) -> tuple[str, list[tuple[Task, dict[str, Path]]]]:
    """The split, and each task with the files of its languages."""
    path, catalogue = request.predictions, request.catalogue
    if path.is_dir():
        split = request.split or "test"
        folders = [(catalogue[x], place) for x, place in _task_folders(path, request.task).items()]
        return split, [
            (task, _of_languages(place, task, split, request.language)) for task, place in folders
        ]
    assert request.task is not None, "checked when the request was made"
    task, said = catalogue[request.task], file_split(path)
    if request.split and said and said != request.split:
        raise SpecError("--split", f"{said}, as {path} says", request.split)
    language = request.language or file_language(task, path)
    return request.split or said or "test", [(task, {language: path})]


def _task_folders(path: Path, task: str | None) -> dict[str, Path]:
    """Task -> the folder of its predictions."""
    if task is not None:
        return {task: path / task if (path / task).is_dir() else path}
    visible = (x for x in sorted(path.iterdir()) if not x.name.startswith("."))
    folders = {x.name: x for x in visible if x.is_dir()}
    if not folders:
        raise DataError(f"{path}", "a folder per task in it, or its task with --task")
    return folders


def _of_languages(folder: Path, task: Task, split: str, language: str | None) -> dict[str, Path]:
    """Language -> its file, of one language where one is asked for."""
    by_language = find_predictions(folder, task, split)
    if language is None:
        return by_language
    if language not in by_language:
        raise unknown_name("Language", language, by_language, f"in {folder}")
    return {language: by_language[language]}


def _scores(task: Task, files: Mapping[str, Path], split: str, source: DataSource) -> TaskScores:
    scores = {}
    for language, file in files.items():
        examples = benchmark_split(task, language, split, source)
        predictions = read_predictions(file, task, examples)
        scores[language] = score_predictions(task, language, examples, predictions)
    return TaskScores(task, scores)


PARTS = ("score", "em", "f1")


def scores_tables(evaluation: Evaluation, task: str | None) -> list[Table]:
    """The languages of each task; of all tasks their means, and XTREME's over them, at the end."""
    if task is not None:
        return [_languages_table(evaluation, evaluation.scores[task])]
    each = [_languages_table(evaluation, scores) for scores in evaluation.scores.values()]
    return [*each, _tasks_table(evaluation)]


def _languages_table(evaluation: Evaluation, scores: TaskScores) -> Table:
    table = Table(
        title=f"{scores.task.name}, {evaluation.split}: {scores.task.metric}; data: "
        f"{evaluation.source}"
    )
    parts = [part for part in PARTS if part in next(iter(scores.languages.values()))]
    table.add_column("language")
    for part in parts:
        table.add_column(part.upper() if part != "score" else part, justify="right")
    for language, of_language in scores.languages.items():
        outside = "" if language in scores.wanted else " (not in the mean)"
        table.add_row(language + outside, *(_points(of_language[part]) for part in parts))
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
    for name, of_task in scores.items():
        parts = [_points(of_task.mean[part]) if part in of_task.mean else "" for part in PARTS]
        missing = f"; missing: {' '.join(of_task.missing)}" if of_task.missing else ""
        table.add_row(name, of_task.task.metric, *parts, f"{_counted(of_task)}{missing}")
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
