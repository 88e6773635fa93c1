"""Opening a study's database: what works, and one line for what does not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from spaces.errors import StorageError
from storage.opening import open_storage
from storage.urls import redacted, sqlite_file
from tests.conftest import Server

PASSWORD = "s3cret"
WANTED = "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"


def problem_of(url: str, *, create: bool = True) -> StorageError:
    """What a user is told; checked to be one line, without the password."""
    with pytest.raises(StorageError) as caught:
        open_storage(url, create=create)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    return caught.value


def test_a_study_is_there_when_its_storage_is_opened_again(empty_url: str) -> None:
    for trials in (1, 2):
        storage = open_storage(empty_url)
        study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
        study.optimize(lambda trial: 1.0, n_trials=1)
        assert len(study.trials) == trials
        storage.engine.dispose()


def test_sqlite_lets_readers_and_a_writer_work_at_once(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    open_storage(f"sqlite:///{file}")
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        *((url, {"expected": "a URL", "found": "nothing"}) for url in ("", "  ")),
        ("study.db", {"expected": WANTED}),
        ("user:s3cret@host/database", {"expected": WANTED}),
        ("oracle+cx_oracle://user:s3cret@host/database", {"expected": WANTED}),
        ("oracle://u:s3cret@h/d", {"expected": WANTED, "found": "a URL of 'oracle'"}),
        ("postgres://user:s3cret@host/database", {"expected": WANTED}),
        ("postgresql+nosuch://user:s3cret@host/database", {"expected": WANTED}),
        ("postgresql+psycopg://user:s3cret@host:port/database", {"expected": WANTED}),
        *(
            (
                f"{scheme}://u:s3cret@h/d",
                {
                    "expected": WANTED,
                    "found": f"a URL of {scheme.partition('+')[0]!r}",
                    "advice": "PostgreSQL",
                },
            )
            for scheme in ("mysql", "mysql+pymysql", "mariadb+mariadbconnector")
        ),
        (
            "postgresql+pg8000://user:s3cret@127.0.0.1/studies",
            {
                "subject": "storage postgresql+pg8000://user:***@127.0.0.1/studies",
                "expected": "the driver 'pg8000' to be installed",
                "advice": "postgresql+psycopg://",
            },
        ),
        (
            "postgresql+psycopg://user:s3cret@127.0.0.1:1/studies?sslcert=x",
            {
                "subject": "storage postgresql+psycopg://user:***@127.0.0.1:1/studies",
                "expected": "a reachable database",
                "found": "refused",
            },
        ),
    ],
)
def test_a_url_of_no_database_is_answered_with_what_it_must_be(
    url: str, fields: dict[str, str]
) -> None:
    problem = problem_of(url)
    for name, part in fields.items():
        assert part in getattr(problem, name), problem


def test_a_database_that_the_server_does_not_have_is_named(server: Server) -> None:
    url = server.url.set(database="nosuch", password=PASSWORD)
    problem = problem_of(url.render_as_string(hide_password=False))
    assert 'database "nosuch" does not exist' in problem.found


def test_the_folder_of_an_sqlite_file_must_exist(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/missing/study.db"
    problem = problem_of(url)
    assert problem.subject == f"storage {url}"
    assert problem.expected == f"the folder {tmp_path}/missing to exist"
    assert not (tmp_path / "missing").exists()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    file.write_text("question = 'Is this a database?'\n" * 100)
    problem = problem_of(f"sqlite:///{file}")
    assert problem.subject == f"storage sqlite:///{file}"
    assert problem.expected == "a reachable database"
    assert problem.found.startswith("file is not a database")
    assert file.read_text().startswith("question"), "it stays as it was"


def test_a_reader_does_not_make_a_database(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    problem = problem_of(f"sqlite:///{file}", create=False)
    assert (problem.expected, problem.found) == ("a database", f"no file {file}")
    assert not file.exists()
    open_storage(f"sqlite:///{file}")
    open_storage(f"sqlite:///{file}", create=False)


def test_tables_of_another_major_version_of_optuna_are_refused(empty_url: str) -> None:
    storage = open_storage(empty_url)
    with storage.engine.begin() as connection:
        connection.execute(sa.text("UPDATE version_info SET library_version = '4.5.0'"))
    storage.engine.dispose()
    problem = problem_of(empty_url)
    assert problem.expected == f"tables of Optuna {optuna.__version__.split('.')[0]}"
    assert "Optuna 4.5.0" in problem.found
    assert problem.advice == "use another database"


@pytest.mark.parametrize(
    "place", ["u:{}@h/d", "u@h/d?password={}", "u@h/d?sslpassword={}&sslcert=b"]
)
def test_a_password_is_hidden_wherever_it_stands(place: str) -> None:
    shown = redacted("postgresql+psycopg://" + place.format(PASSWORD))
    assert PASSWORD not in shown
    assert "@h/d" in shown


def test_the_file_of_an_sqlite_url() -> None:
    assert sqlite_file("sqlite:////a/b.db") == Path("/a/b.db")
    assert sqlite_file("sqlite:///b.db") == Path("b.db")
    for url in ("sqlite://", "sqlite:///:memory:", "postgresql+psycopg://u@h/d"):
        assert sqlite_file(url) is None


def test_two_workers_may_open_an_empty_database_at_once(
    empty_url: str, run_together: Callable[..., list[str]]
) -> None:
    script = """
optuna.logging.disable_default_handler()
together()
storage = open_storage(sys.argv[2])
Ledger(storage.engine)
study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
study.optimize(lambda trial: 1.0, n_trials=1)
storage.engine.dispose()
"""
    run_together(script, empty_url, processes=3)
    storage = open_storage(empty_url)
    study = optuna.load_study(storage=storage, study_name="s")
    assert sorted(trial.number for trial in study.trials) == [0, 1, 2]
    storage.engine.dispose()
