"""The scores of XTREME's nine tasks are those of its own evaluate.py, on generated files.

`python -m tests.benchmarks.xtreme_sample` made the files, and had that script score them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from objectives.xtreme.benchmark import (
    GROUPS,
    TaskScores,
    group_means,
    overall_mean,
    score_predictions,
)
from objectives.xtreme.submission import predictions_file, read_predictions
from spaces.catalogue import load_catalogue
from spaces.languages import XTREME_TASKS
from spaces.task import Metric, Task, TaskKind

SAMPLE = json.loads(
    gzip.decompress(Path(__file__).with_name("xtreme_sample.json.gz").read_bytes())
)
CATALOGUE = load_catalogue()
EXACT = 1e-12
THEIR_GROUPS = ("classification", "tagging", "qa", "retrieval")


def columns(task: Task, labels: str, predictions: str) -> dict[str, list[Any]]:
    """Examples that have these gold labels, as our sources would read them."""
    if task.kind is TaskKind.QA:
        (paragraph,) = json.loads(labels)["data"][0]["paragraphs"]
        questions = paragraph["qas"]
        answers = [[{"text": x["text"], "start": 0} for x in q["answers"]] for q in questions]
        texts = [""] * len(questions)
        return {
            **{"id": [q["id"] for q in questions], "question": texts, "context": texts},
            "answers": answers,
        }
    if task.kind.is_tagging:
        sentences = [block.split("\n") for block in labels.rstrip("\n").split("\n\n")]
        return {"tokens": [["word"] * len(tags) for tags in sentences], "tags": sentences}
    lines = labels.splitlines()
    if task.metric is Metric.BUCC_F1:
        gold = dict(line.split("\t") for line in lines)
        found = [line.split("\t") for line in predictions.splitlines()]
        ours = dict.fromkeys([*gold, *(left for left, _ in found)])
        english = dict.fromkeys([*gold.values(), *(right for _, right in found)])
        return sentences_of([*ours], [*english], [gold.get(name, "") for name in ours])
    if task.kind is TaskKind.RETRIEVAL:
        english = [f"e{number:03d}" for number in range(len(lines))]  # in the order of their texts
        match = {int(line): name for line, name in zip(lines, english, strict=True)}
        ours = [f"x{number}" for number in range(len(lines))]
        return sentences_of(ours, [*english], [match[number] for number in range(len(lines))])
    return {"text_a": [""] * len(lines), "text_b": [""] * len(lines), "label": lines}


def sentences_of(
    ours: Sequence[str], english: Sequence[str], match: Sequence[str]
) -> dict[str, list[Any]]:
    names = [*ours, *english]
    sides = ["language"] * len(ours) + ["english"] * len(english)
    return {"id": names, "text": names, "side": sides, "match": [*match, *[""] * len(english)]}


def scores(name: str, folder: Path) -> TaskScores:
    """Our scores of the sample's predictions for a task."""
    task, found = CATALOGUE[name], {}
    for language, texts in SAMPLE["files"][name].items():
        file = folder / predictions_file(task, language, "test")
        file.write_text(texts["predictions"], encoding="utf-8")
        split = datasets.Dataset.from_dict(columns(task, **texts))
        predictions = read_predictions(file, task, split)
        found[language] = score_predictions(task, language, split, predictions)
    return TaskScores(task, found)


def test_every_figure_is_that_of_xtremes_own_script(tmp_path: Path) -> None:
    all_scores, compared = {}, 0
    for name, wanted in SAMPLE["figures"].items():
        if name not in XTREME_TASKS:
            continue
        all_scores[name] = ours = scores(name, tmp_path)
        kind = ours.task.kind
        theirs = {"exact_match": "em", "f1": "f1"}
        if kind is not TaskKind.QA:
            theirs = {"f1" if "f1" in wanted else "accuracy": "score"}
        for their_name, our_name in theirs.items():
            for language, of_language in ours.languages.items():
                code = predictions_file(ours.task, language, "test").partition("-")[2][:2]
                figure = wanted[their_name][code]
                assert 100 * of_language[our_name] == pytest.approx(figure, rel=0, abs=EXACT)
                compared += 1
            mean = wanted[f"avg_{their_name}"]
            assert 100 * ours.mean[our_name] == pytest.approx(mean, rel=0, abs=EXACT)
            compared += 1
        assert 100 * ours.mean["score"] == pytest.approx(wanted["avg_metric"], rel=0, abs=EXACT)
    assert [*all_scores] == [x for x in SAMPLE["figures"] if x in XTREME_TASKS]
    assert len(all_scores) == 9
    assert compared == 189 + 12, "languages, exact match and F1 of answers apart, and means"
    means = group_means(all_scores)
    for ours_named, theirs_named in zip(GROUPS, THEIR_GROUPS, strict=True):
        figure = SAMPLE["figures"][theirs_named]
        assert 100 * (means[ours_named] or 0) == pytest.approx(figure, rel=0, abs=EXACT)
    figure = SAMPLE["figures"]["all_task"]
    assert 100 * (overall_mean(all_scores) or 0) == pytest.approx(figure, rel=0, abs=EXACT)


def test_the_sample_has_what_sets_scorers_apart() -> None:
    """Right and wrong spans that begin with I-, empty answers, several gold ones, all scripts."""
    files = SAMPLE["files"]
    assert {name: len(languages) for name, languages in files.items()} == {
        name: len(languages) for name, languages in XTREME_TASKS.items()
    }
    figures = [SAMPLE["figures"][name]["avg_metric"] for name in files]
    assert all(30 < figure < 90 for figure in figures)
    answers = [json.loads(x["predictions"]) for x in files["mlqa"].values()]
    assert any(answer == "" for of_language in answers for answer in of_language.values())
    assert "O\nI-" in "".join(x["predictions"] for x in files["panx"].values())
