"""Optuna's storage as workers see it: its whole protocol, and each call once in an outage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState, create_trial

from storage.opening import open_storage
from storage.patient_storage import SharedStorage

TOKEN = SharedStorage.TOKEN


@pytest.fixture(params=["tested", "untested"])
def storage(request: pytest.FixtureRequest, storage_url: str) -> Iterator[SharedStorage]:
    """An empty one, with Optuna's private names and without."""
    if request.param == "untested":
        request.getfixturevalue("untested_optuna")
    storage = open_storage(storage_url)
    yield storage
    storage.close()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with Optuna's tables, which take longer to make than to copy."""
    file = tmp_path_factory.mktemp("empty") / "study.db"
    open_storage(f"sqlite:///{file}").close()
    return file


class TestProtocol(StorageTestCase):
    """What Optuna asks of every storage, by its own suite."""

    test_pickle_storage = None  # a worker opens its own

    @pytest.fixture
    def storage(self, empty_database: Path, tmp_path: Path) -> Iterator[SharedStorage]:
        """An empty one."""
        shutil.copy(empty_database, tmp_path / "study.db")
        storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
        yield storage
        storage.close()


@pytest.mark.slow
@pytest.mark.usefixtures("untested_optuna")
class TestProtocolByPublicNames(TestProtocol):
    """The same of a storage that uses none of Optuna's private classes."""


class _AnswersAreLost:
    """A storage that does what it is asked, and once per method loses the answer."""

    def __init__(self, storage: SharedStorage) -> None:
        self._storage = storage
        self._lost: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)

        def call(*words: Any, **names: Any) -> Any:
            answer = method(*words, **names)
            if name not in self._lost:
                self._lost.add(name)
                lost = sa.exc.OperationalError("COMMIT", None, Exception("connection lost"))
                raise lost
            return answer

        return call


@pytest.fixture
def unsure(storage: SharedStorage) -> SharedStorage:
    studies: BaseStorage = _AnswersAreLost(storage)  # type: ignore[assignment]
    return SharedStorage(studies, storage.engine, storage.outbox)


def test_a_trial_with_a_token_is_made_once_though_the_answer_was_lost(
    storage: SharedStorage, unsure: SharedStorage
) -> None:
    study = optuna.create_study(study_name="s", storage=storage)
    template = create_trial(state=TrialState.RUNNING, user_attrs={TOKEN: "3/1"})
    trial_id = unsure.create_new_trial(study._study_id, template)
    assert [trial._trial_id for trial in study.trials] == [trial_id]
    other = create_trial(state=TrialState.RUNNING, user_attrs={TOKEN: "3/2"})
    assert unsure.create_new_trial(study._study_id, other) != trial_id
    assert len(study.trials) == 2


def test_a_trial_is_told_once_though_the_answer_was_lost(
    storage: SharedStorage, unsure: SharedStorage
) -> None:
    study = optuna.create_study(study_name="s", storage=storage)
    trial_id = study.ask()._trial_id
    assert unsure.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5])
    assert [(trial.state, trial.value) for trial in study.trials] == [(TrialState.COMPLETE, 0.5)]


def test_a_trial_that_somebody_else_has_told_is_not_told_again(
    storage: SharedStorage, unsure: SharedStorage
) -> None:
    study = optuna.create_study(study_name="s", storage=storage)
    trial = study.ask()
    study.tell(trial, state=TrialState.FAIL)
    for state, values in ((TrialState.FAIL, None), (TrialState.COMPLETE, [1.0])):
        with pytest.raises(UpdateFinishedTrialError):
            unsure.set_trial_state_values(trial._trial_id, state, values)
    assert study.trials[0].state is TrialState.FAIL


def test_a_snapshot_stays_as_it_was_and_writes_nothing(storage: SharedStorage) -> None:
    study = optuna.create_study(study_name="s", storage=storage)
    first = study.ask()
    snapshot = storage.snapshot(study._study_id)
    study.tell(first, 1.0)
    study.ask()
    seen = optuna.load_study(study_name="s", storage=snapshot)
    assert [trial.state for trial in seen.trials] == [TrialState.RUNNING]
    assert seen.get_trials(states=(TrialState.COMPLETE,)) == []
    snapshot.set_trial_system_attr(first._trial_id, "space", "of the sampler")
    assert study.trials[0].system_attrs == {}
