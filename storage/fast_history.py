"""Reading a long study from a database at once: the rows as they are, not an object for each.

A worker that joins a study of 5,000 trials reads them all. Through Optuna's mapped objects that
is 2 s of processor time for each worker, which 32 workers that start together wait for in turn.
"""

from __future__ import annotations

import copy
import datetime
import gc
import json
import math
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

_Study = models.StudyModel.__table__
_Trial = models.TrialModel.__table__
_Param = models.TrialParamModel.__table__
_Value = models.TrialValueModel.__table__
_Step = models.TrialIntermediateValueModel.__table__
_UserAttr = models.TrialUserAttributeModel.__table__
_SystemAttr = models.TrialSystemAttributeModel.__table__
# Databases limit how many values a statement binds.
_BOUND = 500


class HistoryStorage(RDBStorage):
    """Optuna's storage in a database, with a quick way to read trials, and to make one whole.

    Args:
        url: Of the database.
        engine_kwargs: Of its engine.
        is_made: Whether this version of Optuna has made its tables there.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any], *, is_made: bool = False) -> None:
        # To look at each table and at the schema's version takes as long as to read a study.
        super().__init__(
            url, engine_kwargs, skip_compatibility_check=is_made, skip_table_creation=is_made
        )
        self._known: dict[tuple[int, str], BaseDistribution] = {}

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        """As Optuna's; the rows of a template such as a worker's are written at once.

        That is: of one that runs, and has parameters and user attributes and nothing else.
        """
        if (
            template_trial is None
            or template_trial.state is not TrialState.RUNNING
            or template_trial.system_attrs
            or template_trial.intermediate_values
            or template_trial.values
        ):
            return super()._create_new_trial(study_id, template_trial)
        self._check_compatible(study_id, template_trial.distributions)
        params, attributes = template_trial.params, template_trial.user_attrs
        began = template_trial.datetime_start or datetime.datetime.now()
        start = began.astimezone(datetime.UTC).replace(tzinfo=None)
        with self.engine.begin() as connection:
            # Numbers are counted, so that only one trial of a study is made at a time.
            lock = sa.select(_Study.c.study_id).where(_Study.c.study_id == study_id)
            if connection.execute(lock.with_for_update()).scalar() is None:
                raise KeyError(models.NOT_FOUND_MSG)
            row = {"study_id": study_id, "state": TrialState.RUNNING, "datetime_start": start}
            made = connection.execute(sa.insert(_Trial), row).inserted_primary_key
            assert made is not None
            trial_id = int(made[0])
            earlier = sa.select(sa.func.count()).where(
                _Trial.c.study_id == study_id, _Trial.c.trial_id < trial_id
            )
            number = int(connection.execute(earlier).scalar_one())
            connection.execute(
                sa.update(_Trial).where(_Trial.c.trial_id == trial_id).values(number=number)
            )
            rows = [
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": distribution.to_internal_repr(params[name]),
                    "distribution_json": distribution_to_json(distribution),
                }
                for name, distribution in template_trial.distributions.items()
            ]
            if rows:
                connection.execute(sa.insert(_Param), rows)
            rows = [
                {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
                for key, value in attributes.items()
            ]
            if rows:
                connection.execute(sa.insert(_UserAttr), rows)
        made_trial = copy.copy(template_trial)
        made_trial.number, made_trial._trial_id = number, trial_id
        made_trial.datetime_start = began
        return made_trial

    def _check_compatible(
        self, study_id: int, distributions: Mapping[str, BaseDistribution]
    ) -> None:
        """That a parameter has the choices that it has in the study's other trials.

        Raises:
            ValueError: As Optuna does.
        """
        known = self._known
        for name, distribution in distributions.items():
            if (study_id, name) not in known:
                query = (
                    sa.select(_Param.c.distribution_json)
                    .join(_Trial, _Trial.c.trial_id == _Param.c.trial_id)
                    .where(_Trial.c.study_id == study_id, _Param.c.param_name == name)
                    .limit(1)
                )
                with self.engine.connect() as connection:
                    found = connection.execute(query).scalar()
                known[study_id, name] = _distribution(found) if found else distribution
            check_distribution_compatibility(known[study_id, name], distribution)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """As Optuna's, which its cache calls to learn of what is new."""
        older = sorted(x for x in included_trial_ids if x <= trial_id_greater_than)
        chosen = [_Trial.c.trial_id > trial_id_greater_than]
        chosen += [
            _Trial.c.trial_id.in_(older[start : start + _BOUND])
            for start in range(0, len(older), _BOUND)
        ]
        with self.engine.connect() as connection, _no_collection():
            if trial_id_greater_than < 0:
                query = sa.select(_Study.c.study_id).where(_Study.c.study_id == study_id)
                if connection.execute(query).scalar() is None:
                    raise KeyError(models.NOT_FOUND_MSG)
            found = [
                trial
                for part in chosen
                for trial in _read(connection, sa.and_(_Trial.c.study_id == study_id, part))
            ]
        for trial in found:
            for name, distribution in trial.distributions.items():
                self._known.setdefault((study_id, name), distribution)
        if states is not None:
            found = [trial for trial in found if trial.state in states]
        return sorted(found, key=lambda trial: trial._trial_id)


class CachedHistory(_CachedStorage):
    """Optuna's cache of finished trials, which knows the numbers of the others too."""

    def get_trial_number_from_id(self, trial_id: int) -> int:
        """As Optuna's, without a look into the database where this process made the trial."""
        known = self._trial_id_to_study_id_and_number.get(trial_id)
        return super().get_trial_number_from_id(trial_id) if known is None else known[1]


@contextmanager
def _no_collection() -> Iterator[None]:
    """A hundred thousand new objects, none of them garbage: looking for some takes as long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> Iterator[FrozenTrial]:
    columns = ("trial_id", "number", "state", "datetime_start", "datetime_complete")
    trials = connection.execute(sa.select(*(_Trial.c[x] for x in columns)).where(chosen)).all()
    if not trials:
        return

    first, last = min(row.trial_id for row in trials), max(row.trial_id for row in trials)

    def rows(table: Any, *names: str) -> Iterable[Any]:
        query = (
            sa.select(table.c.trial_id, *(table.c[x] for x in names))
            .join(_Trial, _Trial.c.trial_id == table.c.trial_id)
            # The range says nothing new; without it the rows of all other studies are read, too.
            .where(chosen, table.c.trial_id.between(first, last))
            .order_by(next(iter(table.primary_key)))
        )
        return connection.execute(query).all()

    params: dict[int, dict[str, Any]] = defaultdict(dict)
    distributions: dict[int, dict[str, BaseDistribution]] = defaultdict(dict)
    for trial_id, name, value, text in rows(
        _Param, "param_name", "param_value", "distribution_json"
    ):
        distribution = distributions[trial_id][name] = _distribution(text)
        params[trial_id][name] = distribution.to_external_repr(value)
    values: dict[int, dict[int, float]] = defaultdict(dict)
    for trial_id, objective, value, kind in rows(_Value, "objective", "value", "value_type"):
        values[trial_id][objective] = _number(value, kind.name)
    steps: dict[int, dict[int, float]] = defaultdict(dict)
    for trial_id, step, value, kind in rows(
        _Step, "step", "intermediate_value", "intermediate_value_type"
    ):
        steps[trial_id][step] = _number(value, kind.name)
    user, system = (
        _attributes(rows(table, "key", "value_json")) for table in (_UserAttr, _SystemAttr)
    )
    offset = cache(_utc_offset)

    def local(moment: datetime.datetime | None) -> datetime.datetime | None:
        """Naive UTC, as Optuna 5 keeps it, in naive local time, as its trials have it."""
        if moment is None:
            return None
        return moment + offset(moment.date(), moment.hour, moment.minute // 15)

    for trial_id, number, state, start, complete in trials:
        by_objective = values.get(trial_id)
        yield FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=[by_objective[x] for x in sorted(by_objective)] if by_objective else None,
            datetime_start=local(start),
            datetime_complete=local(complete),
            params=params.get(trial_id, {}),
            distributions=distributions.get(trial_id, {}),
            user_attrs=user.get(trial_id, {}),
            system_attrs=system.get(trial_id, {}),
            intermediate_values=steps.get(trial_id, {}),
            trial_id=trial_id,
        )


def _attributes(rows: Iterable[Any]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, key, text in rows:
        found[trial_id][key] = json.loads(text)
    return found


@lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _number(value: float | None, kind: str) -> float:
    """A number as Optuna keeps it; databases differ in whether they take infinities."""
    if value is not None:
        return value
    return {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}[kind]


def _utc_offset(day: datetime.date, hour: int, quarter: int) -> datetime.timedelta:
    """Of local time in a quarter of an hour of UTC: no clock is changed within one."""
    begin = datetime.datetime(day.year, day.month, day.day, hour, 15 * quarter)
    return begin.replace(tzinfo=datetime.UTC).astimezone().utcoffset() or datetime.timedelta()
