"""Whether a study fits the catalogue: its tasks, roles, languages, sizes, and what it compares."""

from __future__ import annotations

from collections.abc import Mapping

from spaces.catalogue import Catalogue
from spaces.errors import Problems, SpecError, unknown_name
from spaces.languages import ALL, LANGUAGE_SETS, expand_languages
from spaces.recipe import Method
from spaces.studies import MIXED, NO_INTERMEDIATE, Selection, StudySpec
from spaces.task import SHORTEST_WINDOW, Domain, Role, Task, TaskKind

_ROLES = {
    Role.INTERMEDIATE: "tasks of role intermediate or both",
    Role.TARGET: "tasks of role target or both",
}


def check_study(spec: StudySpec, catalogue: Catalogue) -> None:
    """Check a study against the catalogue.

    Raises:
        UnknownNameError: A task is not in the catalogue, or a language in none of the target
            tasks.
        SpecError: A task is used in a role it does not have, an arm has no task, or a method does
            not suit a target.
    """
    where, problems = f"study {spec.name!r}", Problems()
    for name in dict.fromkeys((*spec.task_names, *spec.target.without)):
        with problems.noted():
            catalogue[name]
    problems.raise_all()  # nothing more can be said before
    with problems.noted():
        _check_intermediate(spec, catalogue, where)
    targets = spec.target_tasks(catalogue)
    for task in targets:
        if task.role is Role.INTERMEDIATE:
            field = f"{where}, field 'target.tasks'"
            problems.note(SpecError(field, _ROLES[Role.TARGET], _role(task)))
    known = {code for task in targets for code in task.languages}
    languages = spec.target.languages
    unknown = [x for x in languages if not set(expand_languages([x], known)) & known]
    # Of tasks that are no targets the languages say nothing, and tasks nothing without languages.
    if all(task.role is not Role.INTERMEDIATE for task in targets):
        names = {*known, *LANGUAGE_SETS, ALL}
        for language in unknown:
            what = f"{where}: language"
            problems.note(unknown_name(what, language, names, "in any target task"))
        for task in targets if not unknown else ():
            with problems.noted():
                _check_target(spec, task, catalogue, where)
    # What is named there need not be a target: an override may have dropped the task or language.
    for name, left_out in spec.target.without.items():
        if others := set(left_out) - set(catalogue[name].languages):
            what = f"{where}, field 'target.without.{name}': language"
            known_there = catalogue[name].languages
            problems.note(unknown_name(what, min(others), known_there, "in that task"))
    with problems.noted():
        _check_claims(spec, where)
    problems.raise_all()


def _check_claims(spec: StudySpec, where: str) -> None:
    for claim in spec.claims:
        if claim.backbone and claim.backbone not in spec.backbone:
            raise SpecError(
                f"{where}, claim {claim.text!r}",
                f"one of the backbones {', '.join(spec.backbone)}",
                repr(claim.backbone),
                "drop the claim",
            )
        if unknown := set(claim.targets) - set(spec.target.tasks):
            raise SpecError(
                f"{where}, claim {claim.text!r}",
                f"some of the target tasks {', '.join(spec.target.tasks)}",
                repr(min(unknown)),
                "drop the claim",
            )


def _check_intermediate(spec: StudySpec, catalogue: Catalogue, where: str) -> None:
    problems = Problems()
    with problems.noted():
        _check_mixtures(spec, catalogue, where)
    for name in spec.intermediate_tasks:
        with problems.noted():
            _check_intermediate_task(spec, catalogue[name], where)
    with problems.noted():
        _check_arms(spec, catalogue, where)
    problems.raise_all()


def _check_mixtures(spec: StudySpec, catalogue: Catalogue, where: str) -> None:
    for name, mixture in spec.mixtures.items():
        if name in catalogue.tasks:
            raise SpecError(
                f"{where}, mixture {name!r}", "a new name", "a task of the catalogue", "rename it"
            )
        left_out = set(spec.target.tasks) - mixture.matched.keys()
        if mixture.matched and left_out and name in spec.intermediate.tasks:
            raise SpecError(
                f"{where}, mixture {name!r}",
                "an intermediate task in matched for every target task",
                f"none for {', '.join(sorted(left_out))}",
            )


def _check_intermediate_task(spec: StudySpec, task: Task, where: str) -> None:
    if task.role is Role.TARGET:
        field = f"{where}, field 'intermediate.tasks'"
        raise SpecError(field, _ROLES[Role.INTERMEDIATE], _role(task))
    if spec.source_language not in task.languages:
        raise _no_source_language(spec, task, task, where)
    if task.kind is TaskKind.QA and spec.intermediate.max_length < SHORTEST_WINDOW:
        raise SpecError(
            f"{where}, field 'intermediate.max_length'",
            f"{SHORTEST_WINDOW} or more for question answering",
            str(spec.intermediate.max_length),
        )


def _check_arms(spec: StudySpec, catalogue: Catalogue, where: str) -> None:
    for name in spec.intermediate.tasks:
        if (arm := spec.arm_of(name, catalogue)) not in spec.arms:
            raise SpecError(
                f"{where}, intermediate task {name!r}",
                f"one of the study's arms {', '.join(spec.arms)}",
                arm,
                f"drop it or add {arm!r} to arms",
            )
    for arm in spec.arms:
        if arm != NO_INTERMEDIATE and not spec.arm_choices(catalogue, arm):
            raise SpecError(
                f"{where}, arm {arm!r}", "at least one task in intermediate.tasks", "none"
            )


def _role(task: Task) -> str:
    return f"{task.name!r} of role {task.role}"


def _no_source_language(spec: StudySpec, task: Task, trained: Task, where: str) -> SpecError:
    """The error for a task whose training task lacks the study's source language."""
    return SpecError(
        f"{where}, task {task.name!r}",
        f"training data in the source language {spec.source_language}",
        f"{trained.name!r} in {', '.join(trained.languages)}",
    )


def _check_target(spec: StudySpec, task: Task, catalogue: Catalogue, where: str) -> None:
    subject = f"{where}, target task {task.name!r}"
    if task.metric is None:
        raise SpecError(subject, "a kind that is scored", str(task.kind))
    if not spec.target_languages(task):
        named = f"one of target.languages ({', '.join(spec.target.languages)})"
        raise SpecError(subject, named, ", ".join(task.languages))
    if not task.kind.is_trained:
        if spec.selection is Selection.SOURCE_VALIDATION:
            raise SpecError(
                subject,
                f"a score in {spec.source_language} to select on",
                f"none for kind {task.kind}",
                f"set selection = {str(Selection.TARGET_VALIDATION)!r}",
            )
        return
    trained = catalogue.training_task(task)
    if spec.source_language not in trained.languages:
        raise _no_source_language(spec, task, trained, where)
    if spec.target.shots and not task.kind.is_classification:
        raise SpecError(
            subject, "classes, as target.shots is per class", f"kind {task.kind}", "use examples"
        )
    if task.kind is TaskKind.QA and spec.target.max_length < SHORTEST_WINDOW:
        raise SpecError(
            f"{where}, field 'target.max_length'",
            f"{SHORTEST_WINDOW} or more for question answering",
            str(spec.target.max_length),
        )
    takes_prompts = task.kind.is_classification or task.kind is TaskKind.SIMILARITY
    if Method.SOFT_PROMPT in spec.target.method and not takes_prompts:
        expected = f"a task that scores whole texts, as target.method has {Method.SOFT_PROMPT}"
        raise SpecError(subject, expected, f"kind {task.kind}", "drop the task or the method")


def check_sizes(spec: StudySpec, catalogue: Catalogue, train_sizes: Mapping[str, int]) -> None:
    """Check what the study asks of the sizes of its training splits.

    Raises:
        SpecError: An intermediate split is not `size_ratio` times a target's.
    """
    ratio = spec.intermediate.size_ratio
    targets = [task.name for task in spec.target_tasks(catalogue) if task.kind.is_trained]
    for name in spec.intermediate.tasks:
        matched = spec.mixtures[name].matched if name in spec.mixtures else {}
        pairs = [
            (x, target)
            for target in targets
            for x in ((matched[target],) if matched else spec.members(name))
        ]
        for task, target in pairs:
            if train_sizes[task] < ratio * train_sizes[target]:
                raise SpecError(
                    f"study {spec.name!r}, intermediate task {task!r}",
                    f"intermediate.size_ratio {ratio:g} times the {train_sizes[target]} training "
                    f"examples of {target!r}",
                    str(train_sizes[task]),
                    "lower the ratio or drop the task",
                )


def check_layers(spec: StudySpec, catalogue: Catalogue, layers: Mapping[str, int]) -> None:
    """Check that the encoders have the layers that the study names.

    Args:
        spec: A checked study.
        catalogue: Catalogue with the study's tasks.
        layers: Backbone -> number of layers, embeddings not counted.

    Raises:
        SpecError: An encoder has too few layers to be frozen, or to be pooled for retrieval.
    """
    retrieves = not all(task.kind.is_trained for task in spec.target_tasks(catalogue))
    named: dict[str, tuple[int, ...]] = {
        "intermediate.frozen_layers": spec.intermediate.frozen_layers,
        "target.frozen_layers": spec.target.frozen_layers,
        "target.pooled_layer": spec.target.pooled_layer if retrieves else (),
    }
    for backbone, count in layers.items():
        for field, values in named.items():
            least = -count - 1 if field == "target.pooled_layer" else 0
            if wrong := [x for x in values if not least <= x <= count]:
                raise SpecError(
                    f"study {spec.name!r}, field {field!r}",
                    f"{least} to {count}, as backbone {backbone!r} has {count} layers",
                    str(wrong[0]),
                    "set it with --set",
                )


def longest_inputs(spec: StudySpec) -> dict[str, int]:
    """Field -> sub-words of the longest input that it asks an encoder for."""
    target = spec.target.max_length
    lengths = {
        "intermediate.max_length": spec.intermediate.max_length,
        "target.max_length": target,
    }
    if Method.SOFT_PROMPT in spec.target.method:
        lengths["target.max_length with target.prompt_length"] = target + max(
            spec.target.prompt_length
        )
    return lengths


def unlike_arms(spec: StudySpec, catalogue: Catalogue) -> list[str]:
    """One line per kind of task that some arms have and others lack.

    Between such arms a difference of domain cannot be told from a difference of kind.
    """
    arms = [arm for arm in spec.arms if arm not in {NO_INTERMEDIATE, MIXED}]
    kinds: dict[str, dict[TaskKind, None]] = {
        arm: {
            catalogue[task].kind: None
            for name in spec.arm_choices(catalogue, arm)
            for task in spec.members(name)
        }
        for arm in arms
    }
    grid = catalogue.grid()
    lines = []
    for kind in dict.fromkeys(kind for found in kinds.values() for kind in found):
        with_kind = [arm for arm in arms if kind in kinds[arm]]
        without = [arm for arm in arms if kind not in kinds[arm]]
        for arm in without:
            known = grid[kind, Domain(arm)]
            there = ", ".join(known) or "none"
            lines.append(
                f"arms compared unlike: {kind} is in {', '.join(with_kind)} but not in {arm} "
                f"(the catalogue has {there})"
            )
    return lines
