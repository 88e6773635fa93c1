"""Tiny encoders, toy corpora and catalogue records that the tests of objectives share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import torch
import transformers

from objectives.backbone import Backbone
from objectives.data.sources import DataSource, SourceKind
from objectives.data.study_corpora import StudyCorpora
from objectives.hardware import Hardware
from objectives.models.encoders import load_backbone
from objectives.stages.stage import OnProgress
from objectives.transfer import TransferObjective
from spaces.catalogue import Catalogue, Task
from spaces.recipe import Recipe, Route, Schedule, Similarity, Stage
from spaces.studies import load_study
from storage.checkpoints import CheckpointCache
from storage.leases import Leases
from storage.ledger import Ledger
from storage.opening import open_storage
from tests.objectives_tests.toy_encoders import (
    FAMILIES,
    NOUNS,
    PEOPLE,
    PLACES,
    VERBS,
    encoder_parts,
)
from tests.objectives_tests.toy_study import EXAMPLES, STUDY

LABELS = {
    "ner": ("PER", "LOC"),
    "pos": ("NOUN", "VERB", "PROPN"),
    "classification": ("sport", "law", "health"),
    "sentiment": ("positive", "negative"),
    "nli": ("entailment", "neutral", "contradiction"),
    "pair_classification": ("same", "other"),
}
METRICS = {
    "ner": "span_f1",
    "pos": "span_f1",
    "similarity": "spearman",
    "mlm": None,
    "qa": "em_f1",
}


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


@pytest.fixture(scope="session")
def cpu() -> Hardware:
    """What all tests compute on."""
    return Hardware(torch.device("cpu"), "float32")


# --- tasks and data


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    """Builds a catalogue record of a kind, with changes."""

    def build(kind: str, **changes: object) -> Task:
        record: dict[str, object] = {
            "name": f"toy_{kind}",
            "kind": kind,
            "domain": "general",
            "role": "both",
            "title": f"Toy {kind}",
            "languages": ["eng", "swa", "yor"],
            "labels": LABELS.get(kind, ()),
            "metric": METRICS.get(kind, "accuracy"),
            "answers": "squad" if kind == "qa" else None,
            "licence": "none",
            "urls": {"data": "here", "licence": "here"},
            "files": [f"{kind}/{{language}}/{{split}}.txt"],
        }
        return Task.model_validate(record | changes)

    return build


def _sentence(draw: random.Random) -> list[tuple[str, str]]:
    """Words and their parts of speech."""
    words = [(draw.choice(PEOPLE), "PROPN")]
    for _ in range(draw.randint(1, 2)):
        words += [(draw.choice(VERBS), "VERB"), (draw.choice(NOUNS), "NOUN")]
    return [*words, (draw.choice(PLACES), "PROPN")]


def _questions(draw: random.Random, examples: int) -> dict[str, list[Any]]:
    """Where is she? The only place in a text of several windows."""
    columns: dict[str, list[Any]] = {"id": [], "question": [], "context": [], "answers": []}
    for number in range(examples):
        place = draw.choice(PLACES)
        sentences = [f"{draw.choice(PEOPLE)} {draw.choice(VERBS)}" for _ in range(5)]
        sentences.insert(draw.randrange(6), place)
        context = " ".join(sentences)
        answer = {"text": place, "start": context.index(place)}
        row = (f"q{number}", "wapi juma", context, [answer])
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
    return columns


@pytest.fixture(scope="session")
def toy_columns() -> Callable[..., dict[str, list[Any]]]:
    """The columns of a split of a kind: `(kind, examples, seed=0)`."""

    def build(kind: str, examples: int, seed: int = 0) -> dict[str, list[Any]]:
        draw = random.Random(seed)
        sentences = [_sentence(draw) for _ in range(examples)]
        tokens = [[word for word, _ in sentence] for sentence in sentences]
        texts = [" ".join(words) for words in tokens]
        if kind == "ner":
            types = dict.fromkeys(PEOPLE, "B-PER") | dict.fromkeys(PLACES, "B-LOC")
            return {"tokens": tokens, "tags": [[types.get(w, "O") for w in x] for x in tokens]}
        if kind == "pos":
            return {"tokens": tokens, "tags": [[tag for _, tag in x] for x in sentences]}
        if kind == "similarity":
            scores = [draw.uniform(0, 5) for _ in texts]
            return {"text_a": texts, "text_b": texts[::-1], "score": scores}
        if kind == "mlm":
            return {"text": texts}
        if kind == "qa":
            return _questions(draw, examples)
        if kind == "retrieval":
            ids = [f"{number}" for number in range(examples)]
            turned = [" ".join(words[::-1]) for words in tokens]
            sides = ["language"] * examples + ["english"] * examples
            return {
                "id": [*(f"x{name}" for name in ids), *(f"e{name}" for name in ids)],
                "text": [*texts, *turned],
                "side": sides,
                "match": [*(f"e{name}" for name in ids), *[""] * examples],
            }
        labels = LABELS[kind]
        if kind in {"nli", "pair_classification"}:
            classes = [labels[number % len(labels)] for number in range(examples)]
            return {"text_a": texts, "text_b": texts[::-1], "label": classes}
        return {"text": texts, "label": [labels[len(x) % len(labels)] for x in tokens]}

    return build


@pytest.fixture(scope="session")
def write_split() -> Callable[[Path, Mapping[str, Sequence[Any]]], None]:
    """Writes columns as a corpus file: token TAB tag, a text a line, or a table with a header."""

    def write(file: Path, columns: Mapping[str, Sequence[Any]]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        if "tags" in columns:
            blocks = [
                "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))
                for tokens, tags in zip(columns["tokens"], columns["tags"], strict=True)
            ]
            file.write_text("\n".join(blocks), encoding="utf-8")
            return
        if list(columns) == ["text"]:
            file.write_text("".join(f"{text}\n" for text in columns["text"]), encoding="utf-8")
            return
        rows = [list(columns), *zip(*columns.values(), strict=True)]
        lines = ["\t".join(map(str, row)) + "\n" for row in rows]
        file.write_text("".join(lines), encoding="utf-8")

    return write


@pytest.fixture(scope="session")
def make_stage() -> Callable[..., Stage]:
    """Builds a short stage, with changes."""

    def build(task: str = "toy_ner", **changes: Any) -> Stage:
        fields: dict[str, Any] = {
            "epochs": 1,
            "learning_rate": 1e-3,
            "batch_size": 4,
            "examples": 8,
            "warmup_ratio": 0.1,
            "max_length": 64,
            "schedule": Schedule.LINEAR,
        }
        return Stage(task, **fields | changes)

    return build


# --- a study on toy files


@pytest.fixture
def data(
    tmp_path: Path,
    toy_columns: Callable[..., dict[str, list[Any]]],
    write_split: Callable[[Path, dict[str, list[Any]]], None],
) -> Path:
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
    make_corpora: Callable[..., StudyCorpora],
    tmp_path: Path,
    engine: sa.Engine,
    cpu: Hardware,
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
            corpora.spec, corpora.catalogue, corpora, cache, leases, ledger, cpu, on_progress
        )

    return build


@pytest.fixture
def recipe(bert: Backbone, make_stage: Callable[..., Stage]) -> Recipe:
    """Deeds, then names and news."""
    row = (make_stage("deeds", schedule=Schedule.CONSTANT),)
    stages = [make_stage(name) for name in ("names", "news")]
    routes = tuple(Route(row, stage, stage) for stage in stages)
    return Recipe(bert.name, "deeds", routes, (0,), bert.name)


@pytest.fixture(scope="session")
def retrieval_stage() -> Stage:
    """Sentences by the cosine of their vectors of the last layer."""
    return Stage(
        task="sentences",
        epochs=0,
        learning_rate=0.0,
        batch_size=1,
        examples=0,
        warmup_ratio=0.0,
        max_length=64,
        schedule=Schedule.LINEAR,
        pooled_layer=-1,
        similarity=Similarity.COSINE,
    )
