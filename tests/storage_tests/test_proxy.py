"""Optuna's gRPC proxy and its client, used as the workers use them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import grpc
import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState, create_trial

from spaces.errors import StorageError
from storage import outages
from storage.opening import open_storage
from storage.outages import impatient, is_outage
from storage.patient_storage import SharedStorage
from storage.proxy import start_proxy

UNIFORM = optuna.distributions.FloatDistribution(0, 1)


@pytest.fixture
def url(postgresql: sa.URL) -> str:
    name = f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return postgresql.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def proxy(url: str) -> Iterator[tuple[grpc.Server, int]]:
    """A running proxy and its port."""
    storage = open_storage(url)
    server, port = start_proxy(storage, "localhost", 0)
    yield server, port
    server.stop(grace=None).wait()
    storage.close()


@pytest.fixture
def clients(url: str, proxy: tuple[grpc.Server, int]) -> Iterator[list[SharedStorage]]:
    """Two workers' storages."""
    opened = [open_storage(url, proxy=f"localhost:{proxy[1]}") for _ in range(2)]
    yield opened
    for storage in opened:
        storage.close()


def running(token: str) -> FrozenTrial:
    """What a worker makes a trial from."""
    return create_trial(
        state=TrialState.RUNNING,
        params={"x": 0.5},
        distributions={"x": UNIFORM},
        user_attrs={SharedStorage.TOKEN: token, "worker": "here"},
    )


def test_trials_are_whole_from_their_first_moment_and_seen_by_others_as_they_are(
    clients: list[SharedStorage],
) -> None:
    one, other = clients
    study = one.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
    ids = [one.create_new_trial(study, running(f"0/{n}")) for n in range(3)]
    seen = other.get_all_trials(study, deepcopy=False)
    assert [trial._trial_id for trial in seen] == ids
    assert {trial.state for trial in seen} == {TrialState.RUNNING}
    assert [trial.params for trial in seen] == [{"x": 0.5}] * 3
    # Ended out of order, and with what was kept on the way.
    one.set_trial_intermediate_value(ids[2], 4, 0.25)
    one.set_trial_user_attr(ids[2], "reason", "r")
    one.set_trial_state_values(ids[2], TrialState.COMPLETE, [1.5])
    one.set_trial_state_values(ids[0], TrialState.FAIL)
    seen = other.get_all_trials(study, deepcopy=False)
    states = [TrialState.FAIL, TrialState.RUNNING, TrialState.COMPLETE]
    assert [trial.state for trial in seen] == states
    assert (seen[2].value, seen[2].intermediate_values) == (1.5, {4: 0.25})
    assert seen[2].user_attrs["reason"] == "r"
    # The one that was running while later ones ended is still asked for.
    one.set_trial_user_attr(ids[1], "stopped", "now")
    one.set_trial_state_values(ids[1], TrialState.COMPLETE, [2.5])
    seen = other.get_all_trials(study, deepcopy=False)
    assert (seen[1].value, seen[1].user_attrs["stopped"]) == (2.5, "now")
    assert seen == other.get_all_trials(study) == one.get_all_trials(study)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        other.set_trial_state_values(ids[1], TrialState.FAIL)


def test_a_proxy_that_comes_again_is_the_same_proxy(
    url: str, clients: list[SharedStorage], proxy: tuple[grpc.Server, int]
) -> None:
    study = clients[0].create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
    first = clients[0].create_new_trial(study, running("0/1"))
    proxy[0].stop(grace=None).wait()
    with impatient(), pytest.raises(grpc.RpcError) as caught:
        clients[0].get_trial(first)
    assert is_outage(caught.value)
    storage = open_storage(url)
    again, _ = start_proxy(storage, "localhost", proxy[1])
    try:
        second = clients[0].create_new_trial(study, running("1/1"))
        assert [x._trial_id for x in clients[1].get_all_trials(study)] == [first, second]
    finally:
        again.stop(grace=None).wait()
        storage.close()


def test_an_outage_behind_the_proxy_is_waited_out(
    url: str, postgresql: sa.URL, clients: list[SharedStorage], caplog: pytest.LogCaptureFixture
) -> None:
    study = clients[0].create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
    database = sa.make_url(url).database
    admin = sa.create_engine(postgresql, isolation_level="AUTOCOMMIT")

    def allow(connections: bool) -> None:
        with admin.connect() as connection:
            connection.exec_driver_sql(
                f"ALTER DATABASE {database} ALLOW_CONNECTIONS {connections}"
            )
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{database}'"
            )

    allow(False)
    with impatient(), pytest.raises(grpc.RpcError) as caught:
        clients[0].create_new_trial(study, running("0/1"))
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert is_outage(caught.value)
    pauses = 0

    def check() -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 2:
            allow(True)

    with outages.asking(check):
        clients[0].create_new_trial(study, running("0/1"))
    admin.dispose()
    assert pauses >= 2
    assert len(clients[1].get_all_trials(study)) == 1
    assert "gRPC proxy: UNAVAILABLE" in caplog.text
    assert "the database is back" in caplog.text


def test_an_error_is_no_outage(clients: list[SharedStorage]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        clients[0].create_new_study([optuna.study.StudyDirection.MAXIMIZE], "too long" * 99)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert not is_outage(caught.value)
    with pytest.raises(KeyError):
        clients[0].get_trial(12345)


def test_two_proxies_do_not_share_a_port(url: str, proxy: tuple[grpc.Server, int]) -> None:
    storage = open_storage(url)
    with pytest.raises(StorageError, match=f"to listen at localhost:{proxy[1]}, found"):
        start_proxy(storage, "localhost", proxy[1])
    storage.close()


def test_a_proxy_that_is_not_there_is_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.opening.PROXY_SECONDS", 0.5)
    with pytest.raises(StorageError, match=r"start it with python -m search\.proxy"):
        open_storage(url, proxy="localhost:1")
    with pytest.raises(StorageError, match="expected HOST:PORT, found 'localhost'"):
        open_storage(url, proxy="localhost")
