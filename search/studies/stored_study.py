"""What a storage keeps of a study, read without its data and its encoder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.study import Study

from search.command_line.options import existing_study
from search.studies.recipes import FinishedRecipe, finished_recipes
from spaces.catalogue import Catalogue, load_catalogue
from spaces.errors import StorageError
from spaces.records import parse
from spaces.studies import StudySpec
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.patient_storage import SharedStorage
from storage.tables import Confirmation, StageRun, TrainedStage
from storage.urls import redacted


@dataclass(frozen=True)
class StudyResults:
    """A study in its storage.

    Attributes:
        storage: From `open_storage`.
        shown_url: Of it, without a password.
        study: Optuna's.
        ledger: In the same database.
        frozen: What defines the study (`search.studies.definition.defining_facts`).
        spec: As it was made.
        catalogue: The tasks, those of the study's own among them.
    """

    storage: SharedStorage
    shown_url: str
    study: Study
    ledger: Ledger
    frozen: Mapping[str, Any]
    spec: StudySpec
    catalogue: Catalogue

    @property
    def name(self) -> str:
        """In the storage."""
        return self.study.study_name

    @property
    def is_pocket(self) -> bool:
        """Whether its figures are of the pocket corpora, and must be named so."""
        return bool(self.frozen["data"]["source"] == "pocket")

    @property
    def languages(self) -> frozenset[str]:
        """Those that the study selects on."""
        return self.spec.selection_languages(self.catalogue)

    @cached_property
    def recipes(self) -> list[FinishedRecipe]:
        """Those it has finished, in the order they were tried first."""
        return finished_recipes(self.study, self.ledger, self.spec.target.aggregate)

    @cached_property
    def stage_runs(self) -> dict[int, list[StageRun]]:
        """Trial -> the stages that it asked for and trained; a long table, read once."""
        return self.ledger.stage_runs(self.name)

    @cached_property
    def trained_stages(self) -> dict[str, TrainedStage]:
        """Checkpoint key -> what it took."""
        return self.ledger.trained_stages(self.name)

    @property
    def confirmations(self) -> list[Confirmation]:
        """All looks at its test splits."""
        return self.ledger.confirmations(self.name)


def open_results(options: argparse.Namespace) -> StudyResults:
    """The study of `--study`.

    Args:
        options: `study` and `storage`; `backbone`, if there is one, is where the encoder lies now.

    Raises:
        UnknownNameError: The storage has no such study.
        StorageError: It was not made by this version of transfer-search.
    """
    storage = open_storage(options.storage, create=False)
    name, shown_url = existing_study(options, storage), redacted(options.storage)
    study = optuna.load_study(study_name=name, storage=storage)
    ledger = Ledger(storage.engine)
    frozen, kept = ledger.frozen_study(name), study.user_attrs.get("study_file")
    if frozen is None or kept is None:
        raise StorageError(
            f"storage {shown_url}: study {name!r} was not made by this version of "
            f"transfer-search, or its first run has not begun yet"
        )
    record = {"name": name, **json.loads(kept), **frozen["spec"]}
    if backbone := getattr(options, "backbone", None):
        record["backbone"] = [backbone]
    spec = parse(StudySpec, record, f"study {name!r}")
    catalogue = load_catalogue().extended(spec.tasks, f"study {name!r}")
    return StudyResults(storage, shown_url, study, ledger, frozen, spec, catalogue)
