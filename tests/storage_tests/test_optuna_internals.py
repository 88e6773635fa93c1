"""Which version of Optuna the private names are used of, and what is said where they are not."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage

from storage import optuna_internals
from storage.opening import open_storage
from storage.optuna_internals import (
    SplitHistory,
    database_storage,
    is_as_tested,
    known_trial_number,
    tpe_sampler,
)

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(
    r"optuna[\w.]*\._[a-zA-Z]|(?<!self)\._(trial_id|study_id|storage|create_new_trial)\b"
)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    is_as_tested.cache_clear()
    yield
    is_as_tested.cache_clear()


def test_the_optuna_that_is_installed_is_the_one_that_was_tested(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert optuna.__version__.startswith(f"{optuna_internals.TESTED}.")
    assert is_as_tested()
    assert caplog.records == []


def test_no_other_file_uses_a_private_name_of_optuna() -> None:
    using = {
        str(file.relative_to(ROOT))
        for package in ("search", "objectives", "storage", "spaces")
        for file in (ROOT / package).rglob("*.py")
        if PRIVATE.search(file.read_text(encoding="utf-8"))
    }
    assert using == {"storage/optuna_internals.py"}


def test_a_database_that_is_made_is_opened_with_all_that_optuna_itself_sets(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    own, ours = RDBStorage(url), database_storage(url, {}, is_made=True)
    both = {name: value for name, value in vars(ours).items() if name in vars(own)}
    assert vars(own).keys() - both.keys() == {"_version_manager"}
    differing = {name for name, value in both.items() if value != vars(own)[name]}
    assert differing == {"engine", "scoped_session", "skip_compatibility_check"}
    for database in (own, ours):
        database.engine.dispose()


@pytest.mark.usefixtures("untested_optuna")
def test_another_minor_version_is_said_once_and_its_public_classes_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            storage = open_storage(url)
            study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True)
            assert type(tpe_sampler(0, SplitHistory(study))) is TPESampler
            storage.close()
    (warning,) = caplog.records
    said = warning.getMessage()
    assert f"Optuna {optuna.__version__} was not tested, 4.9 was" in said
    assert "reading a long study and proposing from it is slower now" in said
    database = database_storage(url, {}, is_made=True)
    assert type(database) is RDBStorage
    database.engine.dispose()


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("_OVERRIDDEN", ((RDBStorage, ("_gone",)),), "RDBStorage has no _gone"),
        ("_OVERRIDDEN", ((TPESampler, ("_gone",)),), "TPESampler has no _gone"),
        ("_MISSING", "No module named 'optuna.storages._rdb'", "No module named 'optuna.storages"),
    ],
)
def test_a_name_or_module_that_is_missing_is_said_and_the_public_classes_used(
    place: str,
    value: object,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(optuna_internals, place, value)
    assert not is_as_tested()
    assert said in caplog.text


def test_the_number_of_a_trial_that_was_made_here_is_known_without_asking(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(study_name="s", storage=storage)
    ids = [study.ask()._trial_id for _ in range(3)]
    assert [known_trial_number(storage._studies, x) for x in ids] == [0, 1, 2]
    assert [storage.get_trial_number_from_id(x) for x in ids] == [0, 1, 2]
    assert known_trial_number(storage._studies, 99) is None
    with pytest.raises(KeyError):
        storage.get_trial_number_from_id(99)
    storage.close()
