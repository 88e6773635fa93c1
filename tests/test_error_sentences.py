"""The sentences that users read when something is wrong, in one table.

Other tests check the fields of an error, so that a sentence can be improved at one place, here.
A row is what the user did wrong, as a callable that raises, and the line that answers it.
"""

from __future__ import annotations

import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from objectives.models.backbone_files import find_backbone
from search import dashboard, evaluate, predict
from search.checks.chaos_plan import ChaosPlan
from search.command_line.run_options import read_run_options
from search.reporting.dashboard_access import read_credentials
from search.studies.stored_study import open_stored_study
from spaces.catalogue import load_catalogue
from spaces.errors import (
    BackboneError,
    CacheError,
    DataError,
    SpecError,
    StorageError,
    TransferSearchError,
    UnknownNameError,
    unknown_name,
)
from spaces.studies import load_study
from spaces.study_checks import check_study
from storage.opening import open_storage
from storage.schema import VERSION
from tests.studies import write_study

ROOT = Path(__file__).parents[1]
CATALOGUE = load_catalogue()
Row = tuple[Callable[[], object], str]
OWN_TASK: dict[str, object] = {
    "kind": "ner",
    "domain": "legal",
    "role": "intermediate",
    "title": "Names in statutes",
    "languages": ["eng", "swa"],
    "labels": ["LAW", "COURT"],
    "metric": "span_f1",
    "licence": "CC BY 4.0",
    "urls": {"data": "https://example.org", "licence": "https://example.org"},
    "files": ["statutes/{language}/{split}.conll"],
}


def _raise(error: Exception) -> None:
    raise error


def _rule(*fields: str) -> Callable[[], object]:
    return partial(_raise, TransferSearchError(*fields))


def _study(*overrides: str) -> Callable[[], object]:
    """Opens a study with `--set` options."""

    def open_study() -> None:
        spec = load_study("xtreme_legal", overrides)
        check_study(spec, CATALOGUE.extended(spec.tasks, f"study {spec.name!r}"))

    return open_study


def _task(**changes: object) -> Callable[[], object]:
    """Reads a study's own task, with changes."""
    return partial(CATALOGUE.extended, {"statutes": OWN_TASK | changes}, "study 'mine'")


RULE: list[Row] = [
    (_rule("the study was stopped"), "the study was stopped"),
    (_rule("file.tsv", "", "cannot be read"), "file.tsv: cannot be read"),
    (_rule("--to", "a new folder"), "--to: expected a new folder"),
    (_rule("--to", "a new folder", "a file"), "--to: expected a new folder, found a file"),
    (
        _rule("--to", "a new folder", "a file", "name another"),
        "--to: expected a new folder, found a file; name another",
    ),
    (_rule("no disk space", "", "", "free some"), "no disk space; free some"),
    (
        partial(_raise, unknown_name("Task", "mnl", ["mnli", "qqp"], "in the catalogue")),
        "Task 'mnl' is not in the catalogue. Did you mean 'mnli'?",
    ),
    (
        partial(find_backbone, "xlmr"),
        "Backbone 'xlmr' is not a folder, a known name or OWNER/NAME of the Hugging Face hub. "
        "Did you mean 'xlm-r'?",
    ),
    (
        partial(_raise, unknown_name("Arm", "x", ["none", "legal"], "in the study")),
        "Arm 'x' is not in the study. Known: legal, none.",
    ),
    (
        partial(_raise, unknown_name("Trial", "x", [], "in the study")),
        "Trial 'x' is not in the study. Known: none.",
    ),
]

SPACES: list[Row] = [
    (
        partial(load_study, "xtreme_leagl"),
        "Study 'xtreme_leagl' is not among the 6 shipped studies, and is no path to a .toml file. "
        "Did you mean 'xtreme_legal'?",
    ),
    (
        partial(load_study, "lost.toml"),
        "lost.toml: expected a readable file, found No such file or directory",
    ),
    (_study("trials"), "--set: expected KEY=VALUE, found 'trials'"),
    (
        _study("trials.first=3"),
        "--set trials.first: expected a table before each dot, found 'trials', a value",
    ),
    (
        _study("target.epoch=3"),
        "study 'xtreme_legal.toml', field 'target.epoch': unknown; did you mean 'epochs'?",
    ),
    (
        _study("trials=few"),
        "study 'xtreme_legal.toml', field 'trials': expected a whole number, found 'few'",
    ),
    (
        _study("target.learning_rate={low=1e-5, high=1e-4}"),
        "study 'xtreme_legal.toml', field 'target.learning_rate.points': missing; add it",
    ),
    (
        _study('arms=["none", "leagl"]'),
        "study 'xtreme_legal.toml', field 'arms': expected some of none, general, biomedical, "
        "legal, mixed, found 'leagl'; did you mean 'legal'?",
    ),
    (
        _study("about=medical"),
        "study 'xtreme_legal.toml', field 'about': expected one of general, biomedical, "
        "legal, found 'medical'",
    ),
    (
        _study("baseline_seeds=0"),
        "study 'xtreme_legal.toml', field 'baseline_seeds': expected greater than or equal to 1, "
        "found 0",
    ),
    (
        _study('intermediate.tasks=["e_nre"]'),
        f"Task 'e_nre' is not in the catalogue of {len(CATALOGUE.tasks)} tasks. Did you mean "
        "'e_ner'?",
    ),
    (
        _study('target.tasks=["wnut17"]'),
        "study 'xtreme_legal', field 'target.tasks': expected tasks of role target or both, found "
        "'wnut17' of role intermediate",
    ),
    (
        _study('target.languages=["swe", "swa"]'),
        "study 'xtreme_legal': language 'swe' is not in any target task. Did you mean 'swa'?",
    ),
    (
        _study("selection=source-validation"),
        "study 'xtreme_legal', target task 'tatoeba': expected a score in eng to select on, found "
        "none for kind retrieval; set selection = 'target-validation'",
    ),
    (
        _task(lables=["LAW"]),
        "task 'statutes' (study 'mine'), field 'lables': unknown; did you mean 'labels'?",
    ),
    (
        _task(metric="em_f1"),
        "task 'statutes' (study 'mine'), field 'metric': expected span_f1 for kind ner, found "
        "em_f1",
    ),
    (
        _task(files=["/srv/{language}/{split}.conll"]),
        "task 'statutes' (study 'mine'), field 'files.0': expected a path below the data folder, "
        "found '/srv/eng/train.conll'; name the folder with --data",
    ),
    (
        _task(files=["statutes/{split}.conll"]),
        "task 'statutes' (study 'mine'), field 'files.0': expected a file of its own for each "
        "language, found the same for eng and swa; put {language} or a name of codes into it",
    ),
    (
        _task(files=["statutes/{lang}/{split}.conll"]),
        "task 'statutes' (study 'mine'), field 'files.0': expected no placeholders but "
        "{language}, {split}, found {lang} in 'statutes/{lang}/{split}.conll'",
    ),
    (
        _task(urls={"data": "here", "licence": "https://example.org"}),
        "task 'statutes' (study 'mine'), field 'urls.data': expected a URL as in "
        "https://example.org/page, found 'here'",
    ),
    (
        _task(source_task="pnax"),
        "task 'statutes' (study 'mine'), field 'source_task': expected a task of the catalogue, "
        "found 'pnax'; did you mean 'panx'?",
    ),
]


URL = "expected sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
STORAGE: list[Row] = [
    (partial(open_storage, "study.db"), f"storage: {URL}, found no such URL"),
    (
        partial(open_storage, ""),
        "storage: expected a URL, found nothing; set TRANSFER_SEARCH_STORAGE, or name one with "
        "--storage",
    ),
    (
        partial(open_storage, "mysql+pymysql://me:pa55@host/studies"),
        f"storage: {URL}, found a URL of 'mysql'; use PostgreSQL instead",
    ),
    (
        partial(open_storage, "postgresql+pg8000://me:pa55@host/studies"),
        "storage postgresql+pg8000://me:***@host/studies: expected the driver 'pg8000' to be "
        "installed; for PostgreSQL use postgresql+psycopg://",
    ),
    (
        partial(open_storage, "sqlite:////no/such/study.db"),
        "storage sqlite:////no/such/study.db: expected the folder /no/such to exist",
    ),
    (
        partial(open_storage, "sqlite:////lost.db", create=False),
        "storage sqlite:////lost.db: expected a database, found no file /lost.db",
    ),
    (
        partial(open_storage, "journal:/lost", create=False),
        "storage journal:/lost: expected a database, found no folder /lost",
    ),
]


def _command(main: Callable[[list[str]], int], *words: str) -> Callable[[], object]:
    """Runs a command that ends with exit code 2, as far as its error."""

    def run() -> None:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        assert ended.value.code == 2
        assert ended.value.__cause__ is not None
        raise ended.value.__cause__

    return run


TO_PREDICT = ("--task", "pocket_ner", "--to", "new", "--data", "pocket")
SEARCH: list[Row] = [
    (
        partial(read_run_options, ["--study", "s", "--end"]),
        "--end: expected --launcher ray with it, found none",
    ),
    (
        _command(dashboard.main, "--study", "s", "--host", "0.0.0.0"),
        "--host: 0.0.0.0 is reached from other machines, and optuna-dashboard asks nobody for a "
        "password; add --auth USER:FILE",
    ),
    (
        _command(predict.main, "--study", "s", *TO_PREDICT),
        "--trial: expected the number of a trial with --study, found none",
    ),
    (
        _command(predict.main, "--checkpoint", "lost", "--trial", "3", *TO_PREDICT),
        "--trial: expected no such option with --checkpoint; drop it",
    ),
    (
        _command(predict.main, "--checkpoint", "/lost", *TO_PREDICT),
        "checkpoint '/lost': expected a folder, found none there",
    ),
    (
        _command(evaluate.main, "--predictions", "/lost", "--data", "pocket"),
        "--predictions: expected a file or a folder, found nothing at /lost",
    ),
    (partial(read_credentials, "ann"), "--auth: expected USER:FILE, found 'ann'"),
    (partial(ChaosPlan, faults=-1), "--faults: expected a number from 0, found -1"),
]


def test_a_database_of_another_version_and_a_study_that_is_not_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, [])
    with pytest.raises(UnknownNameError) as caught:
        open_stored_study(url, "synthetik")
    assert str(caught.value) == (f"Study 'synthetik' is not in {url}. Did you mean 'synthetic'?")
    with pytest.raises(StorageError) as of_baseline:
        open_stored_study(url, "synthetic.baseline")
    assert str(of_baseline.value) == (
        "--study synthetic.baseline: expected the name of a study, found that of the direct "
        "trainings of 'synthetic'; name synthetic, whose pages and tables have them"
    )
    with closing(sqlite3.connect(tmp_path / "study.db")) as database:
        database.execute("UPDATE transfer_schema SET version = 99")
        database.commit()
    with pytest.raises(StorageError) as refused:
        open_storage(url)
    assert str(refused.value) == (
        f"storage {url}: expected tables of transfer-search in version {VERSION}, found version "
        "99, of a newer transfer-search; use another database, or the transfer-search that made "
        "this one"
    )


@pytest.mark.parametrize(("do", "sentence"), [*RULE, *SPACES, *STORAGE, *SEARCH])
def test_a_mistake_is_answered_with_one_sentence(do: Callable[[], object], sentence: str) -> None:
    with pytest.raises(TransferSearchError) as caught:
        do()
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "kind",
    [
        *(TransferSearchError, SpecError, UnknownNameError, DataError, BackboneError),
        *(StorageError, CacheError),
    ],
)
def test_an_error_of_another_process_keeps_its_fields(kind: type[TransferSearchError]) -> None:
    """Ray and multiprocessing hand errors over as pickles."""
    fields = ("Task", "in the catalogue", "mnl", "did you mean 'mnli'?")
    error = kind(*fields)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.subject, again.expected, again.found, again.advice) == fields
    assert str(again) == str(error)


def test_a_wrong_task_of_ones_own_ends_a_run_in_one_line_before_torch_is_loaded(
    tmp_path: Path,
) -> None:
    study = tmp_path / "my.toml"
    study.write_text("""
question = "Do statutes help?"
arms = ["none", "legal"]
backbone = "xlm-r"
intermediate.tasks = ["statutes"]
target.tasks = ["panx"]
target.languages = ["swa"]

[tasks.statutes]
kind = "ner"
domain = "legal"
role = "intermediate"
title = "Names in statutes"
languages = ["eng"]
labels = ["LAW", "COURT"]
metric = "em_f1"
licence = "CC BY 4.0"
urls.data = "https://example.org"
urls.licence = "https://example.org"
files = ["statutes/{split}.conll"]
""")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "search.run", "--study", str(study)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    imports = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert said == [
        "error: task 'statutes' (study 'my'), field 'metric': expected span_f1 for kind ner, "
        "found em_f1"
    ]
    assert (done.returncode, done.stdout) == (2, "")
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in imports}
    assert "spaces" in loaded
    assert not loaded & {"torch", "transformers", "datasets"}
