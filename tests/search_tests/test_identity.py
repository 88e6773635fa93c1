"""A study is known by its id: renamed, copied or carried away it keeps what it found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from search.copy import main as copy_main
from search.cost import main as cost_main
from search.findings.missing_rows import missing_lines
from search.status import main as status_main
from search.studies.baseline import baseline_name
from search.studies.identity import STUDY_ID, free_direct_trainings, recognise, set_aside
from search.studies.stored_study import open_stored_study
from spaces.errors import SpecError, StorageError
from storage.ledger import Ledger
from storage.opening import open_storage
from tests.raising import ends_with, raises
from tests.studies import PLANS, write_study

NAME = "synthetic"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A storage with a study."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, PLANS)
    return url


def rows(url: str) -> Mapping[str, int]:
    """Name of a study -> number of its results in the ledger."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        query = "SELECT study_name, count(*) FROM transfer_results GROUP BY 1"
        found = {name: count for name, count in connection.exec_driver_sql(query)}
    engine.dispose()
    return found


def rename(url: str, old: str, new: str) -> None:
    """As optuna-dashboard does."""
    optuna.copy_study(from_study_name=old, from_storage=url, to_storage=url, to_study_name=new)
    optuna.delete_study(study_name=old, storage=url)


def recipes_of(url: str, name: str) -> list[float]:
    """The gains of a study's recipes."""
    study = open_stored_study(url, name)
    found = [x.gain.overall_gain(study.languages) for x in study.recipes]
    assert study.direct
    study.storage.close()
    return found


def test_a_renamed_study_is_found_again_with_its_direct_trainings(url: str) -> None:
    before, gains = rows(url), recipes_of(url, NAME)
    rename(url, NAME, "final")
    assert recipes_of(url, "final") == gains
    assert rows(url) == {name.replace(NAME, "final"): count for name, count in before.items()}
    assert set(optuna.get_all_study_names(url)) == {"final", "final.baseline"}
    study = open_stored_study(url, "final")
    assert study.address.name == "final", "commands name it as it is called now"
    study.storage.close()


def test_a_name_that_is_free_is_begun_anew_and_nothing_is_deleted(url: str) -> None:
    before, gains = rows(url), recipes_of(url, NAME)
    rename(url, NAME, "final")
    storage = open_storage(url)
    set_aside(NAME, storage)  # what a run of the old name does first
    free_direct_trainings(NAME, storage)
    storage.close()
    assert sum(rows(url).values()) == sum(before.values())
    assert recipes_of(url, "final") == gains
    assert NAME not in rows(url)


def test_what_a_deleted_study_left_is_moved_aside_and_found_if_it_comes_back(url: str) -> None:
    gains = recipes_of(url, NAME)
    storage = open_storage(url)
    kept = f"{url}.kept"
    optuna.copy_study(from_study_name=NAME, from_storage=url, to_storage=kept)
    optuna.delete_study(study_name=NAME, storage=url)
    set_aside(NAME, storage)
    free_direct_trainings(NAME, storage)
    storage.close()
    assert all(name.startswith(f"{NAME}~") for name in rows(url))
    optuna.copy_study(from_study_name=NAME, from_storage=kept, to_storage=url)
    assert recipes_of(url, NAME) == gains


def test_a_copy_becomes_a_study_of_its_own(url: str) -> None:
    before, gains = rows(url), recipes_of(url, NAME)
    optuna.copy_study(
        from_study_name=NAME, from_storage=url, to_storage=url, to_study_name="copied"
    )
    assert recipes_of(url, "copied") == gains
    assert recipes_of(url, NAME) == gains
    twice = before | {name.replace(NAME, "copied"): count for name, count in before.items()}
    assert rows(url) == twice
    ids = {x.study_name: x.user_attrs[STUDY_ID] for x in optuna.get_all_study_summaries(url)}
    assert len(set(ids.values())) == 4
    assert ids["copied.baseline"] == f"{ids['copied']}.baseline"


def test_direct_trainings_that_were_renamed_alone_get_their_name_back(url: str) -> None:
    gains = recipes_of(url, NAME)
    rename(url, baseline_name(NAME), "something")
    assert recipes_of(url, NAME) == gains


def test_another_programs_study_under_a_known_name_is_refused(url: str) -> None:
    optuna.delete_study(study_name=NAME, storage=url)
    optuna.create_study(study_name=NAME, storage=url)
    storage = open_storage(url)
    with raises(StorageError, found="made by something else"):
        recognise(NAME, storage, url)
    storage.close()


def test_a_copy_by_optuna_alone_is_told_and_completed(url: str, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    optuna.copy_study(from_study_name=NAME, from_storage=url, to_storage=other)
    with ends_with(StorageError, found="copied by Optuna alone", advice="search.copy"):
        status_main(["--study", NAME, "--storage", other])
    assert copy_main(["--study", NAME, "--storage", url, "--to", other]) == 0
    assert recipes_of(other, NAME) == recipes_of(url, NAME)


def test_a_study_is_carried_to_postgresql_once(url: str, postgresql_url: str) -> None:
    words = ["--study", NAME, "--storage", url, "--to", postgresql_url]
    assert copy_main(words) == 0
    assert rows(postgresql_url) == rows(url)
    assert recipes_of(postgresql_url, NAME) == recipes_of(url, NAME)
    for more in ([], ["--name", "other"]):
        with ends_with(StorageError, subject="--to", found=repr(NAME)):
            copy_main([*words, *more])


@pytest.mark.parametrize("name", ["x.baseline", "-x", "a\nb", " a", "x" * 300])
def test_a_copy_has_a_name_that_every_command_takes(url: str, tmp_path: Path, name: str) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    with ends_with(SpecError, subject="--name"):
        copy_main(["--study", NAME, "--storage", url, "--to", other, f"--name={name}"])
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("DELETE FROM transfer_results WHERE rowid = 1", "lacks scores of direct training"),
        ("DELETE FROM transfer_stage_runs WHERE trial_number = 0", "lacks the stages of"),
        ("DELETE FROM transfer_stages", "lacks the stages of"),
        ("DELETE FROM transfer_studies WHERE study_name LIKE '%.baseline'", "the baseline"),
    ],
)
def test_what_the_ledger_lacks_is_said_by_status_and_cost(
    url: str, statement: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
    assert status_main(["--study", NAME, "--storage", url, "--json"]) == 0
    assert any(line in x for x in json.loads(capsys.readouterr().out)["missing"])
    assert cost_main(["--study", NAME, "--storage", url]) == 0
    assert line in capsys.readouterr().err


def test_a_whole_study_lacks_nothing(url: str) -> None:
    storage = open_storage(url)
    assert missing_lines(NAME, storage) == []
    assert Ledger(storage.engine).names()
    storage.close()
