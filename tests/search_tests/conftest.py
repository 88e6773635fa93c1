"""A study that trains in seconds: pocket corpora, an untrained two-layer encoder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
import torch
from optuna.trial import FrozenTrial
from transformers import BertModel

from objectives.pocket.encoder import pocket_config, pocket_tokenizer
from search.findings.landscape import Landscape
from search.run import main
from storage.opening import open_storage
from storage.patient_storage import SharedStorage
from tests.processes import started
from tests.studies import PLANS, landscape_of, write_study

ROOT = Path(__file__).parents[2]

STUDY = """
question = "Does anything help?"
arms = ["none", "general", "legal"]
backbone = "pocket"
source_language = "qas"
baseline_seeds = 1
trials = 5

[intermediate]
tasks = ["pocket_ner_calendar", "pocket_ner_parties"]
epochs = [1, 2]
learning_rate = [3e-4, 1e-3]
examples = 64
batch_size = 16
max_length = 64

[target]
tasks = ["pocket_ner"]
languages = ["qaa", "qab"]
epochs = 1
learning_rate = 1e-3
examples = 48
batch_size = 16
max_length = 64
"""


@pytest.fixture(scope="session")
def encoder(built_once: Callable[..., Path]) -> Path:
    """The folder of an untrained encoder for pocket text."""

    def build(folder: Path) -> None:
        torch.manual_seed(0)
        BertModel(pocket_config()).save_pretrained(folder)
        pocket_tokenizer().save_pretrained(folder)

    return built_once("encoder", build)


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Workplace:
    """A folder with a study file in it, where a user runs commands."""

    folder: Path
    encoder: Path
    capsys: pytest.CaptureFixture[str]
    processes: ExitStack

    def search(self, *options: str) -> Ended:
        """Run the study to its end within this process, which spares loading torch again."""
        return self.call(main, *self.command(*options)[3:])

    def call(self, command: Callable[[list[str]], int], *words: str) -> Ended:
        """Run any command to its end in the folder, within this process."""
        self.capsys.readouterr()
        with chdir(self.folder):
            try:
                code = command(list(words))
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Ended(code, *self.capsys.readouterr())

    def command(self, *options: str) -> list[str]:
        """The words of a run of the study."""
        return [
            *(sys.executable, "-m", "search.run", "--study", "tiny.toml", "--data", "pocket"),
            *("--backbone", str(self.encoder), "--threads", "1", *options),
        ]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run any command to its end in the folder."""
        return subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command in the folder; it is killed when the test ends."""
        process = started(
            words,
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return self.processes.enter_context(process)

    def environment(self, **changes: str) -> dict[str, str]:
        """As the tests have it, with the project's packages on the path."""
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **changes}

    @property
    def storage(self) -> str:
        """URL of the default storage as seen from here."""
        return f"sqlite:///{self.folder / 'transfer-search.sqlite'}"


@pytest.fixture
def workplace(
    tmp_path: Path, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Workplace]:
    """A fresh folder with `tiny.toml`."""
    (tmp_path / "tiny.toml").write_text(STUDY, encoding="utf-8")
    with ExitStack() as processes:
        yield Workplace(tmp_path, encoder, capsys, processes)


@pytest.fixture
def trials_of() -> Iterator[Callable[[str], list[FrozenTrial]]]:
    """The trials of a study now, none before it is there; may be asked again and again."""
    storages: dict[str, SharedStorage] = {}

    def ask(url: str) -> list[FrozenTrial]:
        if url not in storages:
            storages[url] = open_storage(url)
        names = {study.study_name: study._study_id for study in storages[url].get_all_studies()}
        return storages[url].get_all_trials(names["tiny"]) if "tiny" in names else []

    yield ask
    for storage in storages.values():
        storage.close()


@pytest.fixture
def postgresql_url(postgresql: sa.URL) -> str:
    """The URL, with a password, of an empty database that many processes may share."""
    return postgresql.set(password="s3cret").render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def finished_study(encoder: Path, built_once: Callable[..., Path]) -> Path:
    """A folder in which the study has its direct training and four trials, some of each arm."""

    def build(folder: Path) -> None:
        (folder / "tiny.toml").write_text(STUDY, encoding="utf-8")
        with chdir(folder):
            words = ["--study", "tiny.toml", "--data", "pocket", "--backbone", str(encoder)]
            assert main([*words, "--threads", "1", "--trials", "4", "--quiet"]) == 0

    return built_once("finished", build)


@pytest.fixture
def searched(workplace: Workplace, finished_study: Path) -> Workplace:
    """A copy of the finished study, to do anything to."""
    shutil.copytree(finished_study, workplace.folder, dirs_exist_ok=True)
    return workplace


@pytest.fixture(scope="session")
def landscape(tmp_path_factory: pytest.TempPathFactory) -> Landscape:
    """Of the study worked out by hand."""
    url = f"sqlite:///{tmp_path_factory.mktemp('landscape') / 'study.db'}"
    write_study(url, PLANS)
    return landscape_of(url)
