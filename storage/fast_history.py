"""Reading a long study from a database at once: the rows as they are, not an object for each.

A worker that joins a study of 5,000 trials reads them all. Through Optuna's mapped objects that
is 2 s of processor time for each worker, which 32 workers that start together wait for in turn.
"""

from __future__ import annotations

import datetime
import gc
import json
import math
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState

# Databases limit how many values a statement binds.
_BOUND = 500


@dataclass(frozen=True)
class OptunaTables:
    """Optuna's tables in a database.

    Attributes:
        study: Studies.
        trial: Trials.
        param: Parameters of trials.
        value: Values of trials.
        step: Intermediate values of trials.
        user_attribute: User attributes of trials.
        system_attribute: System attributes of trials.
        not_found: What Optuna says of a study that is not there.
    """

    study: Any
    trial: Any
    param: Any
    value: Any
    step: Any
    user_attribute: Any
    system_attribute: Any
    not_found: str


class FastHistory:
    """Reads the trials of a study, and makes a trial whole, in a few statements each.

    Args:
        engine: Engine of the study's database.
        tables: Optuna's tables there.
    """

    def __init__(self, engine: sa.Engine, tables: OptunaTables) -> None:
        self._engine, self._tables = engine, tables
        self._known: dict[tuple[int, str], BaseDistribution] = {}

    def can_create(self, template: FrozenTrial) -> bool:
        """Whether a template is such as a worker's: it runs, with parameters and user attributes.

        Of one with anything else `create` would lose something.
        """
        return template.state is TrialState.RUNNING and not (
            template.system_attrs or template.intermediate_values or template.values
        )

    def create(self, study_id: int, template: FrozenTrial) -> FrozenTrial:
        """Make a trial of a template that `can_create` accepts, in one transaction.

        Raises:
            KeyError: There is no such study.
            ValueError: A parameter has other choices than in the study's other trials.
        """
        self._check_compatible(study_id, template.distributions)
        tables = self._tables
        params, attributes = template.params, template.user_attrs
        began = template.datetime_start or datetime.datetime.now()
        start = began.astimezone(datetime.UTC).replace(tzinfo=None)
        with self._engine.begin() as connection:
            # Numbers are counted, so that only one trial of a study is made at a time.
            lock = sa.select(tables.study.c.study_id).where(tables.study.c.study_id == study_id)
            if connection.execute(lock.with_for_update()).scalar() is None:
                raise KeyError(tables.not_found)
            row = {"study_id": study_id, "state": TrialState.RUNNING, "datetime_start": start}
            made = connection.execute(sa.insert(tables.trial), row).inserted_primary_key
            assert made is not None
            trial_id = int(made[0])
            earlier = sa.select(sa.func.count()).where(
                tables.trial.c.study_id == study_id, tables.trial.c.trial_id < trial_id
            )
            number = int(connection.execute(earlier).scalar_one())
            connection.execute(
                sa.update(tables.trial)
                .where(tables.trial.c.trial_id == trial_id)
                .values(number=number)
            )
            rows = [
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": distribution.to_internal_repr(params[name]),
                    "distribution_json": distribution_to_json(distribution),
                }
                for name, distribution in template.distributions.items()
            ]
            if rows:
                connection.execute(sa.insert(tables.param), rows)
            rows = [
                {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
                for key, value in attributes.items()
            ]
            if rows:
                connection.execute(sa.insert(tables.user_attribute), rows)
        return FrozenTrial(
            number=number,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=began,
            datetime_complete=None,
            params=params,
            distributions=template.distributions,
            user_attrs=attributes,
            system_attrs={},
            intermediate_values={},
            trial_id=trial_id,
        )

    def _check_compatible(
        self, study_id: int, distributions: Mapping[str, BaseDistribution]
    ) -> None:
        """Check that a parameter has the same choices as in the study's other trials.

        Raises:
            ValueError: It has others.
        """
        known, tables = self._known, self._tables
        for name, distribution in distributions.items():
            if (study_id, name) not in known:
                query = (
                    sa.select(tables.param.c.distribution_json)
                    .join(tables.trial, tables.trial.c.trial_id == tables.param.c.trial_id)
                    .where(tables.trial.c.study_id == study_id, tables.param.c.param_name == name)
                    .limit(1)
                )
                with self._engine.connect() as connection:
                    stored = connection.execute(query).scalar()
                known[study_id, name] = _distribution(stored) if stored else distribution
            check_distribution_compatibility(known[study_id, name], distribution)

    def trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Trials of a study in the order of their ids.

        Args:
            study_id: Id of the study.
            states: States that the trials may have; None: all.
            included_trial_ids: Ids of trials to read in any case.
            trial_id_greater_than: Id above which all trials are read.

        Raises:
            KeyError: There is no such study, and all of its trials were asked for.
        """
        tables = self._tables
        older = sorted(x for x in included_trial_ids if x <= trial_id_greater_than)
        chosen = [tables.trial.c.trial_id > trial_id_greater_than]
        chosen += [
            tables.trial.c.trial_id.in_(older[start : start + _BOUND])
            for start in range(0, len(older), _BOUND)
        ]
        with self._engine.connect() as connection, _no_collection():
            if trial_id_greater_than < 0:
                query = sa.select(tables.study.c.study_id).where(
                    tables.study.c.study_id == study_id
                )
                if connection.execute(query).scalar() is None:
                    raise KeyError(tables.not_found)
            numbered = [
                row
                for part in chosen
                for row in _read(
                    connection, tables, sa.and_(tables.trial.c.study_id == study_id, part)
                )
            ]
        for _, trial in numbered:
            for name, distribution in trial.distributions.items():
                self._known.setdefault((study_id, name), distribution)
        numbered.sort(key=lambda row: row[0])
        return [trial for _, trial in numbered if states is None or trial.state in states]


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: of 100,000 new objects none is garbage, and looking takes as long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(
    connection: sa.Connection, tables: OptunaTables, chosen: sa.ColumnElement[bool]
) -> Iterator[tuple[int, FrozenTrial]]:
    """The chosen trials, each with its id."""
    columns = ("trial_id", "number", "state", "datetime_start", "datetime_complete")
    trials = connection.execute(
        sa.select(*(tables.trial.c[x] for x in columns)).where(chosen)
    ).all()
    if not trials:
        return

    first, last = min(row.trial_id for row in trials), max(row.trial_id for row in trials)

    def rows(table: Any, *names: str) -> Iterable[Any]:
        query = (
            sa.select(table.c.trial_id, *(table.c[x] for x in names))
            .join(tables.trial, tables.trial.c.trial_id == table.c.trial_id)
            # The range says nothing new; without it the rows of all other studies are read, too.
            .where(chosen, table.c.trial_id.between(first, last))
            .order_by(next(iter(table.primary_key)))
        )
        return connection.execute(query).all()

    params: dict[int, dict[str, Any]] = defaultdict(dict)
    distributions: dict[int, dict[str, BaseDistribution]] = defaultdict(dict)
    for trial_id, name, value, text in rows(
        tables.param, "param_name", "param_value", "distribution_json"
    ):
        distribution = distributions[trial_id][name] = _distribution(text)
        params[trial_id][name] = distribution.to_external_repr(value)
    values: dict[int, dict[int, float]] = defaultdict(dict)
    for trial_id, objective, value, kind in rows(tables.value, "objective", "value", "value_type"):
        values[trial_id][objective] = _number(value, kind.name)
    steps: dict[int, dict[int, float]] = defaultdict(dict)
    for trial_id, step, value, kind in rows(
        tables.step, "step", "intermediate_value", "intermediate_value_type"
    ):
        steps[trial_id][step] = _number(value, kind.name)
    user, system = (
        _attributes(rows(table, "key", "value_json"))
        for table in (tables.user_attribute, tables.system_attribute)
    )
    offset = cache(_utc_offset)

    def local(moment: datetime.datetime | None) -> datetime.datetime | None:
        """Naive UTC, as Optuna 5 keeps it, in naive local time, as its trials have it."""
        if moment is None:
            return None
        return moment + offset(moment.date(), moment.hour, moment.minute // 15)

    for trial_id, number, state, start, complete in trials:
        by_objective = values.get(trial_id)
        trial = FrozenTrial(
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
        yield trial_id, trial


def _attributes(rows: Iterable[Any]) -> dict[int, dict[str, Any]]:
    attributes: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, key, text in rows:
        attributes[trial_id][key] = json.loads(text)
    return attributes


@lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _number(value: float | None, kind: str) -> float:
    """A number as Optuna keeps it; databases differ in whether they take infinities."""
    if value is not None:
        return value
    return {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}[kind]


def _utc_offset(day: datetime.date, hour: int, quarter: int) -> datetime.timedelta:
    """Offset of local time in a quarter of an hour of UTC, in which no clock is changed."""
    begin = datetime.datetime(day.year, day.month, day.day, hour, 15 * quarter)
    return begin.replace(tzinfo=datetime.UTC).astimezone().utcoffset() or datetime.timedelta()
