"""Every shipped record, and how a wrong one is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from spaces.catalogue import Catalogue, load_catalogue, read_tasks
from spaces.errors import SpecError, UnknownNameError
from spaces.languages import LANGUAGE_SETS, XTREME_TASKS
from spaces.studies import load_study, study_files
from spaces.task import Domain, Role, Task, TaskKind
from tests.raising import raises

CATALOGUE = load_catalogue()
# The pocket corpora are generated: they have neither files, nor hub, nor real languages.
REAL = [task for task in CATALOGUE if not task.pocket]
# For studies whose source language is another one.
NOT_ENGLISH = {"lener_br"}
XTREME = [CATALOGUE[name] for name in XTREME_TASKS]

URLS = {"data": "https://example.org", "licence": "https://example.org/licence"}
_PATH = "ner/treaties/{language}/{split}.conll"
RECORD: dict[str, object] = {
    "kind": "ner",
    "domain": "legal",
    "role": "both",
    "title": "Entities in treaties",
    "languages": ["eng", "swa"],
    "labels": ["PER", "ORG", "LOC"],
    "metric": "span_f1",
    "licence": "MIT",
    "urls": URLS,
    "files": [_PATH],
}
# What makes it a record of another kind.
TOPICS = {"kind": "classification", "labels": ["law", "war"], "metric": "accuracy"}
QUESTIONS = {"kind": "qa", "labels": None, "metric": "em_f1", "answers": "squad"}
SENTENCES = {"kind": "retrieval", "labels": None, "metric": "accuracy"}
TEXT = {"kind": "mlm", "labels": None}


def parse(**changes: object) -> Task:
    record = {key: value for key, value in (RECORD | changes).items() if value is not None}
    return read_tasks({"treaties": record}, "my.toml")["treaties"]


def paths(task: Task, language: str, split: str) -> list[str]:
    """The files of a split in all layouts that have the language."""
    names = [task.file_names(layout, language, split) for layout in task.layouts]
    return list(dict.fromkeys(name for of_layout in names for name in of_layout))


def test_every_shipped_record_keeps_the_rules_of_the_loader() -> None:
    assert len(CATALOGUE.tasks) == len(list(CATALOGUE)) > 80


def test_english_trains_every_real_task_but_those_for_another_source_language() -> None:
    for task in REAL:
        if task.kind.is_trained and task.name not in NOT_ENGLISH:
            assert "eng" in CATALOGUE.training_task(task).languages, task.name
            assert task.role is Role.TARGET or "eng" in task.languages, task.name
        if task.role is not Role.INTERMEDIATE:
            assert set(task.languages) - {"eng"}, task.name
    assert {x.name for x in REAL if x.unanswerable} == {"squad_v2", "cuad_qa"}


def test_xtreme_tasks_have_the_languages_of_xtreme_on_the_hub_by_one_code_each() -> None:
    seen: dict[str, str] = {}
    for task in XTREME:
        assert task.hub is not None
        assert task.hub.repository == "google/xtreme"
        templates = task.hub.templates
        on_hub = {x for x in task.languages if None not in [task.fill(y, x) for y in templates]}
        assert on_hub == set(XTREME_TASKS[task.name])
        for language, code in task.codes.get("iso2", {}).items():
            assert seen.setdefault(language, code) == code


def test_xtreme_r_languages_are_there_where_a_source_has_them() -> None:
    more = set(LANGUAGE_SETS["xtreme-r"]) - set(LANGUAGE_SETS["xtreme"])
    assert more & set(CATALOGUE["panx"].languages) == more - {"hat", "wol"}
    assert more & set(CATALOGUE["udpos"].languages) == {"wol"}
    assert more & set(CATALOGUE["tatoeba"].languages) == {"aze", "lit", "pol", "ron", "ukr"}


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
    answers = {"xquad": "squad", "mlqa": "mlqa", "tydiqa": "squad"}
    assert task.answers == answers.get(name), "only MLQA has its own way to compare them"


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
            *("tatoeba", "tuk", "test"),
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
    pairs = {layout.path: layout.pairs for layout in tatoeba.layouts}
    assert pairs["tatoeba/{iso2}-en.{side}"]
    assert not pairs["retrieval/tatoeba/{language}/{split}.{side}"]
    bucc = CATALOGUE["bucc2018"].layouts[0]
    assert CATALOGUE["bucc2018"].fill(bucc.pairs, "rus", "dev") == "bucc2018/ru-en.dev.gold"


def test_a_template_fills_in_the_corpus_own_code() -> None:
    tydiqa, tatoeba = CATALOGUE["tydiqa"], CATALOGUE["tatoeba"]
    assert CATALOGUE["panx"].fill("PAN-X.{xtreme}", "swa") == "PAN-X.sw"
    assert tydiqa.hub is not None
    assert tydiqa.fill(tydiqa.hub.filter_value, "swa") == "swahili-*"
    assert tatoeba.hub is not None
    assert tatoeba.fill(tatoeba.hub.config, "swa") == "tatoeba.swh"
    for name, template in (("panx", "PAN-X.{xtreme}"), ("tatoeba", "{unheard_of}")):
        assert CATALOGUE[name].fill(template, "que") is None, "no code, no file"


def test_dates_are_no_entities_where_no_training_data_has_them() -> None:
    for name in ("masakhaner1", "masakhaner2"):
        task = CATALOGUE[name]
        assert task.labels == CATALOGUE["panx"].labels
        assert task.layouts[0].labels == {"B-DATE": "O", "I-DATE": "O"}


def test_domains_can_be_compared_in_every_kind_but_two() -> None:
    grid = CATALOGUE.grid()
    kinds = {kind for kind in TaskKind if kind.is_trained}
    assert set(grid) == {(kind, domain) for kind in kinds for domain in Domain}
    assert {cell for cell, names in grid.items() if not names} == {
        (TaskKind.SENTIMENT, Domain.LEGAL),
        (TaskKind.SIMILARITY, Domain.LEGAL),
    }
    named = [CATALOGUE[name] for names in grid.values() for name in names]
    assert sorted(x.name for x in named) == sorted(
        task.name for task in REAL if task.role is not Role.TARGET
    )
    assert all(task.name in grid[task.kind, task.domain] for task in named)


def test_sizes_are_those_that_were_published() -> None:
    sizes = {name: CATALOGUE[name].train_examples for name in ("mnli", "squad", "imdb", "xquad")}
    assert sizes == {"mnli": 392_702, "squad": 87_599, "imdb": 25_000, "xquad": 0}
    raw = {task.name: task.train_examples for task in REAL if task.kind is TaskKind.MLM}
    assert min(raw.values()) > 1_000, raw


def test_tags_are_iob2_for_entities_and_the_labels_for_parts_of_speech() -> None:
    panx = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
    assert CATALOGUE["panx"].tags == panx
    assert CATALOGUE["ud_gum"].tags == CATALOGUE["ud_gum"].labels


def test_a_task_without_english_is_trained_by_its_source_task() -> None:
    assert CATALOGUE.training_task(CATALOGUE["afrisenti"]).name == "nusax"
    assert CATALOGUE.training_task(CATALOGUE["masakhapos"]).name == "udpos"
    assert CATALOGUE.training_task(CATALOGUE["panx"]).name == "panx"


def test_a_misspelt_task_is_answered_with_the_nearest() -> None:
    size = f"in the catalogue of {len(CATALOGUE.tasks)} tasks"
    with raises(UnknownNameError, subject="Task", expected=size, found="pan-x", advice="'panx'"):
        CATALOGUE["pan-x"]


def _hub(**changes: object) -> dict[str, object]:
    """A record that lies on the Hub."""
    hub = {"repository": "me/treaties", "config": "{language}"}
    return {"files": None, "hub": hub | changes}


@pytest.mark.parametrize(
    ("changes", "field", "expected", "found"),
    [
        ({"lables": ["PER"]}, "lables", "", "unknown"),
        ({"name": "treaties"}, "name", "", "unknown"),
        ({"hub": {"repository": "a/b", "split": {}}}, "hub.split", "", "unknown"),
        ({"files": [{"path": "a", "colums": ["text"]}]}, "files.0.colums", "", "unknown"),
        ({"title": None}, "title", "", "missing"),
        ({"hub": {"config": "en"}}, "hub.repository", "", "missing"),
        ({"files": [{"columns": []}]}, "files.0.path", "", "missing"),
        ({"title": 3}, "title", "a string", "3"),
        ({"languages": "eng"}, "languages", "a list", "'eng'"),
        ({"hub": "me/treaties"}, "hub", "a table", "'me/treaties'"),
        ({"files": ["a", 3]}, "files.1", "a string", "3"),
        ({"files": [{"path": 3}]}, "files.0.path", "a string", "3"),
        ({"codes": {"iso2": {"eng": 1}}}, "codes.iso2.eng", "a string", "1"),
        ({"kind": "nre"}, "kind", "'ner', 'pos', 'classification', ", "'nre'"),
        ({"domain": "law"}, "domain", "'general', 'biomedical' or 'legal'", "'law'"),
        ({"languages": []}, "languages", "at least one ISO 639-3 code", "none"),
        ({"languages": ["en"]}, "languages", "ISO 639-3 codes", "'en'"),
        ({"languages": ["ENG"]}, "languages", "ISO 639-3 codes", "'ENG'"),
        ({"languages": ["eng", "eng"]}, "languages", "each once", "['eng', 'eng']"),
        ({"labels": []}, "labels", "at least one label for kind ner", "none"),
        ({"kind": "similarity"}, "labels", "no labels for kind similarity", "['PER', "),
        ({"labels": ["PER", "PER"]}, "labels", "each once", "['PER', 'PER']"),
        ({"unscored_labels": ["GPE"]}, "unscored_labels", "for kind ner", "['GPE']"),
        ({**TOPICS, "unscored_labels": ["law"]}, "unscored_labels", "each once", "'war', 'law'"),
        ({"answers": "squad"}, "answers", "none for kind ner", "squad"),
        ({**QUESTIONS, "answers": None}, "answers", "a normalisation for kind qa", "none"),
        ({"metric": None}, "metric", "span_f1 for kind ner", "none"),
        ({**TEXT, "metric": "accuracy"}, "metric", "none for kind mlm", "accuracy"),
        ({"files": None}, "", "at least one of hub, raw, files and pocket", "none"),
        ({"train_examples": -1}, "train_examples", "greater than or equal to 0", "-1"),
        ({"urls": {"data": "https://x.org"}}, "urls", "'data' and 'licence'", "no 'licence'"),
        # How it is scored.
        ({"metric": "em_f1"}, "metric", "span_f1 for kind ner", "em_f1"),
        ({"metric": "spearman"}, "metric", "span_f1 for kind ner", "spearman"),
        ({**QUESTIONS, "metric": "span_f1"}, "metric", "em_f1 for kind qa", "span_f1"),
        # Where its files lie.
        ({"files": ["/srv/{language}/{split}.conll"]}, "files.0", "below the data", "'/srv/eng"),
        ({"files": ["../{language}/{split}.conll"]}, "files.0", "below the data", "'../eng"),
        (
            {"files": [_PATH, "{iso2}/{split}.conll"], "codes": {"iso2": {"swa": "../sw"}}},
            *("files.1", "below the data", "'../sw/train.conll'"),
        ),
        ({"files": ["treaties/{split}.conll"]}, "files.0", "of its own", "same for eng and swa"),
        (
            {"files": ["{iso2}-{split}"], "codes": {"iso2": {"eng": "en", "swa": "en"}}},
            *("files.0", "a file of its own for each language", "the same for eng and swa"),
        ),
        (
            {"files": ["{lang}/{split}.conll"]},
            *("files.0", "no placeholders but {language}, {split}", "{lang} in '{lang}/{split}"),
        ),
        ({"files": ["{}/{split}.conll"]}, "files.0", "no placeholders but", "{} in '{}/"),
        ({"files": ["{language!r}/{split}"]}, "files.0", "no placeholders but", "{language} in"),
        ({"files": ["{language/{split}"]}, "files.0", "names in braces", "'{language/{split}'"),
        ({"files": ["{language}/{split}.{side}"]}, "files.0", "no placeholders but", "{side} in"),
        ({**SENTENCES, "files": ["{language}"]}, "files.0", "{side} in the path", "'{language}'"),
        ({"files": [{"path": _PATH, "sides": ["a", "b"]}]}, "files.0.sides", "none", "['a', "),
        ({"files": [{"path": _PATH, "pairs": "gold"}]}, "files.0.pairs", "none for kind", "gold"),
        (
            {"files": [{"path": _PATH, "columns": ["tokens", "pos"]}]},
            *("files.0.columns", "the columns tokens, tags", "no 'tags'"),
        ),
        (
            {"files": [{"path": _PATH, "labels": {"B-PERS": "B-PRE"}}]},
            *("files.0.labels", "labels of the task", "'B-PRE'"),
        ),
        ({"files": ["{language}.conll"]}, "files", "{split} in a path", "['{language}.conll']"),
        # Its languages.
        (
            {"files": ["{iso2}/{split}"], "codes": {"iso2": {"eng": "en", "deu": "de"}}},
            *("codes.iso2", "codes of the task's languages (eng, swa)", "'deu'"),
        ),
        (
            {"files": ["{iso2}/{split}"], "codes": {"iso2": {"eng": "en"}}},
            *("languages", "files or a Hub configuration for each", "none for 'swa'"),
        ),
        ({"codes": {"iso2": {"eng": "en"}}}, "codes.iso2", "{iso2} in a template", "none"),
        ({"codes": {"split": {"eng": "en"}}}, "codes.split", "a name of its own", "{split}"),
        # The Hub.
        (
            _hub(splits={"validation": "test"}),
            *("hub.splits", "different splits for validation and test", "'test' for both"),
        ),
        (
            _hub(splits={"validation": "train"}),
            *("hub.splits", "different splits for train and validation", "'train' for both"),
        ),
        (
            {**_hub(splits={"validation": "dev", "test": "test"}), "halved": True},
            *("hub.splits", "one split for validation and test", "'dev' and 'test'"),
        ),
        (_hub(splits={"dev": "validation"}), "hub.splits", "train, validation, test", "'dev'"),
        (_hub(columns={"words": "tokens"}), "hub.columns", "some of tokens, tags", "'words'"),
        (_hub(labels={"B-PERS": "B-PRE"}), "hub.labels", "labels of the task", "'B-PRE'"),
        (_hub(filter_column="lang"), "hub.filter_value", "beside filter_column", "none"),
        (_hub(filter_value="{language}"), "hub.filter_column", "beside filter_value", "none"),
        (_hub(config="{split}"), "hub", "no placeholders but {language}", "{split} in '{split}'"),
        (_hub(config="all"), "hub", "configuration or filter of its own", "for eng and swa"),
        (_hub(repository="treaties"), "hub.repository", "OWNER/NAME", "'treaties'"),
        (_hub(revision="main"), "hub.revision", "a full commit hash, a release, ", "'main'"),
        # What is said of it.
        ({"urls": {**URLS, "data": "none"}}, "urls.data", "a URL as in https://", "'none'"),
        ({"urls": {**URLS, "paper": "ACL 2020"}}, "urls.paper", "a URL as in", "'ACL 2020'"),
        ({"licence": " "}, "licence", "text without spaces around it", "' '"),
        ({"labels": ["PER", "ORG "]}, "labels", "text without spaces around it", "'ORG '"),
    ],
)
def test_a_wrong_record_names_itself_the_field_and_what_was_found(
    changes: dict[str, object], field: str, expected: str, found: str
) -> None:
    """So is a study's own task, of which a wrong one would lead to wrong results."""
    record = {key: value for key, value in (RECORD | changes).items() if value is not None}
    for read, where in ((read_tasks, "my.toml"), (CATALOGUE.extended, "study 'mine'")):
        with raises(SpecError, expected=expected, found=found) as caught:
            read({"treaties": record}, where)
        places = [f"task 'treaties' ({where})", *([f"field {field!r}"] if field else [])]
        assert caught.value.subject == ", ".join(places)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Treaties", "treaties-1", "1st", "../treaties", ""])
def test_a_name_must_be_fit_for_parameters_and_paths(name: str) -> None:
    with raises(SpecError, subject=f"task {name!r} (my.toml)", expected="a name", found=name):
        read_tasks({name: RECORD}, "my.toml")


@pytest.mark.parametrize(
    "changes",
    [
        {"languages": ["eng"], "files": ["treaties/{split}.conll"]},
        {"role": "intermediate", "files": ["{language}.conll"]},
        {"halved": True, "files": ["{language}.conll"]},
        {"files": ["{script}/{language}/{split}"], "codes": {"script": {"eng": "l", "swa": "l"}}},
        {**SENTENCES, "files": ["{split}.{side}"]},
        {**_hub(splits={"validation": "test", "test": "test"}), "halved": True},
        {**_hub(), "halved": True},
        _hub(config="", filter_column="lang", filter_value="{language}"),
        _hub(splits={"validation": "train[:10%]", "train": "train[10%:]"}),
    ],
)
def test_records_of_these_forms_are_right(changes: dict[str, object]) -> None:
    assert parse(**changes).name == "treaties"


def test_a_record_outside_any_table_is_an_error() -> None:
    with raises(SpecError, subject="my.toml", expected="tables of tasks", found="field 'title'"):
        read_tasks({"title": "Entities"}, "my.toml")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("[panx]\ntitle = 'a'\n[panx]\n", "Cannot declare ('panx',) twice (at line 3, column 6)"),
        ("[panx]\ntitle = 'a'\ntitle = 'b'\n", "Cannot overwrite a value"),
        ("[panx\n", "Expected ']' at the end of a table declaration"),
    ],
)
def test_a_name_used_twice_or_broken_toml_is_an_error(
    tmp_path: Path, content: str, found: str
) -> None:
    path = tmp_path / "ner.toml"
    path.write_text(content, encoding="utf-8")
    with raises(SpecError, subject=str(path), expected="TOML in UTF-8", found=found):
        load_catalogue(tmp_path)


def test_a_catalogue_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with raises(SpecError, subject=str(tmp_path), expected="folder with .toml", found="none"):
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
    with raises(SpecError, subject="task 'treaties' (text.toml)", found="a task of another file"):
        load_catalogue(tmp_path)


def extend(name: str, **changes: object) -> Catalogue:
    return CATALOGUE.extended({name: RECORD | changes}, "study 'treaties'")


def test_a_study_may_add_a_task() -> None:
    extended = extend("treaties")
    assert extended["treaties"].files == ("ner/treaties/{language}/{split}.conll",)
    assert extended["panx"] is CATALOGUE["panx"]
    assert "treaties" not in CATALOGUE.tasks, "the catalogue itself must stay as it was"
    trained = extend("treaties", languages=["swa"], role="target", source_task="panx")
    assert trained.training_task(trained["treaties"]) is CATALOGUE["panx"]


def test_a_study_may_not_rename_a_task_of_the_catalogue() -> None:
    subject, found = "task 'panx' (study 'treaties')", "a task of the catalogue"
    with raises(SpecError, subject=subject, found=found, advice="rename it"):
        extend("panx")


@pytest.mark.parametrize(
    ("source", "expected", "found", "advice"),
    [
        ("pnax", "a task of the catalogue", "'pnax'", "did you mean 'panx'?"),
        ("conll2003", "a task of kind ner with the same labels", "'conll2003'", ""),
        ("udpos", "a task of kind ner with the same labels", "'udpos'", ""),
        ("masakhaner2", "training split of its own", "'masakhaner2', which 'panx' trains", ""),
    ],
)
def test_a_task_that_does_not_fit_the_one_that_trains_it_is_an_error(
    source: str, expected: str, found: str, advice: str
) -> None:
    subject = "task 'treaties' (study 'treaties'), field 'source_task'"
    with raises(SpecError, subject=subject, expected=expected, found=found, advice=advice):
        extend("treaties", source_task=source)


def test_a_task_that_may_only_be_a_target_trains_no_other() -> None:
    file = "{language}/{split}.conll"
    treaties = {**RECORD, "role": "target", "files": [f"treaties/{file}"]}
    laws = {**RECORD, "source_task": "treaties", "files": [f"laws/{file}"]}
    subject, found = "task 'laws' (study 'mine'), field 'source_task'", "'treaties' of role target"
    with raises(SpecError, subject=subject, expected="role intermediate or both", found=found):
        CATALOGUE.extended({"treaties": treaties, "laws": laws}, "study 'mine'")


@pytest.mark.parametrize("name", sorted(study_files()))
def test_every_corpus_of_a_shipped_study_can_be_had(name: str) -> None:
    """From the Hub or from raw files, on a machine that has none of it."""
    spec = load_study(name)
    catalogue = load_catalogue().extended(spec.tasks, name) if spec.tasks else load_catalogue()
    for task, language, _ in spec.needed_splits(catalogue):
        record = catalogue[task]
        filled = [record.fill(x, language) for x in record.hub.templates] if record.hub else [None]
        raw = record.raw.of_language(language) if record.raw else ()
        assert record.pocket or None not in filled or raw, f"{task} {language}"


def test_raw_files_are_pinned_and_each_in_one_split() -> None:
    for task in load_catalogue():
        if task.raw:
            places = [(x.path, x.language) for x in task.raw.files]
            assert len(set(places)) == len(places), task.name


def _raw(file: dict[str, object] | None = None, **changes: object) -> dict[str, object]:
    files = [{"path": "a.txt", "blob": "0" * 40, **(file or {})}]
    raw = {"repository": "me/names", "commit": "c" * 40, "format": "tagged", "files": files}
    return {"raw": raw | changes}


@pytest.mark.parametrize(
    ("changes", "subject", "expected", "found"),
    [
        (_raw(repository="names"), "raw.repository", "OWNER/NAME", "'names'"),
        (_raw(commit="main"), "raw.commit", "a full commit hash", "'main'"),
        (_raw(format="pickle"), "raw.format", "tagged", "'pickle'"),
        (_raw(files=[]), "raw.files", "at least one file", "none"),
        (_raw(address="ftp://x"), "raw.address", "a URL", "'ftp://x'"),
        (_raw(file={"path": "../a"}), "raw.files.0.path", "a path in the repository", "'../a'"),
        (_raw(file={"blob": "1"}), "raw.files.0.blob", "40 hex digits", "'1'"),
        (_raw(file={"split": "dev"}), "raw.files.0.split", "train, validation, test", "'dev'"),
        (_raw(file={"language": "yor"}), "raw.files.0.language", "a language of", "'yor'"),
        (_raw(labels={"x": "CITY"}), "raw.labels", "labels of the task", "'CITY'"),
    ],
)
def test_a_wrong_record_of_raw_files_names_the_field(
    changes: dict[str, object], subject: str, expected: str, found: str
) -> None:
    with raises(SpecError, subject=subject, expected=expected, found=found):
        parse(**changes)
