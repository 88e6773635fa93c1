"""The Hub, as folders with parquet files, which are repositories for `datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from objectives.data.data_source import DataSource, SourceKind
from objectives.data.sources import TestPurpose, corpus_key, has_split, load_split, load_test_split
from spaces.errors import DataError
from spaces.task import Task
from tests.objectives_tests.toys import hub_card, make_task
from tests.raising import raises

HUB = DataSource(SourceKind.HUB)
CHANGES: dict[str, dict[str, object]] = {
    "nli": {"labels": ["entailment", "neutral", "contradiction"]},
    "qa": {"metric": "em_f1", "answers": "squad"},
}
ROWS = {
    "tokens": [["Juma", "Mosi", "anaenda", "Lagos"], ["Asha"]],
    "tags": [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER"]],
}


def put(folder: Path, split: str, columns: dict[str, list[Any]], **features: object) -> None:
    rows = datasets.Dataset.from_dict(columns)
    for name, feature in features.items():
        rows = rows.cast_column(name, feature)
    rows.to_parquet(folder / f"{split}.parquet")


def hub_task(kind: str, folder: Path, **hub: object) -> Task:
    return make_task(
        kind,
        codes={"iso2": {"swa": "sw", "eng": "en"}, "name": {"swa": "swahili"}},
        hub={"repository": str(folder), "config": "PAN-X.{iso2}", **hub},
        **CHANGES.get(kind, {}),
    )


def test_tags_of_the_hub_get_their_names_and_our_columns(repository: Path) -> None:
    numbers = {"id": [7, 8], "words": ROWS["tokens"], "ner_tags": [[1, 2, 0, 3], [1]]}
    names = datasets.ClassLabel(names=["O", "B-PERSON", "I-PERSON", "B-LOC", "I-LOC"])
    for split in ("train", "validation"):
        put(repository, split, numbers, ner_tags=datasets.List(names))
    hidden = {**numbers, "ner_tags": [[-1, -1, -1, -1], [-1]]}
    put(repository, "test", hidden, ner_tags=datasets.List(names))
    task = hub_task(
        "ner",
        repository,
        columns={"tokens": "words", "tags": "ner_tags"},
        labels={"B-PERSON": "B-PER", "I-PERSON": "I-PER"},
    )
    found = load_split(task, "swa", "validation", HUB)
    assert found[:] == ROWS
    assert corpus_key(found) == corpus_key(datasets.Dataset.from_dict(ROWS))
    hidden_test = load_test_split(task, "swa", HUB, TestPurpose.CONFIRM)[:]
    assert hidden_test == {"tokens": ROWS["tokens"], "tags": [None, None]}


def test_classes_of_the_hub_get_their_names_and_hidden_ones_are_none(repository: Path) -> None:
    names = datasets.ClassLabel(names=["Sport", "Law", "Health"])
    columns = {"text": ["a", "b", "c"], "label": [1, 0, 2]}
    for split in ("train", "validation"):
        put(repository, split, columns, label=names)
    put(repository, "test", {**columns, "label": [-1, -1, -1]}, label=names)
    labels = {"Sport": "sport", "Law": "law", "Health": "health"}
    task = hub_task("classification", repository, labels=labels)
    assert load_split(task, "swa", "validation", HUB)["label"][:] == ["law", "sport", "health"]
    assert load_test_split(task, "swa", HUB, TestPurpose.CONFIRM)["label"][:] == [None] * 3
    slice_task = hub_task(
        "classification", repository, labels=labels, splits={"test": "train[:1]"}
    )
    assert load_test_split(slice_task, "swa", HUB, TestPurpose.CONFIRM)["label"][:] == ["law"]


@pytest.mark.parametrize(
    ("language", "hub", "subject", "expected", "found", "advice"),
    [
        ("yor", {}, "", "the yor validation split on the Hub", "", "name a folder"),
        (
            "eng",
            {},
            *("PAN-X.en validation: cannot be read", "", "BuilderConfig 'PAN-X.en' not found", ""),
        ),
        (
            "swa",
            {"splits": {"validation": "dev"}},
            *("dev: cannot be read", "", 'Unknown split "dev"', ""),
        ),
        ("swa", {"columns": {"label": "class"}}, "", "the column 'class'", "text, label", ""),
        (
            "swa",
            {"repository": "/nosuch"},
            *("/nosuch PAN-X.sw validation: cannot be read", "", "", ""),
        ),
        ("swa", {}, "example 1", "a label of toy_sentiment (positive, negative)", "'neutral'", ""),
    ],
)
def test_what_the_hub_does_not_have_is_named(
    language: str,
    hub: dict[str, object],
    subject: str,
    expected: str,
    found: str,
    advice: str,
    repository: Path,
) -> None:
    for split in ("train", "validation", "test"):
        put(repository, split, {"text": ["a", "b"], "label": ["positive", "neutral"]})
    task = hub_task("sentiment", repository, **hub)
    with raises(
        DataError, subject=subject, expected=expected, found=found, advice=advice
    ) as caught:
        load_split(task, language, "validation", HUB)
    assert "\n" not in str(caught.value)


def put_all(folder: Path, columns: dict[str, list[Any]]) -> None:
    for split in ("train", "validation", "test"):
        put(folder, split, columns)


HABARI = {"source": ["Habari.", "Ndiyo."], "target": ["News.", "Yes."]}
SENTENCES = {
    "id": ["0", "1", "0", "1"],
    "text": ["Habari.", "Ndiyo.", "News.", "Yes."],
    "side": ["language", "language", "english", "english"],
    "match": ["0", "1", "", ""],
}


@pytest.mark.parametrize(
    ("kind", "columns", "hub", "expected"),
    [
        pytest.param(
            "sentiment",
            {"text": ["a", "b"], "label": [1, 0]},
            {"labels": {"0": "negative", "1": "positive"}},
            {"text": ["a", "b"], "label": ["positive", "negative"]},
            id="numbers without names, as in NusaX and AfriSenti",
        ),
        pytest.param(
            "classification",
            {"text": ["1", "Law"], "label": ["Law", "Law"]},
            {"labels": {"Law": "law"}},
            {"text": ["1", "Law"], "label": ["law", "law"]},
            id="a text that has the name of a label",
        ),
        pytest.param(
            "mlm",
            {"text": ["", " = Title = \n", None, " Habari . \n", ""]},
            *({}, {"text": ["= Title =", "Habari ."]}),
            id="empty rows of plain text",
        ),
        pytest.param(
            *("retrieval", HABARI, {"columns": {"text_a": "source", "text_b": "target"}}),
            SENTENCES,
            id="pairs become a row per sentence",
        ),
    ],
)
def test_rows_of_the_hub_become_ours(
    kind: str,
    columns: dict[str, list[Any]],
    hub: dict[str, object],
    expected: dict[str, object],
    repository: Path,
) -> None:
    put_all(repository, columns)
    assert load_split(hub_task(kind, repository, **hub), "swa", "validation", HUB)[:] == expected


QUESTIONS = {"id": [1, 2], "question": ["Wapi?", "Nini?"], "context": ["Yuko Lagos."] * 2}


@pytest.mark.parametrize(
    ("kind", "columns", "name", "hidden"),
    [
        ("similarity", {"text_a": ["a"] * 2, "text_b": ["b"] * 2}, "score", -1.0),
        ("qa", QUESTIONS, "answers", {"text": [""], "answer_start": [0]}),
    ],
)
def test_hidden_scores_and_answers_of_the_hub_are_none(
    kind: str, columns: dict[str, list[Any]], name: str, hidden: object, repository: Path
) -> None:
    known = [2.5, -1.0]
    answers = [{"text": ["Lagos"], "answer_start": [5]}, {"text": [], "answer_start": []}]
    put_all(repository, {**columns, name: answers if kind == "qa" else known})
    put(repository, "test", {**columns, name: [hidden, hidden]})
    task = hub_task(kind, repository)
    found = load_split(task, "swa", "validation", HUB)[name][:]
    assert found == ([[{"text": "Lagos", "start": 5}], []] if kind == "qa" else known)
    assert load_test_split(task, "swa", HUB, TestPurpose.CONFIRM)[name][:] == [None, None]


def test_rows_of_other_languages_are_left_out(repository: Path) -> None:
    columns = {
        "language": ["sw", "en", "sw", "swb"],
        "premise": ["a", "b", "c", "d"],
        "hypothesis": ["e", "f", "g", "h"],
        "gold_label": ["neutral", "neutral", "entailment", "neutral"],
    }
    put_all(repository, columns)
    names = {"text_a": "premise", "text_b": "hypothesis", "label": "gold_label"}
    rule = {"columns": names, "filter_column": "language", "filter_value": "{iso2}"}
    task = hub_task("nli", repository, **rule)
    assert load_split(task, "swa", "validation", HUB)[:] == {
        "text_a": ["a", "c"],
        "text_b": ["e", "g"],
        "label": ["neutral", "entailment"],
    }
    assert has_split(task, "swa", "validation", HUB)
    unknown = hub_task("nli", repository, **{**rule, "filter_value": "{nosuch}"})
    assert not has_split(unknown, "swa", "validation", HUB)
    other = hub_task("nli", repository, **{**rule, "filter_value": "yo"})
    with raises(DataError, expected="rows whose language is 'yo'", found="none"):
        load_split(other, "swa", "validation", HUB)
    wrong = hub_task("nli", repository, **{**rule, "filter_column": "lang"})
    with raises(DataError, expected="the column 'lang'", found="language, premise"):
        load_split(wrong, "swa", "validation", HUB)


def test_a_language_may_be_told_by_the_beginning_of_a_column(repository: Path) -> None:
    """As in TyDiQA, by the ids. The answers are lists beside each other there."""
    columns = {
        "id": ["swahili-1", "english-1", "swahili-2"],
        "question": ["Wapi?", "Where?", "Nini?"],
        "context": ["Yuko Lagos.", "In Lagos.", "Yuko Lagos."],
        "answers": [
            {"text": ["Lagos"], "answer_start": [5]},
            {"text": ["Lagos"], "answer_start": [3]},
            {"text": [], "answer_start": []},
        ],
    }
    put_all(repository, columns)
    rule = {"filter_column": "id", "filter_value": "{name}*"}
    task = hub_task("qa", repository, **rule)
    assert load_split(task, "swa", "train", HUB)[:] == {
        "id": ["swahili-1", "swahili-2"],
        "question": ["Wapi?", "Nini?"],
        "context": ["Yuko Lagos."] * 2,
        "answers": [[{"text": "Lagos", "start": 5}], []],
    }


@pytest.mark.parametrize("start", [4, -6])
def test_an_answer_of_the_hub_must_stand_in_its_context(start: int, repository: Path) -> None:
    answers = [{"text": ["Lagos"], "answer_start": [start]}]
    put_all(
        repository,
        {"id": ["1"], "question": ["Wapi?"], "context": ["Yuko Lagos."], "answers": answers},
    )
    task = hub_task("qa", repository)
    with raises(DataError, subject="question 1", expected=f"'Lagos' at character {start} "):
        load_split(task, "swa", "validation", HUB)


def test_a_text_of_the_hub_that_is_missing_is_named(repository: Path) -> None:
    put_all(repository, {"text": ["a", None], "label": ["law", "law"]})
    task = hub_task("classification", repository)
    with raises(DataError, subject="example 1", expected="a text", found="None"):
        load_split(task, "swa", "validation", HUB)


@pytest.mark.parametrize("named", [{}, {"test": "validation"}, {"validation": "validation"}])
def test_the_halves_of_the_hubs_only_split_are_validation_and_test(
    named: dict[str, str], repository: Path
) -> None:
    texts = [f"text {number}" for number in range(40)]
    put(repository, "validation", {"text": texts, "label": ["law"] * 40})
    (repository / "README.md").write_text(hub_card("validation"))
    task = hub_task("classification", repository, splits=named)
    task = task.model_copy(update={"halved": True})
    validation = load_split(task, "swa", "validation", HUB)["text"][:]
    test = load_test_split(task, "swa", HUB, TestPurpose.CONFIRM)["text"][:]
    assert sorted(validation + test) == sorted(texts)
    assert min(len(validation), len(test)) >= 10
