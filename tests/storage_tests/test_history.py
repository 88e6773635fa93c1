"""The quick reading of a long study is the same as Optuna's."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Iterator

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState, create_trial

from storage.opening import open_storage
from storage.optuna_internals import database_storage

SPACE: dict[str, BaseDistribution] = {
    "arm": CategoricalDistribution(("none", "legal", None, 3, 0.5, True)),
    "rate": FloatDistribution(1e-6, 1e-2, log=True),
    "epochs": IntDistribution(1, 9, step=2),
}
VALUES = (0.0, -1.5, 1e-300, math.inf, -math.inf)
STEPS = {0: 0.25, 7: math.inf, 3: -math.inf, 1000: math.nan}


@pytest.fixture(params=["UTC", "Asia/Kolkata"])
def time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def storages(storage_url: str, time_zone: None) -> Iterator[tuple[RDBStorage, RDBStorage]]:
    """Ours and Optuna's over one database, in which is every kind of trial."""
    open_storage(storage_url).close()
    ours = database_storage(storage_url, {}, is_made=False)
    theirs = RDBStorage(storage_url)
    study = optuna.create_study(study_name="s", storage=theirs)
    optuna.create_study(study_name="another", storage=theirs).add_trial(create_trial(value=9.0))
    choices = SPACE["arm"].choices  # type: ignore[attr-defined]
    for number in range(12):
        study.add_trial(
            create_trial(
                value=VALUES[number % len(VALUES)],
                params={"arm": choices[number % 6], "rate": 3e-5, "epochs": 5},
                distributions=SPACE,
                user_attrs={"slot": number, "words": ["a", {"b": None}], "text": "ü" * 50},
                system_attrs={"fixed_params": {"arm": choices[number % 6]}},
                intermediate_values=STEPS if number % 2 else {},
            )
        )
    study.enqueue_trial({"arm": "legal"})
    for state in (TrialState.FAIL, TrialState.PRUNED, TrialState.RUNNING):
        trial = study.ask()
        trial.suggest_float("rate", 1e-6, 1e-2, log=True)
        trial.report(0.5, 1)
        if state is not TrialState.RUNNING:
            study.tell(trial, state=state)
    study.enqueue_trial({"arm": "none"})
    yield ours, theirs
    for storage in (ours, theirs):
        storage.remove_session()
        storage.engine.dispose()


def _facts(trial: FrozenTrial) -> str:
    """All of it, as text, since NaN is unlike NaN."""
    return repr(
        (
            *(trial.number, trial._trial_id, trial.state, trial.values),
            *(trial.datetime_start, trial.datetime_complete, sorted(trial.params.items())),
            *(sorted(trial.distributions.items()), sorted(trial.intermediate_values.items())),
            *(sorted(trial.user_attrs.items()), sorted(trial.system_attrs.items())),
        )
    )


def test_all_trials_are_read_as_optuna_reads_them(
    storages: tuple[RDBStorage, RDBStorage],
) -> None:
    ours, theirs = ([_facts(x) for x in each.get_all_trials(1)] for each in storages)
    assert len(ours) == 16
    assert ours == theirs
    states = (TrialState.WAITING, TrialState.RUNNING)
    ours, theirs = (
        [_facts(x) for x in each.get_all_trials(1, states=states)] for each in storages
    )
    assert len(ours) == 2
    assert ours == theirs


@pytest.mark.parametrize("time_zone", ["Australia/Lord_Howe"], indirect=True)
def test_times_are_local_also_where_a_clock_is_changed_by_half_an_hour(
    storages: tuple[RDBStorage, RDBStorage],
) -> None:
    begin = datetime.datetime(2026, 4, 4, 13, 0, tzinfo=datetime.UTC)  # changed at 15:00 UTC
    moments = [begin + datetime.timedelta(minutes=7 * x, microseconds=x) for x in range(40)]
    with storages[1].engine.begin() as connection:
        trials = models.TrialModel.__table__
        for number, moment in enumerate(moments):
            row = {"study_id": 2, "number": number + 1, "state": TrialState.FAIL}
            naive = moment.replace(tzinfo=None)
            row |= {"datetime_start": naive, "datetime_complete": naive}
            connection.execute(sa.insert(trials), row)
    ours, theirs = (each.get_all_trials(2)[1:] for each in storages)
    assert [_facts(x) for x in ours] == [_facts(x) for x in theirs]
    shifts = {
        x.datetime_start - y.replace(tzinfo=None)
        for x, y in zip(ours, moments, strict=True)
        if x.datetime_start is not None
    }
    assert shifts == {datetime.timedelta(hours=11), datetime.timedelta(hours=10.5)}


@pytest.mark.parametrize("time_zone", ["UTC"], indirect=True)
def test_what_optunas_cache_asks_for_is_what_it_gets(
    storages: tuple[RDBStorage, RDBStorage],
) -> None:
    for included, after in (
        (set[int](), -1),
        (set[int](), 8),
        ({2, 5, 14}, 8),
        (set(range(1, 16)), 15),
        ({1}, 99),
        (set[int](), 99),
    ):
        ours, theirs = (
            [_facts(x) for x in each._get_trials(1, None, included, after)] for each in storages
        )
        assert ours == theirs, (included, after)
    for storage in storages:
        with pytest.raises(KeyError, match="Record does not exist"):
            storage.get_all_trials(77)


@pytest.mark.parametrize("time_zone", ["UTC"], indirect=True)
def test_a_long_study_is_read_in_a_few_statements(
    storages: tuple[RDBStorage, RDBStorage],
) -> None:
    ours, _ = storages
    asked: list[str] = []
    sa.event.listen(
        ours.engine,
        "before_cursor_execute",
        lambda connection, cursor, statement, *rest: asked.append(statement),
    )
    ours.get_all_trials(1)
    assert len(asked) <= 8


@pytest.mark.parametrize("time_zone", ["Asia/Kolkata"], indirect=True)
def test_a_running_trial_is_made_as_optuna_makes_it(
    storages: tuple[RDBStorage, RDBStorage],
) -> None:
    template = create_trial(
        state=TrialState.RUNNING,
        params={"arm": "none", "rate": 3e-5},
        distributions={name: SPACE[name] for name in ("arm", "rate")},
        user_attrs={"slot": 3, "words": ["ü"]},
    )
    whole = create_trial(
        state=TrialState.RUNNING,
        user_attrs={"slot": 3},
        system_attrs={"x": 1},
        intermediate_values={3: 0.5},
    )
    for each in (template, whole):
        made = [storage.create_new_trial(1, each) for storage in storages]
        ours, theirs = (storages[1].get_trial(trial_id) for trial_id in made)
        assert theirs.number == ours.number + 1
        theirs.number, theirs._trial_id = ours.number, ours._trial_id
        assert _facts(ours) == _facts(theirs)
    other = create_trial(
        state=TrialState.RUNNING,
        params={"arm": "none"},
        distributions={"arm": CategoricalDistribution(("none", "legal"))},
    )
    for storage in storages:
        with pytest.raises(ValueError, match="CategoricalDistribution does not support dynamic"):
            storage.create_new_trial(1, other)
