"""Predictions in XTREME's submission format, scored: which files, which split, which means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objectives.data.sources import DataSource, choose_source
from objectives.xtreme.benchmark import (
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
)
from search.handover.requests import EvaluationRequest
from spaces.catalogue import Task
from spaces.errors import DataError, SpecError, unknown_name


@dataclass(frozen=True)
class Evaluation:
    """The scores of predictions.

    Attributes:
        split: test or validation.
        source: Where the gold labels come from.
        scores: Task -> its scores by language.
    """

    split: str
    source: DataSource
    scores: Mapping[str, TaskScores]

    def as_json(self) -> dict[str, Any]:
        """All of it in JSON's types, scores in [0, 1]."""
        tasks = {
            name: {
                "metric": str(found.task.metric),
                "languages": found.languages,
                "mean": found.mean,
                "languages_wanted": len(found.wanted),
                "languages_missing": found.missing,
            }
            for name, found in self.scores.items()
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

    Args:
        request: Which predictions.

    Raises:
        DataError: There are no predictions, too few or too many, or the gold labels are hidden.
        SpecError: The split that a file's name says is another than the one asked for.
        UnknownNameError: There is no such task or language.
    """
    split, files = _files(request)
    needed = [(task, language) for task, found in files for language in found]
    source = choose_source(request.data, needed)
    scores = {task.name: _scores(task, found, split, source) for task, found in files}
    return Evaluation(split, source, scores)


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
    """Task -> the folder of its predictions.

    Raises:
        DataError: There is none.
    """
    if task is not None:
        return {task: path / task if (path / task).is_dir() else path}
    folders = {x.name: x for x in sorted(path.iterdir()) if _is_task_folder(x)}
    if not folders:
        raise DataError(f"{path}", "a folder per task in it, or its task with --task")
    return folders


def _of_languages(folder: Path, task: Task, split: str, language: str | None) -> dict[str, Path]:
    """Language -> its file, of one language where one is asked for."""
    found = find_predictions(folder, task, split)
    if language is None:
        return found
    if language not in found:
        raise unknown_name("Language", language, found, f"in {folder}")
    return {language: found[language]}


def _is_task_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _scores(task: Task, files: Mapping[str, Path], split: str, source: DataSource) -> TaskScores:
    scores = {}
    for language, file in files.items():
        examples = benchmark_split(task, language, split, source)
        predictions = read_predictions(file, task, examples)
        scores[language] = score_predictions(task, language, examples, predictions)
    return TaskScores(task, scores)
