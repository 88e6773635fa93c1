"""Scoring predictions from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search import evaluate
from spaces.errors import DataError, SpecError, UnknownNameError
from tests.raising import ends_with

SENTENCES = [("Juma", "B-PER"), ("anaenda", "O"), ("Lagos", "B-LOC")]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder: two sentences of PAN-X, three pairs of XNLI and one of PAWS-X."""
    block = "".join(f"{token}\t{tag}\n" for token, tag in SENTENCES)
    for language in ("swa", "yor", "que"):
        write(tmp_path / f"data/ner/panx/{language}/test.conll", f"{block}\n{block}")
    rows = "a\tb\tneutral\na\tc\tentailment\n"
    write(tmp_path / "data/nli/xnli/swa/test.tsv", f"text_a\ttext_b\tlabel\n{rows}")
    write(tmp_path / "data/nli/xnli/tha/test.tsv", "text_a\ttext_b\na\tb\n")
    write(tmp_path / "data/nli/xnli/swa/dev.tsv", "text_a\ttext_b\tlabel\na\tb\tneutral\n")
    question = {
        "id": "swahili-1",
        "question": "?",
        "answers": [{"text": "a b", "answer_start": 0}],
    }
    squad = {"data": [{"paragraphs": [{"context": "a b c", "qas": [question]}]}]}
    write(tmp_path / "data/qa/tydiqa_goldp/swa/test.json", json.dumps(squad))
    return tmp_path / "data"


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """A submission: half of the names right in Swahili, all in Yoruba and Quechua."""
    folder = tmp_path / "submission"
    write(folder / "panx/test-sw.tsv", "B-PER\nO\nO\n\nO\nO\nB-LOC\n")
    write(folder / "panx/test-yo.tsv", "B-PER\nO\nB-LOC\n\nB-PER\nO\nB-LOC\n")
    write(folder / "panx/test-qu.tsv", "B-PER\nO\nB-LOC\n\nB-PER\nO\nB-LOC\n")
    write(folder / "xnli/test-sw.tsv", "neutral\nneutral\n")
    write(folder / "tydiqa/test-sw.json", '{"swahili-1": "a b c"}')
    return folder


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def run(capsys: pytest.CaptureFixture[str], path: Path, data: Path, *options: str) -> str:
    assert evaluate.main(["--predictions", str(path), "--data", str(data), *options]) == 0
    return capsys.readouterr().out


def rows(shown: str) -> dict[str, list[str]]:
    """First cell -> the other ones."""
    lines = [line.strip("│ \n").split("│") for line in shown.splitlines() if "│" in line]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


# Precision 1, recall 1/2 of the names.
SWAHILI = 2 / 3


def test_one_file_has_its_score(
    capsys: pytest.CaptureFixture[str], predictions: Path, data: Path
) -> None:
    file = predictions / "panx/test-sw.tsv"
    assert rows(run(capsys, file, data, "--task", "panx"))["swa"] == ["66.67"]
    renamed = file.rename(predictions / "mine")
    found = run(capsys, renamed, data, "--task", "panx", "--language", "swa", "--json")
    assert json.loads(found)["tasks"]["panx"]["languages"] == {
        "swa": {"score": pytest.approx(SWAHILI)}
    }


@pytest.mark.parametrize("inner", ["", "panx"])
def test_a_task_says_over_how_many_languages_its_mean_is(
    capsys: pytest.CaptureFixture[str], predictions: Path, data: Path, inner: str
) -> None:
    shown = run(capsys, predictions / inner, data, "--task", "panx")
    found = rows(shown)
    assert found["swa"] == ["66.67"]
    assert found["que (not in the mean)"] == ["100.00"]
    assert found["mean over 2 of 40 languages"] == ["83.33"]
    assert "not the task's score; missing: afr ara" in shown
    only = run(capsys, predictions / inner, data, "--task", "panx", "--language", "yor")
    assert rows(only)["mean over 1 of 40 languages"] == ["100.00"]


def test_exact_match_and_f1_are_shown_for_question_answering(
    capsys: pytest.CaptureFixture[str], predictions: Path, data: Path
) -> None:
    found = rows(run(capsys, predictions, data, "--task", "tydiqa"))
    # The article goes: "b" against "b c".
    assert found["swa"] == ["33.33", "0.00", "66.67"]


def test_a_submission_shows_its_tasks_and_no_mean_over_fewer(
    capsys: pytest.CaptureFixture[str], predictions: Path, data: Path
) -> None:
    found = rows(run(capsys, predictions, data))
    assert found["panx"][:2] == ["span_f1", "83.33"]
    assert found["xnli"][:2] == ["accuracy", "50.00"]
    assert found["xnli"][4].startswith("1 of 15 languages; missing: ")
    assert found["overall"][1] == "-"
    assert found["overall"][4].startswith("0 of 9 tasks; missing or incomplete: xnli")
    assert "sentence retrieval" not in found
    facts: dict[str, Any] = json.loads(run(capsys, predictions, data, "--json"))
    assert facts["overall"] is None
    assert set(facts["groups"].values()) == {None}
    assert facts["tasks"]["panx"]["mean"]["score"] == pytest.approx((SWAHILI + 1) / 2)
    assert facts["tasks"]["panx"]["languages_wanted"] == 40
    assert len(facts["tasks"]["panx"]["languages_missing"]) == 38
    assert facts["split"] == "test"


def test_validation_is_scored_when_asked_for(
    capsys: pytest.CaptureFixture[str], predictions: Path, data: Path
) -> None:
    write(predictions / "xnli/validation-sw.tsv", "neutral\n")
    shown = run(capsys, predictions, data, "--task", "xnli", "--split", "validation")
    assert rows(shown)["swa"] == ["100.00"]
    assert "xnli, validation" in shown
    # The name of a single file says it too.
    file = predictions / "xnli/validation-sw.tsv"
    assert rows(run(capsys, file, data, "--task", "xnli"))["swa"] == ["100.00"]
    wrong = ("--predictions", file, "--task", "xnli", "--split", "test", "--data", data)
    with ends_with(SpecError, subject="--split", expected="validation", found="test"):
        evaluate.main(list(map(str, wrong)))


def test_what_other_scorers_read_otherwise_is_noted_in_a_line(
    capsys: pytest.CaptureFixture[str], predictions: Path, data: Path
) -> None:
    date = "Juma\tB-PER\nleo\tB-DATE\n"
    write(data / "ner/masakhaner2/swa/test.conll", date)
    write(predictions / "masakhaner2/test-swa.tsv", "\ufeffB-PER\nO\n")
    words = ["--predictions", str(predictions), "--data", str(data)]
    assert evaluate.main([*words, "--task", "masakhaner2", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["tasks"]["masakhaner2"]["mean"] == {"score": 1.0}
    types, mark = captured.err.splitlines()
    assert types.startswith("note: masakhaner2: DATE of the corpus is read as no entity")
    assert "test-swa.tsv has a byte order mark: skipped here" in mark
    assert evaluate.main([*words, "--task", "panx"]) == 0
    assert capsys.readouterr().err == ""


def test_what_is_wrong_is_named(predictions: Path, data: Path, tmp_path: Path) -> None:
    def run(path: Path, *options: str) -> None:
        evaluate.main(["--predictions", str(path), "--data", str(data), *options])

    with ends_with(DataError, subject="--predictions", found=str(tmp_path / "gone")):
        run(tmp_path / "gone")
    named = predictions / "panx/test-sw.tsv"
    with ends_with(SpecError, subject="--task", expected=str(named)):
        run(named)
    with ends_with(UnknownNameError, found="pannx", advice="'panx'"):
        run(predictions, "--task", "pannx")
    with ends_with(DataError, subject=str(predictions / "panx"), expected="a folder per task"):
        run(predictions / "panx")
    with ends_with(UnknownNameError, found="tha", expected=str(predictions / "panx")):
        run(predictions, "--task", "panx", "--language", "tha")
    with ends_with(UnknownNameError, found="sw", expected="in task 'panx'"):
        run(named, "--task", "panx", "--language", "sw")
    (predictions / "mistake").mkdir()
    with ends_with(UnknownNameError, found="mistake", expected="in the catalogue"):
        run(predictions)


def test_predictions_that_do_not_fit_are_named(
    predictions: Path, data: Path, tmp_path: Path
) -> None:
    def run(path: Path, *options: str) -> None:
        evaluate.main(["--predictions", str(path), "--data", str(data), *options])

    write(predictions / "xnli/test-th.tsv", "neutral\n")
    with ends_with(DataError, expected="gold labels for tha", found="hidden"):
        run(predictions, "--task", "xnli", "--language", "tha")
    short = predictions / "xnli/test-sw.tsv"
    write(short, "neutral\n")
    with ends_with(DataError, subject=str(short), expected="2 predictions", found="1"):
        run(predictions, "--task", "xnli")
    (tmp_path / "empty").mkdir()
    with ends_with(DataError, expected="predictions of panx as in test-en.tsv"):
        run(tmp_path / "empty", "--task", "panx")
