"""The recipe that a trial tries: by the search model, by TPE or at random, seeded by its slot.

A proposal is made against one reading of the study's history and is whole before the trial exists
in Optuna, so that no other worker ever sees half of one, and one that another worker is at can be
drawn again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.studies.trial_notes import TrialNotes
from search.surrogate.choosing import Chooser
from search.workers.search_model import ModelledSpace, choose_parameters
from spaces.dimensions import ARM_PARAM, TASK_PARAM, SearchSpace, suggest_recipe
from spaces.errors import StorageError
from spaces.studies import Sampler
from storage.fingerprint import fingerprint
from storage.optuna_internals import SplitHistory, study_id_of, tpe_sampler
from storage.patient_storage import SharedStorage, Snapshot

_COUNTED = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)


class History:
    """What a study has tried at one moment, to propose from.

    Args:
        storage: Storage of the study.
        study: The study as opened there.
        space: What its trials choose from.
        modelled: What `Sampler.TRANSFER` chooses by.

    Attributes:
        study: The study with its trials of that moment; read and not written.
    """

    def __init__(
        self,
        storage: SharedStorage,
        study: Study,
        space: SearchSpace,
        modelled: ModelledSpace | None = None,
    ) -> None:
        self._space, self._modelled = space, modelled
        self._choosers: dict[str | None, Chooser] = {}
        self._snapshot = storage.snapshot(study_id_of(study))
        self.study = optuna.load_study(study_name=study.study_name, storage=self._snapshot)

    @cached_property
    def conditional(self) -> ConditionalHistory:
        """The same as TPE reads it."""
        seen = self._snapshot.seen_as(lambda trial: _conditional(trial, self._space))
        return ConditionalHistory(self.study.study_name, seen)

    def chooser(self, rng: np.random.Generator) -> Chooser:
        """A search model of that moment, conditioned once for all that is chosen by it.

        Where there are several target tasks, it is drawn which is searched for: each alone, or all
        together. What one gains and another loses would be found by neither in their mean.
        """
        assert self._modelled is not None, "Sampler.TRANSFER chooses by a model"
        objectives = (None, *self._modelled.tasks)
        task = objectives[int(rng.integers(len(objectives)))]
        if task not in self._choosers:
            trials = self.study.get_trials(deepcopy=False)
            self._choosers[task] = self._modelled.chooser(trials, task)
        return self._choosers[task]


class ConditionalHistory:
    """A history in which the task is a parameter of its arm, as TPE tells by names what depends.

    Attributes:
        study: The study with such trials; read and not written.
        groups: Parameter -> all parameters that trials have together with it or not at all.
        split: The trials, split by TPE once for all that is drawn from them.
    """

    def __init__(self, study_name: str, snapshot: Snapshot) -> None:
        self.study = optuna.load_study(study_name=study_name, storage=snapshot)
        # TPE finds its groups from all trials each time; few of them differ in what they have.
        self._kinds = optuna.load_study(study_name=study_name, storage=snapshot.of_each_kind())
        kinds = [set(trial.params) for trial in self._kinds.get_trials(deepcopy=False)]
        names = sorted(set().union(*kinds))
        where = {name: tuple(name in kind for kind in kinds) for name in names}
        self.groups = {x: [y for y in names if where[y] == where[x]] for x in names}
        self.split = SplitHistory(self.study)

    def space(self, sampler: BaseSampler, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What `sampler` may draw together, before its first draw."""
        return sampler.infer_relative_search_space(self._kinds, trial)


def _task_of_arm(params: Mapping[str, Any]) -> str:
    """Name of the task as a parameter of its arm alone."""
    return f"{TASK_PARAM}.{params[ARM_PARAM]}"


def _conditional(trial: FrozenTrial, space: SearchSpace) -> FrozenTrial:
    """A trial whose task is a parameter of its arm."""
    if TASK_PARAM not in trial.params:
        return trial
    own = CategoricalDistribution(space.arms[trial.params[ARM_PARAM]])
    name, seen = _task_of_arm(trial.params), copy(trial)
    seen.params = {name if x == TASK_PARAM else x: value for x, value in trial.params.items()}
    seen.distributions = {
        name if x == TASK_PARAM else x: own if x == TASK_PARAM else kept
        for x, kept in trial.distributions.items()
    }
    return seen


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
        sampler: Sampler = Sampler.RANDOM,
    ) -> None:
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self._history, self._fixed, self._by = history, fixed or {}, sampler
        # Of no trial that is there, so that TPE leaves none out as the one it proposes for.
        self._trial = FrozenTrial(
            -1, TrialState.RUNNING, None, None, None, {}, {}, {}, {}, {}, trial_id=-1
        )
        seed = int(fingerprint([history.study.study_name, slot, draw])[:8], 16)
        self._sampler: BaseSampler = RandomSampler(seed)
        self._space: Mapping[str, BaseDistribution] = {}
        self._relative: dict[str, Any] = {}
        if sampler is Sampler.TRANSFER:
            rng = np.random.default_rng(seed)
            self._relative |= choose_parameters(history.chooser(rng), rng, self._fixed)
        elif sampler is Sampler.TPE:
            self._sampler = tpe_sampler(seed, history.conditional.split)
            self._space = history.conditional.space(self._sampler, self._trial)
        self._asked: set[str] = set()

    def suggest_categorical(
        self, name: str, choices: Sequence[Any], possible: Sequence[Any]
    ) -> Any:
        """Draw one that it can be.

        Raises:
            StorageError: The parameter is given, and can not be that.
        """
        if name not in self._fixed:
            value = self._drawn(name, possible)
        elif (value := self._fixed[name]) not in possible:
            raise StorageError(
                f"study {self._history.study.study_name!r}",
                expected=f"{name} in {', '.join(map(str, possible))}",
                found=f"{value!r} in a trial that was queued",
            )
        self.params[name], self.distributions[name] = value, CategoricalDistribution(choices)
        return value

    def _drawn(self, name: str, possible: Sequence[Any]) -> Any:
        """The value that the sampler has for a parameter, one of `possible`."""
        study = self._history.study
        if self._by is Sampler.TPE:
            study = self._history.conditional.study
            name = _task_of_arm(self.params) if name == TASK_PARAM else name
            self._draw_with(name)
        if name in self._relative:
            return self._relative[name]
        distribution = CategoricalDistribution(possible)
        return self._sampler.sample_independent(study, self._trial, name, distribution)

    def _draw_with(self, name: str) -> None:
        """Have TPE draw the group of `name`, when it is first asked for."""
        history = self._history.conditional
        if name in self._space and name not in self._asked:
            group = {x: self._space[x] for x in history.groups[name] if x in self._space}
            self._asked |= group.keys()
            self._relative |= self._sampler.sample_relative(history.study, self._trial, group)

    def as_trial(self, attributes: Mapping[str, Any]) -> FrozenTrial:
        """The template of a running trial of these parameters."""
        return create_trial(
            state=TrialState.RUNNING,
            params=self.params,
            distributions=self.distributions,
            user_attrs=dict(attributes),
        )


def first_parameters(space: SearchSpace, slot: int) -> dict[str, Any]:
    """Parameters that are given in the first slots of a study: each arm is tried once before."""
    arms = list(space.arms)
    return {ARM_PARAM: arms[slot]} if slot < len(arms) else {}


def fresh_seed(trials: Iterable[FrozenTrial], params: Mapping[str, Any], first: int) -> int:
    """The seed of a recipe's next run: the one after those that it had, or is being run with.

    Args:
        trials: All trials of the study.
        params: Parameters of the recipe.
        first: Seed of a recipe's first run.
    """
    mine = [x for x in trials if x.params == params and x.state in _COUNTED]
    seeds = [TrialNotes.of(trial).seed for trial in mine]
    return max((seed for seed in seeds if seed is not None), default=first - 1) + 1


def seed_by_slot(history: History, space: SearchSpace, slot: int, first: int) -> int:
    """The seed of what RANDOM draws for a slot, which depends on the slots before it alone."""

    def drawn(number: int) -> Mapping[str, Any]:
        fixed = first_parameters(space, number)
        proposal = Proposal(history, number, 0, fixed, Sampler.RANDOM)
        suggest_recipe(proposal, space)
        return proposal.params

    mine = drawn(slot)
    return first + sum(drawn(number) == mine for number in range(slot))
