"""Opening a study: created with what defines it, or gone on with if that is still the same."""

from __future__ import annotations

import importlib.metadata
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.pruners import NopPruner
from optuna.study import Study
from optuna.trial import TrialState
from pydantic import BaseModel

from objectives.data.data_source import SourceKind
from objectives.data.origins import Origin, Place, origins_of
from objectives.data.study_corpora import StudyCorpora
from objectives.hardware import choose_hardware
from objectives.models.fitness import check_fits
from objectives.stages.stage import StageProgress
from objectives.transfer import TransferObjective
from search.command_line.options import default_cache
from search.studies.asked_study import AskedStudy
from search.studies.baseline import baseline_name, deleted_direct_trainings
from search.studies.definition import (
    StudyDefinition,
    check_same,
    kept_definition,
    kept_fields,
)
from search.studies.identity import (
    STUDY_ID,
    baseline_id,
    free_direct_trainings,
    new_study_id,
    set_aside,
)
from spaces.dimensions import SearchSpace, search_space
from spaces.errors import StorageError
from spaces.study_checks import check_layers, check_sizes, longest_inputs
from storage.checkpoints import CheckpointCache
from storage.fingerprint import fingerprint
from storage.leases import LEASE_SECONDS, Lease, Leases
from storage.ledger import Ledger
from storage.optuna_internals import study_id_of
from storage.patient_storage import SharedStorage

# What of them a study is opened again with, where its file is not at hand.
KEPT_FIELDS = frozenset({"question", "about", "backbone", "tasks", "claims"})


@dataclass(frozen=True)
class TrainingSite:
    """Where a study's recipes are trained, and where their checkpoints are kept.

    Attributes:
        storage: URL of the storage, which may hold a password.
        cache: Folder or URL of checkpoints; None for the place beside the storage.
        device: auto, cpu, cuda or cuda:N.
        precision: auto (that of the study, where it has begun), float32 or bfloat16.
        graphs: Whether updates are CUDA graphs: auto, on or off.
        cache_limit: Bytes of checkpoints above which the least recently used are removed.
        lease: Seconds for which a lease of a stage holds without renewal.
    """

    storage: str
    cache: str | None = None
    device: str = "auto"
    precision: str = "auto"
    graphs: str = "auto"
    cache_limit: int | None = None
    lease: float = LEASE_SECONDS


def build_objective(
    study_name: str,
    asked: AskedStudy,
    storage: SharedStorage,
    site: TrainingSite,
    on_progress: Callable[[StageProgress], None],
) -> TransferObjective:
    """What trains the recipes of a study, with its cache, its ledger and its hardware.

    Args:
        study_name: Name of the study in the storage. It keeps to the precision it began with.
        asked: The study and its data.
        storage: Storage of the study, from `open_storage`.
        site: Where to train.
        on_progress: Called at every update; what it raises ends the trial.

    Raises:
        SpecError: There is no such device or precision.
        CacheError: The cache cannot be used.
    """
    ledger = Ledger(storage.engine, storage.outbox)
    leases = Leases(storage.engine, site.lease)
    kept = kept_definition(study_name, ledger)
    precision = kept.precision if kept and site.precision == "auto" else site.precision
    cache = CheckpointCache(
        site.cache or default_cache(site.storage),
        leases,
        site.cache_limit,
        lambda: running_since(storage),
    )
    return TransferObjective(
        asked.spec,
        asked.catalogue,
        StudyCorpora(asked.spec, asked.catalogue, asked.source),
        cache,
        leases,
        ledger,
        choose_hardware(site.device, precision, site.graphs),
        on_progress,
    )


def define_study(objective: TransferObjective) -> tuple[StudyDefinition, SearchSpace]:
    """What defines the study of an objective, and its search space.

    Reads all corpora and encoders once, so that what is broken shows before any training.

    Raises:
        TransferSearchError: A corpus, an encoder or the sizes of corpora are not as expected.
    """
    spec, catalogue = objective.spec, objective.catalogue
    corpora = objective.corpora.fingerprints()
    sizes = objective.corpora.train_sizes()
    check_sizes(spec, catalogue, sizes)
    space = search_space(spec, catalogue, sizes)
    layers = {x: objective.backbone(x).config.num_hidden_layers for x in spec.backbone}
    check_layers(spec, catalogue, layers)
    for name in spec.backbone:
        tasks = [catalogue[task] for task in spec.task_names]
        check_fits(objective.backbone(name), tasks, longest_inputs(spec))
    objective.corpora.check_scored()
    encoders = {
        name if len(spec.backbone) > 1 else "backbone": objective.backbone(name).key
        for name in spec.backbone
    }
    definition = StudyDefinition(
        spec=kept_fields(spec),
        space={name: x for name, x in _jsonable(asdict(space)).items() if name != "backbones"},
        source=objective.corpora.source.kind.value,
        corpora=corpora,
        backbones=encoders,
        precision=objective.hardware.precision,
    )
    return definition, space


def running_since(storage: SharedStorage) -> float | None:
    """When the oldest running trial of any study began, in seconds since 1970; None: none runs.

    A minute early, for clocks that differ.
    """
    starts = [
        trial.datetime_start.timestamp() - 60
        for study in storage.get_all_studies()
        for trial in storage.get_all_trials(
            study_id_of(study), deepcopy=False, states=(TrialState.RUNNING,)
        )
        if trial.datetime_start
    ]
    return min(starts, default=None)


def provenance(objective: TransferObjective) -> dict[str, str]:
    """What a reader of the study must know, for its user attributes in Optuna."""
    spec, catalogue, source = objective.spec, objective.catalogue, objective.corpora.source
    backbones = map(objective.backbone, spec.backbone)
    encoders = (f"{b.name} {b.revision}".strip() for b in backbones)
    needed = ((catalogue[task], x, split) for task, x, split in spec.needed_splits(catalogue))
    return {
        "question": spec.question,
        "data": str(source),
        "data_reason": source.reason,
        "data_revisions": "; ".join(_where_from(origins_of(needed, source))),
        "selection": spec.selection,
        "backbone": ", ".join(encoders),
        "transfer_search_version": importlib.metadata.version("transfer-search"),
        "optuna_version": optuna.__version__,
        "study_file": json.dumps(spec.model_dump(mode="json", include=set(KEPT_FIELDS))),
    }


def _where_from(origins: Sequence[Origin]) -> list[str]:
    """A line for each task and place: where its corpora are from, at which revision.

    Their fingerprints are in the study's definition.
    """
    languages: dict[tuple[str, str], list[str]] = {}
    for origin in origins:
        source = origin.name if origin.place is Place.CACHE else origin.source
        where = f"{source} at {origin.revision}" if origin.revision else source
        languages.setdefault((origin.task, where), []).append(origin.language)
    return [f"{task} ({', '.join(of)}): {where}" for (task, where), of in languages.items()]


def open_study(
    study_name: str,
    storage: SharedStorage,
    ledger: Ledger,
    definition: StudyDefinition,
    about: Mapping[str, str],
    shown_url: str,
) -> Study:
    """Create the study, or open it to go on.

    Raises:
        StorageError: A study of that name was made from something else; says what differs.
    """
    found, made = _finding(study_name, storage), _making(study_name, storage)
    # One worker makes it: another would set aside what the first has begun.
    key = fingerprint(["open", study_name])
    study = Leases(storage.engine).once(key, found, made, lambda holder: None)
    if ledger.frozen_study(study_name) is None and study.get_trials(deepcopy=False):
        raise StorageError(
            f"storage {shown_url}",
            expected="a study made by transfer-search",
            found=f"study {study_name!r}, which was made by something else",
            advice="choose another name with --name",
        )
    study_id = study.user_attrs.get(STUDY_ID)
    kept = StudyDefinition.from_json(
        ledger.freeze_study(study_name, definition.as_json(), study_id)
    )
    if study_id is None:  # somebody else made it, without a trial
        known = {name: each for each, name in ledger.names().items()}
        study.set_user_attr(STUDY_ID, known[study_name])
    check_same(study_name, kept, definition, shown_url)
    if "study_file" not in study.user_attrs:
        for name, value in about.items():
            study.set_user_attr(name, value)
        _name_metric(study, "gain of one run over direct training, points", definition)
    return study


def open_direct_trainings(
    study_name: str, storage: SharedStorage, ledger: Ledger, definition: StudyDefinition
) -> Study:
    """The study of a study's direct trainings, created where it is new.

    Raises:
        StorageError: Somebody deleted it, though the study's gains are over what it found.
    """
    name = baseline_name(study_name)
    study = _finding(name, storage)()
    if study is None:
        if ledger.frozen_study(name) is not None:
            raise deleted_direct_trainings(study_name, "the storage")
        study = _created(name, storage)
    if "baseline_of" not in study.user_attrs:
        its = optuna.load_study(study_name=study_name, storage=storage).user_attrs[STUDY_ID]
        study.set_user_attr(STUDY_ID, baseline_id(its))
        study.set_user_attr("baseline_of", study_name)
        _name_metric(study, "score of a direct training, percent", definition)
    return study


def _finding(study_name: str, storage: SharedStorage) -> Callable[[], Study | None]:
    def found() -> Study | None:
        if study_name not in optuna.get_all_study_names(storage):
            return None
        return optuna.load_study(study_name=study_name, storage=storage)

    return found


def _making(study_name: str, storage: SharedStorage) -> Callable[[Lease], Study]:
    """Makes the study after its direct trainings', so that no reader finds it without these."""

    def made(lease: Lease) -> Study:
        set_aside(study_name, storage)
        free_direct_trainings(study_name, storage)
        _created(baseline_name(study_name), storage)
        study = _created(study_name, storage)
        study.set_user_attr(STUDY_ID, new_study_id())
        return study

    return made


def _created(study_name: str, storage: SharedStorage) -> Study:
    """The study, which another worker may have created meanwhile."""
    return optuna.create_study(
        study_name=study_name,
        storage=storage,
        direction="maximize",
        pruner=NopPruner(),
        load_if_exists=True,
    )


def set_metric_names(study: Study, names: Sequence[str]) -> None:
    """Name a study's values for dashboards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(names))


def _name_metric(study: Study, name: str, definition: StudyDefinition) -> None:
    """The name says where it is of the pocket corpora."""
    is_pocket = definition.source == SourceKind.POCKET
    set_metric_names(study, [f"{name} (pocket corpora)" if is_pocket else name])


def _jsonable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as they come back from the database, tuples as lists."""
    plain: dict[str, Any] = json.loads(json.dumps(fields, default=BaseModel.model_dump))
    return plain
