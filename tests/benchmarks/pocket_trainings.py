"""Trainings on pocket corpora through this project's own stages, for benchmarks of known truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from objectives.data.data_source import DataSource, SourceKind
from objectives.data.study_corpora import StudyCorpora
from objectives.hardware import choose_hardware
from objectives.pocket.languages import SOURCE_LANGUAGE
from objectives.transfer import TransferObjective
from spaces.catalogue import Catalogue, load_catalogue
from spaces.recipe import Recipe, Route, Schedule, Stage
from spaces.records import parse
from spaces.studies import StudySpec
from spaces.study_checks import check_study
from storage.checkpoints import CheckpointCache
from storage.leases import Leases
from storage.ledger import Ledger
from storage.opening import open_storage

INTERMEDIATE_EPOCHS = 2
TARGET_EPOCHS = 16


@contextmanager
def pocket_objective(
    intermediates: Iterable[str], target: str, folder: Path, cache: Path | None, precision: str
) -> Iterator[TransferObjective]:
    """What trains recipes of these pocket tasks on the CPU.

    Args:
        intermediates: Corpora, without the prefix `pocket_`.
        target: Likewise.
        folder: Where its database lies.
        cache: Checkpoints; in `folder` where none is named.
        precision: As of `--precision`.
    """
    catalogue = load_catalogue()
    spec = _study([f"pocket_{x}" for x in intermediates], f"pocket_{target}", catalogue)
    source = DataSource(SourceKind.POCKET)
    with objective_of(spec, catalogue, source, folder, cache, precision) as objective:
        yield objective


@contextmanager
def objective_of(
    spec: StudySpec,
    catalogue: Catalogue,
    source: DataSource,
    folder: Path,
    cache: Path | None,
    precision: str = "auto",
) -> Iterator[TransferObjective]:
    """The objective of a study on the CPU, with a database in `folder`."""
    storage = open_storage(f"sqlite:///{folder / 'ledger.sqlite'}")
    leases = Leases(storage.engine)
    try:
        yield TransferObjective(
            spec,
            catalogue,
            StudyCorpora(spec, catalogue, source),
            CheckpointCache(cache or folder / "cache", leases),
            leases,
            Ledger(storage.engine),
            choose_hardware("cpu", precision),
            lambda progress: None,
        )
    finally:
        storage.engine.dispose()


def pocket_recipe(
    intermediate: str | None, target: str, examples: int, rate: float = 2e-3
) -> Recipe:
    """One intermediate corpus, or none, before a target, as in a pocket study.

    Args:
        intermediate: A corpus, without the prefix `pocket_`.
        target: Likewise.
        examples: Of the target stage.
        rate: Its learning rate.
    """
    stage = Stage(
        f"pocket_{target}", TARGET_EPOCHS, rate, 16, examples, 0.1, 64, Schedule.CONSTANT
    )
    row: tuple[Stage, ...] = ()
    if intermediate:
        name, epochs = f"pocket_{intermediate}", INTERMEDIATE_EPOCHS
        row = (Stage(name, epochs, 1e-3, 16, 600, 0.1, 64, Schedule.CONSTANT),)
    name = row[0].task if row else ""
    return Recipe("pocket", name, (Route(row, stage),))


def _study(intermediates: list[str], target: str, catalogue: Catalogue) -> StudySpec:
    record = {
        "name": "planted",
        "question": "What is the planted effect?",
        "arms": ["none", *dict.fromkeys(str(catalogue[x].domain) for x in intermediates)],
        "backbone": "pocket",
        "source_language": SOURCE_LANGUAGE,
        "intermediate": {"tasks": intermediates, "epochs": INTERMEDIATE_EPOCHS},
        "target": {
            "tasks": [target],
            "epochs": TARGET_EPOCHS,
            "languages": [x for x in catalogue[target].languages if x != SOURCE_LANGUAGE],
        },
    }
    spec = parse(StudySpec, record, "planted effects")
    check_study(spec, catalogue)
    return spec
