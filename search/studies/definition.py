"""What defines a study: all that its results depend on, kept with it and compared by every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spaces.errors import StorageError
from spaces.studies import StudySpec
from storage.ledger import Ledger

# What may differ between two runs of one study: a longer run is the same experiment.
FREE_FIELDS = frozenset(
    {"name", "question", "about", "trials", "backbone", "tasks", "claims", "pocket"}
)
_POCKET = "pocket"


@dataclass(frozen=True)
class StudyDefinition:
    """All that a study's results depend on; runs with equal definitions may share a study.

    Attributes:
        spec: Fields of the study file that its results depend on, in JSON's types.
        space: The search space, in JSON's types, without its encoders.
        source: Kind of source that the corpora came from first: real, hub, local or pocket. A
            run may take them from another place if they are the same, but for the pocket corpora.
        corpora: Task, language and split, as in `panx swa validation` -> fingerprint of that
            corpus.
        backbones: Name of an encoder, `backbone` where there is one -> fingerprint of its
            content: its folder may lie elsewhere on another machine.
        precision: float32 or bfloat16.
    """

    spec: Mapping[str, Any]
    space: Mapping[str, Any]
    source: str
    corpora: Mapping[str, str]
    backbones: Mapping[str, str]
    precision: str

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> StudyDefinition:
        """Read what the ledger keeps (`storage.ledger.Ledger.frozen_study`)."""
        others = {name: value for name, value in kept.items() if name != "data"}
        return cls(**others, **kept["data"])

    def as_json(self) -> dict[str, Any]:
        """What the ledger keeps of it."""
        return {
            "spec": dict(self.spec),
            "space": dict(self.space),
            "data": {"source": self.source, "corpora": dict(self.corpora)},
            "backbones": dict(self.backbones),
            "precision": self.precision,
        }


def kept_definition(study_name: str, ledger: Ledger) -> StudyDefinition | None:
    """What a study of the storage was made from; None before its first run has begun."""
    frozen = ledger.frozen_study(study_name)
    return None if frozen is None else StudyDefinition.from_json(frozen)


def kept_fields(spec: StudySpec) -> dict[str, Any]:
    """Fields of a study file that its results depend on, in JSON's types."""
    fields = spec.model_dump(mode="json")
    return {name: value for name, value in fields.items() if name not in FREE_FIELDS}


def check_same(
    study_name: str, kept: StudyDefinition, asked: StudyDefinition, shown_url: str
) -> None:
    """Check that a run may go on with a study.

    Raises:
        StorageError: Data source, space, corpora, encoder or precision differ; says how.
    """
    check_source(study_name, kept, asked.source, shown_url)
    if changed := differences(kept, asked):
        raise StorageError(
            f"study {study_name!r} in {shown_url} was made otherwise",
            found="; ".join(changed.values()),
            advice="go on with what it was made from, carry its trials into a larger space with "
            "search.extend, or start another study with --name",
        )


def differences(kept: StudyDefinition, asked: StudyDefinition) -> dict[str, str]:
    """Where two definitions of a study differ: place -> both, in words."""
    old, new = kept.as_json(), asked.as_json()
    old["data"]["source"] = new["data"]["source"]  # the corpora themselves are compared
    changed = {
        place: f"{place}: {_shown(before)} then, {_shown(now)} now"
        for part in old
        for place, before, now in _differences(old[part], new[part], part)
    }
    # What follows from a difference in the study file stands in its space again.
    if any(place.startswith("spec.") for place in changed):
        changed = {
            place: text for place, text in changed.items() if not place.startswith("space.")
        }
    return changed


def check_source(study_name: str, kept: StudyDefinition, source: str, shown_url: str) -> None:
    """Check that a run does not take pocket corpora where the study has real ones, or these there.

    Raises:
        StorageError: It does; names both.
    """
    if (kept.source == _POCKET) is not (source == _POCKET):
        names = {True: "pocket corpora", False: "real corpora"}
        raise StorageError(
            f"study {study_name!r} in {shown_url}",
            expected=f"{names[kept.source == _POCKET]}, from which it was made",
            found=names[source == _POCKET],
            advice="studies never mix real corpora with invented ones: name its own with --data, "
            f"or run another study with --name {study_name}_{source}",
        )


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
