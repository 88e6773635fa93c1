"""XTREME as a benchmark: what it scores on, the scores of predictions, and their means.

Compared with XTREME's evaluate.py and the figures that its evaluate_test.py expects
(https://github.com/google-research/xtreme, at 0918248 and 522434d): the groups, the languages of
each task, a task's mean over its languages before EM and F1 are averaged, and group and overall
means over tasks, none of which it gives unless all their tasks are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets

from objectives.data.data_source import DataSource, SourceKind
from objectives.data.encoding import EncodedSplit
from objectives.data.sources import TestPurpose, load_split, load_test_split
from objectives.scores.answers import exact_match_and_f1
from objectives.scores.metrics import compute_score
from objectives.scores.sentences import gold_neighbours, gold_pairs
from spaces.errors import DataError, SpecError, unknown_name
from spaces.languages import XTREME_TASKS
from spaces.task import Metric, Task, TaskKind

GROUPS: dict[str, tuple[str, ...]] = {
    "sentence classification": ("xnli", "pawsx"),
    "structured prediction": ("udpos", "panx"),
    "question answering": ("xquad", "mlqa", "tydiqa"),
    "sentence retrieval": ("bucc2018", "tatoeba"),
}
"""XTREME's nine tasks in its four groups."""


def benchmark_split(task: Task, language: str, split: str, source: DataSource) -> datasets.Dataset:
    """The examples that predictions are made for: of a test split all that the benchmark has.

    Args:
        task: Catalogue record of the task.
        language: ISO 639-3 code.
        split: One of `SPLITS`.
        source: Data source that the split is read from.

    Raises:
        DataError: The source has no such split, or it is broken.
        UnknownNameError: The task has no such language.
    """
    if language not in task.languages:
        raise unknown_name("Language", language, task.languages, f"in task {task.name!r}")
    if source.kind is SourceKind.POCKET and not task.pocket:
        raise DataError(
            f"task {task.name!r}",
            "a data source that has it",
            f"the pocket corpora, which do not ({source.reason})",
            "name a folder with --data",
        )
    if split == "test":
        return load_test_split(task, language, source, TestPurpose.BENCHMARK)
    return load_split(task, language, split, source)


def score_predictions(
    task: Task, language: str, split: datasets.Dataset, predictions: Sequence[Any]
) -> dict[str, float]:
    """The score of one language, in [0, 1] (a correlation: in [-1, 1]), as `score`.

    For question answering its parts too, `em` and `f1`.

    Args:
        task: Catalogue record of the task.
        language: ISO 639-3 code.
        split: The examples with their gold labels.
        predictions: One prediction for each example; those for labels that are not scored are
            left out.

    Raises:
        DataError: Gold labels are hidden, or there are not as many predictions.
    """
    if task.metric is None:
        raise SpecError(f"task {task.name!r}", "a kind that is scored", str(task.kind))
    gold: list[Any] = split[task.kind.columns[-1]][:]
    if any(value is None for value in gold):
        raise DataError(
            f"task {task.name!r}",
            f"gold labels for {language}",
            "them hidden",
            "name a source that has them with --data, or score --split validation",
        )
    if task.kind is TaskKind.QA:
        assert task.answers is not None, task.name
        texts = [[answer["text"] for answer in answers] for answers in gold]
        em, f1 = exact_match_and_f1(texts, predictions, task.answers, language)
        return {"score": (em + f1) / 2, "em": em, "f1": f1}
    if task.kind is TaskKind.RETRIEVAL:
        rows = list(zip(*(split[name][:] for name in task.kind.columns), strict=True))
        sentences = EncodedSplit([], None, None, None, rows)
        mines = task.metric is Metric.BUCC_F1
        gold = list((gold_pairs if mines else gold_neighbours)(sentences))
    elif task.unscored_labels:
        if len(gold) != len(predictions):
            raise DataError("scoring", f"{len(gold)} predictions", str(len(predictions)))
        pairs = zip(gold, predictions, strict=True)
        kept = [pair for pair in pairs if pair[0] not in task.unscored_labels]
        gold, predictions = [x for x, _ in kept], [x for _, x in kept]
    return {"score": compute_score(task.metric, gold, predictions, task.answers, language)}


@dataclass(frozen=True)
class TaskScores:
    """Scores of one task in all languages.

    Attributes:
        task: Catalogue record of the task.
        languages: Language -> scores by name, as `score_predictions` returns them.
    """

    task: Task
    languages: Mapping[str, Mapping[str, float]]

    @property
    def wanted(self) -> tuple[str, ...]:
        """The languages that the task's score is the mean over: XTREME's, or all it has."""
        return XTREME_TASKS.get(self.task.name, self.task.languages)

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of them without a score."""
        return tuple(x for x in self.wanted if x not in self.languages)

    @property
    def mean(self) -> dict[str, float]:
        """The mean over the wanted languages that are there; empty if none is.

        Only without `missing` it is the task's score.
        """
        scored = [self.languages[x] for x in self.wanted if x in self.languages]
        if not scored:
            return {}
        return {part: sum(scores[part] for scores in scored) / len(scored) for part in scored[0]}


def group_means(scores: Mapping[str, TaskScores]) -> dict[str, float | None]:
    """Group -> mean of its tasks' scores; None where a task or a language of it is missing."""
    return {group: _mean_of_tasks(tasks, scores) for group, tasks in GROUPS.items()}


def overall_mean(scores: Mapping[str, TaskScores]) -> float | None:
    """XTREME's score: the mean of its nine tasks, each with one weight; None if any is missing."""
    return _mean_of_tasks([task for tasks in GROUPS.values() for task in tasks], scores)


def _mean_of_tasks(tasks: Sequence[str], scores: Mapping[str, TaskScores]) -> float | None:
    if any(task not in scores or scores[task].missing for task in tasks):
        return None
    return sum(scores[task].mean["score"] for task in tasks) / len(tasks)
