"""The pocket twin of a study: the same question, asked of the pocket corpora."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from spaces.catalogue import Catalogue
from spaces.errors import SpecError
from spaces.mixtures import MixtureSpec
from spaces.records import parse, read_toml
from spaces.studies import PocketSpec, StudySpec
from spaces.task import Role, Task

SIZES_FILE = Path(__file__).with_name("pocket.toml")
# The pocket encoder's layers.
LAYERS = 2

T = TypeVar("T", int, str)


def pocket_twin(spec: StudySpec, catalogue: Catalogue, overrides: Sequence[str] = ()) -> StudySpec:
    """The study asked of the pocket corpora: same arms and kinds of task, invented languages.

    Sizes, epochs and learning rates come from `pocket.toml`: a two-layer encoder of some hundred
    thousand weights needs others than a real one. A study that names pocket tasks already stays
    as it is.

    Args:
        spec: A checked study, loaded with `overrides`.
        catalogue: Catalogue with the study's tasks.
        overrides: Options as for `load_study`. Their values go before those of `pocket.toml`,
            except for languages, which are always invented ones.

    Raises:
        SpecError: No pocket corpus has a kind that the study needs.
    """
    if all(catalogue[name].pocket for name in spec.task_names):
        return spec
    pocket = [task for task in catalogue if task.pocket]
    intermediates = [task for task in pocket if task.role is not Role.TARGET]

    def intermediate_twin(name: str) -> str:
        task = catalogue[name]
        return _twin(task, [x for x in intermediates if x.domain == task.domain], spec)

    scored = [task for task in pocket if task.role is not Role.INTERMEDIATE]
    twins = {task.name: _twin(task, scored, spec) for task in spec.target_tasks(catalogue)}
    named = _named_tasks(spec, overrides)
    targets = list(named.target) or list(dict.fromkeys(twins.values()))
    alone = [name for name in spec.intermediate.tasks if name not in spec.mixtures]
    mixtures = {}
    for name in spec.intermediate.tasks:
        if name in spec.mixtures:
            mixture = _twin_mixture(spec.mixtures[name], intermediate_twin, twins)
            if len(mixture.get("tasks", ())) == 1:  # several corpora of one kind have one twin
                alone += mixture["tasks"]
            else:
                mixtures[name] = mixture
    wanted = {(catalogue[x].kind, catalogue[x].domain) for x in map(intermediate_twin, alone)}

    record = spec.model_dump(mode="json", exclude_unset=True)
    _fit_layers(record)
    _set_sizes(record, overrides)
    # All pocket corpora of a kind and domain, so that an arm has more than one to choose from.
    tasks = [task.name for task in intermediates if (task.kind, task.domain) in wanted]
    tasks = [x for x in named.intermediate if catalogue[x].domain in spec.arms] or tasks
    record.pop("pocket", None)
    record |= {"mixtures": mixtures, "claims": []}
    record["intermediate"]["tasks"] = [*tasks, *mixtures]
    record["target"]["tasks"] = targets
    # Pocket corpora are all of a size, and score all their languages.
    record["intermediate"].pop("size_ratio", None)
    record["target"].pop("without", None)
    sizes = {"examples", "train_share"} - {_size_field(spec)}
    record["target"] = {k: v for k, v in record["target"].items() if k not in sizes}
    return parse(StudySpec, record, f"pocket twin of study {spec.name!r}")


def _named_tasks(spec: StudySpec, overrides: Sequence[str]) -> PocketSpec:
    """The pocket tasks that the study names; none where the user named other tasks for it."""
    others = {"target.tasks", "intermediate.tasks"} & _fields_of(overrides)
    return PocketSpec() if others else spec.pocket


def _fields_of(overrides: Sequence[str]) -> set[str]:
    return {override.partition("=")[0].strip() for override in overrides}


def _size_field(spec: StudySpec) -> str:
    """The field by which the study sets the number of a target's training examples."""
    named = (x for x in ("shots", "train_share") if getattr(spec.target, x) is not None)
    return next(named, "examples")


def _twin(task: Task, candidates: Collection[Task], spec: StudySpec) -> str:
    """The first pocket task of the same kind, and of the same metric if there is one."""
    same = [x for x in candidates if x.kind is task.kind]
    if not same:
        raise SpecError(
            f"study {spec.name!r}, task {task.name!r}",
            f"a pocket corpus of kind {task.kind} and domain {task.domain}",
            "none",
            "name real data with --data",
        )
    return next((x for x in same if x.metric is task.metric), same[0]).name


def _twin_mixture(
    mixture: MixtureSpec, twin: Callable[[str], str], targets: Mapping[str, str]
) -> dict[str, Any]:
    record = mixture.model_dump(mode="json", exclude_unset=True)
    if mixture.tasks:
        return {**record, "tasks": _distinct(map(twin, mixture.tasks))}
    matched: dict[str, str] = {}
    for name, target in targets.items():
        matched.setdefault(
            target, twin(mixture.matched[name])
        )  # of targets with one twin the first
    return {**record, "matched": matched}


def _fit_layers(record: dict[str, Any]) -> None:
    """Every inner layer becomes the pocket encoder's only one; the last is -1 in any encoder."""
    for stage in (record["intermediate"], record["target"]):
        for field in {"frozen_layers", "pooled_layer"} & stage.keys():
            stage[field] = _distinct(max(-LAYERS, min(LAYERS - 1, x)) for x in stage[field])


def _set_sizes(record: dict[str, Any], overrides: Sequence[str]) -> None:
    """Put in the values of `pocket.toml`, except where the user set one."""
    said = _fields_of(overrides) - {"source_language", "target.languages"}
    for place, value in read_toml(SIZES_FILE).items():
        if isinstance(value, dict):
            record[place] |= {k: v for k, v in value.items() if not _is_set(f"{place}.{k}", said)}
        elif not _is_set(place, said):
            record[place] = value


def _is_set(field: str, said: Collection[str]) -> bool:
    return any(key == field or key.startswith(f"{field}.") for key in said)


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))
