"""Every shipped record, and how a wrong one is answered."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from spaces.catalogue import (
    Catalogue,
    Metric,
    Role,
    Task,
    TaskKind,
    load_catalogue,
    read_tasks,
)
from spaces.errors import SpecError, UnknownNameError

CATALOGUE = load_catalogue()
# The pocket corpora are generated: they have neither files, nor hub, nor real languages.
REAL = [task for task in CATALOGUE if not task.pocket]

RECORD = {
    "kind": "ner",
    "domain": "legal",
    "role": "both",
    "title": "Entities in treaties",
    "languages": ["eng", "swa"],
    "labels": ["PER", "ORG", "LOC"],
    "metric": "span_f1",
    "licence": "MIT",
    "urls": {"data": "https://example.org", "licence": "https://example.org/licence"},
    "files": ["ner/treaties/{language}/{split}.conll"],
}


def by_name(task: Task) -> str:
    return task.name


def parse(**changes: object) -> Task:
    record = {key: value for key, value in (RECORD | changes).items() if value is not None}
    return read_tasks({"treaties": record}, "my.toml")["treaties"]


def placeholders(template: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(template) if field}


@pytest.mark.parametrize("task", list(CATALOGUE), ids=by_name)
def test_names_are_identifiers_in_lower_case(task: Task) -> None:
    # They are parts of Optuna parameters, of paths and of command lines.
    assert re.fullmatch(r"[a-z][a-z0-9_]*", task.name)


@pytest.mark.parametrize("task", list(CATALOGUE), ids=by_name)
def test_no_label_or_language_stands_twice(task: Task) -> None:
    names = (*task.labels, *task.unscored_labels)
    assert len(set(names)) == len(names)
    assert len(set(task.languages)) == len(task.languages)
    assert all(name == name.strip() != "" for name in (*names, task.title, task.licence))


@pytest.mark.parametrize("task", REAL, ids=by_name)
def test_every_fact_has_a_page(task: Task) -> None:
    assert all(re.fullmatch(r"https?://[^\s/]+\.[^\s]+", url) for url in task.urls.values())


@pytest.mark.parametrize("task", list(CATALOGUE), ids=by_name)
def test_the_metric_fits_the_kind(task: Task) -> None:
    metrics: dict[TaskKind, set[Metric | None]] = {
        TaskKind.NER: {Metric.SPAN_F1},
        TaskKind.POS: {Metric.SPAN_F1, Metric.ACCURACY},
        TaskKind.CLASSIFICATION: {Metric.ACCURACY, Metric.MACRO_F1},
        TaskKind.SENTIMENT: {Metric.ACCURACY, Metric.MACRO_F1},
        TaskKind.SIMILARITY: {Metric.SPEARMAN},
        TaskKind.MLM: {None},
    }
    assert task.metric in metrics[task.kind]


@pytest.mark.parametrize("task", REAL, ids=by_name)
def test_english_trains_every_task(task: Task) -> None:
    assert "eng" in CATALOGUE.training_task(task).languages
    if task.role is not Role.TARGET:
        assert "eng" in task.languages
    if task.role is not Role.INTERMEDIATE:
        assert set(task.languages) - {"eng"}


@pytest.mark.parametrize("task", REAL, ids=by_name)
def test_every_language_has_a_place(task: Task) -> None:
    templates = [*task.files, *([task.hub.config] if task.hub else [])]
    for template in templates:
        assert placeholders(template) <= {"language", "split", *task.codes}
    for language in task.languages:
        filled = [task.fill(template, language, "train") for template in templates]
        assert any(path is not None and "{" not in path for path in filled), language


@pytest.mark.parametrize("task", REAL, ids=by_name)
def test_files_are_relative_and_differ_by_split(task: Task) -> None:
    for template in task.files:
        assert not Path(template).is_absolute()
        assert ".." not in Path(template).parts
        assert "split" in placeholders(template)


@pytest.mark.parametrize("task", list(CATALOGUE), ids=by_name)
def test_codes_are_of_the_tasks_languages_and_each_is_used(task: Task) -> None:
    used = "".join([*task.files, task.hub.config if task.hub else ""])
    for name, table in task.codes.items():
        assert f"{{{name}}}" in used
        assert set(table) <= set(task.languages)
        assert len(set(table.values())) == len(table), "two languages with one code"


@pytest.mark.parametrize("task", [t for t in REAL if t.hub], ids=by_name)
def test_hub_sources_name_our_columns_splits_and_labels(task: Task) -> None:
    assert task.hub is not None
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", task.hub.repository)
    assert task.hub.revision == "" or re.fullmatch(r"[0-9a-f]{40}", task.hub.revision)
    assert set(task.hub.columns) <= set(task.kind.columns)
    assert set(task.hub.splits) <= {"train", "validation", "test"}
    assert set(task.hub.labels.values()) <= {*task.labels, *task.unscored_labels}


def test_xtreme_tasks_have_the_languages_of_xtreme() -> None:
    panx, udpos = CATALOGUE["panx"], CATALOGUE["udpos"]
    assert len(panx.codes["iso2"]) == 40
    assert len(udpos.codes["english"]) == len(udpos.codes["iso2"]) == 33
    assert set(udpos.codes["iso2"].items()) <= set(panx.codes["iso2"].items())


def test_a_template_fills_in_the_corpus_own_code() -> None:
    panx, udpos = CATALOGUE["panx"], CATALOGUE["udpos"]
    assert panx.fill("PAN-X.{iso2}", "swa") == "PAN-X.sw"
    assert [panx.fill(template, "swa", "dev") for template in panx.files] == [
        "ner/panx/swa/dev.conll",
        "panx/dev-sw.tsv",
    ]
    assert udpos.fill(udpos.files[0], "yor", "test") == "pos/ud_ytb/yor/test.conll"


def test_a_template_does_not_apply_where_the_code_is_missing() -> None:
    assert CATALOGUE["panx"].fill("PAN-X.{iso2}", "que") is None
    assert CATALOGUE["udpos"].fill("udpos.{english}", "wol") is None
    assert CATALOGUE["udpos"].fill("{unheard_of}", "eng") is None


def test_tags_are_iob2_for_entities_and_the_labels_for_parts_of_speech() -> None:
    panx = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
    assert CATALOGUE["panx"].tags == panx
    assert CATALOGUE["ud_gum"].tags == CATALOGUE["ud_gum"].labels


def test_a_task_without_english_is_trained_by_its_source_task() -> None:
    assert CATALOGUE.training_task(CATALOGUE["afrisenti"]).name == "nusax"
    assert CATALOGUE.training_task(CATALOGUE["masakhapos"]).name == "udpos"
    assert CATALOGUE.training_task(CATALOGUE["panx"]).name == "panx"


def test_a_misspelt_task_is_answered_with_the_nearest() -> None:
    text = f"Task 'pan-x' is not in the catalogue of {len(CATALOGUE.tasks)} tasks. "
    with pytest.raises(UnknownNameError, match=re.escape(text + "Did you mean 'panx'?")):
        CATALOGUE["pan-x"]


def test_a_right_record_is_read_as_it_stands() -> None:
    task = parse()
    assert task.name == "treaties"
    assert task.languages == ("eng", "swa")
    assert task.kind is TaskKind.NER
    assert task.hub is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"lables": ["PER"]}, "unknown field 'lables'. Did you mean 'labels'?"),
        ({"hub": {"repository": "a/b", "split": {}}}, "field 'hub.split'. Did you mean 'splits'?"),
        ({"title": None}, "field 'title' is missing"),
        ({"hub": {"config": "en"}}, "field 'hub.repository' is missing"),
        ({"title": 3}, "field 'title': Input should be a valid string, found 3"),
        ({"languages": "eng"}, "field 'languages': Input should be a valid tuple, found 'eng'"),
        ({"files": ["a", 3]}, "field 'files.1': Input should be a valid string, found 3"),
        (
            {"codes": {"iso2": {"eng": 1}}},
            "field 'codes.iso2.eng': Input should be a valid string",
        ),
        ({"kind": "nre"}, "field 'kind': Input should be 'ner', 'pos', 'classification', "),
        ({"domain": "law"}, "field 'domain': Input should be 'general', 'biomedical' or 'legal'"),
        ({"languages": []}, "languages: expected at least one ISO 639-3 code, found none"),
        ({"languages": ["en"]}, "languages: expected ISO 639-3 codes, found 'en'"),
        ({"languages": ["ENG"]}, "languages: expected ISO 639-3 codes, found 'ENG'"),
        ({"labels": []}, "labels: kind ner and labels do not fit, found none"),
        ({"kind": "similarity"}, "labels: kind similarity and labels do not fit, found ['PER', "),
        ({"labels": ["PER", "PER"]}, "labels: expected each once, found ['PER', 'PER']"),
        ({"metric": None}, "metric: kind ner and metric None do not fit"),
        ({"files": None}, "expected at least one of hub, files, pocket, found none"),
        ({"urls": {"data": "https://x.org"}}, "urls: expected 'data' and 'licence', missing ['li"),
    ],
)
def test_a_wrong_record_names_itself_the_field_and_what_was_found(
    changes: dict[str, object], text: str
) -> None:
    with pytest.raises(SpecError) as caught:
        parse(**changes)
    message = str(caught.value)
    assert message.startswith("my.toml: task 'treaties': ")
    assert text in message
    assert "\n" not in message


def test_a_record_outside_any_table_is_an_error() -> None:
    text = "my.toml: expected only tables of tasks, found the field 'title'"
    with pytest.raises(SpecError, match=re.escape(text)):
        read_tasks({"title": "Entities"}, "my.toml")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[panx]\ntitle = 'a'\n[panx]\n", "Cannot declare ('panx',) twice (at line 3, column 6)"),
        ("[panx]\ntitle = 'a'\ntitle = 'b'\n", "Cannot overwrite a value"),
        ("[panx\n", "Expected ']' at the end of a table declaration"),
    ],
)
def test_a_name_used_twice_or_broken_toml_is_an_error(
    tmp_path: Path, content: str, text: str
) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(
        SpecError, match=re.escape(f"{path}: expected TOML in UTF-8, found: {text}")
    ):
        load_catalogue(path)


def test_a_catalogue_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.toml"
    text = f"{path}: expected a readable file, found No such file or directory"
    with pytest.raises(SpecError, match=re.escape(text)):
        load_catalogue(path)


def extend(name: str, **changes: object) -> Catalogue:
    return CATALOGUE.extended({name: RECORD | changes}, "study 'treaties'")


def test_a_study_may_add_a_task() -> None:
    extended = extend("treaties")
    assert extended["treaties"].files == ("ner/treaties/{language}/{split}.conll",)
    assert extended["panx"] is CATALOGUE["panx"]
    assert "treaties" not in CATALOGUE.tasks, "the catalogue itself must stay as it was"


def test_a_study_may_add_a_task_that_another_one_trains() -> None:
    extended = extend("treaties", languages=["swa"], role="target", source_task="panx")
    assert extended.training_task(extended["treaties"]) is CATALOGUE["panx"]


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        ("panx", {}, "study 'treaties': task 'panx' is in the catalogue already; rename it"),
        ("treaties", {"source_task": "pnax"}, "field 'source_task': Task 'pnax' is not in the "),
        ("treaties", {"source_task": "pnax"}, "Did you mean 'panx'?"),
        (
            "treaties",
            {"source_task": "conll2003"},
            "study 'treaties': task 'treaties': expected kind and labels as in its source_task "
            "'conll2003', found others",
        ),
        ("treaties", {"source_task": "udpos"}, "as in its source_task 'udpos', found others"),
    ],
)
def test_a_task_that_does_not_fit_the_others_is_an_error(
    name: str, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(SpecError, match=re.escape(text)):
        extend(name, **changes)
