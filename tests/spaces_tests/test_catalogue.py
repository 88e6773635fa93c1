"""Every shipped record, and how a wrong one is answered."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from spaces.catalogue import (
    Catalogue,
    Domain,
    FileTemplate,
    Metric,
    Role,
    Task,
    TaskKind,
    load_catalogue,
    read_tasks,
)
from spaces.errors import SpecError, UnknownNameError
from spaces.languages import LANGUAGE_SETS, XTREME_TASKS

CATALOGUE = load_catalogue()
# The pocket corpora are generated: they have neither files, nor hub, nor real languages.
REAL = [task for task in CATALOGUE if not task.pocket]
# For studies whose source language is another one.
NOT_ENGLISH = {"lener_br"}
XTREME = [CATALOGUE[name] for name in XTREME_TASKS]

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


def layouts(task: Task) -> list[FileTemplate]:
    return [FileTemplate(path=x) if isinstance(x, str) else x for x in task.files]


def hub_templates(task: Task) -> list[str]:
    hub = task.hub
    return [hub.repository, hub.config, hub.revision, hub.filter_value] if hub else []


def every_template(task: Task) -> list[str]:
    files = [template for x in layouts(task) for template in (x.path, x.pairs, *x.sides)]
    return [*files, *hub_templates(task)]


def paths(task: Task, language: str, split: str) -> list[str]:
    """The files of a split in all layouts that have the language, as {side} leaves them."""
    found = []
    for layout in layouts(task):
        for side in layout.sides or ("{language}", "eng"):
            path = task.fill(layout.path.replace("{side}", side), language, split)
            found += [path] if path else []
    return list(dict.fromkeys(found))


def on_hub(task: Task) -> set[str]:
    """The languages that the Hub copy has."""
    return {
        language
        for language in task.languages
        if task.hub and None not in [task.fill(x, language) for x in hub_templates(task)]
    }


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
        TaskKind.NLI: {Metric.ACCURACY, Metric.MACRO_F1},
        TaskKind.PAIR_CLASSIFICATION: {Metric.ACCURACY, Metric.MACRO_F1},
        TaskKind.SIMILARITY: {Metric.SPEARMAN},
        TaskKind.QA: {Metric.EM_F1},
        TaskKind.RETRIEVAL: {Metric.ACCURACY, Metric.BUCC_F1},
        TaskKind.MLM: {None},
    }
    assert task.metric in metrics[task.kind]


@pytest.mark.parametrize("task", REAL, ids=by_name)
def test_english_trains_every_task(task: Task) -> None:
    if task.kind.is_trained and task.name not in NOT_ENGLISH:
        assert "eng" in CATALOGUE.training_task(task).languages
        assert task.role is Role.TARGET or "eng" in task.languages
    if task.role is not Role.INTERMEDIATE:
        assert set(task.languages) - {"eng"}


@pytest.mark.parametrize("task", REAL, ids=by_name)
def test_what_trains_another_task_can_be_trained_on(task: Task) -> None:
    if task.source_task:
        source = CATALOGUE.training_task(task)
        assert not source.source_task, "training does not follow a second one"
        assert source.role is not Role.TARGET


@pytest.mark.parametrize("task", REAL, ids=by_name)
def test_every_language_has_a_place(task: Task) -> None:
    for template in every_template(task):
        assert placeholders(template) <= {"language", "split", "side", *task.codes}
    for language in task.languages:
        places = [
            *paths(task, language, "train"),
            *([language] if language in on_hub(task) else []),
        ]
        assert places, language
        assert not any("{" in place for place in places)


@pytest.mark.parametrize("task", REAL, ids=by_name)
def test_files_are_relative_and_differ_by_split(task: Task) -> None:
    for layout in layouts(task):
        assert not Path(layout.path).is_absolute()
        assert ".." not in Path(layout.path).parts
        # Else the same examples would be read for all three.
        only_one = task.halved or task.kind is TaskKind.MLM
        assert "split" in placeholders(layout.path) or only_one


@pytest.mark.parametrize("task", REAL, ids=by_name)
def test_no_two_languages_share_a_file(task: Task) -> None:
    for layout in layouts(task):
        of_language = layout.path.replace("{side}", (layout.sides or ("{language}",))[0])
        filled = [task.fill(of_language, language, "test") for language in task.languages]
        files = [path for path in filled if path]
        assert len(set(files)) == len(files)


@pytest.mark.parametrize("task", list(CATALOGUE), ids=by_name)
def test_codes_are_of_the_tasks_languages_and_each_is_used(task: Task) -> None:
    used = "".join(every_template(task))
    for name, table in task.codes.items():
        assert f"{{{name}}}" in used
        assert set(table) <= set(task.languages)
        assert len(set(table.values())) == len(table), "two languages with one code"


@pytest.mark.parametrize("task", REAL, ids=by_name)
def test_file_templates_name_our_columns_and_labels(task: Task) -> None:
    for layout in layouts(task):
        assert set(layout.labels.values()) <= {*task.tags, *task.unscored_labels}
        assert not layout.columns or set(task.kind.columns) <= set(layout.columns)
        is_retrieval = task.kind is TaskKind.RETRIEVAL
        assert ("side" in placeholders(layout.path)) is is_retrieval
        assert len(layout.sides) in ({0, 2} if is_retrieval else {0})
        assert is_retrieval or not layout.pairs


@pytest.mark.parametrize("task", [t for t in REAL if t.hub], ids=by_name)
def test_hub_sources_name_our_columns_splits_and_labels(task: Task) -> None:
    assert task.hub is not None
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", task.hub.repository)
    assert task.hub.revision == "" or re.fullmatch(r"[0-9a-f]{40}", task.hub.revision)
    # A row on the hub is a pair of sentences.
    pair = ("text_a", "text_b")
    columns = pair if task.kind is TaskKind.RETRIEVAL else task.kind.columns
    assert set(task.hub.columns) <= set(columns)
    assert set(task.hub.splits) <= {"train", "validation", "test"}
    assert set(task.hub.labels.values()) <= {*task.labels, *task.unscored_labels}
    assert bool(task.hub.filter_column) is bool(task.hub.filter_value)


@pytest.mark.parametrize("task", [t for t in REAL if t.hub], ids=by_name)
def test_on_the_hub_no_two_splits_are_one_but_those_of_a_halved_task(task: Task) -> None:
    assert task.hub is not None
    splits = {x: task.hub.splits.get(x, x) for x in ("train", "validation", "test")}
    assert splits["train"] not in {splits["validation"], splits["test"]}
    assert (splits["validation"] == splits["test"]) is task.halved


def test_qa_without_an_answer_is_marked() -> None:
    unanswerable = {task.name for task in REAL if task.unanswerable}
    assert unanswerable == {"squad_v2", "cuad_qa"}


@pytest.mark.parametrize("task", XTREME, ids=by_name)
def test_xtreme_tasks_have_the_languages_of_xtreme_on_the_hub(task: Task) -> None:
    assert on_hub(task) == set(XTREME_TASKS[task.name])
    assert task.hub is not None
    assert task.hub.repository == "google/xtreme"


def test_xtreme_r_languages_are_there_where_a_source_has_them() -> None:
    more = set(LANGUAGE_SETS["xtreme-r"]) - set(LANGUAGE_SETS["xtreme"])
    assert more & set(CATALOGUE["panx"].languages) == more - {"hat", "wol"}
    assert more & set(CATALOGUE["udpos"].languages) == {"wol"}
    assert more & set(CATALOGUE["tatoeba"].languages) == {"aze", "lit", "pol", "ron", "ukr"}


def test_codes_of_a_language_are_the_same_in_every_task() -> None:
    seen: dict[str, str] = {}
    for task in XTREME:
        for language, code in task.codes.get("iso2", {}).items():
            assert seen.setdefault(language, code) == code


@pytest.mark.parametrize(
    ("name", "metric", "source", "halved"),
    [
        ("xnli", "accuracy", "mnli", False),
        ("pawsx", "accuracy", "pawsx", False),
        ("udpos", "span_f1", "udpos", False),
        ("panx", "span_f1", "panx", False),
        ("xquad", "em_f1", "squad", True),
        ("mlqa", "em_f1", "squad", False),
        ("tydiqa", "em_f1", "tydiqa", True),
        ("bucc2018", "bucc_f1", "bucc2018", False),
        ("tatoeba", "accuracy", "tatoeba", True),
    ],
)
def test_xtreme_tasks_are_scored_and_trained_as_in_xtreme(
    name: str, metric: str, source: str, halved: bool
) -> None:
    task = CATALOGUE[name]
    assert task.metric == metric
    assert CATALOGUE.training_task(task).name == source
    assert task.halved is halved
    assert task.role is not Role.INTERMEDIATE


def test_only_mlqa_has_its_own_way_to_compare_answers() -> None:
    of_xtreme = {task.name: task.answers for task in XTREME if task.answers}
    assert of_xtreme == {"xquad": "squad", "mlqa": "mlqa", "tydiqa": "squad"}


@pytest.mark.parametrize(
    ("name", "language", "split", "files"),
    [
        ("xnli", "swa", "dev", ["xnli/dev-sw.tsv"]),
        ("mnli", "eng", "train", ["xnli/train-en.tsv"]),
        ("pawsx", "deu", "test", ["pawsx/test-de.tsv"]),
        ("udpos", "yor", "test", ["udpos/test-yo.tsv"]),
        ("panx", "que", "dev", ["panx/dev-qu.tsv"]),
        ("squad", "eng", "train", ["squad/train-v1.1.json"]),
        ("xquad", "tha", "test", ["xquad/xquad.th.json"]),
        ("mlqa", "vie", "dev", ["mlqa/MLQA_V1/dev/dev-context-vi-question-vi.json"]),
        ("tydiqa", "eng", "train", ["tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.en.train.json"]),
        ("tydiqa", "swa", "dev", ["tydiqa/tydiqa-goldp-v1.1-dev/tydiqa.goldp.sw.dev.json"]),
        ("bucc2018", "zho", "dev", ["bucc2018/zh-en.dev.zh", "bucc2018/zh-en.dev.en"]),
        ("tatoeba", "swa", "test", ["tatoeba/sw-en.sw", "tatoeba/sw-en.en"]),
    ],
)
def test_files_lie_where_the_script_of_xtreme_puts_them(
    name: str, language: str, split: str, files: list[str]
) -> None:
    assert set(files) <= set(paths(CATALOGUE[name], language, split))


@pytest.mark.parametrize(
    ("name", "language", "split", "files"),
    [
        ("xnli", "swa", "dev", ["nli/xnli/swa/dev.tsv"]),
        ("americasnli", "quy", "test", ["nli/americasnli/quy/test.tsv"]),
        ("pawsx", "eng", "train", ["pair_class/pawsx/eng/train.tsv"]),
        ("panx", "swa", "dev", ["ner/panx/swa/dev.conll"]),
        ("udpos", "yor", "test", ["pos/ud_ytb/yor/test.conll"]),
        ("tydiqa", "swa", "test", ["qa/tydiqa_goldp/swa/test.json"]),
        (
            "tatoeba",
            "tuk",
            "test",
            ["retrieval/tatoeba/tuk/test.tuk", "retrieval/tatoeba/tuk/test.eng"],
        ),
        ("mlm_news", "eng", "train", ["eng/ag_news.txt"]),
    ],
)
def test_files_lie_by_task_corpus_and_language(
    name: str, language: str, split: str, files: list[str]
) -> None:
    assert paths(CATALOGUE[name], language, split)[: len(files)] == files


def test_pairs_that_xtreme_hides_are_never_taken_line_by_line() -> None:
    # Its English side is sorted, so that line n does not translate line n.
    tatoeba = CATALOGUE["tatoeba"]
    pairs = {layout.path: layout.pairs for layout in layouts(tatoeba)}
    assert pairs["tatoeba/{iso2}-en.{side}"]
    assert not pairs["retrieval/tatoeba/{language}/{split}.{side}"]
    bucc = layouts(CATALOGUE["bucc2018"])[0]
    assert CATALOGUE["bucc2018"].fill(bucc.pairs, "rus", "dev") == "bucc2018/ru-en.dev.gold"


def test_a_template_fills_in_the_corpus_own_code() -> None:
    tydiqa, tatoeba = CATALOGUE["tydiqa"], CATALOGUE["tatoeba"]
    assert CATALOGUE["panx"].fill("PAN-X.{xtreme}", "swa") == "PAN-X.sw"
    assert tydiqa.hub is not None
    assert tydiqa.fill(tydiqa.hub.filter_value, "swa") == "swahili-*"
    assert tatoeba.hub is not None
    assert tatoeba.fill(tatoeba.hub.config, "swa") == "tatoeba.swh"


def test_a_template_does_not_apply_where_the_code_is_missing() -> None:
    assert CATALOGUE["panx"].fill("PAN-X.{xtreme}", "que") is None
    assert CATALOGUE["udpos"].fill("udpos.{english}", "wol") is None
    assert CATALOGUE["udpos"].fill("{unheard_of}", "eng") is None


def test_dates_are_no_entities_where_no_training_data_has_them() -> None:
    for name in ("masakhaner1", "masakhaner2"):
        task = CATALOGUE[name]
        assert task.labels == CATALOGUE["panx"].labels
        assert layouts(task)[0].labels == {"B-DATE": "O", "I-DATE": "O"}


def test_domains_can_be_compared_in_every_kind_but_two() -> None:
    grid = CATALOGUE.grid()
    kinds = {kind for kind in TaskKind if kind.is_trained}
    assert set(grid) == {(kind, domain) for kind in kinds for domain in Domain}
    assert {cell for cell, names in grid.items() if not names} == {
        (TaskKind.SENTIMENT, Domain.LEGAL),
        (TaskKind.SIMILARITY, Domain.LEGAL),
    }


def test_the_grid_has_each_real_intermediate_task_once_in_its_own_cell() -> None:
    named = [name for names in CATALOGUE.grid().values() for name in names]
    assert sorted(named) == sorted(t.name for t in REAL if t.role is not Role.TARGET)
    assert all(
        (CATALOGUE[name].kind, CATALOGUE[name].domain) == cell
        for cell, names in CATALOGUE.grid().items()
        for name in names
    )


def test_sizes_are_those_that_were_published() -> None:
    sizes = {name: CATALOGUE[name].train_examples for name in ("mnli", "squad", "imdb", "xquad")}
    assert sizes == {"mnli": 392_702, "squad": 87_599, "imdb": 25_000, "xquad": 0}


@pytest.mark.parametrize("task", [t for t in REAL if t.kind is TaskKind.MLM], ids=by_name)
def test_raw_text_says_how_much_there_is(task: Task) -> None:
    assert task.train_examples > 1_000


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
        ({"files": [{"path": 3}]}, "field 'files.0.path': Input should be a valid string"),
        ({"files": [{"columns": []}]}, "field 'files.0.path' is missing"),
        (
            {"files": [{"path": "a", "colums": ["text"]}]},
            "unknown field 'files.0.colums'. Did you mean 'columns'?",
        ),
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
        ({"train_examples": -1}, "field 'train_examples': Input should be greater than or equal"),
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
    path = tmp_path / "ner.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(
        SpecError, match=re.escape(f"{path}: expected TOML in UTF-8, found: {text}")
    ):
        load_catalogue(tmp_path)


def test_a_catalogue_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    text = f"{tmp_path}: expected a folder with .toml files of tasks, found none"
    with pytest.raises(SpecError, match=re.escape(text)):
        load_catalogue(tmp_path)


def test_a_name_in_two_files_is_an_error(tmp_path: Path) -> None:
    record = """[treaties]
        kind = "mlm"
        domain = "legal"
        role = "intermediate"
        title = "Treaties"
        languages = ["eng"]
        licence = "MIT"
        urls = { data = "https://example.org", licence = "https://example.org/licence" }
        files = ["{language}/treaties.txt"]
    """
    for name in ("mlm.toml", "text.toml"):
        (tmp_path / name).write_text(record, encoding="utf-8")
    with pytest.raises(SpecError, match=r"text\.toml: task 'treaties' is in another file already"):
        load_catalogue(tmp_path)


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
