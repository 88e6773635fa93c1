"""Files of rows: what is written is read back, and a line that is no row is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from objectives.data.row_files import read_rows, row_lines
from spaces.errors import DataError
from tests.objectives_tests.toys import make_task, toy_columns
from tests.raising import raises

TAGGED = {"tokens": ["Asha", "saw"], "tags": ["B-PER", "O"]}
ANSWERED = {"id": "1", "question": "Who?", "context": "Asha", "answers": []}


@pytest.mark.parametrize(
    "kind", ["ner", "classification", "nli", "similarity", "mlm", "qa", "retrieval"]
)
def test_what_is_written_is_read_back(kind: str, tmp_path: Path) -> None:
    columns, file = toy_columns(kind, 6), tmp_path / "dev.jsonl"
    file.write_text("".join(row_lines(columns)), encoding="utf-8")
    assert read_rows(file, make_task(kind)) == columns


@pytest.mark.parametrize(
    ("kind", "line", "fields"),
    [
        ("ner", {**TAGGED, "tokens": "Asha saw"}, {"expected": "a JSON object with tokens, tags"}),
        ("ner", {**TAGGED, "tags": ["O"]}, {"expected": "a tag for each token", "found": "1 for"}),
        ("ner", {**TAGGED, "tags": ["O", 5]}, {"expected": "a JSON object"}),
        ("ner", {"tokens": []}, {"expected": "a JSON object"}),
        ("classification", {"text": 5, "label": "news"}, {"expected": "a JSON object"}),
        ("similarity", {"text_a": "a", "text_b": "b", "score": "5"}, {"expected": "with text_a"}),
        ("qa", {**ANSWERED, "answers": [{"text": "Asha"}]}, {"expected": "with id, question"}),
        ("qa", {**ANSWERED, "answers": {"text": ["Asha"]}}, {"expected": "with id, question"}),
        ("similarity", {"text_a": "a", "text_b": "b", "score": 10**400}, {"expected": "a JSON"}),
        ("qa", {**ANSWERED, "id": 2**64}, {"expected": "with id, question"}),
        ("mlm", [], {"found": "'[]'"}),
    ],
)
def test_a_line_that_is_no_row_is_named(
    kind: str, line: object, fields: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "dev.jsonl"
    whole = next(row_lines(toy_columns(kind, 1)))
    file.write_text(whole + json.dumps(line) + "\n", encoding="utf-8")
    with raises(DataError, subject="dev.jsonl:2", **fields):
        read_rows(file, make_task(kind))


def test_rows_that_are_nested_too_deep_are_told(tmp_path: Path) -> None:
    file = tmp_path / "dev.jsonl"
    file.write_text('{"text": ' + "[" * 100_000 + "\n", encoding="utf-8")
    with raises(DataError, subject="dev.jsonl:1"):
        read_rows(file, make_task("mlm"))
