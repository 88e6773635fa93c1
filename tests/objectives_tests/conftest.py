"""Tiny encoders and a study on toy files that the tests of objectives share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import datasets
import pytest
import sqlalchemy as sa
import torch
import transformers

from objectives.backbone import Backbone
from objectives.data.data_source import DataSource, SourceKind
from objectives.data.study_corpora import StudyCorpora
from objectives.models.encoders import load_backbone
from objectives.stages.stage import OnProgress
from objectives.transfer import TransferObjective
from spaces.catalogue import Catalogue
from spaces.recipe import Recipe, Route, Schedule
from spaces.studies import load_study
from storage.checkpoints import CheckpointCache
from storage.leases import Leases
from storage.ledger import Ledger
from storage.opening import open_storage
from tests.objectives_tests.toy_encoders import (
    FAMILIES,
    encoder_parts,
)
from tests.objectives_tests.toys import (
    CPU,
    EXAMPLES,
    STUDY,
    hub_card,
    make_stage,
    toy_columns,
    write_split,
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two cores are shared, and results depend on the number of threads."""
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()


# --- encoders


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with a tiny random encoder of a family; read only."""

    @cache
    def build(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        tokenizer, config = encoder_parts(family)
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return build


@pytest.fixture(scope="session", params=FAMILIES)
def any_backbone(
    request: pytest.FixtureRequest, encoder_folder: Callable[[str], Path]
) -> Backbone:
    """A tiny random encoder, once per family."""
    return load_backbone(str(encoder_folder(request.param)))


@pytest.fixture(scope="session")
def bert(encoder_folder: Callable[[str], Path]) -> Backbone:
    """A tiny random BERT."""
    return load_backbone(str(encoder_folder("bert")))


# --- a repository of the Hub


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that datasets takes for a repository, with a card that names three splits."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "README.md").write_text(hub_card("train", "validation", "test"))
    return folder


# --- a study on toy files


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Train in English, validation in the others; every test split is broken."""
    folder = tmp_path / "data"
    for seed, (task, kind, ending) in enumerate(
        [
            ("names", "ner", "conll"),
            ("deeds", "ner", "conll"),
            ("news", "classification", "tsv"),
            ("acts", "classification", "tsv"),
            ("rulings", "mlm", "txt"),
        ]
    ):
        columns = toy_columns(kind, EXAMPLES, seed)
        write_split(folder / f"{task}/eng/train.{ending}", columns)
        for number, language in enumerate(("eng", "swa", "yor")):
            columns = toy_columns(kind, 8, 10 * seed + number + 5)
            write_split(folder / f"{task}/{language}/dev.{ending}", columns)
            (folder / f"{task}/{language}/test.{ending}").write_bytes(b"\xff broken")
    (folder / "names/yor/train.conll").write_bytes(b"\xff broken: not the source language")
    for number, language in enumerate(("swa", "yor")):
        columns = toy_columns("retrieval", 6, number)
        for place, side in enumerate((language, "eng")):
            lines = columns["text"][6 * place : 6 * place + 6]
            write_split(folder / f"sentences/{language}/dev.{side}", {"text": lines})
            (folder / f"sentences/{language}/test.{side}").write_bytes(b"\xff broken")
    return folder


@pytest.fixture
def make_corpora(data: Path, tmp_path: Path) -> Callable[..., StudyCorpora]:
    """The study's corpora, with overrides of the study."""

    def build(*overrides: str) -> StudyCorpora:
        file = tmp_path / "toy.toml"
        file.write_text(STUDY)
        spec = load_study(str(file), overrides)
        catalogue = Catalogue({}).extended(spec.tasks, "toy")
        return StudyCorpora(spec, catalogue, DataSource(SourceKind.LOCAL, data))

    return build


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """The database that the toy study's workers share."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    yield storage.engine
    storage.engine.dispose()


@pytest.fixture
def ledger(engine: sa.Engine) -> Ledger:
    """The ledger of the toy study."""
    return Ledger(engine)


@pytest.fixture
def make_objective(
    make_corpora: Callable[..., StudyCorpora], tmp_path: Path, engine: sa.Engine
) -> Callable[..., TransferObjective]:
    """A worker's objective: a fresh one has nothing in memory, but shares cache and ledger."""

    def build(
        *overrides: str,
        on_progress: OnProgress = lambda progress: None,
        place: str = "",
    ) -> TransferObjective:
        """With a `place`, apart from all others."""
        corpora = make_corpora(*overrides)
        here = engine
        if place:
            (tmp_path / place).mkdir()
            here = open_storage(f"sqlite:///{tmp_path / place / 'study.db'}").engine
        leases, ledger = Leases(here), Ledger(here)
        cache = CheckpointCache(tmp_path / place / "cache", leases)
        return TransferObjective(
            corpora.spec, corpora.catalogue, corpora, cache, leases, ledger, CPU, on_progress
        )

    return build


@pytest.fixture
def recipe(bert: Backbone) -> Recipe:
    """Deeds, then names and news."""
    row = (make_stage("deeds", schedule=Schedule.CONSTANT),)
    stages = [make_stage(name) for name in ("names", "news")]
    routes = tuple(Route(row, stage) for stage in stages)
    return Recipe(bert.name, "deeds", routes)
