"""The version of our tables: kept when they are made, and a database of another one refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from spaces.errors import StorageError
from storage.examination import examine_database
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.schema import VERSION, make_tables
from tests.raising import raises

WANTED = f"tables of transfer-search in version {VERSION}"
# Makes our tables and nothing else.
MAKER = """
options = {"timeout": 60} if sys.argv[2].startswith("sqlite") else {}
engine = sa.create_engine(sys.argv[2], connect_args=options)
together()
make_tables(engine)
with engine.connect() as connection:
    print(connection.exec_driver_sql("SELECT version FROM transfer_schema").scalar_one())
engine.dispose()
"""


@pytest.fixture(params=["sqlite", "postgresql", "journal"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty storage, once per kind that keeps tables."""
    if request.param == "journal":
        return f"journal:{tmp_path}"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    return request.getfixturevalue("postgresql").render_as_string(hide_password=False)


def changed(url: str, *statements: str) -> None:
    """Have a database as another version of this program left it."""
    storage = open_storage(url)
    Ledger(storage.engine).freeze_study("s", {"kept": 1})
    with storage.engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    storage.close()


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        (
            [f"UPDATE transfer_schema SET version = {VERSION + 1}"],
            {"found": f"version {VERSION + 1}, of a newer", "advice": "use another database"},
        ),
        (["UPDATE transfer_schema SET version = 0"], {"found": "of an older transfer-search"}),
        (
            ["DROP TABLE transfer_schema", "ALTER TABLE transfer_scores DROP COLUMN lost_words"],
            {"found": "transfer_scores has no column 'lost_words'", "advice": "that made this"},
        ),
        (
            ["DROP TABLE transfer_schema", "ALTER TABLE transfer_workers ADD COLUMN mood INTEGER"],
            {"found": "transfer_workers has a column 'mood'", "advice": "that made this"},
        ),
    ],
)
def test_tables_of_another_version_are_refused_in_one_line_and_by_a_doctor(
    url: str, changes: list[str], fields: dict[str, str]
) -> None:
    changed(url, *changes)
    for look in (open_storage, open_storage, examine_database):
        with raises(StorageError, expected=WANTED, **fields) as caught:
            look(url)
        assert "\n" not in str(caught.value)


def test_tables_from_before_there_were_versions_are_taken_if_they_are_the_same(url: str) -> None:
    """Also where some were never needed, and so never made."""
    changed(url, "DROP TABLE transfer_schema", "DROP TABLE transfer_losses")
    for _ in range(2):
        storage = open_storage(url)
        ledger = Ledger(storage.engine)
        assert ledger.frozen_study("s") == {"kept": 1}
        assert ledger.losses(["a"]) == {}
        with storage.engine.connect() as connection:
            query = sa.text("SELECT version FROM transfer_schema")
            assert connection.execute(query).scalars().all() == [VERSION]
        storage.close()


def test_a_process_that_was_killed_before_the_version_was_written_does_no_harm(url: str) -> None:
    changed(url, "DELETE FROM transfer_schema", "DROP TABLE transfer_results")
    open_storage(url).close()
    changed(url, "SELECT trial_number FROM transfer_results, transfer_schema")


@pytest.fixture
def empty(empty_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(empty_url)
    yield engine
    engine.dispose()


def test_several_processes_may_make_the_tables_at_once(
    empty_url: str, empty: sa.Engine, run_together: Callable[..., list[str]]
) -> None:
    said = run_together(MAKER, empty_url, processes=4)
    assert said == [f"{VERSION}\n"] * 4
    with empty.connect() as connection:
        rows = connection.exec_driver_sql("SELECT version FROM transfer_schema").all()
    assert [tuple(row) for row in rows] == [(VERSION,)]


def test_tables_that_are_there_are_not_looked_at_again(empty: sa.Engine) -> None:
    make_tables(empty)
    asked: list[str] = []
    sa.event.listen(
        empty,
        "before_cursor_execute",
        lambda connection, cursor, statement, *rest: asked.append(statement),
    )
    make_tables(empty)
    assert sum("transfer_" in statement for statement in asked) <= 2
