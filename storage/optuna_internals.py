"""Optuna's private names: all that this program uses of them, and what it does without them.

They make two things quick that the public classes do slowly in a study of thousands of trials:
reading its history from a database (`storage.fast_history`), and drawing several proposals of TPE
from one reading. With a minor version of Optuna that was not tested, or where a name is missing,
the public classes do the same work: the same trials, only later.

`study_id_of` and `trial_id_of` have no such way around: through its public names Optuna tells the
id of a study or a trial for a query of the database only.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Container, Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, cast

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import orm

from storage.fast_history import FastHistory, OptunaTables

if TYPE_CHECKING:
    from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
    from optuna.study._frozen import FrozenStudy as FrozenStudy

TESTED = "5.0"
"""The minor version of Optuna whose private names these are."""
_MISSING = ""
_OVERRIDDEN = (
    (RDBStorage, ("_create_new_trial", "_get_trials")),
    (
        TPESampler,
        ("_sample", "_build_parzen_estimator", "_compare", "_compute_acquisition_func"),
    ),
)
_log = logging.getLogger(__name__)

try:
    from optuna.samplers._tpe.sampler import _split_trials, default_gamma
    from optuna.storages._rdb import models

    _TABLES = OptunaTables(
        study=models.StudyModel.__table__,
        trial=models.TrialModel.__table__,
        param=models.TrialParamModel.__table__,
        value=models.TrialValueModel.__table__,
        step=models.TrialIntermediateValueModel.__table__,
        user_attribute=models.TrialUserAttributeModel.__table__,
        system_attribute=models.TrialSystemAttributeModel.__table__,
        not_found=models.NOT_FOUND_MSG,
    )
except (ImportError, AttributeError) as error:
    _MISSING = str(error)


@cache
def is_as_tested() -> bool:
    """Whether Optuna has the private names that were tested; one warning where it has not."""
    problem = _problem()
    if problem:
        _log.warning(
            "%s: reading a long study and proposing from it is slower now (by Optuna's public "
            "classes); the trials are the same",
            problem,
        )
    return not problem


def _problem() -> str:
    """Why the private names are left alone; empty where they are used."""
    if ".".join(optuna.__version__.split(".")[:2]) != TESTED:
        return f"Optuna {optuna.__version__} was not tested, {TESTED} was"
    if _MISSING:
        return f"Optuna {optuna.__version__}: {_MISSING}"
    for kind, names in _OVERRIDDEN:
        for name in names:
            if not hasattr(kind, name):
                return f"Optuna {optuna.__version__}: {kind.__name__} has no {name}"
    return ""


def study_id_of(study: Study | FrozenStudy) -> int:
    """The id of a study in its storage."""
    return study._study_id


def trial_id_of(trial: FrozenTrial | Trial) -> int:
    """The id of a trial in its storage; `trial.number` counts within its study."""
    return trial._trial_id


def set_trial_id(template: FrozenTrial, trial_id: int) -> None:
    """Turn a template into the trial that was made from it.

    Args:
        template: Trial that `create_new_trial` was given.
        trial_id: Id that it returned.
    """
    template._trial_id = trial_id


# --- a study in a database


def database_storage(url: str, engine_options: dict[str, Any], *, is_made: bool) -> RDBStorage:
    """Optuna's storage in a database; `with_cache` puts its cache in front.

    Args:
        url: SQLAlchemy URL, with its password.
        engine_options: Keyword arguments of `sqlalchemy.create_engine`.
        is_made: Whether this very version of Optuna has made its tables there.
    """
    if is_as_tested():
        return _HistoryStorage(url, engine_options, is_made=is_made)
    return RDBStorage(url, engine_options)


def with_cache(database: RDBStorage) -> BaseStorage:
    """A database behind Optuna's cache of finished trials; without it, where Optuna has none."""
    # Not underscored, but "for internal usage" by its own documentation.
    cached = getattr(optuna.storages, "get_storage", None)
    return database if cached is None else cast(BaseStorage, cached(database))


def known_trial_number(storage: BaseStorage, trial_id: int) -> int | None:
    """The number of a trial that this process has made or read; None where Optuna must ask.

    Args:
        storage: As `with_cache` returns it, or any other.
        trial_id: Id of the trial.
    """
    known = getattr(storage, "_trial_id_to_study_id_and_number", {}) if is_as_tested() else {}
    return known[trial_id][1] if trial_id in known else None


class _HistoryStorage(RDBStorage):
    """Optuna's storage in a database, which reads trials, and makes one whole, in few statements.

    Args:
        url: SQLAlchemy URL, with its password.
        engine_options: Keyword arguments of `sqlalchemy.create_engine`.
        is_made: Whether this very version of Optuna has made its tables there.
    """

    def __init__(self, url: str, engine_options: dict[str, Any], *, is_made: bool = False) -> None:
        if is_made:
            self._connect(url, engine_options)
        else:
            super().__init__(url, engine_options)
        self._history = FastHistory(self.engine, _TABLES)

    def _connect(self, url: str, engine_options: dict[str, Any]) -> None:
        """What Optuna's own beginning sets, but for what looks at the schema's version.

        That loads Alembic, and takes longer than to read a study.
        """
        self.engine_kwargs, self.url, self.skip_compatibility_check = engine_options, url, True
        self.heartbeat_interval = self.grace_period = None
        self.heartbeat_stale_trial_callback = self.failed_trial_callback = None
        self.engine = sa.create_engine(url, **engine_options)
        self.scoped_session = orm.scoped_session(orm.sessionmaker(bind=self.engine))

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        """As Optuna's; the rows of a template such as a worker's are written at once."""
        if template_trial is None or not self._history.can_create(template_trial):
            return super()._create_new_trial(study_id, template_trial)
        return self._history.create(study_id, template_trial)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """As Optuna's, which its cache calls to learn of what is new."""
        return self._history.trials(study_id, states, included_trial_ids, trial_id_greater_than)


# --- proposals


class SplitHistory:
    """One reading of a study, split by TPE once for all that is drawn from it.

    Args:
        study: With the trials of one moment; read and not written.

    Attributes:
        study: The same.
        densities: Parameters drawn together -> their densities in the good trials and in the
            others, as far as they were needed.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.densities: dict[tuple[str, ...], tuple[_ParzenEstimator, _ParzenEstimator]] = {}

    @cached_property
    def good_and_other(self) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """The trials as TPE splits them; those of other workers that still run are not good."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        trials = self.study.get_trials(deepcopy=False, states=states)
        finished = sum(trial.state is not TrialState.RUNNING for trial in trials)
        return _split_trials(self.study, trials, default_gamma(finished))


def tpe_sampler(seed: int, history: SplitHistory) -> TPESampler:
    """Optuna's TPE, multivariate, grouped, and away from what other workers are at.

    Args:
        seed: Random seed of all its draws.
        history: The reading that it will draw from.
    """
    options: Mapping[str, Any] = {"multivariate": True, "group": True, "constant_liar": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if is_as_tested():
            return _SplitOnceTPE(history, seed=seed, **options)
        return TPESampler(seed=seed, **options)


class _SplitOnceTPE(TPESampler):
    """Optuna's TPE, which splits a history once, however often it draws from it.

    Optuna splits all trials for each group of each draw: in a study of 5,000 trials most of what
    a proposal takes, and workers that converge draw again and again.
    """

    def __init__(self, history: SplitHistory, **options: Any) -> None:
        super().__init__(**options)
        self._history = history

    def _sample(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        densities, key = self._history.densities, tuple(search_space)
        if key not in densities:
            good_trials, other_trials = self._history.good_and_other
            densities[key] = (
                self._build_parzen_estimator(study, search_space, good_trials, handle_below=True),
                self._build_parzen_estimator(
                    study, search_space, other_trials, handle_below=False
                ),
            )
        good, other = densities[key]
        samples = good.sample(self._rng.rng, self._n_ei_candidates)
        best = self._compare(samples, self._compute_acquisition_func(samples, good, other))
        return {x: search_space[x].to_external_repr(value) for x, value in best.items()}


def optuna_tables() -> Sequence[sa.Table]:
    """Optuna's tables in a database; none where they are not known."""
    try:
        from optuna.storages._rdb.models import BaseModel
    except ImportError:
        return ()
    return cast(Sequence[sa.Table], BaseModel.metadata.sorted_tables)
