"""What a storage keeps of a study, read without its data and its encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property

import optuna
from optuna.study import Study
from pydantic import TypeAdapter

from search.command_line.next_commands import StudyAddress
from search.studies.baseline import (
    Baseline,
    baseline_name,
    deleted_direct_trainings,
    kept_baseline,
)
from search.studies.definition import StudyDefinition
from search.studies.identity import recognise
from search.studies.recipes import FinishedRecipe, finished_recipes
from search.studies.versions import existing_study, version_of
from spaces.catalogue import Catalogue, load_catalogue
from spaces.dimensions import SearchSpace
from spaces.errors import StorageError
from spaces.records import parse
from spaces.studies import StudySpec
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.patient_storage import SharedStorage
from storage.tables import Confirmation, StageRun, TrainedStage
from storage.urls import redacted

_SPACE = TypeAdapter(SearchSpace)


@dataclass(frozen=True)
class StoredStudy:
    """A study in its storage.

    Attributes:
        storage: Storage of the study, from `open_storage`.
        storage_url: URL of the storage, which may hold a password.
        optuna_study: The study in Optuna.
        ledger: Ledger in the same database.
        definition: What the study was made from.
        spec: The study as its file said it when it was made.
    """

    storage: SharedStorage
    storage_url: str
    optuna_study: Study
    ledger: Ledger
    definition: StudyDefinition
    spec: StudySpec

    @cached_property
    def catalogue(self) -> Catalogue:
        """All known tasks, the study's own among them; its status needs none of them."""
        return load_catalogue().extended(self.spec.tasks, f"study {self.name!r}")

    @property
    def name(self) -> str:
        """Name of the study in its storage, with its version from the second on."""
        return self.optuna_study.study_name

    @property
    def title(self) -> str:
        """Name of the study, which says where its figures are of the pocket corpora."""
        return f"{self.name} (pocket corpora)" if self.is_pocket else self.name

    @property
    def shown_url(self) -> str:
        """URL of the storage without its password."""
        return redacted(self.storage_url)

    @property
    def address(self) -> StudyAddress:
        """How commands reach the study, as its first run was started."""
        name = version_of(self.name)[0]
        if kept := self.optuna_study.user_attrs.get("address"):
            # Somebody may have given the study another name since.
            return replace(StudyAddress.restored(json.loads(kept), self.storage_url), name=name)
        return StudyAddress(name, name, self.storage_url)

    @property
    def is_pocket(self) -> bool:
        """Whether its figures are of the pocket corpora, and must be named so."""
        return self.definition.source == "pocket"

    @property
    def languages(self) -> frozenset[str]:
        """Languages that the study selects on."""
        return self.spec.selection_languages(self.catalogue)

    @cached_property
    def baseline(self) -> Baseline | None:
        """What its gains are over; None while its direct trainings are not done."""
        return kept_baseline(self.name, self.ledger)

    @cached_property
    def space(self) -> SearchSpace:
        """Its search space, with the learning rates that its baseline was tuned over."""
        kept = {**self.definition.space, "backbones": self.spec.backbone}
        space = _SPACE.validate_python(kept)
        return space if self.baseline is None else self.baseline.space(space)

    @cached_property
    def direct_study(self) -> Study:
        """Its direct trainings, as a study in Optuna.

        Raises:
            StorageError: Somebody deleted it.
        """
        name = baseline_name(self.name)
        try:
            return optuna.load_study(study_name=name, storage=self.storage)
        except KeyError as error:
            raise deleted_direct_trainings(self.name, f"storage {self.shown_url}") from error

    @cached_property
    def recipes(self) -> list[FinishedRecipe]:
        """Recipes with an intermediate task, in the order they were tried first."""
        if self.baseline is None:
            return []
        return self._finished(self.optuna_study)

    @cached_property
    def direct(self) -> list[FinishedRecipe]:
        """Direct trainings, in the order they were tried first.

        While the baseline is not chosen, their scores are held against nothing.
        """
        return self._finished(self.direct_study)

    def _finished(self, study: Study) -> list[FinishedRecipe]:
        aggregate = self.spec.target.aggregate
        return finished_recipes(study, self.ledger, aggregate, self.baseline)

    @cached_property
    def stage_runs(self) -> dict[int, list[StageRun]]:
        """Trial -> the stages that it asked for and trained; a long table, read once."""
        return self.ledger.stage_runs(self.name)

    @cached_property
    def direct_stage_runs(self) -> dict[int, list[StageRun]]:
        """Direct training -> the same of it."""
        return self.ledger.stage_runs(baseline_name(self.name))

    @cached_property
    def trained_stages(self) -> dict[str, TrainedStage]:
        """Checkpoint key -> what it took, those of direct trainings among them."""
        direct = self.ledger.trained_stages(baseline_name(self.name))
        return direct | self.ledger.trained_stages(self.name)

    @property
    def confirmations(self) -> list[Confirmation]:
        """All looks at its test splits."""
        return self.ledger.confirmations(self.name)


def open_stored_study(storage_url: str, study: str, *, backbone: str | None = None) -> StoredStudy:
    """Open a study for reading.

    Args:
        storage_url: URL of the storage.
        study: Name of the study, or path of the file that it was made from.
        backbone: Where the encoder lies now; None where the study names it.

    Raises:
        UnknownNameError: The storage has no such study.
        StorageError: It was not made by this version of transfer-search, or is the direct
            trainings of one.
    """
    return study_in(open_storage(storage_url, create=False), storage_url, study, backbone=backbone)


def study_in(
    storage: SharedStorage, storage_url: str, study: str, *, backbone: str | None = None
) -> StoredStudy:
    """A study of a storage that is open.

    Args:
        storage: The storage.
        storage_url: Its URL.
        study: As of `open_stored_study`, which raises the same.
        backbone: Likewise.
    """
    name, shown_url = existing_study(study, storage, storage_url), redacted(storage_url)
    recognise(name, storage, shown_url)
    opened = optuna.load_study(study_name=name, storage=storage)
    ledger = Ledger(storage.engine)
    frozen, kept = ledger.frozen_study(name), opened.user_attrs.get("study_file")
    if frozen is None or kept is None:
        raise StorageError(
            f"storage {shown_url}: study {name!r}",
            "a study made by this version of transfer-search",
            "one made by something else, or whose first run has not begun yet",
        )
    definition = StudyDefinition.from_json(frozen)
    record = {"name": name, **json.loads(kept), **definition.spec}
    if backbone:
        record["backbone"] = [backbone]
    spec = parse(StudySpec, record, f"study {name!r}")
    return StoredStudy(storage, storage_url, opened, ledger, definition, spec)


def check_stored_study(storage_url: str, study: str) -> None:
    """Check that a study can be read, before what shows it is loaded.

    Raises:
        TransferSearchError: As from `open_stored_study`.
    """
    open_stored_study(storage_url, study).storage.close()
