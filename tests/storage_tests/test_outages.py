"""A database that goes away: waited for in one place, said once, and only where it is away."""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from spaces.errors import Interrupted, StorageError
from storage.opening import open_storage
from storage.outages import (
    _patience,
    asking,
    impatient,
    is_outage,
    outlast,
    reached,
    seconds_since_outage,
)
from storage.patient_storage import SharedStorage
from tests.conftest import Server
from tests.raising import raises

on_postgresql = pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)


@pytest.fixture
def storage(storage_url: str) -> Iterator[SharedStorage]:
    storage = open_storage(storage_url)
    yield storage
    storage.close()


@pytest.fixture
def purses(storage: SharedStorage) -> sa.Engine:
    """Two rows of a table, with 10 in each."""
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE purses (name VARCHAR(1), coins INTEGER)")
        connection.exec_driver_sql("INSERT INTO purses VALUES ('a', 10), ('b', 10)")
    return storage.engine


def add(connection: sa.Connection, name: str, coins: int) -> None:
    query = sa.text("UPDATE purses SET coins = coins + :coins WHERE name = :name")
    connection.execute(query, {"coins": coins, "name": name})


def coins_in(engine: sa.Engine) -> dict[str, int]:
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT name, coins FROM purses").all()
    return dict(map(tuple, rows))


@on_postgresql
def test_a_transaction_that_was_cut_in_two_is_done_once(purses: sa.Engine, server: Server) -> None:
    tries, returns = [], []

    def move() -> None:
        tries.append(1)
        with purses.begin() as connection:
            add(connection, "a", -3)
            if len(tries) == 1:
                server.stop()
                returns.append(server.start_in(1.0))
            add(connection, "b", 3)

    outlast(move)
    returns[0].join()
    assert len(tries) > 1, "the first was cut off"
    assert coins_in(purses) == {"a": 7, "b": 13}


@on_postgresql
def test_workers_that_read_and_write_come_through_two_outages_with_all_they_wrote(
    storage: SharedStorage, server: Server
) -> None:
    study = optuna.create_study(study_name="s", storage=storage)
    trial_id = study.ask()._trial_id
    ended, problems = threading.Event(), list[BaseException]()
    written, read = list[int](), list[int]()

    def write() -> None:
        while not ended.is_set():
            storage.set_trial_intermediate_value(trial_id, len(written), 0.5)
            written.append(1)

    def look() -> None:
        while not ended.is_set():
            read.append(len(storage.get_trial(trial_id).intermediate_values))

    def keep(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    threads = [threading.Thread(target=keep, args=(work,), daemon=True) for work in (write, look)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        before = len(written), len(read)
        while not (len(written) > before[0] + 5 and len(read) > before[1] + 5):
            assert problems == []
            time.sleep(0.01)
        server.stop()
        time.sleep(0.5)
        server.start()
    ended.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert list(storage.get_trial(trial_id).intermediate_values) == list(range(len(written)))
    assert read == sorted(read)


@on_postgresql
def test_an_outage_is_said_once_when_it_begins_and_once_when_it_ends(
    purses: sa.Engine, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert seconds_since_outage() == float("inf")
    for outages in (1, 2):
        server.stop()
        stopped_at = time.monotonic()
        back = server.start_in(1.5)
        for _ in range(3):
            outlast(lambda: coins_in(purses))
        back.join()
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 2 * outages
        assert said[-2].startswith("the database is away (")
        assert said[-2].endswith("); waiting for it")
        assert "\n" not in said[-2]
        assert re.fullmatch(r"the database is back after \d+ s", said[-1])
    assert 0 < seconds_since_outage() < time.monotonic() - stopped_at


@on_postgresql
def test_a_new_connection_is_waited_for_where_it_is_made(
    purses: sa.Engine, server: Server
) -> None:
    """Also of code that knows nothing of outages, such as Optuna's own."""
    server.stop()
    back = server.start_in(1.0)
    assert coins_in(purses) == {"a": 10, "b": 10}
    back.join()


@on_postgresql
def test_who_is_impatient_is_told_of_an_outage_at_once(
    storage: SharedStorage, purses: sa.Engine, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    try:
        assert not reached(lambda: coins_in(purses))
        with impatient(), pytest.raises(sa.exc.OperationalError) as caught:
            outlast(lambda: coins_in(purses))
        assert is_outage(caught.value)
        with impatient(), pytest.raises(optuna.exceptions.StorageInternalError) as wrapped:
            storage.get_all_studies()
        assert is_outage(wrapped.value)
    finally:
        server.start()
    assert reached(lambda: coins_in(purses))
    assert caplog.records == []


@on_postgresql
def test_who_waits_can_be_told_to_stop(purses: sa.Engine, server: Server) -> None:
    started = time.monotonic()

    def check() -> None:
        if time.monotonic() > started + 1:
            raise Interrupted("asked to stop")

    server.stop()
    try:
        with asking(check), pytest.raises(Interrupted, match="asked to stop"):
            outlast(lambda: coins_in(purses))
    finally:
        server.start()


@on_postgresql
def test_an_outage_without_end_ends_the_run_in_one_line(purses: sa.Engine, server: Server) -> None:
    server.stop()
    token = _patience.set(0.5)
    try:
        with raises(
            StorageError,
            subject="storage",
            expected="the database to be back within 0 s",
            advice="start the same command again",
        ) as caught:
            outlast(lambda: coins_in(purses))
    finally:
        _patience.reset(token)
        server.start()
    assert caught.value.found
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "query",
    ["SELECT no_function(1)", "INSERT INTO purses VALUES (1, 2, 3)", "SELECT 'a' / 0 FROM"],
)
def test_a_wrong_statement_is_not_waited_for(
    purses: sa.Engine, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    def ask() -> None:
        with purses.begin() as connection:
            connection.exec_driver_sql(query)

    with pytest.raises(sa.exc.SQLAlchemyError) as caught:
        outlast(ask)
    assert not is_outage(caught.value)
    assert caplog.records == []


@pytest.mark.parametrize("query", ["SELECT coins FROM nowhere", "SELECT no_column FROM purses"])
def test_what_is_missing_in_a_database_is_said_in_one_line(
    purses: sa.Engine, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    def ask() -> None:
        with purses.begin() as connection:
            connection.exec_driver_sql(query)

    with raises(StorageError, expected="the tables that were made here", found="no") as caught:
        outlast(ask)
    assert "\n" not in str(caught.value)
    assert caplog.records == []


def test_an_sqlite_file_that_another_process_writes_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'busy.db'}", connect_args={"timeout": 0.05})
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE purses (name VARCHAR(1), coins INTEGER)")
        connection.exec_driver_sql("INSERT INTO purses VALUES ('a', 10)")
    other = sqlite3.connect(tmp_path / "busy.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    free = threading.Timer(1.0, other.execute, ("COMMIT",))
    free.start()

    def write() -> None:
        with engine.begin() as connection:
            add(connection, "a", 1)

    with caplog.at_level(logging.WARNING):
        outlast(write)
    free.join()
    other.close()
    assert coins_in(engine) == {"a": 11}
    assert "the database is away (database is locked); waiting for it" in caplog.text
    engine.dispose()
