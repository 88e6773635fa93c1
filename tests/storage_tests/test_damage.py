"""What somebody damaged in a database is named, after an error that it made."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from search import status
from spaces.errors import StorageError
from storage.damage import NO_TEXT, damage_of
from storage.opening import open_storage
from tests.raising import raises
from tests.studies import PLANS, write_study


@pytest.mark.parametrize(
    ("statement", "column"),
    [
        ("UPDATE transfer_studies SET frozen = '{'", "frozen"),
        ("ALTER TABLE transfer_accounts DROP COLUMN trials", "trials"),
        ("ALTER TABLE trials RENAME COLUMN datetime_start TO x", "datetime_start"),
        ("UPDATE study_directions SET direction = 'x'", "direction"),
        ("UPDATE transfer_results SET seed = 'x'", "seed"),
        ("UPDATE trials SET datetime_start = 'x'", "datetime_start"),
        ("UPDATE trial_user_attributes SET value_json = '{'", "value_json"),
        ("UPDATE trial_params SET distribution_json = '-1'", "distribution_json"),
        ("UPDATE trial_params SET param_value = 9e999", "param_value"),
        ("UPDATE transfer_studies SET frozen = CAST(x'7bff' AS TEXT)", "frozen"),
        ("UPDATE trials SET datetime_complete = CAST(x'3230ff' AS TEXT)", "datetime_complete"),
    ],
)
def test_a_damaged_value_is_named(statement: str, column: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    write_study(url, PLANS)
    assert damage_of(url) is None
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as database:
        database.execute(statement)
        database.commit()
    damage = damage_of(url)
    assert damage is not None
    assert f"column {column}" in damage.expected


def test_a_schema_of_other_bytes_is_no_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as database:
        database.execute("CREATE TABLE trials (a)")
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET name = CAST(x'd7ff' AS TEXT)")
        database.commit()
    with raises(StorageError, expected="a whole database", found="no UTF-8"):
        open_storage(url)
    damage = damage_of(url)
    assert damage is not None
    assert damage.found == NO_TEXT


@pytest.mark.parametrize("table", ["transfer_stages", "transfer_scores"])
def test_rows_that_others_need_are_missed(table: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    write_study(url, PLANS)
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as database:
        database.execute(f"DELETE FROM {table} WHERE rowid % 2 = 0")
        database.commit()
    damage = damage_of(url)
    assert damage is not None
    assert f"table {table}" in damage.subject


def test_a_command_that_reads_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    write_study(url, PLANS)
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as database:
        database.execute("UPDATE transfer_studies SET frozen = '{'")
        database.commit()
    with pytest.raises(SystemExit) as ended:
        status.main(["--study", "synthetic", "--storage", url])
    assert ended.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: storage ")
    assert "table transfer_studies" in line
