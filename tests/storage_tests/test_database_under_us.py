"""The database under a run: removed, replaced, read-only, behind a pooler, or of strange URLs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from spaces.errors import StorageError
from storage.ledger import Ledger
from storage.opening import connect_arguments, open_storage, outbox_for
from storage.outages import outlast, reached
from storage.patient_storage import SharedStorage
from storage.tables import Score, TrainedStage
from storage.urls import parse_url
from storage.workers import Activity, Workers
from tests.raising import raises

STAGE = TrainedStage("c" * 64, "b" * 64, "panx", 1, 1.0, 1.0, "cpu", "float32", {})
SCORE = Score("c" * 64, "d" * 64, "panx", "swa", "validation", "span_f1", 0.5, 2, 0, 0)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with one study's definition."""
    monkeypatch.setenv("TRANSFER_SEARCH_STATE", str(tmp_path / "state"))
    file = tmp_path / "here" / "study.db"
    file.parent.mkdir()
    storage = open_storage(f"sqlite:///{file}")
    Ledger(storage.engine).freeze_study("s", {"kept": 1})
    storage.close()
    return file


@pytest.fixture
def opened(file: Path) -> Iterator[SharedStorage]:
    """The database as a worker has it open."""
    storage = open_storage(f"sqlite:///{file}")
    assert Ledger(storage.engine).frozen_study("s") == {"kept": 1}
    yield storage
    storage.close()


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_file_that_is_another_is_noticed_and_what_is_finished_waits(
    file: Path, opened: SharedStorage, what: str
) -> None:
    if what == "removed":
        file.unlink()
    else:
        other = file.with_suffix(".other")
        other.write_bytes(file.read_bytes())
        other.replace(file)
    ledger = Ledger(opened.engine, opened.outbox)
    found = "removed" if what == "removed" else "another one in its place"
    with raises(StorageError, found=found, advice=str(opened.outbox.folder)):
        ledger.record_stage(STAGE, [SCORE])
    assert len(list(opened.outbox.folder.iterdir())) == 1
    if what == "removed":
        assert not file.exists(), "no empty database in its place"
    # What it held is beside it, whole; the sign of life of a worker ends nothing by itself.
    (saved,) = file.parent.glob("*.rescued-*")
    with sqlite3.connect(saved) as rescued:
        assert rescued.execute("SELECT count(*) FROM transfer_studies").fetchone() == (1,)
    rescued.close()
    assert not reached(lambda: Ledger(opened.engine).frozen_study("s"))


def test_a_file_that_is_put_back_is_gone_on_with(file: Path, opened: SharedStorage) -> None:
    away = file.with_suffix(".away")
    file.rename(away)
    with raises(StorageError, expected="the file that this run began with"):
        Ledger(opened.engine).frozen_study("s")
    away.rename(file)
    assert Ledger(opened.engine).frozen_study("s") == {"kept": 1}


@pytest.mark.parametrize("log", ["none", "left"])
def test_a_file_that_cannot_be_written_is_read(
    file: Path, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_storage(f"sqlite:///{file}")
    Ledger(writer.engine).freeze_study("t", {"kept": 2})
    if log == "left":
        copied = file.parent.parent / "archive" / file.name
        copied.parent.mkdir()
        for each in file.parent.glob("study.db*"):
            if not each.name.endswith("-shm"):
                (copied.parent / each.name).write_bytes(each.read_bytes())
        assert copied.with_name("study.db-wal").stat().st_size > 0
        writer.close()
        file = copied
    else:
        writer.close()
    # As on a read-only mount, also for those who may write everything.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with raises(StorageError, found="can only be read"):
        open_storage(f"sqlite:///{file}")
    storage = open_storage(f"sqlite:///{file}", create=False)
    assert storage.is_read_only
    assert Ledger(storage.engine).frozen_study("t") == {"kept": 2}
    if log == "none":
        with raises(StorageError, expected="a database that can be written"):
            Ledger(storage.engine).freeze_study("u", {})
    storage.close()


def test_nothing_stays_in_a_session_of_postgresql(postgresql: sa.URL) -> None:
    storage = open_storage(postgresql.render_as_string(hide_password=False))
    workers = Workers(storage.engine, "s")
    workers.join("m/n/1/0.0", "cpu")
    for _ in range(12):  # psycopg prepares what it has seen five times
        outlast(lambda: workers.beat("m/n/1/0.0", Activity(), 0.0, None))
    with storage.engine.connect() as connection:
        bounded = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout")
        assert bounded.scalar() == "30s"
        connection.rollback()
        raw = connection.connection.cursor()
        raw.execute("SELECT count(*) FROM pg_prepared_statements")
        assert raw.fetchone() == (0,)
        raw.execute("SHOW idle_in_transaction_session_timeout")
        assert raw.fetchone() == ("0",)
        raw.close()
        connection.rollback()
    storage.close()


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("postgresql+psycopg://h/d?prepare_threshold=x", {"expected": "prepare_threshold="}),
        ("postgresql+psycopg://h/d?connect_timeout=1.5", {"expected": "a whole number"}),
        ("postgresql+psycopg://h/d?sslmode=maybe", {"found": "'maybe'"}),
        ("postgresql+psycopg://h/d?plugin=os", {"found": "'plugin'"}),
        ("postgresql+psycopg://h/d?conect_timeout=3", {"advice": "'connect_timeout'"}),
        ("postgresql+psycopg://h/d?dbname=a&dbname=b", {"found": "2 times"}),
        ("postgresql+psycopg_async://h/d", {"found": "psycopg_async"}),
        ("sqlite:///a.db?mode=ro", {"found": "'mode'"}),
        ("sqlite:///a.db?timeout=soon", {"expected": "timeout=seconds"}),
        ("sqlite://a.db", {"expected": "three slashes"}),
        ("sqlite:///a\0b.db", {"found": "cannot be printed"}),
    ],
)
def test_options_of_a_url_are_of_their_type_or_refused(url: str, fields: dict[str, str]) -> None:
    with raises(StorageError, subject="storage", **fields):
        parse_url(url)


@pytest.mark.parametrize("value", ["0", "5", "None", "none"])
def test_no_statement_is_prepared_whatever_a_url_says(value: str) -> None:
    url = parse_url(f"postgresql+psycopg://h/d?prepare_threshold={value}&connect_timeout=3")
    arguments = connect_arguments(url)
    assert arguments["prepare_threshold"] is None
    assert "connect_timeout" not in arguments, "the URL's own holds"


def test_servers_that_a_query_tells_apart_have_outboxes_of_their_own() -> None:
    urls = [f"postgresql+psycopg://u:p@/d?host=%2Fa{x}&connect_timeout={x}" for x in (1, 2)]
    urls += ["postgresql+psycopg://u:q@/d?host=%2Fa2&password=r"]
    folders = [outbox_for(url).folder for url in urls]
    assert folders[0] != folders[1]
    assert folders[1] == folders[2]


def test_another_programs_table_is_named(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE trials (a INTEGER)")
    engine.dispose()
    with raises(StorageError, found="'trials'"):
        open_storage(f"sqlite:///{tmp_path / 'x.db'}")
