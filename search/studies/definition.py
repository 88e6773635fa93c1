"""Opening a study: created with what defines it, or gone on with if that is still the same."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import TrialState
from pydantic import BaseModel

from objectives.data.sources import DataSource, SourceKind
from objectives.data.study_corpora import StudyCorpora
from objectives.hardware import choose_hardware
from objectives.transfer import StageProgress, TransferObjective
from search.command_line.options import default_cache
from search.workers.proposals import seed_pruner
from spaces.catalogue import Catalogue
from spaces.dimensions import SearchSpace, search_space
from spaces.errors import StorageError
from spaces.studies import StudySpec
from spaces.study_checks import check_layers, check_sizes
from storage.checkpoints import CheckpointCache
from storage.leases import LEASE_SECONDS, Leases
from storage.ledger import Ledger
from storage.optuna_internals import study_id_of
from storage.patient_storage import SharedStorage
from storage.slots import Slots
from storage.workers import Workers

# What may differ between two runs of one study: a longer run is the same experiment.
FREE_FIELDS = frozenset({"name", "question", "trials", "backbone", "tasks", "claims"})


# What of them a study is opened again with, where its file is not at hand.
KEPT_FIELDS = frozenset({"question", "backbone", "tasks", "claims"})


def build_objective(
    name: str,
    spec: StudySpec,
    catalogue: Catalogue,
    source: DataSource,
    storage: SharedStorage,
    options: argparse.Namespace,
    watch: Callable[[StageProgress], None],
    cache_limit: int | None = None,
    lease_seconds: float = LEASE_SECONDS,
) -> TransferObjective:
    """What trains the recipes of a study, with its cache, its ledger and where it computes.

    Args:
        name: Of the study in the database. It keeps to the precision it began with.
        spec: A checked study.
        catalogue: Its tasks.
        source: Of its data.
        storage: From `open_storage`.
        options: `storage`, `cache`, `device` and `precision`.
        watch: Told of every update.
        cache_limit: Bytes of checkpoints above which the least recently used go.
        lease_seconds: For how long a lease of a stage holds without renewal.

    Raises:
        SpecError: There is no such device or precision.
        CacheError: The cache cannot be used.
    """
    ledger = Ledger(storage.engine, storage.outbox)
    leases = Leases(storage.engine, lease_seconds)
    frozen = ledger.frozen_study(name)
    kept = frozen["precision"] if frozen and options.precision == "auto" else options.precision
    cache = CheckpointCache(
        options.cache or default_cache(options.storage),
        leases,
        cache_limit,
        lambda: running_since(storage),
    )
    return TransferObjective(
        spec,
        catalogue,
        StudyCorpora(spec, catalogue, source),
        cache,
        leases,
        ledger,
        choose_hardware(options.device, kept),
        watch,
    )


def defining_facts(objective: TransferObjective) -> tuple[dict[str, Any], SearchSpace]:
    """All that a study's results depend on, in JSON's types, and its space.

    Equal facts may share a study. Reads all corpora and encoders once, so that what is broken
    shows before any training.

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
    # One encoder is known by its content: its folder may lie elsewhere on another machine.
    encoders = {
        name if len(spec.backbone) > 1 else "backbone": objective.backbone(name).key
        for name in spec.backbone
    }
    fields = spec.model_dump(mode="json")
    facts = {
        "spec": {name: value for name, value in fields.items() if name not in FREE_FIELDS},
        "space": _jsonable({k: v for k, v in asdict(space).items() if k != "backbones"}),
        "data": {"source": objective.corpora.source.kind.value, "corpora": corpora},
        "backbones": encoders,
        "precision": objective.hardware.precision,
    }
    return facts, space


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
    corpora = {task for task, _, _ in spec.needed_splits(catalogue)}
    hubs = {name: catalogue[name].hub for name in sorted(corpora)}
    revisions = [f"{name} {hub.revision or 'unpinned'}" for name, hub in hubs.items() if hub]
    return {
        "question": spec.question,
        "data": str(source),
        "data_reason": source.reason,
        "data_revisions": ", ".join(revisions) if source.kind is SourceKind.HUB else "",
        "selection": spec.selection,
        "backbone": ", ".join(encoders),
        "transfer_search_version": importlib.metadata.version("transfer-search"),
        "optuna_version": optuna.__version__,
        "study_file": json.dumps(spec.model_dump(mode="json", include=set(KEPT_FIELDS))),
    }


def open_study(
    name: str,
    storage: SharedStorage,
    ledger: Ledger,
    facts: Mapping[str, Any],
    about: Mapping[str, str],
    shown_url: str,
) -> Study:
    """Create the study, or open it to go on.

    Args:
        name: Of the study in the database.
        storage: From `open_storage`.
        ledger: In the same database.
        facts: From `defining_facts`.
        about: From `provenance`; kept by the run that creates the study.
        shown_url: The database without its password, for messages.

    Raises:
        StorageError: A study of that name was made from something else; says what differs.
    """
    pruner = seed_pruner(facts["spec"]["stop_behind"])
    try:
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            pruner=pruner,
            direction="maximize",
        )
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
        created = False
    else:
        # Of a study of that name which was deleted since.
        ledger.forget_study(name)
        Slots(storage.engine, Leases(storage.engine), name).forget()
        Workers(storage.engine, name).forget()
        created = True
    if not created and ledger.frozen_study(name) is None and study.get_trials(deepcopy=False):
        raise StorageError(
            f"storage {shown_url}: study {name!r} was not made by transfer-search; choose "
            f"another name with --name"
        )
    frozen = ledger.freeze_study(name, facts)
    check_same(name, frozen, facts, shown_url)
    if created:
        for key, value in about.items():
            study.set_user_attr(key, value)
        name_metric(study, facts)
    return study


def name_metric(study: Study, facts: Mapping[str, Any]) -> None:
    """Let dashboards call a study's value by its name, and pocket figures so."""
    pocket = facts["data"]["source"] == SourceKind.POCKET
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["gain on pocket corpora" if pocket else "gain"])


def check_same(
    name: str, frozen: Mapping[str, Any], facts: Mapping[str, Any], shown_url: str
) -> None:
    """Check that a run may go on with a study.

    Raises:
        StorageError: Data source, space, corpora, encoder or precision differ; says how.
    """
    check_source(name, frozen, facts["data"]["source"], shown_url)
    if found := differences(frozen, facts):
        raise StorageError(
            f"study {name!r} in {shown_url} was made otherwise: {'; '.join(found.values())}. Go "
            f"on with what it was made from, carry its trials into a larger space with "
            f"search.extend, or start another study with --name"
        )


def differences(frozen: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    """Where what a study was made from and what a run has differ: place -> both, in words."""
    found = {
        place: f"{place}: {_shown(old)} then, {_shown(new)} now"
        for part in ("spec", "space", "data", "backbones", "precision")
        for place, old, new in _differences(frozen[part], facts[part], part)
    }
    # What follows from a difference in the study file stands in its space again.
    if any(place.startswith("spec.") for place in found):
        found = {place: text for place, text in found.items() if not place.startswith("space.")}
    return found


def check_source(name: str, frozen: Mapping[str, Any], ours: str, shown_url: str) -> None:
    """Check that a run has its data from where the study has it.

    Raises:
        StorageError: From elsewhere; says from where.
    """
    theirs = frozen["data"]["source"]
    if theirs != ours:
        raise StorageError(
            f"study {name!r} in {shown_url} was made from {_source_name(theirs)}, this run has "
            f"{_source_name(ours)}; studies never mix sources: name its own with --data, or run "
            f"another study with --name {name}_{ours}"
        )


def _source_name(kind: str) -> str:
    return {
        SourceKind.HUB: "the Hugging Face hub",
        SourceKind.LOCAL: "a local folder",
        SourceKind.POCKET: "the pocket corpora",
    }[SourceKind(kind)]


def _differences(old: object, new: object, place: str) -> Iterator[tuple[str, object, object]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{place}.{key}")
    elif old != new:
        yield place, old, new


def _shown(value: object) -> str:
    if isinstance(value, str) and len(value) == 64:
        return value[:8]
    return "absent" if value is None else str(value)


def _jsonable(value: object) -> object:
    """Tuples as lists, as they come back from the database."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    return value
