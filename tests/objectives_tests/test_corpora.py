"""Which source, which split of it, who may read a test split, and when two corpora are equal."""

from __future__ import annotations

import ast
import json
import os
import random
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from objectives.data.choosing import choose_source
from objectives.data.data_source import DATA_VARIABLE, DataSource, SourceKind
from objectives.data.origins import Place, origins_of
from objectives.data.sources import TestPurpose, corpus_key, has_split, load_split, load_test_split
from spaces.errors import DataError
from spaces.task import Task
from tests.hub_server import Repository, hub_server
from tests.objectives_tests.toys import make_task
from tests.raising import raises

POCKET = DataSource(SourceKind.POCKET)
HUB = DataSource(SourceKind.HUB)
ROWS = {
    "tokens": [["Juma", "Mosi", "anaenda", "Lagos"], ["Asha"]],
    "tags": [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER"]],
}


@pytest.fixture
def local(tmp_path: Path) -> DataSource:
    return DataSource(SourceKind.LOCAL, tmp_path)


# --- which splits there are


@pytest.mark.parametrize(("language", "split"), [("qaa", "train"), ("eng", "train")])
def test_a_pocket_split_that_does_not_exist_is_named(language: str, split: str) -> None:
    task = make_task("ner", pocket="ner", languages=["qas", "qaa"])
    with raises(
        DataError, expected=f"the {language} {split} split of task 'toy_ner'", found="none"
    ):
        load_split(task, language, split, POCKET)
    assert not has_split(task, language, split, POCKET)


def test_which_splits_there_are_is_known_without_reading_them(local: DataSource) -> None:
    task = make_task("ner", pocket="ner", languages=["qas", "qaa", "swa"])
    assert local.folder is not None
    file = local.folder / "ner" / "swa" / "dev.txt"
    assert not has_split(task, "swa", "validation", local)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\xff")
    assert has_split(task, "swa", "validation", local)
    assert has_split(task, "qas", "train", POCKET)
    assert has_split(task, "qaa", "validation", POCKET)
    assert not has_split(task, "swa", "validation", POCKET)
    assert not has_split(task, "swa", "validation", HUB)


# --- test splits


def test_a_search_cannot_read_a_test_split() -> None:
    labels = ["PER", "LOC", "ORG"]
    task = make_task("ner", pocket="ner", languages=["qas", "qaa"], labels=labels)
    for split in ("test", "dev"):
        with pytest.raises(ValueError, match=f"expected train or validation, found '{split}'"):
            load_split(task, "qaa", split, POCKET)
    found = load_test_split(task, "qaa", POCKET, TestPurpose.CONFIRM)
    assert found[:] != load_split(task, "qaa", "validation", POCKET)[:]
    assert found[:] == load_test_split(task, "qaa", POCKET, TestPurpose.BENCHMARK)[:]


ROOT = Path(__file__).resolve().parents[2]
MAY_READ_TEST = {
    "objectives/xtreme/benchmark.py",
    "objectives/data/sources.py",
    "objectives/data/overlap.py",
    "objectives/data/study_corpora.py",
}
READERS = {"load_test_split", "read_files", "read_hub", "pocket_split"}
DEFINE_READERS = {
    "objectives/data/sources.py",
    "objectives/data/files.py",
    "objectives/data/folder_check.py",  # reads them for their format alone
    "objectives/data/hub.py",
    "objectives/data/fetching.py",  # writes all splits for others to read
    "objectives/pocket/__init__.py",
    "objectives/pocket/corpora.py",
}


def mentioned(source: str) -> set[str]:
    """The functions that can read a test split which a module names, imports or looks up."""
    words: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.Constant(value=str(word)):
                words.add(word)
            case ast.FunctionDef(name=word):
                words.add(word)
            case ast.alias(name=word, asname=other):
                words |= {word, other or word}
    return words & READERS


def test_no_module_but_those_that_may_reads_a_test_split() -> None:
    """The reason why `load_test_split` is a function of its own: add to the list with care."""
    packages = ("objectives", "search", "spaces", "storage")
    modules = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert modules
    for path in modules:
        name = path.relative_to(ROOT).as_posix()
        found = mentioned(path.read_text(encoding="utf-8"))
        if name not in DEFINE_READERS:
            assert found <= {"load_test_split"}, (
                f"{name} reads corpora around objectives.data.sources"
            )
        if name not in MAY_READ_TEST:
            assert "load_test_split" not in found, f"{name} reads a test split"


@pytest.mark.parametrize(
    "source",
    [
        "from objectives.data.sources import load_test_split",
        "from objectives.data.sources import load_test_split as load",
        "import objectives.data.sources as corpora\ncorpora.load_test_split()",
        "import objectives\ngetattr(objectives.data.sources, 'load_test_split')",
    ],
)
def test_no_way_to_call_it_goes_unseen(source: str) -> None:
    assert mentioned(source) == {"load_test_split"}
    assert not mentioned(
        "from objectives.data.sources import load_split\n'it calls load_test_split'"
    )


# --- halves of the only evaluation split

GROUPS = 60
QA = {"metric": "em_f1", "answers": "squad"}


def halves(task: Task, language: str, source: DataSource) -> tuple[list[Any], list[Any]]:
    """The rows of both halves, after a look at the whole."""
    validation = load_split(task, language, "validation", source).to_list()
    test = load_test_split(task, language, source, TestPurpose.CONFIRM).to_list()
    for purpose in (TestPurpose.BENCHMARK, TestPurpose.OVERLAP):
        whole = load_test_split(task, language, source, purpose).to_list()
        assert [row for row in whole if row in validation or row in test] == whole
        assert len(whole) == len(validation) + len(test)
    assert min(len(validation), len(test)) >= GROUPS // 4
    return validation, test


def put(local: DataSource, name: str, content: str) -> None:
    assert local.folder is not None
    file = local.folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")


def table(language: str, rows: int) -> str:
    return "text\tlabel\n" + "".join(f"{language} {row}\tlaw\n" for row in range(rows))


@pytest.mark.parametrize("name", ["test.tsv", "dev.tsv"])
def test_halves_are_the_same_in_every_language_and_do_not_depend_on_the_length(
    name: str, local: DataSource
) -> None:
    task = make_task("classification", files=["{language}/{split}.tsv"], halved=True)
    numbers = {}
    for language, rows in (("eng", GROUPS), ("swa", GROUPS), ("yor", GROUPS + 30)):
        put(local, f"{language}/{name}", table(language, rows))
        numbers[language] = [
            [int(row["text"].split()[1]) for row in half] for half in halves(task, language, local)
        ]
    assert numbers["eng"] == numbers["swa"]
    assert numbers["eng"] == [[x for x in half if x < GROUPS] for half in numbers["yor"]]
    assert not set(numbers["yor"][0]) & set(numbers["yor"][1])


def test_halves_stay_what_they_are(local: DataSource) -> None:
    """Whoever changes them gives every stored validation score another meaning."""
    put(local, "test.tsv", table("row", 20))
    task = make_task("classification", files=["test.tsv"], halved=True)
    found = load_split(task, "swa", "validation", local)["text"][:]
    assert found == [f"row {number}" for number in [2, 3, 8, 10, 15, 18, 19]]


def squad(language: str, questions: int, *, split_up: bool) -> str:
    """`GROUPS` paragraphs; in `split_up` ones every question has a copy of its own."""
    articles = []
    for number in range(GROUPS):
        answers = [{"text": language, "answer_start": 0}]
        asked = [
            {"id": f"{number}-{x}", "question": "?", "answers": answers} for x in range(questions)
        ]
        for group in [[x] for x in asked] if split_up else [asked]:
            paragraph = {"context": f"{language} paragraph {number}", "qas": group}
            articles.append({"paragraphs": [paragraph]})
    return json.dumps({"data": articles})


def test_a_paragraph_stays_with_its_questions(local: DataSource) -> None:
    task = make_task("qa", files=["xquad.{language}.json"], halved=True, **QA)
    paragraphs = {}
    for language, questions, split_up in (("eng", 3, False), ("swa", 2, False), ("yor", 2, True)):
        put(local, f"xquad.{language}.json", squad(language, questions, split_up=split_up))
        paragraphs[language] = [
            {row["context"].split()[2] for row in half} for half in halves(task, language, local)
        ]
        assert not paragraphs[language][0] & paragraphs[language][1]
    assert paragraphs["eng"] == paragraphs["swa"] == paragraphs["yor"]


def test_no_passage_is_in_both_halves_wherever_its_questions_stand(local: DataSource) -> None:
    """Of TyDiQA the file has a paragraph for each question, in no order."""
    task = make_task("qa", files=["tydiqa.{language}.json"], halved=True, **QA)
    articles = json.loads(squad("eng", 2, split_up=True))["data"]
    random.Random(0).shuffle(articles)
    put(local, "tydiqa.eng.json", json.dumps({"data": articles}))
    validation, test = halves(task, "eng", local)
    assert not {row["context"] for row in validation} & {row["context"] for row in test}


def test_premises_of_a_halved_task_stay_with_their_hypotheses(local: DataSource) -> None:
    rows = [(f"premise {number // 3}", f"{number}", "neutral") for number in range(3 * GROUPS)]
    lines = ["text_a\ttext_b\tlabel", *("\t".join(row) for row in rows)]
    put(local, "test.tsv", "".join(f"{line}\n" for line in lines))
    task = make_task("nli", files=["test.tsv"], halved=True)
    validation, test = halves(task, "eng", local)
    assert not {row["text_a"] for row in validation} & {row["text_a"] for row in test}


def test_the_only_evaluation_split_is_not_trained_on(local: DataSource) -> None:
    task = make_task("qa", files=["xquad.{language}.json"], halved=True, **QA)
    put(local, "xquad.eng.json", squad("eng", 1, split_up=False))
    assert not has_split(task, "eng", "train", local)
    assert has_split(task, "eng", "validation", local)
    with raises(DataError, expected="the eng train split"):
        load_split(task, "eng", "train", local)


def test_a_sentence_stays_with_its_translation(local: DataSource) -> None:
    task = make_task("retrieval", files=["{split}.{side}"], halved=True)
    for side in ("swa", "eng"):
        put(local, f"test.{side}", "".join(f"{side} {number}\n" for number in range(GROUPS)))
    for half in halves(task, "swa", local):
        english = {row["id"] for row in half if row["side"] == "english"}
        assert {row["match"] for row in half if row["side"] == "language"} == english


def test_sentences_with_ids_stay_with_their_common_translation(local: DataSource) -> None:
    task = make_task(
        "retrieval", files=[{"path": "test.{side}", "pairs": "test.gold"}], halved=True
    )
    for side in ("swa", "eng"):
        put(local, f"test.{side}", "".join(f"{side}-{x}\tsentence\n" for x in range(GROUPS)))
    pairs = [(x, GROUPS - 1 - x // 2 * 2) for x in range(1, GROUPS)]
    put(local, "test.gold", "".join(f"swa-{a}\teng-{b}\n" for a, b in pairs))
    for half in halves(task, "swa", local):
        english = {row["id"] for row in half if row["side"] == "english"}
        assert {row["match"] for row in half} - {""} <= english


def test_a_halved_task_with_a_file_for_each_split_is_read_as_it_is(local: DataSource) -> None:
    task = make_task("classification", files=["{split}.tsv"], halved=True)
    for name, rows in (("train", 40), ("dev", 20), ("test", 30)):
        put(local, f"{name}.tsv", table(name, rows))
    assert len(load_split(task, "swa", "train", local)) == 40
    assert len(load_split(task, "swa", "validation", local)) == 20
    for purpose in TestPurpose:
        found = load_test_split(task, "swa", local, purpose)["text"][:]
        assert found == [f"test {row}" for row in range(30)]


def test_a_half_whose_labels_are_hidden_is_no_validation_split(local: DataSource) -> None:
    task = make_task("classification", files=["{split}.tsv"], halved=True)
    put(local, "test.tsv", table("test", GROUPS).replace("law", ""))
    assert set(load_test_split(task, "swa", local, TestPurpose.CONFIRM)["label"][:]) == {None}
    with raises(DataError, expected="label for the swa validation split", found="them"):
        load_split(task, "swa", "validation", local)


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


def needs(task: Task, *languages: str) -> list[tuple[Task, str, str]]:
    return [(task, language, "validation") for language in languages]


HUB_TASK = make_task("ner", hub={"repository": "me/MyNames", "config": "Set.{language}"})


@pytest.mark.parametrize("option", ["pocket", "hub", "real"])
def test_a_source_that_is_asked_for_is_taken(option: str) -> None:
    source = choose_source(option, needs(make_task("ner"), "eng"))
    assert (source.kind, source.folder) == (option, None)
    assert source.reason == f"asked for with --data {option}"


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_folders_that_are_named_are_taken(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = tuple(tmp_path / name for name in names)
    for folder in folders:
        folder.mkdir()
    named = os.pathsep.join(names)
    monkeypatch.setenv(DATA_VARIABLE, os.pathsep.join(map(str, folders)))
    source = choose_source(named)
    assert (source.kind, source.folders) == (SourceKind.LOCAL, folders)
    word = "folder" if len(names) == 1 else "folders"
    assert str(source) == f"local {word} {', '.join(map(str, folders))}"
    source = choose_source("auto")
    assert (source.kind, source.folders) == (SourceKind.REAL, folders)
    assert DATA_VARIABLE in source.reason
    for wrong in (f"{named}{os.pathsep}nosuch", "nosuch", os.pathsep, "", "~\0"):
        with raises(DataError, subject="--data", expected="auto, real, hub, pocket or a folder"):
            choose_source(wrong)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nosuch"))
    with raises(DataError, subject=DATA_VARIABLE, expected="a folder", found="nosuch"):
        choose_source("auto")


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize(
    ("offline", "reason"),
    [
        (True, "the Hub is switched off (HF_HUB_OFFLINE)"),
        (False, "the Hub does not answer (Connect"),
    ],
)
def test_auto_takes_pocket_and_says_why_where_the_hub_cannot_be_had(
    offline: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    source = choose_source("auto", needs(HUB_TASK, "eng"))
    assert source.kind is SourceKind.POCKET
    assert source.reason.startswith(f"{DATA_VARIABLE} is not set, {reason}")
    assert "python -m search.data get" in source.reason
    assert choose_source("real", needs(HUB_TASK, "eng")).kind is SourceKind.REAL


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("status", [401, 429, 503])
def test_auto_never_takes_pocket_because_the_hub_refuses(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with hub_server({"datasets/google/xtreme": Repository(status=status)}) as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
        assert choose_source("auto", needs(HUB_TASK, "eng")).kind is SourceKind.REAL
        assert hub.asked == ["GET /api/datasets/google/xtreme"]


@pytest.mark.usefixtures("_offline")
def test_auto_never_takes_pocket_because_a_corpus_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Invented languages are no answer to a file that is not there."""
    assert choose_source("auto", needs(make_task("ner"), "eng")).kind is SourceKind.REAL
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert choose_source("auto", needs(HUB_TASK, "eng")).kind is SourceKind.REAL


@pytest.mark.usefixtures("_offline")
def test_a_task_comes_from_the_folders_only_if_they_have_all_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    file = tmp_path / "ner" / "eng" / "dev.txt"
    file.parent.mkdir(parents=True)
    file.write_text("Juma\tB-PER\n")
    for languages, place in ((("eng",), Place.FOLDER), (("eng", "swa"), Place.HUB)):
        source = choose_source("auto", needs(HUB_TASK, *languages))
        assert {x.place for x in origins_of(needs(HUB_TASK, *languages), source)} == {place}


def test_auto_asks_nobody_for_pocket_tasks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    pocket = make_task("ner", pocket="ner")
    source = choose_source("auto", needs(pocket, "eng"))
    assert (source.kind, source.reason) == (
        SourceKind.POCKET,
        "the study names pocket tasks only",
    )
    with raises(DataError, found="'toy_ner' beside real ones", advice="never mixes"):
        choose_source("auto", [*needs(pocket, "eng"), *needs(HUB_TASK, "eng")])


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("held", [True, False])
def test_auto_takes_what_the_cache_of_datasets_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: bool
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    for language in ("eng", "swa") if held else ("eng",):
        folder = tmp_path / "me___my_names" / f"Set.{language}" / "0.0.0" / "abc"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    source = choose_source("auto", needs(HUB_TASK, "eng", "swa"))
    assert source.kind is (SourceKind.REAL if held else SourceKind.POCKET)


def test_a_folder_s_own_name_may_hold_what_joins_folders(tmp_path: Path) -> None:
    stamped, other = tmp_path / "2026-05-01T10:30" / "d", tmp_path / "other"
    for folder in (stamped, other):
        folder.mkdir(parents=True)
    assert choose_source(str(stamped)).folders == (stamped,)
    assert choose_source(f"{other}:{stamped}:{other}").folders == (other, stamped, other)
    assert choose_source(f"{stamped}\n").folders == (stamped,)
    with raises(DataError, found="nowhere"):
        choose_source(f"{stamped}:nowhere")
    with raises(DataError, found="~nobody-of-that-name"):
        choose_source("~nobody-of-that-name/data")
