"""The loop: what a trial is told as, what is kept of it, and when the loop ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from objectives.gain import TransferGain
from search.finished import finished_recipes, leaders
from search.samplers import TrialSeededTPE, seed_pruner
from search.worker import StopSignal, count_done, run_worker, settle_dead_trials
from spaces.errors import DataError, DeviceMemoryError, DivergedError
from spaces.recipe import Recipe
from spaces.studies import Aggregate
from storage.backends import open_storage
from storage.ledger import Ledger, PairedScore, Score, StageRun, TrainedStage
from storage.liveness import is_dead, process_identity
from tests.toy_space import small_space

SPACE = small_space({"none": (), "legal": ("c",)}, epochs=(1, 2), learning_rate=(1e-5, 1e-4))
LANGUAGES = frozenset({"swa"})


def _score(key: str, value: float) -> Score:
    return Score(key, "c", "t", "swa", "validation", "accuracy", value, 10, 0, 0)


def _gain(points: float) -> TransferGain:
    own, base = _score(f"own{points}", 0.5 + points / 100), _score("base", 0.5)
    pair = PairedScore(0, own, base, base)
    return TransferGain((pair,))


class Silent:
    """Shows nothing."""

    def trial_started(self, number: int, recipe: Recipe) -> None:
        """Say nothing."""

    def trial_finished(
        self, trial: optuna.trial.FrozenTrial, gain: TransferGain | None, done: int
    ) -> None:
        """Say nothing."""


class Loop:
    """A study on a real SQLite file, and an objective that is a plain function."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 's.db'}"
        self.cache = str(folder / "s.cache")
        self.storage = open_storage(self.url)
        self.ledger = Ledger(self.storage.engine)
        self.stop = StopSignal()
        self.repeat_leaders = 0
        self.study = optuna.create_study(
            study_name="s",
            storage=self.storage,
            sampler=TrialSeededTPE(),
            pruner=seed_pruner(0.1),
            direction="maximize",
        )

    def run(self, train: Callable[[Recipe, Any], TransferGain], trials: int) -> None:
        """Run the loop with `train` as the objective."""
        spec = SimpleNamespace(
            selection_languages=lambda catalogue: LANGUAGES,
            target=SimpleNamespace(aggregate=Aggregate.MEAN),
            repeat_leaders=self.repeat_leaders,
            first_seed=0,
            seeds=len(SPACE.seeds),
        )

        def objective(recipe: Recipe, report: Any, record: Any) -> TransferGain:
            record(StageRun(0, "target", "t", "own", 5, 0, 0.0, 0.0, finished=True))
            gain = train(recipe, report)
            for pair in gain.pairs:
                for score in (pair.score, pair.baseline):
                    stage = TrainedStage(score.checkpoint_key, "", "t", 5, 1.0, 0.0, "", "", {})
                    self.ledger.record_stage(stage, [score])
            return gain

        objective.spec = spec  # type: ignore[attr-defined]
        objective.catalogue = None  # type: ignore[attr-defined]
        objective.cache = SimpleNamespace(location=self.cache)  # type: ignore[attr-defined]
        run_worker(
            self.study,
            SPACE,
            objective,  # type: ignore[arg-type]
            self.ledger,
            trials,
            Silent(),
            self.stop,
        )

    def ask(self) -> optuna.Trial:
        """A trial that another process would run, which shows no sign of life."""
        silent = optuna.storages.RDBStorage(self.url)
        return optuna.load_study(study_name="s", storage=silent).ask()

    @property
    def states(self) -> list[str]:
        """Of all trials, in order."""
        return [trial.state.name for trial in self.study.trials]


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return Loop(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        DivergedError("diverged: loss is nan at update 3"),
        DeviceMemoryError("out of memory on cuda:0 with one example of 128 sub-words"),
    ],
)
def test_an_infeasible_recipe_is_pruned_with_its_reason_and_the_study_goes_on(
    loop: Loop, error: Exception
) -> None:
    calls = iter(range(9))

    def train(recipe: Recipe, report: Any) -> TransferGain:
        if next(calls) == 0:
            raise error
        return _gain(1.0)

    loop.run(train, 3)
    assert loop.states == ["PRUNED", "COMPLETE", "COMPLETE"]
    assert loop.study.trials[0].user_attrs["reason"] == str(error)
    assert sorted(loop.ledger.pairs("s", "validation")) == [1, 2]


def test_broken_data_fails_the_trial_with_its_reason_and_ends_the_run(loop: Loop) -> None:
    def train(recipe: Recipe, report: Any) -> TransferGain:
        raise DataError("panx-sw.tsv:3: expected IOB2")

    with pytest.raises(DataError):
        loop.run(train, 3)
    assert loop.states == ["FAIL"]
    assert "panx-sw.tsv:3" in loop.study.trials[0].user_attrs["reason"]


def test_a_bug_shows_its_traceback_and_the_trial_keeps_it(loop: Loop) -> None:
    def train(recipe: Recipe, report: Any) -> TransferGain:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        loop.run(train, 3)
    assert loop.study.trials[0].user_attrs["reason"] == "ZeroDivisionError: a bug"


def test_a_stopped_trial_is_queued_again_with_its_parameters_and_not_counted(loop: Loop) -> None:
    def stopped(recipe: Recipe, report: Any) -> TransferGain:
        loop.stop.number = signal.SIGTERM
        loop.stop.check()
        raise AssertionError("unreachable")

    loop.run(stopped, 2)
    assert loop.states == ["FAIL", "WAITING"]
    assert count_done(loop.study) == 0
    loop.stop.number = 0
    loop.run(lambda recipe, report: _gain(1.0), 2)
    assert loop.states == ["FAIL", "COMPLETE", "COMPLETE"]
    first, retry, _ = loop.study.trials
    assert retry.user_attrs["retry_of"] == 0
    assert retry.params == first.params


def test_trials_is_a_total_over_runs(loop: Loop) -> None:
    for trials in (2, 2, 5):
        loop.run(lambda recipe, report: _gain(1.0), trials)
        assert len(loop.study.trials) == trials


def test_a_trial_clearly_behind_the_best_has_no_further_seeds(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six languages in one seed are enough to see it; what it has is kept and it is complete."""
    monkeypatch.setattr("tests.search_tests.test_worker.SPACE", replace(SPACE, seeds=(0, 1, 2)))
    levels = iter([5.0, 1.0, 6.0])
    went_on = []

    def train(recipe: Recipe, report: Any) -> TransferGain:
        level = next(levels)
        for index in range(3):
            if not report(index, [level + place / 10 for place in range(6)]):
                break
        went_on.append(index)
        return _gain(level)

    loop.run(train, 3)
    assert went_on == [2, 0, 2]
    assert loop.states == ["COMPLETE"] * 3
    assert [trial.user_attrs.get("stopped") for trial in loop.study.trials] == [
        None,
        "clearly behind the best trial after 1 seed(s)",
        None,
    ]


def test_the_last_trials_repeat_the_leaders_with_fresh_seeds(loop: Loop) -> None:
    loop.repeat_leaders = 2
    seen: list[Recipe] = []

    def train(recipe: Recipe, report: Any) -> TransferGain:
        seen.append(recipe)
        return _gain(float(len(set(seen))))

    loop.run(train, 10)
    trials = loop.study.trials
    assert len(trials) == 10
    repeats = [trial for trial in trials if "repeat_of" in trial.user_attrs]
    assert [trial.number for trial in repeats] == [8, 9]
    for trial in repeats:
        assert trial.params == trials[trial.user_attrs["repeat_of"]].params
        assert seen[trial.number].seeds == (1,)
    best = max(trials[:8], key=lambda trial: trial.value)
    assert trials[repeats[0].user_attrs["repeat_of"]].params == best.params
    recipes = finished_recipes(loop.study, loop.ledger, Aggregate.MEAN)
    assert [x.is_repeated for x in leaders(recipes, LANGUAGES)][:2] == [True, True]


def test_a_short_study_repeats_nothing(loop: Loop) -> None:
    loop.repeat_leaders = 3
    loop.run(lambda recipe, report: _gain(1.0), 4)
    assert not any("repeat_of" in trial.user_attrs for trial in loop.study.trials)


def _dead_process() -> str:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = process_identity(child.pid)
    assert not is_dead(identity)
    child.kill()
    child.communicate()
    return identity


def test_a_dead_process_is_told_from_a_living_and_from_a_foreign_one() -> None:
    assert is_dead(_dead_process())
    assert not is_dead(process_identity())
    machine, pid, started = process_identity().rsplit("/", 2)
    assert is_dead(f"{machine}/{pid}/{float(started) - 5:.2f}")  # the number was reused
    assert not is_dead(f"elsewhere/{_dead_process().split('/', 1)[1]}")
    assert os.getpid() == int(pid)


def test_a_dead_trial_is_queued_again_once(loop: Loop) -> None:
    trial = loop.ask()
    trial.suggest_categorical("intermediate.domain", ["none", "legal"])
    trial.set_user_attr("worker", _dead_process())
    for _ in range(2):
        settle_dead_trials(loop.study, loop.ledger, LANGUAGES, Aggregate.MEAN)
    assert loop.states == ["FAIL", "WAITING"]
    assert loop.study.trials[0].user_attrs["reason"] == "its worker was killed"


def test_two_workers_that_find_a_dead_trial_queue_it_again_once(loop: Loop) -> None:
    trial = loop.ask()
    trial.set_user_attr("worker", _dead_process())
    seen = loop.study.get_trials()
    settle_dead_trials(loop.study, loop.ledger, LANGUAGES, Aggregate.MEAN)

    class Late:
        """The study as a worker saw it that looked before the other settled the trial."""

        def __getattr__(self, name: str) -> Any:
            return getattr(loop.study, name)

        def get_trials(self, **options: Any) -> list[optuna.trial.FrozenTrial]:
            """What it saw."""
            return seen

    settle_dead_trials(Late(), loop.ledger, LANGUAGES, Aggregate.MEAN)  # type: ignore[arg-type]
    assert loop.states == ["FAIL", "WAITING"]


def test_a_dead_trial_whose_result_is_in_the_ledger_is_told_and_not_trained_again(
    loop: Loop,
) -> None:
    trial = loop.ask()
    trial.set_user_attr("worker", _dead_process())
    pairs = _gain(4.0).pairs
    for score in (pairs[0].score, pairs[0].baseline):
        stage = TrainedStage(score.checkpoint_key, "", "t", 5, 1.0, 0.0, "", "", {})
        loop.ledger.record_stage(stage, [score])
    loop.ledger.record_trial("s", trial.number, pairs)
    settle_dead_trials(loop.study, loop.ledger, LANGUAGES, Aggregate.MEAN)
    assert loop.states == ["COMPLETE"]
    assert loop.study.trials[0].value == pytest.approx(4.0)


def test_a_living_trial_is_left_alone(loop: Loop) -> None:
    trial = loop.ask()
    trial.set_user_attr("worker", process_identity())
    settle_dead_trials(loop.study, loop.ledger, LANGUAGES, Aggregate.MEAN)
    assert loop.states == ["RUNNING"]
