"""Reading splits: good files, and for each way to be broken the file and the line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from objectives.corpora import (
    DATA_VARIABLE,
    DataSource,
    SourceKind,
    choose_source,
    corpus_key,
    has_split,
    load_split,
)
from spaces.catalogue import Task
from spaces.errors import DataError

POCKET = DataSource(SourceKind.POCKET)
HUB = DataSource(SourceKind.HUB)
GOOD = "Juma\tB-PER\nMosi\tI-PER\nanaenda\tO\nLagos\tB-LOC\n\nAsha\tB-PER\n"
ROWS = {
    "tokens": [["Juma", "Mosi", "anaenda", "Lagos"], ["Asha"]],
    "tags": [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER"]],
}
TABLE = "text\tlabel\nmechi ya leo\tsport\nmahakama\tlaw\n"


@pytest.fixture
def local(tmp_path: Path) -> DataSource:
    return DataSource(SourceKind.LOCAL, tmp_path)


@pytest.fixture
def read(local: DataSource, make_task: Callable[..., Task]) -> Callable[..., dict[str, list[Any]]]:
    """The columns of a corpus file with the given content, read as a task of a kind."""

    def read_content(
        kind: str, content: str | bytes, split: str = "validation", ending: str = ""
    ) -> dict[str, list[Any]]:
        file = broken_file(local, kind, split, ending)
        file.parent.mkdir(parents=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return load_split(make_task(kind), "swa", split, local)[:]

    return read_content


def broken_file(local: DataSource, kind: str, split: str = "validation", ending: str = "") -> Path:
    assert local.folder is not None
    name = {"train": "train", "validation": "dev", "test": "test"}[split]
    return local.folder / kind / "swa" / f"{name}.txt{ending}"


# --- good files


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GOOD, id="as it should be"),
        pytest.param(GOOD.rstrip("\n"), id="no end of line at the end"),
        pytest.param("\n\n" + GOOD.replace("\n\n", "\n \n\n") + "\n\n", id="more blank lines"),
        pytest.param(GOOD.replace("\n", "\r\n"), id="lines of Windows"),
        pytest.param("\ufeff" + GOOD, id="byte order mark"),
    ],
)
def test_sentences_are_read(content: str, read: Callable[..., dict[str, list[Any]]]) -> None:
    assert read("ner", content) == ROWS


def test_a_gzipped_file_is_read(read: Callable[..., dict[str, list[Any]]]) -> None:
    assert read("ner", gzip.compress(GOOD.encode()), ending=".gz") == ROWS


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\u2029"])
def test_a_separator_inside_a_token_stays_in_its_line(
    separator: str, read: Callable[..., dict[str, list[Any]]]
) -> None:
    found = read("ner", f"Ju{separator}ma\tB-PER\nLagos\tB-LOC\n")
    assert found == {"tokens": [[f"Ju{separator}ma", "Lagos"]], "tags": [["B-PER", "B-LOC"]]}


def test_the_layout_of_xtremes_own_script_is_read_too(
    local: DataSource, make_task: Callable[..., Task]
) -> None:
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
    with pytest.raises(DataError, match=r"expected ner/panx/yor/dev\.conll$"):
        load_split(task, "yor", "validation", local)


def test_a_table_may_have_more_columns_in_any_order(
    read: Callable[..., dict[str, list[Any]]],
) -> None:
    content = 'id\tlabel\ttext\n1\tlaw\t"mahakama\n2\tsport\t mechi ya leo\n'
    expected = {"text": ['"mahakama', "mechi ya leo"], "label": ["law", "sport"]}
    assert read("classification", content) == expected


def test_scores_of_a_table_are_numbers(read: Callable[..., dict[str, list[Any]]]) -> None:
    found = read("similarity", "text_a\ttext_b\tscore\na\tb\t3.5\nc\td\t0\n")
    assert found == {"text_a": ["a", "c"], "text_b": ["b", "d"], "score": [3.5, 0.0]}


def test_a_label_that_is_known_as_unscored_is_read(
    local: DataSource,
    make_task: Callable[..., Task],
    write_split: Callable[[Path, dict[str, list[Any]]], None],
) -> None:
    task = make_task("classification", unscored_labels=["religion"])
    columns = {"text": ["a", "b"], "label": ["religion", "law"]}
    write_split(broken_file(local, "classification"), columns)
    assert load_split(task, "swa", "validation", local)[:] == columns


# --- hidden labels


def test_hidden_tags_of_a_test_split_are_none(read: Callable[..., dict[str, list[Any]]]) -> None:
    found = read("ner", "Juma\nanaenda\t\n\nAsha\n", split="test")
    assert found == {"tokens": [["Juma", "anaenda"], ["Asha"]], "tags": [None, None]}


def test_hidden_classes_of_a_test_split_are_none(
    read: Callable[..., dict[str, list[Any]]],
) -> None:
    found = read("classification", "text\tlabel\nmechi\t\nsheria\t\n", split="test")
    assert found == {"text": ["mechi", "sheria"], "label": [None, None]}


def test_labels_are_hidden_in_a_test_split_only(
    read: Callable[..., dict[str, list[Any]]], local: DataSource
) -> None:
    with pytest.raises(DataError, match="expected token TAB tag, found 'Mosi'") as caught:
        read("ner", "Juma\tB-PER\nMosi\n", split="train")
    assert str(caught.value).startswith(f"{broken_file(local, 'ner', 'train')}:2: ")


def test_labels_are_hidden_all_or_none(read: Callable[..., dict[str, list[Any]]]) -> None:
    with pytest.raises(DataError, match="expected all tags or none, found some words without"):
        read("ner", "Juma\tB-PER\nMosi\n", split="test")


# --- broken files: the file, the line, and what was expected


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("a\tO\nb\tI-PER\n", 2, "expected IOB2, where I-PER follows B-PER or I-PER, found it "
         "after O"),
        ("a\tB-PER\nb\tI-LOC\n", 2, "expected IOB2, where I-LOC follows B-LOC or I-LOC, found it "
         "after B-PER"),
        ("a\tB-PER\n\nb\tI-PER\n", 3, "expected IOB2, where I-PER follows B-PER or I-PER, found "
         "it after O"),
        ("a\tB-MISC\n", 1, "expected a label of toy_ner (PER, LOC), found 'B-MISC'"),
        ("a\tO\n\n\nb\tPER\n", 4, "expected a label of toy_ner (PER, LOC), found 'PER'"),
        ("a\tO\tx\n", 1, "expected token TAB tag, found 'a\\tO\\tx'"),
        ("a\tO\nb O\n", 2, "expected token TAB tag, found 'b O'"),
        ("a\tO\n\tO\n", 2, "expected token TAB tag, found '\\tO'"),
    ],
)  # fmt: skip
def test_a_broken_sentence_is_named_with_its_line(
    content: str,
    line: int,
    problem: str,
    read: Callable[..., dict[str, list[Any]]],
    local: DataSource,
) -> None:
    with pytest.raises(DataError) as caught:
        read("ner", content)
    assert str(caught.value) == f"{broken_file(local, 'ner')}:{line}: {problem}"


@pytest.mark.parametrize(
    ("kind", "content", "line", "problem"),
    [
        ("classification", "texts\tlabel\na\tlaw\n", 1,
         "expected the columns text, label, found no text"),
        ("classification", "", 1, "expected the columns text, label, found no text"),
        ("classification", TABLE + "a\tlaw\tb\n", 4, "expected 2 columns, found 3"),
        ("classification", TABLE + "\nb\tlaw\n", 4, "expected 2 columns, found 1"),
        ("classification", TABLE + "a\tlaws\n", 4,
         "expected a label of toy_classification (sport, law, health), found 'laws'"),
        ("similarity", "text_a\ttext_b\tscore\na\tb\thigh\n", 2,
         "expected a number in column score, found 'high'"),
        ("similarity", "text_a\ttext_b\tscore\na\tb\t1\na\tb\tnan\n", 3,
         "expected a number in column score, found 'nan'"),
    ],
)  # fmt: skip
def test_a_broken_table_is_named_with_its_line(
    kind: str,
    content: str,
    line: int,
    problem: str,
    read: Callable[..., dict[str, list[Any]]],
    local: DataSource,
) -> None:
    with pytest.raises(DataError) as caught:
        read(kind, content)
    assert str(caught.value) == f"{broken_file(local, kind)}:{line}: {problem}"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_text_that_is_not_utf8_is_named_with_its_line(
    mark: bytes, ending: str, read: Callable[..., dict[str, list[Any]]], local: DataSource
) -> None:
    content = mark + b"a\tO\n\n\n\xe9t\xe9\tO\n"
    content = gzip.compress(content) if ending else content
    with pytest.raises(DataError, match="expected UTF-8, found invalid") as caught:
        read("ner", content, ending=ending)
    assert str(caught.value).startswith(f"{broken_file(local, 'ner', ending=ending)}:4: ")


@pytest.mark.parametrize(
    ("kind", "content"), [("ner", ""), ("ner", "\n\n"), ("classification", "text\tlabel\n")]
)
def test_an_empty_split_is_named(
    kind: str, content: str, read: Callable[..., dict[str, list[Any]]], local: DataSource
) -> None:
    with pytest.raises(DataError) as caught:
        read(kind, content)
    assert str(caught.value) == f"{broken_file(local, kind)}: expected examples, found none"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"no gzip at all", id="no gzip"),
        pytest.param(lambda data: data[:-12], id="cut"),
        pytest.param(lambda data: data[:12] + b"\xff" * 20 + data[32:], id="broken inside"),
        pytest.param(lambda data: data[:-6] + b"abcdef", id="wrong checksum"),
    ],
)
def test_a_broken_archive_is_named(
    damage: Callable[[bytes], bytes],
    read: Callable[..., dict[str, list[Any]]],
    local: DataSource,
) -> None:
    with pytest.raises(DataError) as caught:
        read("ner", damage(gzip.compress(GOOD.encode() * 20)), ending=".gz")
    file = broken_file(local, "ner", ending=".gz")
    assert str(caught.value).startswith(f"{file}: cannot be read: ")


def test_a_split_that_is_missing_is_named_with_the_files_that_were_looked_for(
    local: DataSource, make_task: Callable[..., Task]
) -> None:
    task = make_task("ner", files=["a/{language}/{split}.conll", "b/{split}-{language}.tsv"])
    with pytest.raises(DataError) as caught:
        load_split(task, "swa", "test", local)
    assert str(caught.value) == (
        f"{local.folder}: task 'toy_ner' has no swa test split; "
        "expected a/swa/test.conll or b/test-swa.tsv"
    )


def test_a_language_that_the_files_have_no_code_for_is_named(
    local: DataSource, make_task: Callable[..., Task]
) -> None:
    task = make_task("ner", files=["{split}-{iso2}.tsv"], codes={"iso2": {"swa": "sw"}})
    with pytest.raises(DataError, match="no yor test split; expected a file of that language"):
        load_split(task, "yor", "test", local)


@pytest.mark.parametrize(("language", "split"), [("qaa", "train"), ("eng", "train")])
def test_a_pocket_split_that_does_not_exist_is_named(
    make_task: Callable[..., Task], language: str, split: str
) -> None:
    task = make_task("ner", pocket="ner", languages=["qas", "qaa"])
    with pytest.raises(DataError, match=f"task 'toy_ner' has no {language} {split} split"):
        load_split(task, language, split, POCKET)
    assert not has_split(task, language, split, POCKET)


def test_which_splits_there_are_is_known_without_reading_them(
    local: DataSource, make_task: Callable[..., Task]
) -> None:
    task = make_task("ner", pocket="ner", languages=["qas", "qaa", "swa"])
    file = broken_file(local, "ner")
    assert not has_split(task, "swa", "validation", local)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\xff")
    assert has_split(task, "swa", "validation", local)
    assert has_split(task, "qas", "train", POCKET)
    assert has_split(task, "qaa", "validation", POCKET)
    assert not has_split(task, "swa", "validation", POCKET)
    assert not has_split(task, "swa", "validation", HUB)


# --- the key of a corpus


def test_equal_rows_have_equal_keys_however_the_table_was_made() -> None:
    whole = datasets.Dataset.from_dict(ROWS)
    parts = [datasets.Dataset.from_list([row]) for row in whole.to_list()]
    made = [
        datasets.concatenate_datasets(parts),
        whole.select([1, 0]).select([1, 0]),
        whole.map(lambda row: row),
        whole.select_columns(["tokens", "tags"]),
    ]
    assert {corpus_key(rows) for rows in made} == {corpus_key(whole)}


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": [["Juma", "Mosi", "anaenda", "Lagos"], ["asha"]]},
        {"tokens": [["Juma", "Mosi", "anaenda"], ["Lagos", "Asha"]]},
        {"tags": [["B-PER", "I-PER", "O", "B-LOC"], ["O"]]},
        {"tags": [None, None]},
        {"tokens": ROWS["tokens"][::-1], "tags": ROWS["tags"][::-1]},
        {"text": ["", ""]},
    ],
)
def test_any_other_cell_gives_another_key(change: dict[str, list[Any]]) -> None:
    other = datasets.Dataset.from_dict({**ROWS, **change})
    assert corpus_key(other) != corpus_key(datasets.Dataset.from_dict(ROWS))


# --- which source


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


@pytest.mark.parametrize("option", ["pocket", "hub"])
def test_a_source_that_is_asked_for_is_taken(
    option: str, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    source = choose_source(option, [(make_task("ner"), "eng")])
    assert (source.kind, source.folder) == (option, None)
    assert source.reason == f"asked for with --data {option}"


def test_a_folder_that_is_asked_for_is_taken(
    make_task: Callable[..., Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    source = choose_source("data", [(make_task("ner"), "eng")])
    assert source == DataSource(SourceKind.LOCAL, tmp_path / "data", "named by --data")
    assert str(source) == f"local folder {tmp_path / 'data'}"
    with pytest.raises(DataError) as caught:
        choose_source("dta", [(make_task("ner"), "eng")])
    assert str(caught.value) == "--data: expected auto, hub, pocket or a folder, found 'dta'"


def test_auto_takes_the_folder_that_the_environment_names(
    make_task: Callable[..., Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    source = choose_source("auto", [(make_task("ner"), "eng")])
    assert source == DataSource(SourceKind.LOCAL, tmp_path, f"named by {DATA_VARIABLE}")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nosuch"))
    with pytest.raises(DataError, match=f"^{DATA_VARIABLE}: expected .*a folder, found"):
        choose_source("auto", [(make_task("ner"), "eng")])


@pytest.mark.usefixtures("_offline")
def test_auto_takes_pocket_and_says_why_where_the_hub_is_switched_off(
    make_task: Callable[..., Task],
) -> None:
    source = choose_source("auto", [(make_task("ner", hub={"repository": "me/names"}), "eng")])
    assert source.kind is SourceKind.POCKET
    assert source.reason == (
        f"{DATA_VARIABLE} is not set and the Hub is switched off (HF_HUB_OFFLINE)"
    )
    assert "pocket corpora" in str(source)


@pytest.mark.usefixtures("_offline")
def test_auto_takes_pocket_and_says_why_where_the_hub_cannot_be_reached(
    make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    source = choose_source("auto", [(make_task("ner", hub={"repository": "me/names"}), "eng")])
    assert source.kind is SourceKind.POCKET
    assert source.reason.startswith(
        f"{DATA_VARIABLE} is not set and the Hub does not answer (Connect"
    )


def test_auto_takes_pocket_where_the_catalogue_knows_no_hub_copy(
    make_task: Callable[..., Task],
) -> None:
    hub = {"repository": "me/names", "config": "{iso2}"}
    task = make_task("ner", hub=hub, codes={"iso2": {"eng": "en"}})
    for needed in ([(make_task("ner"), "eng")], [(task, "eng"), (task, "swa")]):
        source = choose_source("auto", needed)
        assert source.kind is SourceKind.POCKET
        assert source.reason.endswith("the catalogue knows no Hub copy of toy_ner")


def test_auto_asks_nobody_for_pocket_tasks(
    make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    source = choose_source("auto", [(make_task("ner", pocket="ner"), "eng")])
    assert (source.kind, source.reason) == (
        SourceKind.POCKET,
        "the study names pocket tasks only",
    )


# --- the Hub: a folder with parquet files is a repository for `datasets`

CARD = """---
configs:
- config_name: PAN-X.sw
  data_files:
  - {split: train, path: train.parquet}
  - {split: validation, path: validation.parquet}
  - {split: test, path: test.parquet}
---
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "README.md").write_text(CARD)
    return folder


def put(folder: Path, split: str, columns: dict[str, list[Any]], **features: object) -> None:
    rows = datasets.Dataset.from_dict(columns)
    for name, feature in features.items():
        rows = rows.cast_column(name, feature)
    rows.to_parquet(folder / f"{split}.parquet")


def hub_task(make_task: Callable[..., Task], kind: str, folder: Path, **hub: object) -> Task:
    return make_task(
        kind,
        codes={"iso2": {"swa": "sw", "eng": "en"}},
        hub={"repository": str(folder), "config": "PAN-X.{iso2}", **hub},
    )


def test_tags_of_the_hub_get_their_names_and_our_columns(
    repository: Path, make_task: Callable[..., Task]
) -> None:
    numbers = {"id": [7, 8], "words": ROWS["tokens"], "ner_tags": [[1, 2, 0, 3], [1]]}
    names = datasets.ClassLabel(names=["O", "B-PERSON", "I-PERSON", "B-LOC", "I-LOC"])
    for split in ("train", "validation"):
        put(repository, split, numbers, ner_tags=datasets.List(names))
    hidden = {**numbers, "ner_tags": [[-1, -1, -1, -1], [-1]]}
    put(repository, "test", hidden, ner_tags=datasets.List(names))
    task = hub_task(
        make_task,
        "ner",
        repository,
        columns={"tokens": "words", "tags": "ner_tags"},
        labels={"B-PERSON": "B-PER", "I-PERSON": "I-PER"},
    )
    found = load_split(task, "swa", "validation", HUB)
    assert found[:] == ROWS
    assert corpus_key(found) == corpus_key(datasets.Dataset.from_dict(ROWS))
    hidden_test = load_split(task, "swa", "test", HUB)[:]
    assert hidden_test == {"tokens": ROWS["tokens"], "tags": [None, None]}


def test_classes_of_the_hub_get_their_names_and_hidden_ones_are_none(
    repository: Path, make_task: Callable[..., Task]
) -> None:
    names = datasets.ClassLabel(names=["Sport", "Law", "Health"])
    columns = {"text": ["a", "b", "c"], "label": [1, 0, 2]}
    for split in ("train", "validation"):
        put(repository, split, columns, label=names)
    put(repository, "test", {**columns, "label": [-1, -1, -1]}, label=names)
    labels = {"Sport": "sport", "Law": "law", "Health": "health"}
    task = hub_task(make_task, "classification", repository, labels=labels)
    assert load_split(task, "swa", "validation", HUB)["label"][:] == ["law", "sport", "health"]
    assert load_split(task, "swa", "test", HUB)["label"][:] == [None] * 3
    slice_task = hub_task(
        make_task, "classification", repository, labels=labels, splits={"test": "train[:1]"}
    )
    assert load_split(slice_task, "swa", "test", HUB)["label"][:] == ["law"]


def test_plain_numbers_of_the_hub_are_named_by_their_digits(
    repository: Path, make_task: Callable[..., Task]
) -> None:
    """As the catalogue's NusaX and AfriSenti are: integers without names."""
    for split in ("train", "validation", "test"):
        put(repository, split, {"text": ["a", "b"], "label": [1, 0]})
    labels = {"0": "negative", "1": "positive"}
    task = hub_task(make_task, "sentiment", repository, labels=labels)
    found = load_split(task, "swa", "validation", HUB)
    assert found["label"][:] == ["positive", "negative"]


@pytest.mark.parametrize(
    ("language", "hub", "problem"),
    [
        ("yor", {}, "the catalogue knows no yor validation split on the Hub; name a folder"),
        ("eng", {}, "PAN-X.en validation: cannot be read: BuilderConfig 'PAN-X.en' not found"),
        ("swa", {"splits": {"validation": "dev"}}, 'dev: cannot be read: Unknown split "dev"'),
        ("swa", {"columns": {"label": "class"}}, "expected the column 'class', found text, label"),
        ("swa", {"repository": "/nosuch"}, "/nosuch PAN-X.sw validation: cannot be read: "),
        ("swa", {}, "example 1: expected a label of toy_sentiment (positive, negative), found "
         "'neutral'"),
    ],
)  # fmt: skip
def test_what_the_hub_does_not_have_is_named(
    language: str,
    hub: dict[str, object],
    problem: str,
    repository: Path,
    make_task: Callable[..., Task],
) -> None:
    for split in ("train", "validation", "test"):
        put(repository, split, {"text": ["a", "b"], "label": ["positive", "neutral"]})
    task = hub_task(make_task, "sentiment", repository, **hub)
    with pytest.raises(DataError) as caught:
        load_split(task, language, "validation", HUB)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("held", [True, False])
def test_auto_takes_the_hub_where_its_cache_holds_what_is_needed(
    make_task: Callable[..., Task],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    held: bool,
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    task = make_task("ner", hub={"repository": "me/MyNames", "config": "Set.{language}"})
    for language in ("eng", "swa") if held else ("eng",):
        folder = tmp_path / "me___my_names" / f"Set.{language}" / "0.0.0" / "abc"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    source = choose_source("auto", [(task, "eng"), (task, "swa")], [str(tmp_path)])
    assert source.kind is (SourceKind.HUB if held else SourceKind.POCKET)
    assert ("its cache holds" in source.reason) is held
