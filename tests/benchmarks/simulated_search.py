"""One study on a planted landscape, through the program's own plan, `History` and `Proposal`.

Nothing is trained: a run's score is looked up. Trials are made, given their values and read again
as a worker does it, in Optuna's storage in memory. The search model begins with the program's
direct trainings, whose runs and updates count; beyond the grid of the target stage's rates a
landscape has nothing, so that a direct training there is a run that comes to nothing.
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.pruners import BasePruner, NopPruner, WilcoxonPruner
from optuna.trial import FrozenTrial, TrialState

from search.studies.direct_trainings import plan_direct_trainings
from search.studies.trial_notes import TrialNotes
from search.surrogate.answer import answer, recommend
from search.surrogate.choosing import Chooser
from search.surrogate.gains import Zero
from search.workers.proposals import History, Proposal, first_parameters, fresh_seed
from search.workers.search_model import DirectGain, ModelledSpace
from spaces.dimensions import suggest_recipe
from spaces.studies import Sampler
from storage.optuna_internals import set_trial_id, study_id_of, trial_id_of
from storage.outbox import Outbox
from storage.patient_storage import SharedStorage
from tests.benchmarks.search_landscapes import Landscape

STEP = 3
"""Runs between two looks at the recommendation."""
SURE_OF_ARM = 0.9
PRUNER_LEVEL = 0.1
BASELINE_SEEDS = 5
TARGET = "panx"
"""The target task that a landscape's scores are taken for."""
_ENGINE = sa.create_engine("sqlite://")  # of a storage that is asked for no lease


@dataclass(frozen=True)
class Search:
    """A way to search.

    Attributes:
        name: Its name in tables.
        sampler: What proposes.
        seeds: Seeds of a trial, the same for all trials; 0: one fresh seed.
        prunes: Whether a trial that is behind after a seed has no further ones.
        repeats: Leading recipes that are repeated with fresh seeds in the end.
    """

    name: str
    sampler: Sampler
    seeds: int = 0
    prunes: bool = False
    repeats: int = 0


SEARCHES = (
    Search("transfer", Sampler.TRANSFER),
    Search("random", Sampler.RANDOM, seeds=3),
    Search("random_pruner", Sampler.RANDOM, seeds=3, prunes=True),
    # As the program searched before runs were its unit of work.
    Search("tpe", Sampler.TPE, seeds=3, prunes=True, repeats=3),
)


@dataclass
class _Tried:
    """What a study has run, and what it took."""

    landscape: Landscape
    scores: dict[int, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    repeated: set[int] = field(default_factory=set)
    runs: int = 0
    updates: float = 0.0
    _trained: set[tuple[int, int]] = field(default_factory=set)

    def run(self, recipe: int, seed: int) -> float:
        """Run a recipe; stages that were trained with the seed before are there."""
        table = self.landscape.table
        score = self.landscape.score(recipe, seed)
        self.runs += 1
        if seed not in self.scores[recipe]:
            target = table.updates.min()
            trunk = (int(table.trunk[recipe]), seed)
            self.updates += target
            self.updates += 0 if trunk in self._trained else table.updates[recipe] - target
            self._trained.add(trunk)
        self.scores[recipe][seed] = score
        return score

    def leaders(self) -> list[int]:
        """Recipes by mean score, the best first; those that were repeated before all others."""
        means = {recipe: fmean(seeds.values()) for recipe, seeds in self.scores.items()}
        return sorted(means, key=lambda x: (x in self.repeated, means[x]), reverse=True)


class SimulatedStudy:
    """A study on a landscape.

    Args:
        landscape: The planted truth.
        search: How it is searched.
        workers: Runs in flight at a time.
    """

    def __init__(self, landscape: Landscape, search: Search, workers: int = 1) -> None:
        self._landscape, self._search, self._workers = landscape, search, workers
        self._study = optuna.create_study(
            study_name=str(landscape.key), pruner=_pruner(search.prunes), direction="maximize"
        )
        self._storage = SharedStorage(self._study._storage, _ENGINE, Outbox(Path("nowhere")))
        self._tried = _Tried(landscape)
        self._slots = 0
        self._looks: dict[str, list[float]] = {"runs": [], "regret": [], "updates": []}
        self._zero, self._zero_score = Zero(0), 0.0
        self._modelled: ModelledSpace | None = None
        self._space = landscape.table.space

    def run(self, budget: int) -> dict[str, Any]:
        """Search for so many runs.

        Returns:
            runs, regret, updates: At each look at the recommendation, every `STEP` runs.
            answer: In the end, of a search by the model (`_answered`).
        """
        if self._search.sampler is Sampler.TRANSFER:
            self._tune_baseline()
        in_flight: list[tuple[FrozenTrial, int, tuple[int, ...]]] = []
        spare = 3 * self._search.repeats
        while self._tried.runs < budget:
            history = self._history()
            self._look(history)
            if self._tried.runs + spare >= budget and self._repeat(budget):
                continue
            in_flight.append(self._begin(history))
            if len(in_flight) == self._workers:
                self._finish(*in_flight.pop(0))
        history = self._history()
        self._look(history)
        found: dict[str, Any] = dict(self._looks)
        if self._search.sampler is Sampler.TRANSFER:
            found["answer"] = self._answered(history)
        return found

    def proposal_seconds(self, runs: int, in_flight: int) -> float:
        """CPU seconds of one reading and one proposal after so many runs of recipes at random.

        The scales are fitted already, as they are once in many runs; the median of five.
        """
        self._tune_baseline()
        table, rng = self._landscape.table, np.random.default_rng(0)
        rows = np.flatnonzero(table.arm != table.arms.index("none"))
        empty = self._history()
        for slot in range(runs + in_flight):
            params = table.params[int(rng.choice(rows))]
            proposal = Proposal(empty, slot, 0, params, Sampler.RANDOM)
            suggest_recipe(proposal, self._space)
            recipe = table.place(proposal.params)
            assert recipe is not None
            trial = proposal.as_trial(TrialNotes(seed=slot).attributes)
            set_trial_id(trial, self._storage.create_new_trial(study_id_of(self._study), trial))
            if slot < runs:
                self._finish(trial, recipe, (slot,))
        seconds = []
        for slot in range(6):
            start = time.process_time()
            Proposal(self._history(), slot, 0, {}, Sampler.TRANSFER)
            seconds.append(time.process_time() - start)
        return median(seconds[1:])

    def _tune_baseline(self) -> None:
        """The first phase, by the program's plan; its end is the first look."""
        table, found = self._landscape.table, list[Mapping[str, float] | None]()
        plan = plan_direct_trainings(self._space, 0, BASELINE_SEEDS, found)
        known: list[tuple[int, int, float]] = []
        while not plan.is_done:
            for run in plan.runs[len(found) :]:
                row = table.place(run.params)
                if row is None:  # beyond the grid
                    self._tried.runs += 1
                    self._tried.updates += table.updates.min()
                    found.append(None)
                    continue
                score = self._tried.run(row, run.seed)
                known.append((row, run.seed, score))
                found.append({TARGET: score})
            plan = plan_direct_trainings(self._space, 0, BASELINE_SEEDS, found)
        means = {
            row: fmean(score for other, _, score in known if other == row) for row, _, _ in known
        }
        best = max(means, key=lambda row: means[row])
        self._zero, self._zero_score = Zero(best), means[best]
        direct = (
            DirectGain(table.params[row], seed, gain, {TARGET: gain})
            for row, seed, score in known
            for gain in [score - means[best]]
        )
        self._modelled = ModelledSpace(table, tuple(direct), (table.params[best],))
        self._space = self._space.indirect()

    def _history(self) -> History:
        return History(self._storage, self._study, self._space, self._modelled)

    def _chooser(self, history: History) -> Chooser:
        return history.chooser(np.random.default_rng(0))

    def _look(self, history: History) -> None:
        """Note the regret of what is recommended now, once every `STEP` runs."""
        runs, looks = self._tried.runs, self._looks
        while runs >= STEP * (len(looks["runs"]) + 1):
            is_model = self._search.sampler is Sampler.TRANSFER
            best = recommend(self._chooser(history)) if is_model else self._tried.leaders()[0]
            looks["runs"].append(STEP * (len(looks["runs"]) + 1))
            looks["regret"].append(self._landscape.regret(best))
            looks["updates"].append(self._tried.updates)

    def _begin(self, history: History) -> tuple[FrozenTrial, int, tuple[int, ...]]:
        slot, search, table = self._slots, self._search, self._landscape.table
        self._slots += 1
        fixed = first_parameters(self._space, slot)
        proposal = Proposal(history, slot, 0, fixed, search.sampler)
        suggest_recipe(proposal, self._space)
        recipe = table.place(proposal.params)
        assert recipe is not None
        seeds = tuple(range(search.seeds))
        if not seeds:
            trials = history.study.get_trials(deepcopy=False)
            seeds = (fresh_seed(trials, proposal.params, 0),)
        trial = proposal.as_trial(TrialNotes(slot=slot, seed=seeds[0]).attributes)
        set_trial_id(trial, self._storage.create_new_trial(study_id_of(self._study), trial))
        trial.number = slot
        return trial, recipe, seeds

    def _finish(self, trial: FrozenTrial, recipe: int, seeds: tuple[int, ...]) -> None:
        trial_id, scores = trial_id_of(trial), []
        for index, seed in enumerate(seeds):
            scores.append(self._tried.run(recipe, seed))
            if self._search.prunes and index + 1 < len(seeds):
                languages = self._landscape.by_language(recipe, seed)
                for place, score in enumerate(languages):
                    step = seed * len(languages) + place
                    self._storage.set_trial_intermediate_value(trial_id, step, score)
                    trial.intermediate_values[step] = score
                if self._study.pruner.prune(self._study, trial):
                    break
        value = fmean(scores) - self._zero_score
        self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [value])

    def _repeat(self, budget: int) -> bool:
        """Give the next leading recipe fresh seeds; False where none is left to repeat."""
        tried = self._tried
        left = [recipe for recipe in tried.leaders() if recipe not in tried.repeated]
        if not left or self._search.repeats == len(tried.repeated):
            return False
        for seed in range(3, 6)[: budget - tried.runs]:
            tried.run(left[0], seed)
        tried.repeated.add(left[0])
        return True

    def _answered(self, history: History) -> dict[str, Any]:
        """What the model says in the end, beside the truth."""
        landscape = self._landscape
        table, truth = landscape.table, landscape.truth
        said = answer(self._chooser(history), self._zero, np.random.default_rng(landscape.key))
        direct = truth[table.arm == table.arms.index("none")].max()
        claims = [x for x in said.arms.values() if x.is_gain]
        arm, sure = max(said.arms.items(), key=lambda x: x[1].probability_best)
        right = truth[table.arm == table.arms.index(arm)].max() >= truth.max() - 1e-9
        regret = landscape.regret(said.recipe)
        return {
            "claims_gain": bool(claims),
            "false_gain": any(truth[x.recipe] <= direct for x in claims),
            "sure_of_arm": sure.probability_best >= SURE_OF_ARM,
            "right_arm": bool(right),
            "expected_regret": said.regret,
            "within_90": regret <= said.regret_90,
        }


def _pruner(prunes: bool) -> BasePruner:
    """Stops a trial that is behind the best one after a seed, language by language."""
    if not prunes:
        return NopPruner()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return WilcoxonPruner(p_threshold=PRUNER_LEVEL)
