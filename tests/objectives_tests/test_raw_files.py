"""Every format of raw files as the columns of a task."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from objectives.data.raw_files import drawn_split, raw_splits
from objectives.data.row_checks import check_rows
from spaces.catalogue import load_catalogue
from spaces.errors import DataError
from spaces.raw_source import RawFormat, RawSource
from spaces.task import Task
from tests.objectives_tests.toys import make_task
from tests.raising import raises

TOKENS = {"tokens": "0", "tags": "1"}
NAMES = {"languages": ["eng", "swa"], "labels": ["PER", "LOC"]}


def read(task: Task, language: str = "eng", **record: Any) -> dict[str, dict[str, list[Any]]]:
    """The splits of files: path -> content, or (path, fields of the file's record) -> content."""
    files = record.pop("contents")
    records = []
    contents: list[dict[str, bytes]] = []
    for place, content in files.items():
        path, more = (place, {}) if isinstance(place, str) else (place[0], dict(place[1]))
        records.append({"path": path, "blob": "0" * 40, "split": "train", **more})
        folder = isinstance(content, dict)
        contents.append(
            {name: text.encode() for name, text in content.items()}
            if folder
            else {path: content.encode()}
        )
    source = RawSource.model_validate(
        {"repository": "me/corpus", "commit": "c" * 40, "files": records, **record}
    )
    read = raw_splits(task, language, source, [*zip(source.files, contents, strict=True)])
    for split, columns in read.items():
        check_rows(columns, task, split, hidden_allowed=False)
    return read


NER = make_task("ner", **NAMES)
SENTENCES = {
    "tokens": [["Juma", "Mosi", "anaenda", "Lagos"], ["Asha"]],
    "tags": [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER"]],
}


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("Juma\tB-PER\nMosi\tI-PER\nanaenda\tO\nLagos\tB-LOC\n\nAsha\tB-PER\n", {}),
        # Windows' ends of lines, IO, spaces, a document's mark, a word that nobody sees.
        (
            "-DOCSTART- O\r\n\r\nJuma I-PER\r\nMosi I-PER\r\nanaenda O\r\nLagos I-LOC\r\n\r\n"
            "\x97 O\r\nAsha I-PER\r\n",
            {},
        ),
        # Words that the csv module wrote, and one that is a quotation mark as it is.
        (
            '"Juma" B-PER\nMosi I-PER\nanaenda O\nLagos B-LOC\n\nAsha B-PER\n',
            {"quoted": True},
        ),
        # The word in another field, comments, and a tag that the task does not have.
        (
            "# sent_id = 1\n1\tJuma\tB-PERSON\n2\tMosi\tI-PERSON\n2-3\tanaendaLagos\t_\n"
            "3\tanaenda\tB-DATE\n4\tLagos\tB-LOC\n\n# sent_id = no-2\n1\tx\tO\n\n"
            "# sent_id = 3\n1\tAsha\tB-PERSON\n\n",
            {
                "columns": {"tokens": "1", "tags": "2"},
                "labels": {"B-PERSON": "B-PER", "I-PERSON": "I-PER", "B-DATE": "O"},
                "without": "no-",
            },
        ),
    ],
)
def test_lines_of_words_and_tags(text: str, record: dict[str, Any]) -> None:
    record = {"format": "tagged", "columns": TOKENS, **record}
    assert read(NER, contents={"a.txt": text}, **record) == {"train": SENTENCES}


@pytest.mark.parametrize("quoted", [True, False])
def test_a_quotation_mark_that_the_csv_module_wrote_is_one(quoted: bool) -> None:
    text = '"""" O\n"\' O\n" O\n'
    found = read(NER, format="tagged", columns=TOKENS, quoted=quoted, contents={"a.txt": text})
    assert found["train"]["tokens"] == [['"' if quoted else '""""', "\"'", '"']]


def test_only_sentences_of_a_kind() -> None:
    text = "# sent_id = a-1\n1\tJuma\tB-PER\n\n# sent_id = b-1\n1\tAsha\tB-PER\n\n"
    columns = {"tokens": "1", "tags": "2"}
    found = read(NER, format="tagged", columns=columns, only="b-", contents={"a.txt": text})
    assert found["train"]["tokens"] == [["Asha"]]


def test_documents_in_csv_stay_in_one_split() -> None:
    document = '-DOCSTART-,O\n,O\nJuma,I-PER\n",",O\n,O\nLagos,I-LOC\n,P\n'
    text = "".join(document.replace("Juma", f"Juma{i}") for i in range(40))
    found = read(NER, format="tagged-csv", contents={("a.csv", (("split", "drawn"),)): text})
    assert {len(x["tokens"]) % 2 for x in found.values()} == {0}
    assert sum(len(x["tokens"]) for x in found.values()) == 80
    assert found["train"]["tags"][:2] == [["B-PER", "O"], ["B-LOC"]]
    assert len(found["train"]["tokens"]) > 40


def test_texts_with_spans() -> None:
    text = "Juma Mosi, of Lagos."
    spans = [("PER", 0, 9), ("LOC", 14, 19)]
    result = [{"value": {"start": a, "end": b, "labels": [x]}} for x, a, b in spans]
    example = {"data": {"text": text}, "annotations": [{"result": result}]}
    found = read(NER, format="spans", contents={"a.json": json.dumps([example])})
    assert found["train"] == {
        "tokens": [["Juma", "Mosi", ",", "of", "Lagos", "."]],
        "tags": [["B-PER", "I-PER", "O", "O", "B-LOC", "O"]],
    }


PAIRS = make_task("nli", languages=["eng"], labels=["yes", "no"])
PAIR = {"text_a": ['He said "no".'], "text_b": ["He spoke,\nbriefly."], "label": ["yes"]}


@pytest.mark.parametrize(
    ("name", "text", "record"),
    [
        (
            "a.csv",
            'id,claim,proof,label\n1,"He spoke,\nbriefly.","He said ""no"".",Supports\n',
            {"columns": {"text_a": "proof", "text_b": "claim"}, "quoted": True},
        ),
        (
            "a.tsv",
            '\n\tid\tx\n1\tSupports\tHe said "no".\tHe spoke,\nbriefly.\n',
            {"columns": {"text_a": "2", "text_b": "3", "label": "1"}, "skip": 1},
        ),
        (
            "a.json",
            json.dumps({"a": PAIR["text_a"][0], "text_b": PAIR["text_b"][0], "label": "Supports"}),
            {"columns": {"text_a": "a"}, "format": "json-lines"},
        ),
    ],
)
def test_tables_and_lines_of_json(name: str, text: str, record: dict[str, Any]) -> None:
    expected = PAIR
    if name.endswith(".tsv"):  # fields without quotes end with their line
        text = text.replace("\nbriefly", " briefly")
        expected = {**PAIR, "text_b": ["He spoke, briefly."]}
    record = {"format": "table", "labels": {"Supports": "yes"}, **record}
    assert read(PAIRS, contents={name: text}, **record) == {"train": expected}


def test_columns_that_are_joined() -> None:
    task = make_task("sentiment", languages=["eng"], labels=["negative", "positive"])
    text = "good\tbad\trating\nhelps\tburns\t2\nhelps\t\t9\n"
    found = read(
        task,
        format="table",
        columns={"text": "good bad", "label": "rating"},
        labels={"2": "negative", "9": "positive"},
        contents={"a.tsv": text},
    )
    assert found["train"] == {"text": ["helps burns", "helps"], "label": ["negative", "positive"]}


def test_each_file_of_a_folder_is_a_document() -> None:
    task = make_task("classification", languages=["eng"], labels=["Facts", "Ratio"])
    folder = {f"{i}.txt": f"It was {i}\tFacts\nSo be it {i}\tRatio\n" for i in range(40)}
    columns = {"text": "0", "label": "1"}
    place = ("data/", (("split", "drawn"),))
    found = read(task, format="table", columns=columns, contents={place: folder})
    assert {split: len(x["text"]) // 2 for split, x in found.items()} == {
        split: sum(drawn_split(name) == split for name in folder) for split in found
    }
    assert set(found) == {"train", "validation", "test"}


def test_questions_whose_answer_stands_in_the_passage() -> None:
    task = make_task("qa", languages=["eng", "swa"])
    row = {"id": "7", "context": "Yuko Lagos.", "question_lang": "Wapi?"}
    row |= {"question_translated": "Where?"}
    rows = [
        {**row, "answer_pivot": {"text": ["Lagos"], "answer_start": [5]}},
        {**row, "answer_pivot": {"text": ["yes"], "answer_start": [-1]}},
    ]
    text = "".join(json.dumps(x) + "\n" for x in rows)
    contents = {("data/swa/train.json", (("language", "swa"),)): text}
    found = read(task, "swa", format="passages", contents=contents)
    assert found["train"] == {
        "id": ["swa-7"],
        "question": ["Wapi?"],
        "context": ["Yuko Lagos."],
        "answers": [[{"text": "Lagos", "start": 5}]],
    }
    english = read(task, format="passages", contents={"data/swa/train.json": text})
    assert english["train"]["question"] == ["Where?"]


def test_questions_of_abstracts_with_the_ids_of_the_test_split() -> None:
    rows = {
        str(i): {"QUESTION": f"Is it {i}?", "CONTEXTS": ["a", "b"], "final_decision": "yes"}
        for i in range(40)
    }
    drawn = (("split", "drawn"),)
    contents = {("q.json", drawn): json.dumps(rows), ("t.json", drawn): json.dumps({"3": "yes"})}
    found = read(PAIRS, format="abstracts", contents=contents)
    assert found["test"] == {"text_a": ["Is it 3?"], "text_b": ["a b"], "label": ["yes"]}
    assert len(found["train"]["label"]) + len(found["validation"]["label"]) == 39


def test_labels_in_a_folder_beside_the_texts() -> None:
    task = make_task("classification", languages=["eng"], labels=["none", "Growth", "Death"])
    texts = {"1.txt": "One .\nTwo .\nThree .\n", "2.txt": "Four .\n"}
    labels = {"1.txt": "< <Growth--a ANDGrowth--b<Growth--a AND Death--b", "2.txt": "< < "}
    contents = {"text/": texts, "labels/": labels}
    found = read(task, format="label-folders", contents=contents)
    assert found["train"] == {"text": ["One .", "Two ."], "label": ["none", "Growth"]}


def test_two_files_that_translate_each_other() -> None:
    task = make_task("retrieval", languages=["swa"], files=["{language}/{split}.{side}"])
    contents = {
        ("a.swa", (("language", "swa"), ("side", "language"))): "moja\nmbili\n",
        ("a.eng", (("language", "swa"), ("side", "english"))): "one\ntwo\n",
    }
    found = read(task, "swa", format="parallel", contents=contents)
    assert found["train"] == {
        "id": ["0", "1", "0", "1"],
        "text": ["moja", "mbili", "one", "two"],
        "side": ["language", "language", "english", "english"],
        "match": ["0", "1", "", ""],
    }
    contents[next(iter(contents))] = "moja\n"
    with raises(DataError, expected="the format parallel", found="1 and 2 lines"):
        read(task, "swa", format="parallel", contents=contents)


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("tagged", "( Juma\tO\n)\tO\n.\tO\n\nAsha\tO\n", ["(Juma).", "Asha"]),
        ("contracts", json.dumps({"documents": [{"text": "One.\n\nTwo."}]}), ["One.", "Two."]),
    ],
)
def test_plain_text_is_cut_from_any_of_them(form: str, text: str, expected: list[str]) -> None:
    task = make_task("mlm", languages=["eng"], metric=None)
    found = read(task, format=form, columns={"tokens": "0"}, contents={"a.txt": text})
    assert found["train"]["text"] == expected


@pytest.mark.parametrize("text", ["", '{"data": 1}', "[" * 3000, '"a\0"\n', "1\t2\n", "\ufeff\n"])
@pytest.mark.parametrize("form", list(RawFormat))
def test_another_format_is_named(form: RawFormat, text: str) -> None:
    """Whatever stands in a file, it is read or it is one line."""
    for task in (NER, PAIRS):
        with suppress(DataError):
            read(task, format=form, columns=TOKENS, contents={"a.csv": text})


def test_a_format_of_another_kind_is_named() -> None:
    for form, text in (("tagged", "Juma\tB-PER\n"), ("json-lines", '{"tokens": "a"}')):
        subject, expected = "me/corpus, a.json", f"the format {form}"
        with raises(DataError, subject=subject, expected=expected):
            read(PAIRS, format=form, columns={"tokens": "0"}, contents={"a.json": text})


def test_a_draw_stays_what_it_is() -> None:
    """Another one would give every study other corpora."""
    drawn = [drawn_split(str(number)) for number in range(1000)]
    counts = {split: drawn.count(split) for split in ("train", "validation", "test")}
    assert counts == {"train": 739, "validation": 81, "test": 180}


def test_every_format_is_used_by_a_record() -> None:
    used = {task.raw.format for task in load_catalogue() if task.raw}
    assert used == set(RawFormat)
