"""A study on a real database whose training is a plain function, and workers that died at it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.trial import TrialState

from objectives.gains.transfer_gain import TransferGain
from search.command_line.stop_signal import StopSignal
from search.studies.baseline import Baseline, DirectTraining
from search.surrogate.recipe_table import build_table
from search.workers.heartbeat import Budget, Pulse
from search.workers.loop import Worker
from search.workers.proposals import History, Proposal
from search.workers.search_model import DirectGain, ModelledSpace
from search.workers.trial_attempts import OpenStudy
from spaces.dimensions import SearchSpace, suggest_recipe
from spaces.recipe import Recipe
from spaces.stage_specs import Aggregate
from spaces.studies import Sampler
from storage.leases import Leases
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.outbox import Outbox
from storage.patient_storage import SharedStorage
from storage.processes import process_identity
from storage.slots import Slot, Slots
from storage.tables import PairedScore, StageRun, TrainedStage
from storage.workers import Workers
from tests.studies import a_score, small_space

SPACE = small_space({"none": (), "legal": ("c",)}, epochs=(1, 2), learning_rate=(1e-5, 1e-4))
LANGUAGES = frozenset({"swa"})
ELSEWHERE = "elsewhere/pid:[1]/77/1.00"

ZERO = 0.5
"""Score of the best direct training."""
BASELINE = Baseline({"t": DirectTraining(0, {}, (0, 1), {"swa": ZERO})}, (1e-5, 1e-4), 2)

Train = Callable[[Recipe, int], float]
"""From a recipe and a seed to percentage points over the baseline."""


def pairs_of(points: float, seed: int = 0) -> tuple[PairedScore, ...]:
    """What a run found: so many percentage points over the baseline, in one language."""
    return (PairedScore(seed, a_score("t", "swa", ZERO + points / 100, f"own{points}")),)


def modelled(space: SearchSpace) -> ModelledSpace:
    """What the search model knows of a study before its first trial: its direct trainings."""
    table = build_table(space)
    direct = [x for x in table.params if x["intermediate.domain"] == "none"]
    gains = tuple(DirectGain(params, 0, 0.0, {"t": 0.0}) for params in direct)
    return ModelledSpace(table, gains, (direct[0],))


def dead_process() -> str:
    """The identity of a process of this machine that was killed."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = process_identity(child.pid)
    child.kill()
    child.communicate()
    return identity


def history_of(
    study: optuna.Study, space: SearchSpace, known: ModelledSpace | None = None
) -> History:
    """A study of any storage as a worker reads it, for one proposal or several."""
    # A reading uses neither the engine nor the outbox.
    storage = SharedStorage(study._storage, sa.create_engine("sqlite://"), Outbox(Path("nowhere")))
    return History(storage, study, space, known)


class Seen:
    """Notes what a worker shows."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    shows_answers = False

    def on_answer(self, line: str) -> None:
        """Nothing."""

    def on_trial_started(self, trial: optuna.trial.FrozenTrial, recipe: Recipe) -> None:
        """Note it."""
        self.lines.append(f"trial {trial.number} started")

    def on_stage_run(self, trial: optuna.trial.FrozenTrial, run: StageRun) -> None:
        """Tests of the loop train no stages."""

    def on_trial_finished(
        self, trial: optuna.trial.FrozenTrial, gain: TransferGain | None, done: int
    ) -> None:
        """Note it."""
        self.lines.append(f"trial {trial.number} {trial.state.name}, {done} done")

    def say(self, line: str) -> None:
        """Note it."""
        self.lines.append(line)


class Loop:
    """The study `s` in a database.

    Args:
        url: Of the database.
        cache: Beside which trials leave their files.
        lease_seconds: Of all leases.
        sampler: What proposes.
    """

    def __init__(
        self,
        url: str,
        cache: str,
        lease_seconds: float = 60.0,
        sampler: Sampler = Sampler.TPE,
    ) -> None:
        self.storage = open_storage(url)
        self.ledger = Ledger(self.storage.engine, self.storage.outbox)
        self.slots = Slots(self.storage.engine, Leases(self.storage.engine, lease_seconds), "s")
        self.workers = Workers(self.storage.engine, "s")
        self.stop, self.seen = StopSignal(), Seen()
        self.space = SPACE
        self.lease_seconds, self._sampler = lease_seconds, sampler
        self._cache = cache
        self.study = optuna.create_study(
            study_name="s", storage=self.storage, direction="maximize", load_if_exists=True
        )

    def run(
        self,
        train: Train,
        trials: int,
        *,
        passed: Callable[[Pulse], None] | None = None,
        until: float | None = None,
        **budget: float,
    ) -> None:
        """Run one worker with `train` as the objective.

        Args:
            train: In the place of a training.
            trials: In all.
            passed: Given the worker's pulse, before it begins.
            until: Expected regret at which it ends.
            **budget: Of `Budget`.
        """
        pulse = Pulse(
            self.workers, Budget(trials, **budget), self.stop, lease_seconds=self.lease_seconds
        )
        if passed is not None:
            passed(pulse)
        opened = OpenStudy(
            *(self.study, self.storage, self.ledger, self.slots, self.space.indirect()),
            *(self._spec(), LANGUAGES, BASELINE),
            modelled(self.space) if self._sampler is Sampler.TRANSFER else None,
        )
        worker = Worker(opened, trials, self._objective(train), pulse, self.seen, until)
        with pulse.beating("cpu"):
            worker.run()

    def abandon(
        self,
        worker: str,
        *,
        trial: bool = True,
        state: TrialState = TrialState.RUNNING,
        points: float | None = None,
    ) -> Slot:
        """Leave the next slot as a worker does that dies at it.

        Args:
            worker: Its identity.
            trial: Whether it came to make a trial.
            state: Of that.
            points: What it had found and recorded; None: nothing.
        """
        slot = self.slots.take(99)
        assert slot is not None
        space = self.space.indirect()
        proposal = Proposal(History(self.storage, self.study, space), slot.number)
        suggest_recipe(proposal, space)
        attributes = {"slot": slot.number, "worker": worker, "attempt": slot.token, "seed": 0}
        self.slots.begin(slot, None)
        if trial:
            template = proposal.as_trial(attributes)
            trial_id = self.storage.create_new_trial(self.study._study_id, template)
            if points is not None:
                self._record_stages(pairs_of(points))
                number = self.storage.get_trial_number_from_id(trial_id)
                self.ledger.record_trial("s", number, pairs_of(points))
            if state is not TrialState.RUNNING:
                values = [points] if state is TrialState.COMPLETE and points is not None else None
                self.storage.set_trial_state_values(trial_id, state, values)
        with self.storage.engine.begin() as connection:
            query = sa.text(
                "UPDATE transfer_leases SET owner = :owner, expires_at = :expires "
                "WHERE lease_key = :key"
            )
            expires = 1 if worker == ELSEWHERE else 1e12
            row = {"owner": worker, "expires": expires, "key": slot.lease.key}
            connection.execute(query, row)
        return slot

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """In order."""
        return self.study.trials

    @property
    def states(self) -> list[str]:
        """Of all trials, in order."""
        return [trial.state.name for trial in self.study.trials]

    def attributes(self, name: str) -> list[Any]:
        """A user attribute of all trials, in order."""
        return [trial.user_attrs.get(name) for trial in self.study.trials]

    def _record_stages(self, pairs: tuple[PairedScore, ...]) -> None:
        for pair in pairs:
            stage = TrainedStage(pair.score.checkpoint_key, "", "t", 5, 1.0, 0.0, "", "", {})
            self.ledger.record_stage(stage, [pair.score])

    def _objective(self, train: Train) -> Any:
        def objective(recipe: Recipe, seed: int, record: Any) -> tuple[PairedScore, ...]:
            record(StageRun(seed, "target", "t", "own", 5, 0, 0.0, 0.0, finished=True))
            pairs = pairs_of(train(recipe, seed), seed)
            self._record_stages(pairs)
            return pairs

        # A worker asks it for the place of its trials' files, too.
        objective.cache = SimpleNamespace(location=self._cache)
        return objective

    def _spec(self) -> Any:
        return SimpleNamespace(
            target=SimpleNamespace(aggregate=Aggregate.MEAN), first_seed=0, sampler=self._sampler
        )
