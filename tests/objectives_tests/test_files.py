"""Corpus files: every format read, and for each way to be broken the file and the line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from objectives.data.data_source import DataSource, SourceKind
from objectives.data.sources import TestPurpose, load_split, load_test_split
from spaces.errors import DataError
from spaces.task import Task
from tests.objectives_tests.toys import make_task, write_split
from tests.raising import raises

GOOD = "Juma\tB-PER\nMosi\tI-PER\nanaenda\tO\nLagos\tB-LOC\n\nAsha\tB-PER\n"
GZIP = gzip.compress(GOOD.encode() * 20)
ROWS = {
    "tokens": [["Juma", "Mosi", "anaenda", "Lagos"], ["Asha"]],
    "tags": [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER"]],
}
TABLE = "text\tlabel\nmechi ya leo\tsport\nmahakama\tlaw\n"
NLI = {"labels": ["entailment", "neutral", "contradiction"]}
QA = {"metric": "em_f1", "answers": "squad"}
KINDS: dict[str, dict[str, object]] = {"nli": NLI, "qa": QA}


@pytest.fixture
def local(tmp_path: Path) -> DataSource:
    return DataSource(SourceKind.LOCAL, tmp_path)


def load(task: Task, split: str, source: DataSource) -> dict[str, list[Any]]:
    rows = (
        load_test_split(task, "swa", source, TestPurpose.CONFIRM)
        if split == "test"
        else load_split(task, "swa", split, source)
    )
    columns: dict[str, list[Any]] = rows[:]
    return columns


def read(
    local: DataSource,
    kind: str,
    content: str | bytes,
    split: str = "validation",
    ending: str = "",
    **template: object,
) -> dict[str, list[Any]]:
    """The columns of a corpus file with the given content, read as a task of a kind."""
    file = broken_file(local, kind, split, ending)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    layout = {"path": f"{kind}/{{language}}/{{split}}.txt", **template}
    return load(make_task(kind, files=[layout], **KINDS.get(kind, {})), split, local)


def broken_file(local: DataSource, kind: str, split: str = "validation", ending: str = "") -> Path:
    assert local.folder is not None
    name = {"train": "train", "validation": "dev", "test": "test"}[split]
    return local.folder / kind / "swa" / f"{name}.txt{ending}"


# --- good files


SEPARATED = {"tokens": [["Ju\u2028m\x85a\x0b\u2029", "Lagos"]], "tags": [["B-PER", "B-LOC"]]}


@pytest.mark.parametrize(
    ("content", "ending", "template", "expected"),
    [
        pytest.param(GOOD, "", {}, ROWS, id="as it should be"),
        pytest.param(GOOD.rstrip("\n"), "", {}, ROWS, id="no end of line at the end"),
        pytest.param(f"\n\n{GOOD}\n \n\n", "", {}, ROWS, id="more blank lines"),
        pytest.param(GOOD.replace("\n\n", "\n \n\n"), "", {}, ROWS, id="blank lines between"),
        pytest.param(GOOD.replace("\n", "\r\n"), "", {}, ROWS, id="lines of Windows"),
        pytest.param("\ufeff" + GOOD, "", {}, ROWS, id="byte order mark"),
        pytest.param(gzip.compress(GOOD.encode()), ".gz", {}, ROWS, id="gzip"),
        pytest.param(lzma.compress(GOOD.encode()), ".xz", {}, ROWS, id="xz"),
        pytest.param(
            GOOD.replace("-PER", "-PERSON"),
            *("", {"labels": {"B-PERSON": "B-PER", "I-PERSON": "I-PER"}}, ROWS),
            id="labels of others",
        ),
        pytest.param(
            "Ju\u2028m\x85a\x0b\u2029\tB-PER\nLagos\tB-LOC\n",
            *("", {}, SEPARATED),
            id="separators inside a token",
        ),
    ],
)
def test_sentences_are_read(
    content: str | bytes,
    ending: str,
    template: dict[str, object],
    expected: dict[str, Any],
    local: DataSource,
) -> None:
    assert read(local, "ner", content, ending=ending, **template) == expected


def test_a_template_may_name_the_compressed_file_itself(local: DataSource) -> None:
    assert local.folder is not None
    (local.folder / "dev.xz").write_bytes(lzma.compress(GOOD.encode()))
    assert load(make_task("ner", files=["{split}.xz"]), "validation", local) == ROWS


def test_the_layout_of_xtremes_own_script_is_read_too(local: DataSource) -> None:
    task = make_task(
        "ner",
        files=["ner/panx/{language}/{split}.conll", "panx/{split}-{iso2}.tsv"],
        codes={"iso2": {"swa": "sw", "eng": "en"}},
    )
    assert local.folder is not None
    theirs, ours = local.folder / "panx/dev-sw.tsv", local.folder / "ner/panx/swa/dev.conll"
    theirs.parent.mkdir()
    theirs.write_text(GOOD)
    assert load_split(task, "swa", "validation", local)[:] == ROWS
    ours.parent.mkdir(parents=True)
    ours.write_text("Asha\tB-PER\n")
    assert load_split(task, "swa", "validation", local)["tokens"][:] == [["Asha"]]
    with raises(DataError, expected="ner/panx/yor/dev.conll"):
        load_split(task, "yor", "validation", local)


def test_a_table_may_have_more_columns_in_any_order_and_scores_are_numbers(
    local: DataSource,
) -> None:
    content = 'id\tlabel\ttext\n1\tlaw\t"mahakama\n2\tsport\t mechi ya leo\n'
    expected = {"text": ['"mahakama', "mechi ya leo"], "label": ["law", "sport"]}
    assert read(local, "classification", content) == expected
    scored = read(local, "similarity", "text_a\ttext_b\tscore\na\tb\t3.5\nc\td\t0\n")
    assert scored == {"text_a": ["a", "c"], "text_b": ["b", "d"], "score": [3.5, 0.0]}


def test_a_label_that_is_known_as_unscored_is_read(local: DataSource) -> None:
    task = make_task("classification", unscored_labels=["religion"])
    columns = {"text": ["a", "b"], "label": ["religion", "law"]}
    write_split(broken_file(local, "classification"), columns)
    assert load_split(task, "swa", "validation", local)[:] == columns


def test_a_word_that_is_white_space_stays_a_word(
    local: DataSource, caplog: pytest.LogCaptureFixture
) -> None:
    # As XTREME's own script writes it.
    content = "Juma\tB-PER\n\tO\n\u00a0\tO\naliona\tO\n"
    assert read(local, "ner", content)["tokens"] == [["Juma", "", "\u00a0", "aliona"]]
    assert "2 words are white space" in caplog.text


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_that_pandas_wrote_is_read_without_its_quotes(
    form: str, end: str, local: DataSource
) -> None:
    texts = ['He said "no" to it', "a plain one", '"', "", "two\tfields", "two\nlines"]
    written = io.StringIO()
    writer = csv.writer(written, delimiter="\t", lineterminator=end)
    writer.writerows([("text", "label"), *((text, "law") for text in texts)])
    content = unicodedata.normalize(form, written.getvalue())
    assert read(local, "classification", content)["text"] == texts
    for style in (csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC):
        written = io.StringIO()
        writer = csv.writer(written, delimiter="\t", lineterminator=end, quoting=style)
        writer.writerows([("text", "label"), *((text, "law") for text in texts)])
        assert read(local, "classification", written.getvalue())["text"] == texts


def test_a_table_with_a_backslash_before_each_quote_is_read_without_them(
    local: DataSource,
) -> None:
    texts = ['He said "no" to it', "a plain one", '"', "back\\slash", "two\tfields"]
    table = pd.DataFrame({"text": texts, "label": "law"})
    way: dict[str, Any] = {"sep": "\t", "index": False, "doublequote": False, "escapechar": "\\"}
    assert read(local, "classification", table.to_csv(**way))["text"] == texts
    mixed = [r"a \"b\"", 'and "c"']  # which no such writer makes: text as it stands
    content = "".join(f"{x}\tlaw\n" for x in mixed)
    assert read(local, "classification", TABLE + content)["text"][-2:] == mixed


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_table_with_commas_as_pandas_writes_it_is_read(ending: str, local: DataSource) -> None:
    rows = {"text": ['He said "no", twice', "two\nlines", "", "mambo"], "label": ["law"] * 4}
    content = "\ufeff" + pd.DataFrame(rows).to_csv(lineterminator="\r\n")  # its index, too
    folder = broken_file(local, "classification").parent
    folder.mkdir(parents=True)
    data = content.encode()
    (folder / f"dev.csv{ending}").write_bytes(gzip.compress(data) if ending else data)
    layout = [{"path": "classification/{language}/{split}.csv"}]
    task = make_task("classification", files=layout, **KINDS.get("classification", {}))
    assert load(task, "validation", local) == rows
    (folder / f"dev.csv{ending}").write_bytes(b'text,label\n"a"b,law\n' if not ending else data)
    if not ending:
        with raises(DataError, subject="dev.csv", expected="a table with commas", found="line 2"):
            load(task, "validation", local)


@pytest.mark.parametrize(
    "texts",
    [['"Yes" he said', 'to "it"'], ['"begins', 'ends"'], ['"all of it"', "x"], ['""', "x"]],
)
def test_quotes_of_a_text_stay(texts: list[str], local: DataSource) -> None:
    content = "".join(f"{x}\tlaw\n" for x in texts)
    assert read(local, "classification", TABLE + content)["text"][-2:] == texts


def test_words_that_pandas_wrote_are_read_without_their_quotes(local: DataSource) -> None:
    assert read(local, "ner", '""""\tO\nJuma\tB-PER\n')["tokens"] == [['"', "Juma"]]
    assert read(local, "ner", '"\tO\nJuma\tB-PER\n"\tO\n')["tokens"] == [['"', "Juma", '"']]


def test_labels_are_alike_in_any_unicode_form(local: DataSource) -> None:
    for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
        labels = tuple(unicodedata.normalize(form, x) for x in ("refusé", "élu"))
        files = [{"path": "classification/{language}/{split}.txt"}]
        task = make_task("classification", labels=labels, files=files)
        lines = [f"a\t{unicodedata.normalize(other, x)}\n" for x in labels]
        file = broken_file(local, "classification")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("text\tlabel\n" + "".join(lines))
        assert load_split(task, "swa", "validation", local)["label"][:] == list(labels)


# --- broken files: the file, the line, and what was expected


SCORES = "text_a\ttext_b\tscore\na\tb\t1\n"


@pytest.mark.parametrize(
    ("kind", "content", "place", "expected", "found"),
    [
        ("ner", "a\tO\nb\tI-PER\n", ":2", "IOB2, where I-PER follows B-PER or ", "it after O"),
        ("ner", "a\tB-PER\nb\tI-LOC\n", ":2", "where I-LOC follows B-LOC or ", "after B-PER"),
        ("ner", "a\tB-PER\n\nb\tI-PER\n", ":3", "where I-PER follows B-PER or ", "it after O"),
        ("ner", "a\tB-MISC\n", ":1", "a label of toy_ner (PER, LOC)", "'B-MISC'"),
        ("ner", "a\tO\n\n\nb\tPER\n", ":4", "a label of toy_ner (PER, LOC)", "'PER'"),
        ("ner", "a\tO\tx\n", ":1", "token TAB tag", "'a\\tO\\tx'"),
        ("ner", "a\tO\nb O\n", ":2", "token TAB tag", "'b O'"),
        ("ner", "a\tO\n\tX\n", ":2", "token TAB tag", "'\\tX'"),
        ("ner", "\n\n", "", "examples", "none"),
        ("ner", "", "", "examples", "none"),
        ("classification", "texts\tlabel\na\tlaw\n", ":1", "the columns text, label", "no text"),
        ("classification", "", ":1", "the columns text, label", "no text"),
        ("classification", "text\tlabel\n", "", "examples", "none"),
        ("classification", TABLE + "a\tlaw\tb\n", ":4", "2 columns", "3"),
        ("classification", TABLE + "\nb\tlaw\n", ":4", "2 columns", "1"),
        (
            "classification",
            TABLE + "a\tlaws\n",
            ":4",
            "toy_classification (sport, law, ",
            "'laws'",
        ),
        ("similarity", SCORES + "a\tb\thigh\n", ":3", "a number in column score", "'high'"),
        ("similarity", SCORES + "a\tb\tnan\n", ":3", "a number in column score", "'nan'"),
        # Without a header.
        ("nli", "a\tb\n", ":1", "3 columns", "2"),
        ("nli", "a\tb\tneutral\na\tb\n", ":2", "3 columns", "2"),
        ("nli", "a\tb\tperhaps\n", ":1", "a label of toy_nli (entailment, neutral, ", "'perhaps'"),
        ("nli", "", "", "examples", "none"),
    ],
)
def test_a_broken_file_is_named_with_its_line(
    kind: str, content: str, place: str, expected: str, found: str, local: DataSource
) -> None:
    columns = ["text_a", "text_b", "label"] if kind == "nli" else []
    with raises(DataError, expected=expected, found=found) as caught:
        read(local, kind, content, columns=columns)
    assert caught.value.subject == f"{broken_file(local, kind)}{place}"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_text_that_is_not_utf8_is_named_with_its_line(
    mark: bytes, ending: str, local: DataSource
) -> None:
    content = mark + b"a\tO\n\n\n\xe9t\xe9\tO\n"
    content = gzip.compress(content) if ending else content
    with raises(DataError, expected="UTF-8", found="invalid") as caught:
        read(local, "ner", content, ending=ending)
    assert caught.value.subject == f"{broken_file(local, 'ner', ending=ending)}:4"


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        pytest.param(".gz", b"no gzip at all", id="no gzip"),
        pytest.param(".gz", GZIP[:-12], id="cut"),
        pytest.param(".gz", GZIP[:12] + b"\xff" * 20 + GZIP[32:], id="broken inside"),
        pytest.param(".gz", GZIP[:-6] + b"abcdef", id="wrong checksum"),
        pytest.param(".xz", lzma.compress(GOOD.encode())[:-9], id="xz cut"),
    ],
)
def test_a_broken_archive_is_named(ending: str, content: bytes, local: DataSource) -> None:
    file = broken_file(local, "ner", ending=ending)
    with raises(DataError, subject=f"{file}: cannot be read"):
        read(local, "ner", content, ending=ending)


def test_a_split_that_is_missing_is_named_with_the_files_that_were_looked_for(
    local: DataSource,
) -> None:
    task = make_task("ner", files=["a/{language}/{split}.conll", "b/{split}-{language}.tsv"])
    expected = "the swa test split of task 'toy_ner' (a/swa/test.conll or b/test-swa.tsv)"
    with raises(DataError, subject=str(local.folder), expected=expected, found="none"):
        load(task, "test", local)
    coded = make_task("ner", files=["{split}-{iso2}.tsv"], codes={"iso2": {"swa": "sw"}})
    with raises(DataError, expected="yor test split of task 'toy_ner' (a file of that language)"):
        load_test_split(coded, "yor", local, TestPurpose.CONFIRM)


def test_folders_are_tried_in_turn(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    source = DataSource(SourceKind.LOCAL, first, further=(second,))
    task = make_task("mlm")
    for folder, split in ((first, "train"), (second, "train"), (second, "dev")):
        file = folder / "mlm" / "swa" / f"{split}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{folder.name} {split}\n")
    assert load(task, "train", source) == {"text": ["a train"]}
    assert load(task, "validation", source) == {"text": ["b dev"]}
    with raises(DataError, subject=f"{first} and {second}", expected="the swa test split"):
        load(task, "test", source)


def test_a_file_for_all_splits_is_for_training_only(local: DataSource) -> None:
    """Otherwise the same examples would be trained on and tested."""
    assert local.folder is not None
    (local.folder / "swa.txt").write_text("habari\n")
    task = make_task("mlm", files=["{language}.txt"])
    assert load(task, "train", local) == {"text": ["habari"]}
    for split in ("validation", "test"):
        with raises(DataError, expected=f"the swa {split} split"):
            load(task, split, local)


# --- plain text and tables without a header


def test_lines_of_plain_text_are_read_without_blank_ones(local: DataSource) -> None:
    found = read(local, "mlm", "\n = Title = \n\n  \nHabari za\u2028leo.\n\n", split="train")
    assert found == {"text": ["= Title =", "Habari za\u2028leo."]}


def test_a_table_without_a_header_is_read_as_xtremes_script_writes_it(local: DataSource) -> None:
    """With Python's csv module: fields in quotes where they hold one, lines of Windows."""
    content = (
        '1\ta\t"b ""c"" d"\tneutral\r\n2\t"e\tf"\tcontradictory\r\n3\t"""g"""\th\tentailment\r\n'
    )
    found = read(
        local,
        "nli",
        content,
        columns=["number", "text_a", "text_b", "label"],
        labels={"contradictory": "contradiction"},
    )
    assert found == {
        "text_a": ["a", '"e', '"g"'],
        "text_b": ['b "c" d', 'f"', "h"],
        "label": ["neutral", "contradiction", "entailment"],
    }


# --- questions

CONTEXT = "Nairobi ni mji mkuu wa Kenya."


def squad(*questions: dict[str, object], context: str = CONTEXT) -> str:
    paragraphs = [{"context": context, "qas": list(questions)}]
    return json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]})


def question(number: int, *answers: tuple[str, int], **more: object) -> dict[str, object]:
    found = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": f"q{number}", "question": f"Swali {number}?", "answers": found, **more}


def test_questions_are_read(local: DataSource) -> None:
    content = squad(
        question(1, ("Nairobi", 0), ("mji mkuu", 11)),
        question(2, is_impossible=True, plausible_answers=[{"text": "Kenya", "answer_start": 23}]),
    )
    assert read(local, "qa", content, split="train") == {
        "id": ["q1", "q2"],
        "question": ["Swali 1?", "Swali 2?"],
        "context": [CONTEXT, CONTEXT],
        "answers": [[{"text": "Nairobi", "start": 0}, {"text": "mji mkuu", "start": 11}], []],
    }
    in_characters = squad(question(1, ("mji", 2)), context="\U0001f600 mji")
    assert read(local, "qa", in_characters)["answers"] == [[{"text": "mji", "start": 2}]]


def test_questions_that_share_an_id_are_told_apart_by_their_text(local: DataSource) -> None:
    def ids(*numbers: int) -> list[str]:
        asked = [{**question(x, ("Kenya", 23)), "id": 7} for x in numbers]
        found: list[str] = read(local, "qa", squad(*asked, question(9, ("Kenya", 23))))["id"]
        return found

    first, second, third, other = ids(1, 2, 2)
    assert other == "q9"
    assert len({first, second, third}) == 3
    assert ids(2, 1)[:2] == [second, first], "whatever their order"
    assert ids(1) == ["7", "q9"]


@pytest.mark.parametrize(
    ("content", "subject", "expected", "found"),
    [
        (
            squad(question(1, ("Kenya", 22))),
            *("question q1", "the answer 'Kenya' at character 22 of the context", "' Keny'"),
        ),
        (squad(question(1, ("Nairobi", -29))), "", "at character -29 of the context", "''"),
        (squad(question(1)), "question q1", "answers or is_impossible", "neither"),
        ('{"data": [{"title": "t"}]}', "", "SQuAD JSON", "data.0.paragraphs: Field required"),
        ('{"data": [', "", "SQuAD JSON", "Invalid JSON: EOF while parsing"),
        ('{"data": []}', "", "examples", "none"),
    ],
)
def test_broken_questions_are_named(
    content: str,
    subject: str,
    expected: str,
    found: str,
    local: DataSource,
) -> None:
    with raises(DataError, subject=subject, expected=expected, found=found) as caught:
        read(local, "qa", content)
    assert caught.value.subject.startswith(str(broken_file(local, "qa")))
    assert "\n" not in str(caught.value)


# --- hidden labels of test splits

NO_HEADER = ["text_a", "text_b", "label"]
NO_LABELS = {"text_a": ["a", "c"], "text_b": ["b", "d"], "label": [None, None]}


@pytest.mark.parametrize(
    ("kind", "content", "columns", "expected"),
    [
        (
            *("ner", "Juma\nanaenda\t\n\nAsha\n", []),
            {"tokens": [["Juma", "anaenda"], ["Asha"]], "tags": [None, None]},
        ),
        (
            *("classification", "text\tlabel\nmechi\t\nsheria\t\n", []),
            {"text": ["mechi", "sheria"], "label": [None, None]},
        ),
        ("nli", "a\tb\nc\td\n", NO_HEADER, NO_LABELS),
        ("nli", "text_a\ttext_b\na\tb\nc\td\n", [], NO_LABELS),
        ("qa", squad(question(1), question(2)), [], {"answers": [None, None]}),
        (
            "qa",  # as null
            squad(question(1) | {"answers": None}, question(2) | {"answers": None}),
            *([], {"answers": [None, None]}),
        ),
        # As in XTREME's files.
        ("qa", squad(question(1, ("", 0)), question(2, ("", 0))), [], {"answers": [None, None]}),
    ],
)
def test_hidden_labels_of_a_test_split_are_none(
    kind: str, content: str, columns: list[str], expected: dict[str, object], local: DataSource
) -> None:
    found = read(local, kind, content, split="test", columns=columns)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("kind", "content", "split", "expected", "found"),
    [
        ("ner", "Juma\tB-PER\nMosi\n", "train", "token TAB tag", "'Mosi'"),
        ("ner", "Juma\tB-PER\nMosi\n", "test", "all tags or none", "some words without"),
        (
            *("classification", "text\tlabel\nmechi\tsport\nsheria\t\n", "test"),
            *("label in all examples or none", "it in 1 o"),
        ),
        (
            *("qa", squad(question(1, ("Kenya", 23)), question(2)), "test"),
            *("answers in all examples or none", "it in 1"),
        ),
    ],
)
def test_labels_are_hidden_in_a_test_split_only_and_all_or_none(
    kind: str, content: str, split: str, expected: str, found: str, local: DataSource
) -> None:
    with raises(DataError, expected=expected, found=found) as caught:
        read(local, kind, content, split=split)
    assert caught.value.subject.startswith(str(broken_file(local, kind, split)))


# --- retrieval


def retrieve(
    local: DataSource, split: str = "test", layout: object = None, **files: str
) -> dict[str, Any]:
    """The rows of files `dev.*` or `test.*` with the given contents."""
    assert local.folder is not None
    for ending, content in files.items():
        name = "dev" if split == "validation" else split
        (local.folder / f"{name}.{ending}").write_text(content)
    template = layout or "{split}.{side}"
    task = make_task("retrieval", files=[template], codes={"iso2": {"swa": "sw"}})
    return load(task, split, local)


def test_line_n_translates_line_n(local: DataSource) -> None:
    found = retrieve(local, swa="Habari.\nNdiyo.\n", eng="News.\nYes.\n")
    assert found == {
        "id": ["0", "1", "0", "1"],
        "text": ["Habari.", "Ndiyo.", "News.", "Yes."],
        "side": ["language", "language", "english", "english"],
        "match": ["0", "1", "", ""],
    }


PAIRED = {"path": "{split}.{side}", "sides": ["{iso2}", "en"], "pairs": "{split}.gold"}
MINED = {"sw": "s-1\tHabari.\ns-2\tNdiyo.\n", "en": "e-1\tYes.\ne-2\tNo.\ne-3\tIt.\n"}


def test_gold_pairs_say_what_translates_what(local: DataSource) -> None:
    found = retrieve(local, "validation", PAIRED, **MINED, gold="s-2\te-1\n")
    assert found == {
        "id": ["s-1", "s-2", "e-1", "e-2", "e-3"],
        "text": ["Habari.", "Ndiyo.", "Yes.", "No.", "It."],
        "side": ["language"] * 2 + ["english"] * 3,
        "match": ["", "e-1", "", "", ""],
    }


def test_gold_pairs_of_a_test_split_may_be_hidden(local: DataSource) -> None:
    assert retrieve(local, "test", PAIRED, **MINED)["match"] == [None, None, "", "", ""]
    # XTREME's Tatoeba has no ids, and the English lines are in another order.
    tatoeba = retrieve(local, "test", PAIRED, sw="Habari.\nNdiyo.\n", en="Yes.\nNews.\n")
    assert tatoeba["id"] == ["0", "1", "0", "1"]
    assert tatoeba["match"] == [None, None, "", ""]
    with raises(DataError, expected="gold pairs in a file beside them", found="none"):
        retrieve(local, "validation", PAIRED, **MINED)


@pytest.mark.parametrize(
    ("layout", "files", "subject", "expected", "found"),
    [
        (None, {"swa": "a\nb\n", "eng": "c\n"}, "", "a translation in each line", "2 and 1 lines"),
        (None, {"swa": "a\n\nb\n", "eng": "c\nd\ne\n"}, "test.swa:2", "a sentence", "''"),
        (None, {"swa": "", "eng": ""}, "", "examples", "none"),
        (
            None,
            {"swa": "a\n"},
            *("", "the swa test split of task 'toy_retrieval' (test.swa and test.eng)", ""),
        ),
        (PAIRED, {**MINED, "sw": "s-1\ta\nb\n"}, "test.sw:2", "id TAB sentence", "'b'"),
        (PAIRED, {**MINED, "sw": "s-1\ta\ns-1\tb\n"}, "test.sw:2", "each id once", "'s-1' again"),
        (
            PAIRED,
            {**MINED, "gold": "s-1\te-9\n"},
            *("test.gold:1", "an id of test.sw TAB an id of test.en", "'s-1\\te-9'"),
        ),
        (
            PAIRED,
            {**MINED, "gold": "s-1\te-1\ns-1\te-2\n"},
            *("test.gold:2", "one translation of 's-1'", "two"),
        ),
    ],
)
def test_broken_sentence_files_are_named(
    layout: object,
    files: dict[str, str],
    subject: str,
    expected: str,
    found: str,
    local: DataSource,
) -> None:
    with raises(DataError, subject=subject, expected=expected, found=found):
        retrieve(local, "test", layout, **files)
