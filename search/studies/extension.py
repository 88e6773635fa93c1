"""The next version of a study: a larger space, with the trials that the study has.

Every trial must be the same recipe in the larger space; what would make it another is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.transfer import TransferObjective
from search.command_line.next_commands import StudyAddress
from search.command_line.requests import ReopenRequest
from search.studies.asked_study import AskedStudy
from search.studies.definition import StudyDefinition, differences
from search.studies.opening import (
    TrainingSite,
    build_objective,
    define_study,
    kept_definition,
    name_metric,
    provenance,
)
from search.studies.reopened import ReopenedStudy, reopen_study
from search.studies.trial_notes import Failure, TrialNotes
from search.studies.versions import version_name, version_of
from spaces.dimensions import SearchSpace, only_choice, suggest_recipe
from spaces.errors import StorageError
from spaces.recipe import Recipe
from storage.leases import Leases
from storage.slots import Slots
from storage.workers import Workers

# What a trial's value does not depend on, given its recipe.
MAY_GROW = (
    r"spec\.(arms|repeat_leaders|stop_behind|sampler|mixtures.*|"
    r"intermediate\.(tasks|epochs)|(intermediate|target)\.(learning_rate|batch_size|examples|warmup_ratio|"
    r"method|frozen_layers|lora_rank|prompt_length|shots))"
)


@dataclass(frozen=True)
class Extension:
    """A new version of a study.

    Attributes:
        name: Name of the new version in the storage.
        extends: Name of the version before.
        carried: Number of trials that the new version has from it.
        address: How commands reach the new version.
    """

    name: str
    extends: str
    carried: int
    address: StudyAddress


def extend_study(asked: AskedStudy, address: StudyAddress, site: TrainingSite) -> Extension:
    """Make the next version of a study from its file as it is now.

    Args:
        asked: The study with its larger space, and its data.
        address: How the study is reached; its data and encoder are those of the new version.
        site: Where the new version is trained.

    Raises:
        StorageError: Workers are at the study, nothing is new, or a trial would be another.
        TransferSearchError: The storage has no such study, or its data are not there.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    reopen = ReopenRequest(
        *(address.name, site.storage, address.data, address.backbone),
        *(site.cache, site.device, site.precision),
    )
    old = reopen_study(reopen, lambda stage: None)
    name = old.study.name
    new = build_objective(name, asked, old.study.storage, site, lambda stage: None)
    definition, space = define_study(new)
    address = replace(address, data=asked.data)
    carried = _carried_trials(old, definition, space)
    return _written(old, new, definition, carried, address)


def _carried_trials(
    old: ReopenedStudy, definition: StudyDefinition, space: SearchSpace
) -> list[FrozenTrial]:
    """The trials of a study as those of the larger space."""
    study, name = old.study.optuna_study, old.study.name
    kept = kept_definition(name, old.objective.ledger)
    assert kept is not None, name
    workers = Workers(old.study.storage.engine, name).all()
    if alive := [worker for worker in workers if not worker.is_silent]:
        raise StorageError(
            f"study {name!r}",
            expected="no worker at it",
            found=str(len(alive)),
            advice="end them, then extend it",
        )
    changed = differences(kept, definition)
    if not changed:
        raise StorageError(
            f"study {name!r}",
            expected="a larger space",
            found="the one it has",
            advice="change its file, or name what is new with --set",
        )
    for place, text in changed.items():
        is_new = place.startswith(("data.corpora.", "backbones.")) and " absent then" in text
        if not (is_new or re.fullmatch(MAY_GROW, place)):
            raise StorageError(
                f"study {name!r}: its trials would mean something else",
                found=text,
                advice="start another study with --name",
            )
    trials = study.get_trials(deepcopy=False)
    return [_carried(trial, old.space, space, list(changed.values())) for trial in trials]


def _written(
    old: ReopenedStudy,
    new: TransferObjective,
    definition: StudyDefinition,
    trials: Sequence[FrozenTrial],
    address: StudyAddress,
) -> Extension:
    """Write the new version, so that nobody takes it for one before it is whole."""
    storage, ledger, extends = old.study.storage, old.objective.ledger, old.study.name
    stem, version = version_of(extends)
    name = version_name(stem, version + 1)
    if name in optuna.get_all_study_names(storage):  # an extension that was killed half-way
        optuna.delete_study(study_name=name, storage=storage)
    made = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    ledger.forget_study(name)
    about = {**old.study.optuna_study.user_attrs, **provenance(new), "extends": extends}
    for key, value in (about | {"address": json.dumps(address.kept())}).items():
        made.set_user_attr(key, value)
    name_metric(made, definition)
    for trial in trials:
        made.add_trial(trial)
    ledger.copy_study(extends, name)
    Workers(storage.engine, extends).copy_account(name)
    Slots(storage.engine, Leases(storage.engine), extends).copy(name)
    # Last: without it nobody takes the new version for one.
    ledger.freeze_study(name, definition.as_json())
    return Extension(name, extends, len(trials), address)


def _carried(
    trial: FrozenTrial, old: SearchSpace, new: SearchSpace, changed: Sequence[str]
) -> FrozenTrial:
    """A trial with the parameters that it has in the larger space."""
    state, attributes = trial.state, dict(trial.user_attrs)
    if state is TrialState.RUNNING:
        state = TrialState.FAIL
        lost = TrialNotes(failure=Failure.LOST, reason="its worker was gone at the extension")
        attributes |= lost.attributes
    answers = _Answers(trial.params, old)
    if trial.params:
        recipe: Recipe | None = None
        try:
            recipe = suggest_recipe(answers, new)
        except LookupError as error:
            reason = str(error.args[0])
        else:
            reason = f"its recipe would be another ({'; '.join(changed)})"
        if recipe != suggest_recipe(_Answers(trial.params, old), old):
            raise StorageError(
                f"trial {trial.number} would be lost",
                found=reason,
                advice="a space may grow and not shrink, and what all trials share must stay; "
                "start another study with --name",
            )
    return create_trial(
        state=state,
        value=trial.value,
        params=answers.params,
        distributions=answers.distributions,
        user_attrs=attributes,
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )


class _Answers:
    """Says again what a trial chose, and what its space left no choice of."""

    def __init__(self, params: dict[str, Any], space: SearchSpace) -> None:
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, Any] = {}
        self._chosen, self._space = params, space

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """What it was.

        Raises:
            LookupError: It is none of `choices`.
        """
        value = self._chosen[name] if name in self._chosen else only_choice(self._space, name)
        if value not in choices:
            raise LookupError(f"{name} {value} is not in {', '.join(map(str, choices))}")
        self.params[name] = value
        self.distributions[name] = CategoricalDistribution(choices)
        return value
