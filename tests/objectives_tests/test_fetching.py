"""A corpus that is fetched: what is written, where from, under which licence, and offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from objectives.data import downloads, fetching
from objectives.data.data_source import CORPORA_VARIABLE, DataSource, SourceKind
from objectives.data.downloads import RAW_HOST_VARIABLE
from objectives.data.fetching import fetch_all, fetch_corpus
from objectives.data.files import write_whole
from objectives.data.licences import accept, unaccepted
from objectives.data.origins import Place, origin_of, remote_origin
from objectives.data.sources import TestPurpose, corpus_key, load_split, load_test_split
from spaces.errors import DataError
from spaces.task import Task
from tests.objectives_tests.toys import hub_card, make_task
from tests.raising import raises
from tests.raw_host import RawHost, blob, raw_host

REAL = DataSource(SourceKind.REAL)
COMMIT = "c" * 40
SPLITS = {
    "train": "Juma\tB-PER\nanaenda\tO\n\n",
    "validation": "Asha\tB-PER\n\n",
    "test": "Lagos\tB-LOC\n\n",
}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[RawHost]:
    monkeypatch.setattr(downloads, "_LONGEST_WAIT", 0.0)
    with raw_host() as running:
        monkeypatch.setenv(RAW_HOST_VARIABLE, running.address)
        yield running


def raw_task(host: RawHost, texts: dict[str, str] | None = None, **changes: Any) -> Task:
    """A task whose files the host has."""
    files = []
    for split, text in (SPLITS if texts is None else texts).items():
        host.files[f"/me/names/{COMMIT}/{split}.txt"] = text.encode()
        files.append({"path": f"{split}.txt", "split": split, "blob": blob(text.encode())})
        files[-1]["size"] = len(text)
    raw = {"repository": "me/names", "commit": COMMIT, "format": "tagged", "files": files}
    raw["columns"] = {"tokens": "0", "tags": "1"}
    record = {"raw": raw, "labels": ["PER", "LOC"], "licence": "CC BY 4.0", "languages": ["eng"]}
    return make_task("ner", **{**record, **changes})


def test_a_corpus_is_fetched_when_it_is_read_and_then_there(
    host: RawHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = raw_task(host)
    before = origin_of(task, "eng", ("train",), REAL)
    assert (before.place, before.name, before.revision) == (Place.RAW, "me/names", COMMIT)
    assert before.size == sum(map(len, SPLITS.values()))
    train = load_split(task, "eng", "train", REAL)
    assert train[:] == {"tokens": [["Juma", "anaenda"]], "tags": [["B-PER", "O"]]}
    asked = len(host.asked)
    monkeypatch.setenv(RAW_HOST_VARIABLE, "http://127.0.0.1:9")
    assert load_split(task, "eng", "validation", REAL)["tokens"][:] == [["Asha"]]
    test = load_test_split(task, "eng", REAL, TestPurpose.OVERLAP)
    assert test["tokens"][:] == [["Lagos"]]
    assert len(host.asked) == asked == 3
    after = origin_of(task, "eng", ("train", "test"), REAL)
    assert (after.place, after.source) == (Place.CACHE, "cache raw files of me/names")
    assert (after.revision, after.files) == (COMMIT, before.files)


def test_a_folder_that_was_fetched_to_is_a_data_folder(host: RawHost, tmp_path: Path) -> None:
    task = raw_task(host)
    fetch_corpus(task, "eng", ("train",), tmp_path)
    local = DataSource(SourceKind.LOCAL, tmp_path)
    origin = origin_of(task, "eng", ("train",), local)
    assert (origin.place, origin.revision) == (Place.FOLDER, COMMIT)
    assert origin.name == f"{tmp_path}/toy_ner/eng, from raw files of me/names"
    keys = {corpus_key(load_split(task, "eng", "train", x)) for x in (local, REAL)}
    assert len(keys) == 1


def test_a_record_that_says_another_place_is_made_anew(host: RawHost) -> None:
    load_split(raw_task(host), "eng", "train", REAL)
    other = raw_task(host, labels=["PER", "LOC", "ORG"])
    assert origin_of(other, "eng", ("train",), REAL).place is Place.RAW
    load_split(other, "eng", "train", REAL)
    assert len(host.asked) == 3  # what was made is made anew, and not what was downloaded


def test_nothing_is_kept_of_a_corpus_that_is_not_what_the_record_says(
    host: RawHost, tmp_path: Path
) -> None:
    task = raw_task(host, {**SPLITS, "test": "Lagos\tB-CITY\n\n"})
    with raises(
        DataError, subject="raw files of me/names@cccccccccccc, toy_ner eng test", found="B-CITY"
    ):
        fetch_corpus(task, "eng", ("train",), tmp_path)
    assert not [*tmp_path.rglob("*.jsonl")]


def test_a_split_that_is_not_there_is_named(host: RawHost, tmp_path: Path) -> None:
    task = raw_task(host, {"train": SPLITS["train"]})
    with raises(DataError, subject="me/names", expected="a eng test split", found="train"):
        fetch_corpus(task, "eng", ("train", "test"), tmp_path)
    origin = fetch_corpus(task, "eng", ("train",), tmp_path, wished=("test",))
    assert origin.lacks == ("test",)
    with raises(DataError, subject="toy_ner", found="none", advice="--data"):
        fetch_corpus(make_task("ner"), "eng", ("train",), tmp_path)


def test_a_conversion_that_was_interrupted_goes_on_at_its_revision(
    host: RawHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = raw_task(host)
    written: list[str] = []

    def is_killed(file: Path, lines: Iterable[str]) -> None:
        written.append(file.name)
        if len(written) == 2:
            raise KeyboardInterrupt
        write_whole(file, lines)

    monkeypatch.setattr(fetching, "write_whole", is_killed)
    with pytest.raises(KeyboardInterrupt):
        fetch_corpus(task, "eng", ("train", "validation"), tmp_path)
    assert {x.name for x in (tmp_path / "toy_ner/eng").iterdir()} == {"train.jsonl", "origin.json"}
    fetch_corpus(task, "eng", ("train", "validation"), tmp_path, wished=("test",))
    assert len([*tmp_path.rglob("*.jsonl")]) == 3
    assert len(host.asked) == 3  # nothing is downloaded twice
    other = raw_task(host, licence="CC0")
    assert other.raw is not None
    (tmp_path / "toy_ner/eng/dev.jsonl").unlink()
    moved = other.raw.model_copy(update={"commit": "d" * 40})
    with raises(DataError, expected="names@dddddddddddd", found="names@cccccccccccc"):
        other = other.model_copy(update={"raw": moved})
        fetch_corpus(other, "eng", ("validation",), tmp_path)


def test_splits_of_two_copies_are_not_mixed(host: RawHost, tmp_path: Path) -> None:
    fetch_corpus(raw_task(host, {"train": SPLITS["train"]}), "eng", ("train",), tmp_path)
    other = raw_task(host)
    assert other.raw is not None
    moved = other.raw.model_copy(update={"commit": "d" * 40})
    other = other.model_copy(update={"raw": moved})
    with raises(DataError, expected="names@dddddddddddd", found="names@cccccccccccc"):
        fetch_corpus(other, "eng", ("test",), tmp_path)


def test_the_only_evaluation_split_is_halved(host: RawHost) -> None:
    words = [f"word{number}" for number in range(40)]
    text = "".join(f"{word}\tO\n\n" for word in words)
    task = raw_task(host, {"test": text}, halved=True)
    halves = load_split(task, "eng", "validation", REAL)["tokens"][:]
    halves += load_test_split(task, "eng", REAL, TestPurpose.CONFIRM)["tokens"][:]
    assert sorted(halves) == sorted([word] for word in words)


def test_many_corpora_are_fetched_and_told_of(host: RawHost, tmp_path: Path) -> None:
    task = raw_task(host)
    told: list[str] = []
    corpora = [(task, "eng", ("train",), ("test",))]
    fetch_all(corpora, lambda task: tmp_path, on_corpus=lambda origin: told.append(origin.task))
    assert told == ["toy_ner"]
    assert {x.name for x in tmp_path.rglob("*.jsonl")} == {
        "train.jsonl",
        "dev.jsonl",
        "test.jsonl",
    }


@pytest.mark.parametrize("licence", ["none stated", "upstream X: research use"])
def test_a_licence_that_wants_a_yes_stops_the_download(
    licence: str, host: RawHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = raw_task(host, licence=licence)
    with raises(DataError, subject="licences", expected="toy_ner", advice="--accept-licences"):
        load_split(task, "eng", "train", REAL)
    assert host.asked == []
    wanted = unaccepted([remote_origin(task, "eng")])
    assert wanted == {"toy_ner": licence}
    accept(wanted)
    assert load_split(task, "eng", "train", REAL)["tokens"][:] == [["Juma", "anaenda"]]
    (tmp_path / "no-folder").write_text("")
    with monkeypatch.context() as patch:
        patch.setenv(CORPORA_VARIABLE, str(tmp_path / "no-folder"))
        with raises(DataError, subject="accepted-licences.json", advice=CORPORA_VARIABLE):
            accept(wanted)
    changed = raw_task(host, {**SPLITS, "test": "x\tO\n\n"}, licence=f"{licence} (2027)")
    assert unaccepted([remote_origin(changed, "eng")])


# --- from the Hub


@pytest.fixture
def two_splits(repository: Path) -> Path:
    """A repository of the Hub without a test split."""
    (repository / "README.md").write_text(hub_card("train", "validation"))
    return repository


def test_what_is_fetched_from_the_hub_is_what_the_hub_has(two_splits: Path) -> None:
    """Whatever is in a text: the rows have the same fingerprint."""
    rows = {"text": ['a\tb "c"\n', "\u2028d\r\n"], "label": ["law", "sport"]}
    for split in ("train", "validation"):
        datasets.Dataset.from_dict(rows).to_parquet(two_splits / f"{split}.parquet")
    hub = {"repository": str(two_splits), "config": "PAN-X.sw"}
    task = make_task("classification", hub=hub, languages=["swa"], licence="MIT")
    keys = {
        corpus_key(load_split(task, "swa", "train", DataSource(kind)))
        for kind in (SourceKind.HUB, SourceKind.REAL)
    }
    assert len(keys) == 1
    assert origin_of(task, "swa", ("train",), REAL).place is Place.CACHE


def test_a_split_that_the_hub_does_not_have_is_looked_for_once(
    two_splits: Path, tmp_path: Path
) -> None:
    rows = {"text": ["a"], "label": ["law"]}
    for split in ("train", "validation"):
        datasets.Dataset.from_dict(rows).to_parquet(two_splits / f"{split}.parquet")
    hub = {"repository": str(two_splits), "config": "PAN-X.sw"}
    task = make_task("classification", hub=hub, languages=["swa"], licence="MIT")
    origin = fetch_corpus(task, "swa", ("train",), tmp_path / "to", wished=("test",))
    assert origin.lacks == ("test",)


def test_a_choice_among_several_is_a_right_and_a_wrong_pair(two_splits: Path) -> None:
    rows = {
        "context": ["where?", "who?"],
        "endings": [["here", "there", "elsewhere"], ["Asha", "Juma", "Ali"]],
        "label": [1, 0],
    }
    datasets.Dataset.from_dict(rows).to_parquet(two_splits / "train.parquet")
    datasets.Dataset.from_dict(rows).to_parquet(two_splits / "validation.parquet")
    hub = {"repository": str(two_splits), "config": "PAN-X.sw", "choices": True}
    hub["columns"] = {"text_a": "context", "text_b": "endings"}
    labels = ["0", "1"]
    task = make_task("nli", hub=hub, languages=["swa"], labels=labels, licence="MIT")
    found = load_split(task, "swa", "train", REAL)[:]
    assert found["text_a"] == ["where?", "where?", "who?", "who?"]
    assert found["label"] == ["1", "0", "1", "0"]
    assert found["text_b"][::2] == ["there", "Asha"]
    assert found["text_b"][1] in {"here", "elsewhere"}


def test_a_folder_of_a_converted_branch_is_read_alone(tmp_path: Path) -> None:
    """Its configurations have no names there, and their rows are not mixed."""
    repository = tmp_path / "converted"
    for config in ("swa", "yor"):
        for split in ("train", "validation"):
            (repository / config / split).mkdir(parents=True)
            rows = {"text": [config], "label": ["law"]}
            file = repository / config / split / "0000.parquet"
            datasets.Dataset.from_dict(rows).to_parquet(file)
    hub = {"repository": str(repository), "folder": "{language}"}
    task = make_task("classification", hub=hub, languages=["swa", "yor"], licence="MIT")
    for language in ("swa", "yor"):
        assert load_split(task, language, "train", REAL)["text"][:] == [language]


def test_where_the_cache_lies_is_a_variables_to_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: RawHost
) -> None:
    monkeypatch.setenv(CORPORA_VARIABLE, str(tmp_path / "elsewhere"))
    load_split(raw_task(host), "eng", "train", REAL)
    assert [*(tmp_path / "elsewhere" / "corpora").rglob("train.jsonl")]
