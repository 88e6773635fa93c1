"""A study's storage as workers see it: Optuna's, which outlasts outages, and an engine."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from spaces.errors import StudyGoneError
from storage.optuna_internals import known_trial_number, trial_id_of
from storage.outages import outlast, outlasting
from storage.outbox import Outbox

if TYPE_CHECKING:
    from storage.optuna_internals import FrozenStudy

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def _still_there() -> Iterator[None]:
    """Around a call that names a study or a trial by its number in Optuna.

    Raises:
        StudyGoneError: There is none of that number any more. optuna-dashboard renames a study by
            copying it, under other numbers, and deleting the old one.
    """
    try:
        yield
    except KeyError as error:
        raise StudyGoneError(
            "storage",
            "the study that was opened",
            "that it was deleted or renamed since",
            "if renamed, run it under the name that it has now (--name)",
        ) from error


def _by_id(method: Callable[P, T]) -> Callable[P, T]:
    """Such a call, which is done again after an outage."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with _still_there():
            return outlast(lambda: method(*args, **kwargs))

    return call


class SharedStorage(BaseStorage):
    """Optuna's storage protocol over another storage; each call is done again after an outage.

    What cannot be done twice is looked for first: a trial that a cut-off call created is known by
    its user attribute `TOKEN`, and a state that was set is set.

    Args:
        studies: Optuna's storage: a database behind Optuna's cache, or a journal.
        engine: Engine of the database with our own tables.
        outbox: This machine's outbox for the database.
        is_read_only: Whether the database can only be read.
    """

    TOKEN = "attempt"

    def __init__(
        self,
        studies: BaseStorage,
        engine: sa.Engine,
        outbox: Outbox,
        *,
        is_read_only: bool = False,
    ) -> None:
        self._studies = studies
        self.engine = engine
        self.outbox = outbox
        self.is_read_only = is_read_only

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """As Optuna's."""
        return outlast(lambda: self._studies.create_new_study(directions, study_name))

    @_by_id
    def delete_study(self, study_id: int) -> None:
        """As Optuna's."""
        self._studies.delete_study(study_id)

    @_by_id
    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        self._studies.set_study_user_attr(study_id, key, value)

    @_by_id
    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        self._studies.set_study_system_attr(study_id, key, value)

    @outlasting
    def get_study_id_from_name(self, study_name: str) -> int:
        """As Optuna's."""
        return self._studies.get_study_id_from_name(study_name)

    @_by_id
    def get_study_name_from_id(self, study_id: int) -> str:
        """As Optuna's."""
        return self._studies.get_study_name_from_id(study_id)

    @_by_id
    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """As Optuna's."""
        return self._studies.get_study_directions(study_id)

    @_by_id
    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """As Optuna's."""
        return self._studies.get_study_user_attrs(study_id)

    @_by_id
    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """As Optuna's."""
        return self._studies.get_study_system_attrs(study_id)

    @outlasting
    def get_all_studies(self) -> list[FrozenStudy]:
        """As Optuna's."""
        return self._studies.get_all_studies()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """As Optuna's; a template with a `TOKEN` makes one trial however often it is asked for."""
        token = template_trial.user_attrs.get(self.TOKEN) if template_trial else None
        tried = False

        def create() -> int:
            nonlocal tried
            if tried and token is not None:
                for trial in self._studies.get_all_trials(study_id, deepcopy=False):
                    if trial.user_attrs.get(self.TOKEN) == token:
                        return trial_id_of(trial)
            tried = True
            return self._studies.create_new_trial(study_id, template_trial)

        with _still_there():
            return outlast(create)

    @_by_id
    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """As Optuna's."""
        self._studies.set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """As Optuna's."""
        tried = False

        def write() -> bool:
            nonlocal tried
            try:
                first, tried = not tried, True
                return self._studies.set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if not first and self._studies.get_trial(trial_id).state is state:
                    return True
                raise

        with _still_there():
            return outlast(write)

    @_by_id
    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """As Optuna's."""
        self._studies.set_trial_intermediate_value(trial_id, step, intermediate_value)

    @_by_id
    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        self._studies.set_trial_user_attr(trial_id, key, value)

    @_by_id
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        self._studies.set_trial_system_attr(trial_id, key, value)

    @_by_id
    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """As Optuna's."""
        return self._studies.get_trial_id_from_study_id_trial_number(study_id, trial_number)

    @_by_id
    def get_trial_number_from_id(self, trial_id: int) -> int:
        """As Optuna's, without a look into the database where this process made the trial."""
        known = known_trial_number(self._studies, trial_id)
        return self._studies.get_trial_number_from_id(trial_id) if known is None else known

    @_by_id
    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As Optuna's."""
        return self._studies.get_trial(trial_id)

    @_by_id
    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """As Optuna's."""
        return self._studies.get_all_trials(study_id, deepcopy, states)

    @_by_id
    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """As Optuna's."""
        return self._studies.get_best_trial(study_id)

    def remove_session(self) -> None:
        """As Optuna's."""
        self._studies.remove_session()

    def snapshot(self, study_id: int) -> Snapshot:
        """One reading of a study, for a sampler to draw from."""
        trials = self.get_all_trials(study_id, deepcopy=False)
        return Snapshot(self._studies, self.engine, self.outbox, study_id, trials)

    def close(self) -> None:
        """Close all connections."""
        self.remove_session()
        self.engine.dispose()


class Snapshot(SharedStorage):
    """A study's trials as they were at one moment, and no writing.

    A sampler reads the history for each parameter anew; of one reading it proposes the same in
    less time. What it would tell other workers, the trial itself will tell.
    """

    def __init__(
        self,
        studies: BaseStorage,
        engine: sa.Engine,
        outbox: Outbox,
        study_id: int,
        trials: Sequence[FrozenTrial],
    ) -> None:
        super().__init__(studies, engine, outbox)
        self._study_id, self._trials = study_id, trials

    def seen_as(self, view: Callable[[FrozenTrial], FrozenTrial]) -> Snapshot:
        """The same moment, with each trial as `view` returns it."""
        parts = (self._studies, self.engine, self.outbox)
        return Snapshot(*parts, self._study_id, [view(trial) for trial in self._trials])

    def of_each_kind(self) -> Snapshot:
        """One complete trial for each set of parameters that trials have: there are few."""
        kinds = {
            frozenset(trial.distributions): trial
            for trial in self._trials
            if trial.state is TrialState.COMPLETE
        }
        parts = (self._studies, self.engine, self.outbox)
        return Snapshot(*parts, self._study_id, list(kinds.values()))

    def get_study_id_from_name(self, study_name: str) -> int:
        """That of its study, without asking."""
        return self._study_id

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Those of the moment."""
        trials = [x for x in self._trials if states is None or x.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Nothing."""
