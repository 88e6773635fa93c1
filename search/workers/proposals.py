"""The recipe that a trial tries: by the search model, by TPE or at random, seeded by its slot.

A proposal is made against one reading of the study's history and is whole before the trial exists
in Optuna, so that no other worker ever sees half of one, and one that another worker is at can be
drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.surrogate.choosing import Chooser
from search.surrogate.recipe_table import RecipeTable
from search.workers.search_model import choose_parameters, chooser_of
from spaces.dimensions import SearchSpace, reference_parameters
from spaces.errors import StorageError
from spaces.studies import NO_INTERMEDIATE, Sampler
from storage.fingerprint import fingerprint
from storage.optuna_internals import SplitHistory, study_id_of, tpe_sampler
from storage.patient_storage import SharedStorage


class History:
    """What a study has tried at one moment, to propose from.

    Args:
        storage: Storage of the study.
        study: The study as opened there.
        table: Recipes of the study's space, which `Sampler.TRANSFER` chooses among.

    Attributes:
        study: The study with its trials of that moment; read and not written.
        groups: Parameter -> all parameters that trials have together with it or not at all.
        split: The trials of that moment, split by TPE once for all that is drawn from them.
    """

    def __init__(
        self, storage: SharedStorage, study: Study, table: RecipeTable | None = None
    ) -> None:
        self._table = table
        snapshot = storage.snapshot(study_id_of(study))
        self.study = optuna.load_study(study_name=study.study_name, storage=snapshot)
        # TPE finds its groups from all trials each time; few of them differ in what they have.
        self._kinds = optuna.load_study(
            study_name=study.study_name, storage=snapshot.of_each_kind()
        )
        kinds = [set(trial.params) for trial in self._kinds.get_trials(deepcopy=False)]
        names = sorted(set().union(*kinds))
        where = {name: tuple(name in kind for kind in kinds) for name in names}
        self.groups = {x: [y for y in names if where[y] == where[x]] for x in names}
        self.split = SplitHistory(self.study)

    @cached_property
    def chooser(self) -> Chooser:
        """The search model of that moment, conditioned once for all that is chosen by it."""
        assert self._table is not None, "Sampler.TRANSFER chooses among recipes of a table"
        return chooser_of(self._table, self.study.get_trials(deepcopy=False))

    def space(self, sampler: BaseSampler, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What `sampler` may draw together, before its first draw."""
        return sampler.infer_relative_search_space(self._kinds, trial)


class Proposal:
    """Draws the parameters of one trial: by the search model, at random, or by TPE.

    Seeded by study, slot and draw: one seed per worker would make workers propose alike (8 workers
    with one seed: 5 different of 40 proposals), and a resumed worker repeat what its first run
    proposed. TPE is multivariate (Falkner et al. 2018, https://arxiv.org/abs/1807.01774) and
    grouped, which by Optuna's documentation lets a multivariate sampler see conditional
    parameters. `constant_liar` keeps it away from what other workers are at; the search model
    takes that for done (`search.surrogate.gaussian.Runs.with_believed`).

    Args:
        history: Reading of the study that the proposal is made against.
        slot: Number of the slot.
        draw: 0 for the first proposal of the slot, 1 for the next one, ...
        fixed: Parameters that are given, by name.
        sampler: How the others are drawn; RANDOM depends on nothing but the study's name, the slot
            and the draw.

    Attributes:
        params: Values drawn so far, by parameter.
        distributions: Distributions of `params`, by parameter.
    """

    def __init__(
        self,
        history: History,
        slot: int,
        draw: int = 0,
        fixed: Mapping[str, Any] | None = None,
        sampler: Sampler = Sampler.TPE,
    ) -> None:
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self._history, self._study, self._fixed = history, history.study, fixed or {}
        # Of no trial that is there, so that TPE leaves none out as the one it proposes for.
        self._trial = FrozenTrial(
            -1, TrialState.RUNNING, None, None, None, {}, {}, {}, {}, {}, trial_id=-1
        )
        seed = int(fingerprint([self._study.study_name, slot, draw])[:8], 16)
        self._sampler = (
            tpe_sampler(seed, history.split) if sampler is Sampler.TPE else RandomSampler(seed)
        )
        self._space: Mapping[str, BaseDistribution] = {}
        self._relative: dict[str, Any] = {}
        if sampler is Sampler.TRANSFER:
            self._relative |= choose_parameters(history.chooser, seed, self._fixed)
        else:
            self._space = history.space(self._sampler, self._trial)
        self._asked: set[str] = set()

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Draw one of `choices`.

        Raises:
            StorageError: The parameter is given, and none of them.
        """
        distribution = CategoricalDistribution(choices)
        if name in self._fixed:
            value = self._fixed[name]
            if value not in choices:
                raise StorageError(
                    f"study {self._study.study_name!r}",
                    expected=f"{name} in {', '.join(map(str, choices))}",
                    found=f"{value!r} in a trial that was queued",
                )
        elif name in self._drawn_with(name):
            value = self._relative[name]
        else:
            value = self._sampler.sample_independent(self._study, self._trial, name, distribution)
        self.params[name], self.distributions[name] = value, distribution
        return value

    def _drawn_with(self, name: str) -> Mapping[str, Any]:
        """The values drawn so far; the group of `name` is drawn when it is first asked for."""
        if name in self._space and name not in self._asked:
            group = {x: self._space[x] for x in self._history.groups[name] if x in self._space}
            self._asked |= group.keys()
            self._relative |= self._sampler.sample_relative(self._study, self._trial, group)
        return self._relative

    def as_trial(self, attributes: Mapping[str, Any]) -> FrozenTrial:
        """The template of a running trial of these parameters."""
        return create_trial(
            state=TrialState.RUNNING,
            params=self.params,
            distributions=self.distributions,
            user_attrs=dict(attributes),
        )


def first_parameters(space: SearchSpace, slot: int) -> dict[str, Any]:
    """Parameters that are given in the first slots of a study: each arm is tried once before TPE.

    The first of all is the reference baseline, which every trial is held against.
    """
    if slot == 0:
        return reference_parameters(space)
    others = [arm for arm in space.arms if arm != NO_INTERMEDIATE]
    return {"intermediate.domain": others[slot - 1]} if slot <= len(others) else {}
