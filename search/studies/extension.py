"""The next version of a study: a larger space, with the trials that the study has.

Every trial must be the same recipe in the larger space; what would make it another is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.transfer import TransferObjective
from search.command_line.next_commands import StudyAddress, next_command
from search.command_line.requests import ReopenRequest
from search.studies.asked_study import AskedStudy
from search.studies.baseline import baseline_name
from search.studies.definition import StudyDefinition, differences, kept_definition
from search.studies.identity import STUDY_ID, baseline_id, new_study_id
from search.studies.opening import (
    TrainingSite,
    build_objective,
    define_study,
    provenance,
    set_metric_names,
)
from search.studies.reopened import ReopenedStudy, reopen_study
from search.studies.trial_notes import Failure, TrialNotes
from search.studies.versions import version_name, version_of
from spaces.dimensions import SearchSpace, only_choice, suggest_recipe
from spaces.errors import StorageError
from spaces.recipe import Recipe
from storage.patient_storage import SharedStorage
from storage.study_rows import copy_rows
from storage.workers import Workers

# What neither a trial's recipe nor the baseline that its gain is over depends on: direct training
# was tuned over the choices of the target stage and the encoders.
MAY_GROW = (
    r"spec\.(arms|sampler|mixtures.*|intermediate\.(tasks|epochs|learning_rate|batch_size|examples|"
    r"warmup_ratio|method|frozen_layers|lora_rank))"
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
    if (baseline := old.study.baseline) is None:
        raise StorageError(
            f"study {name!r}",
            "a baseline, which its next version keeps",
            "direct trainings that are not done",
            f"`{next_command('run', old.study.address)}` goes on with them",
        )
    space = baseline.space(space)
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
        is_new = place.startswith("data.corpora.") and " absent then" in text
        if not (is_new or re.fullmatch(MAY_GROW, place)):
            raise StorageError(
                f"study {name!r}: its trials would mean something else",
                found=text,
                advice="start another study with --name",
            )
    trials = study.get_trials(deepcopy=False)
    was, becomes = old.space.indirect(), space.indirect()
    return [_carried(trial, was, becomes, list(changed.values())) for trial in trials]


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
    about = {**old.study.optuna_study.user_attrs, **provenance(new), "extends": extends}
    study_id = new_study_id()
    about |= {"address": json.dumps(address.kept()), STUDY_ID: study_id}
    _copy(storage, old.study.optuna_study, name, trials, about)
    direct = old.study.direct_study
    _copy(
        *(storage, direct, baseline_name(name)),
        direct.get_trials(deepcopy=False),
        {**direct.user_attrs, "baseline_of": name, STUDY_ID: baseline_id(study_id)},
    )
    baseline = ledger.frozen_study(baseline_name(extends))
    assert baseline is not None, extends
    ledger.freeze_study(baseline_name(name), baseline, baseline_id(study_id))
    # Last: without it nobody takes the new version for one.
    ledger.freeze_study(name, definition.as_json(), study_id)
    return Extension(name, extends, len(trials), address)


def _copy(
    storage: SharedStorage,
    old: Study,
    name: str,
    trials: Sequence[FrozenTrial],
    about: Mapping[str, Any],
) -> None:
    """Make a study of these trials, with the results and slots that the old one has."""
    if name in optuna.get_all_study_names(storage):  # an extension that was killed half-way
        optuna.delete_study(study_name=name, storage=storage)
    made = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    for key, value in about.items():
        made.set_user_attr(key, value)
    set_metric_names(made, old.metric_names or [])
    for trial in trials:
        made.add_trial(trial)
    copy_rows(storage.engine, storage.engine, (old.study_name, name), len(trials))


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

    def suggest_categorical(
        self, name: str, choices: Sequence[Any], possible: Sequence[Any]
    ) -> Any:
        """What it was.

        Raises:
            LookupError: It can not be that.
        """
        value = self._chosen[name] if name in self._chosen else only_choice(self._space, name)
        if value not in possible:
            raise LookupError(f"{name} {value} is not in {', '.join(map(str, possible))}")
        self.params[name] = value
        self.distributions[name] = CategoricalDistribution(choices)
        return value
