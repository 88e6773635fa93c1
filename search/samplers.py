"""TPE that draws the same for the same history, and what stops a trial that is far behind."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, NopPruner, WilcoxonPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from spaces.dimensions import SearchSpace, reference_parameters
from spaces.studies import NO_INTERMEDIATE
from storage.fingerprint import fingerprint


class TrialSeededTPE(BaseSampler):
    """Multivariate, grouped TPE, seeded anew for each trial from study name and trial number.

    One seed per worker would make workers propose alike (8 workers with one seed: 5 different
    of 40 proposals), and a resumed worker repeat what its first run proposed. `group` is what
    lets the multivariate sampler see conditional parameters: Falkner et al. 2018 for the
    former (https://arxiv.org/abs/1807.01774), Optuna's documentation for the latter.
    """

    def __init__(self) -> None:
        self._tpe: TPESampler | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Make the sampler of this trial."""
        seed = int(fingerprint([study.study_name, trial.number])[:8], 16)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._tpe = TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
        self._tpe.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As TPE does."""
        return self._sampler().infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE does."""
        return self._sampler().sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As TPE does."""
        return self._sampler().sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """As TPE does, where this process proposed the trial; another's needs nothing here."""
        if self._tpe is not None:
            self._tpe.after_trial(study, trial, state, values)

    def _sampler(self) -> TPESampler:
        assert self._tpe is not None, "Optuna calls before_trial first"
        return self._tpe


def seed_pruner(p_threshold: float) -> BasePruner:
    """What says after each seed whether a trial is clearly behind the best one.

    Both have the gains of the same languages in the same seeds, which are compared by pairs.

    Args:
        p_threshold: Of Wilcoxon's signed-rank test, in [0, 0.5); 0 never stops a trial.
    """
    if not p_threshold:
        return NopPruner()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return WilcoxonPruner(p_threshold=p_threshold)


def first_trials(space: SearchSpace) -> list[dict[str, Any]]:
    """Parameters to fix in the first trials of a study: each arm is tried once before TPE.

    The first of all is the reference baseline, which every trial is held against.
    """
    others = [{"intermediate.domain": arm} for arm in space.arms if arm != NO_INTERMEDIATE]
    return [reference_parameters(space), *others]
