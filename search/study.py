"""Opening a study: created with what defines it, or resumed only if that is still the same."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState

from objectives.corpora import DataSource, SourceKind
from objectives.hardware import Hardware
from objectives.models import Backbone
from search.samplers import TrialSeededTPE, first_trials
from spaces.catalogue import Catalogue
from spaces.dimensions import SearchSpace
from spaces.errors import StorageError
from spaces.studies import StudySpec
from storage.ledger import Ledger

# What may differ between two runs of one study: a longer run is the same experiment.
FREE_FIELDS = frozenset({"name", "question", "trials", "backbone", "tasks"})


def defining_facts(
    spec: StudySpec,
    space: SearchSpace,
    source: DataSource,
    corpora: Mapping[str, str],
    backbones: Mapping[str, Backbone],
    hardware: Hardware,
) -> dict[str, Any]:
    """All that a study's results depend on, in JSON's types: equal facts may share a study."""
    fields = spec.model_dump(mode="json")
    points = _jsonable({k: v for k, v in asdict(space).items() if k != "backbones"})
    # One encoder is known by its content: its folder may lie elsewhere on another machine.
    encoders = {
        name if len(backbones) > 1 else "backbone": backbone.key
        for name, backbone in backbones.items()
    }
    return {
        "spec": {name: value for name, value in fields.items() if name not in FREE_FIELDS},
        "space": points,
        "data": {"source": source.kind.value, "corpora": dict(corpora)},
        "backbones": encoders,
        "precision": hardware.precision,
    }


def running_since(storage: RDBStorage) -> float | None:
    """When the oldest running trial of any study began, in seconds since 1970; None: none runs.

    A minute early, for clocks that differ.
    """
    starts = [
        trial.datetime_start.timestamp() - 60
        for study in storage.get_all_studies()
        for trial in storage.get_all_trials(
            study._study_id, deepcopy=False, states=(TrialState.RUNNING,)
        )
        if trial.datetime_start
    ]
    return min(starts, default=None)


def provenance(
    spec: StudySpec, catalogue: Catalogue, source: DataSource, backbones: Mapping[str, Backbone]
) -> dict[str, str]:
    """What a reader of the study must know, for its user attributes in Optuna."""
    encoders = (f"{b.name} {b.revision}".strip() for b in backbones.values())
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
    }


def open_study(
    name: str,
    storage: RDBStorage,
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
    try:
        study = optuna.create_study(
            study_name=name, storage=storage, sampler=TrialSeededTPE(), direction="maximize"
        )
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage, sampler=TrialSeededTPE())
        created = False
    else:
        ledger.forget_study(name)  # of a study of that name which was deleted since
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pocket = facts["data"]["source"] == SourceKind.POCKET
            study.set_metric_names(["gain on pocket corpora" if pocket else "gain"])
        for parameters in first_trials(facts["space"]["arms"]):
            study.enqueue_trial(parameters)
    return study


def check_same(
    name: str, frozen: Mapping[str, Any], facts: Mapping[str, Any], shown_url: str
) -> None:
    """Check that a run may go on with a study.

    Raises:
        StorageError: Data source, space, corpora, encoder or precision differ; says how.
    """
    where = f"study {name!r} in {shown_url}"
    theirs, ours = frozen["data"]["source"], facts["data"]["source"]
    if theirs != ours:
        raise StorageError(
            f"{where} was made from {_source_name(theirs)}, this run has {_source_name(ours)}; "
            f"studies never mix sources: run it as another study with --name {name}_{ours}"
        )
    differences = [
        f"{place}: {_shown(old)} then, {_shown(new)} now"
        for part in ("spec", "space", "data", "backbones", "precision")
        for place, old, new in _differences(frozen[part], facts[part], part)
    ]
    # What follows from a difference in the study file stands in its space again.
    if any(line.startswith("spec.") for line in differences):
        differences = [line for line in differences if not line.startswith("space.")]
    if differences:
        raise StorageError(
            f"{where} was made otherwise: {'; '.join(differences)}. Go on with what it was made "
            f"from, or start another study with --name"
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
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    return value
