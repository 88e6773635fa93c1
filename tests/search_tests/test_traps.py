"""Twelve ways in which plain Optuna 5 loses or doubles work; each is real, and ours is not in it.

Each trap has two tests, or one with two halves: `plain` shows that the installed Optuna falls into
it, `ours` that a study of ours does not. A `plain` test that fails means that Optuna has mended
it.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import (
    RDBStorage,
    RetryHeartbeatStaleTrialCallback,
    fail_stale_trials,
)
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

from objectives.gains.transfer_gain import TransferGain
from search.studies.definition import StudyDefinition
from search.studies.opening import open_study
from search.workers.heartbeat import Pulse
from search.workers.proposals import History, Proposal
from spaces.dimensions import suggest_recipe
from spaces.errors import DeviceMemoryError, StorageError
from spaces.recipe import Recipe
from storage.ledger import Ledger
from storage.opening import open_storage
from tests.conftest import Server
from tests.search_tests.loop import Loop, dead_process, gain_of
from tests.studies import small_space

ROOT = Path(__file__).parents[2]
experimental = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
# The heartbeat's thread ends by an error that nobody catches: the trap itself.
thread_dies = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

# A worker of plain Optuna, and one of ours; what it does at a trial is the script's `work`.
PLAIN = """
import os, sys, time
import optuna
storage = optuna.storages.RDBStorage(
    sys.argv[1], engine_kwargs={"pool_pre_ping": True}, heartbeat_interval=HEARTBEAT,
    grace_period=GRACE,
)
study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True)
def work(trial):
    print("training", flush=True)
    WORK
    return 1.0
study.optimize(work, n_trials=2, catch=(Exception,))
"""
OURS = """
import os, sys, time
from tests.search_tests.loop import Loop, gain_of
loop = Loop(sys.argv[1], sys.argv[2], 1.0)
def work(recipe, report):
    print("training", flush=True)
    WORK
    return gain_of(2.0)
loop.run(work, 2)
loop.storage.close()
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of an SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture
def loop(url: str, tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(url, str(tmp_path / "s.cache"))
    yield loop
    loop.storage.close()


@pytest.fixture
def shared(postgresql_url: str, tmp_path: Path) -> Iterator[Loop]:
    """On PostgreSQL, with leases of a second."""
    loop = Loop(postgresql_url, str(tmp_path / "s.cache"), 1.0)
    yield loop
    loop.storage.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a worker, and return once it trains."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, url: str, work: str, **names: object) -> subprocess.Popen[str]:
        for name, value in ({"WORK": work} | names).items():
            script = script.replace(name, str(value))
        process = subprocess.Popen(
            [sys.executable, "-c", script, url, str(tmp_path / "s.cache")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n", process.communicate()[1]
        return process

    yield start
    for process in started:
        with process:
            process.kill()


def well(recipe: Recipe, report: Any) -> TransferGain:
    """A training that goes well."""
    return gain_of(1.0)


@pytest.fixture
def plain() -> Iterator[Callable[..., optuna.Study]]:
    """Open the study of plain Optuna in a database; its connections are closed in the end."""
    opened: list[RDBStorage] = []

    def open_plain(url: str, **names: Any) -> optuna.Study:
        storage = RDBStorage(url, engine_kwargs={"pool_pre_ping": True}, **names)
        opened.append(storage)
        return optuna.create_study(
            study_name="s", storage=storage, load_if_exists=True, sampler=RandomSampler(0)
        )

    yield open_plain
    for storage in opened:
        storage.scoped_session.registry.clear()
        storage.engine.dispose()


# --- 1. the trial of a killed worker


def test_1_plain_the_trial_of_a_killed_worker_runs_for_ever(
    url: str, start: Callable[..., subprocess.Popen[str]], plain: Callable[..., optuna.Study]
) -> None:
    process = start(PLAIN, url, "os.kill(os.getpid(), 9)", HEARTBEAT=None, GRACE=None)
    process.wait()
    study = plain(url)
    study.optimize(lambda trial: 1.0, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "COMPLETE", "COMPLETE"]


def test_1_ours_is_failed_and_tried_again(
    url: str, loop: Loop, start: Callable[..., subprocess.Popen[str]]
) -> None:
    start(OURS, url, "os.kill(os.getpid(), 9)").wait()
    loop.run(well, 2)
    assert loop.states == ["FAIL", "COMPLETE", "COMPLETE"]
    assert loop.attributes("reason")[0] == "its worker was killed"


# --- 2. the heartbeat and an error of the database


@experimental
@thread_dies
def test_2_plain_the_heartbeat_dies_of_one_error_and_a_living_trial_is_declared_dead(
    postgresql_url: str, server: Server, plain: Callable[..., optuna.Study]
) -> None:
    study = plain(postgresql_url, heartbeat_interval=1, grace_period=2)
    states: list[str] = []

    def train(trial: optuna.Trial) -> float:
        time.sleep(1.5)  # the first signs of life
        server.stop()
        time.sleep(1.5)
        server.start()
        time.sleep(3.0)  # more than the grace period, in good health
        other = plain(postgresql_url, heartbeat_interval=1, grace_period=2)
        fail_stale_trials(other)
        states.extend(trial.state.name for trial in other.trials)
        return 1.0

    with pytest.raises(AssertionError, match="Should not reach"):  # the third trap
        study.optimize(train, n_trials=1)
    assert states == ["FAIL"]


def test_2_ours_lives_through_it(shared: Loop, server: Server) -> None:
    pulses: list[Pulse] = []
    taken: list[object] = []

    def train(recipe: Recipe, report: Any) -> TransferGain:
        server.stop()
        back = server.start_in(1.5)
        end = time.monotonic() + 4.5
        while time.monotonic() < end:
            pulses[0].check()
            time.sleep(0.05)
        back.join()
        taken.append(shared.slots.take(1))
        return gain_of(1.0)

    shared.run(train, 1, passed=pulses.append)
    assert taken == [None], "nobody else may have the slot"
    assert shared.states == ["COMPLETE"]


# --- 3. a worker that is held up


@experimental
def test_3_plain_a_worker_that_was_held_up_crashes_in_spite_of_catch(
    postgresql_url: str,
    start: Callable[..., subprocess.Popen[str]],
    plain: Callable[..., optuna.Study],
) -> None:
    process = start(PLAIN, postgresql_url, "sys.stdin.readline()", HEARTBEAT=1, GRACE=2)
    time.sleep(1.5)  # its first sign of life, without which nobody knows that it is silent
    process.send_signal(signal.SIGSTOP)
    study = plain(postgresql_url, heartbeat_interval=1, grace_period=2)
    end = time.monotonic() + 30
    while study.trials[0].state is TrialState.RUNNING:
        assert time.monotonic() < end
        time.sleep(0.5)
        fail_stale_trials(study)
    process.send_signal(signal.SIGCONT)
    _, problem = process.communicate("go\n", timeout=60)
    assert process.returncode == 1
    assert "AssertionError: Should not reach." in problem


def test_3_ours_learns_it_publishes_nothing_and_goes_on_with_what_is_left(
    shared: Loop, postgresql_url: str, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(OURS, postgresql_url, "sys.stdin.readline()")
    process.send_signal(signal.SIGSTOP)
    shared.run(well, 1)
    process.send_signal(signal.SIGCONT)
    _, problem = process.communicate("go\n", timeout=60)
    assert process.returncode == 0, problem
    assert shared.states == ["FAIL", "COMPLETE", "COMPLETE"]
    assert shared.attributes("slot") == [0, 0, 1]
    assert [trial.value for trial in shared.trials] == [
        None,
        pytest.approx(1.0),
        pytest.approx(2.0),
    ]


# --- 4. the database is away when a trial is told


def test_4_plain_a_result_is_lost(
    postgresql_url: str, server: Server, plain: Callable[..., optuna.Study]
) -> None:
    study = plain(postgresql_url)

    def train(trial: optuna.Trial) -> float:
        server.stop()
        return 1.0

    with pytest.raises(Exception):  # noqa: B017, PT011 - which one depends on Optuna
        study.optimize(train, n_trials=1, catch=(Exception,))
    server.start()
    again = plain(postgresql_url)
    again.optimize(lambda trial: 2.0, n_trials=1)
    assert [(x.state.name, x.value) for x in again.trials] == [("RUNNING", None), ("COMPLETE", 2)]


def test_4_ours_is_told_when_the_database_is_back(shared: Loop, server: Server) -> None:
    returns: list[threading.Timer] = []

    def train(recipe: Recipe, report: Any) -> TransferGain:
        server.stop()
        returns.append(server.start_in(2.0))
        return gain_of(4.0)

    shared.run(train, 1)
    returns[0].join()
    assert [(x.state.name, x.value) for x in shared.trials] == [("COMPLETE", pytest.approx(4.0))]
    assert shared.ledger.recorded_trials("s") == {0}


# --- 5. what does not fit the device


@experimental
def test_5_plain_told_as_failed_it_is_proposed_again_and_again() -> None:
    sampler = TPESampler(multivariate=True, group=True, constant_liar=True, seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    chosen: list[int] = []

    def train(trial: optuna.Trial) -> float:
        chosen.append(trial.suggest_categorical("batch", [8, 16, 32, 64]))
        epochs = trial.suggest_categorical("epochs", [1, 2, 4])
        trial.suggest_categorical("rate", [1e-5, 3e-5, 1e-4])
        if chosen[-1] == 64:
            raise MemoryError("out of memory")
        return chosen[-1] / 32 + epochs / 4

    study.optimize(train, n_trials=45, catch=(MemoryError,))
    assert sum(batch == 64 for batch in chosen[-20:]) > 12


def test_5_ours_is_pruned_and_avoided(loop: Loop) -> None:
    """The largest of four learning rates stands for the batch size that does not fit."""
    rates = (1e-5, 2e-5, 3e-5, 9e-5)
    loop.space = small_space({"none": ()}, epochs=(1, 2, 4), learning_rate=rates)
    chosen: list[float] = []

    def train(recipe: Recipe, report: Any) -> TransferGain:
        target = recipe.routes[0].target
        chosen.append(target.learning_rate)
        if chosen[-1] == 9e-5:
            raise DeviceMemoryError("out of memory with one example")
        return gain_of(1e5 * chosen[-1] + target.epochs / 4)

    loop.run(train, 45)
    assert len(chosen) == 45
    assert sum(rate == 9e-5 for rate in chosen[-20:]) < 8


# --- 6. one seed in all workers


def test_6_plain_workers_with_one_seed_propose_alike() -> None:
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="s", storage=storage)
    drawn = set()
    for _ in range(8):
        worker = optuna.load_study(study_name="s", storage=storage, sampler=TPESampler(seed=0))
        for _ in range(5):
            drawn.add(worker.ask().suggest_float("x", 0, 1))
    assert len(drawn) == 5, "of 40"


def test_6_ours_propose_by_slot(loop: Loop) -> None:
    rates = tuple(float(x) for x in range(1, 1001))
    space = small_space({"none": ()}, epochs=(1,), learning_rate=rates)
    history = History(loop.storage, loop.study)
    drawn = {suggest_recipe(Proposal(history, slot), space) for slot in range(40)}
    assert len(drawn) > 36


# --- 7. queueing and counting


def _at_once(work: Callable[[], object], times: int = 8) -> None:
    threads = [threading.Thread(target=work) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)


def test_7_plain_neither_queueing_nor_counting_is_atomic(
    postgresql_url: str, plain: Callable[..., optuna.Study]
) -> None:
    plain(postgresql_url)
    barrier = threading.Barrier(8)

    def enqueue() -> None:
        study = plain(postgresql_url)
        barrier.wait(60)
        study.enqueue_trial({"x": 1}, skip_if_exists=True)

    def optimize() -> None:
        study = plain(postgresql_url)
        barrier.wait(60)
        study.optimize(
            lambda trial: time.sleep(0.1) or 1.0,
            callbacks=[MaxTrialsCallback(20, states=(TrialState.COMPLETE,))],
        )

    _at_once(enqueue)
    study = plain(postgresql_url)
    assert len(study.trials) > 1, "one was wanted"
    _at_once(optimize)
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) > 20


def test_7_ours_makes_exactly_as_many_as_asked_for(postgresql_url: str, tmp_path: Path) -> None:
    loops = [Loop(postgresql_url, str(tmp_path / "s.cache")) for _ in range(8)]
    free = iter(loops)

    def slowly(recipe: Recipe, report: Any) -> TransferGain:
        time.sleep(0.1)
        return gain_of(1.0)

    _at_once(lambda: next(free).run(slowly, 20))
    assert loops[0].states == ["COMPLETE"] * 20
    arms = [trial.params["intermediate.domain"] for trial in loops[0].trials]
    slots = dict(zip(loops[0].attributes("slot"), arms, strict=True))
    assert (slots[0], slots[1]) == ("none", "legal"), "each arm is tried first, once"
    for loop in loops:
        loop.storage.close()


# --- 8. an SQLite file that others write


def _hold(file: Path) -> threading.Timer:
    """Write a file for seven seconds: that stands for 32 workers that write for a moment each."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(7.0, connection.close)
    timer.start()
    return timer


def test_8_a_busy_sqlite_file_costs_a_plain_trial_its_result_and_ours_a_while(
    loop: Loop, tmp_path: Path, plain: Callable[..., optuna.Study]
) -> None:
    held: list[threading.Timer] = []
    study = plain(f"sqlite:///{tmp_path / 'plain.db'}")

    def work(trial: optuna.Trial) -> float:
        held.append(_hold(tmp_path / "plain.db"))
        return 1.0

    def train(recipe: Recipe, report: Any) -> TransferGain:
        held.append(_hold(tmp_path / "study.db"))
        return gain_of(1.0)

    ours = threading.Thread(target=loop.run, args=(train, 1))
    ours.start()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one depends on Optuna
        study.optimize(work, n_trials=1, catch=(Exception,))
    seen: BaseException | None = caught.value
    while seen is not None and "database is locked" not in str(seen):
        seen = seen.__cause__ or seen.__context__
    assert seen is not None, caught.value
    ours.join(timeout=60)
    for timer in held:
        timer.join()
    assert [trial.state.name for trial in study.trials] == ["RUNNING"]
    assert loop.states == ["COMPLETE"]


# --- 9. the journal's lock and its last line: tests/storage_tests/test_journal.py has both halves


# --- 10. a space that grew


DEFINITION = StudyDefinition(
    spec={"stop_behind": 0.1},
    space={"arms": ["none", "legal"]},
    source="pocket",
    corpora={},
    backbones={},
    precision="float32",
)


def test_10_plain_one_more_choice_ends_the_trial_in_the_middle() -> None:
    study = optuna.create_study()
    study.ask().suggest_categorical("arm", ["none", "legal"])
    trial = study.ask()
    with pytest.raises(ValueError, match="does not support dynamic value space"):
        trial.suggest_categorical("arm", ["none", "legal", "biomedical"])
    assert study.trials[1].state is TrialState.RUNNING


@experimental
def test_10_ours_says_what_differs_before_any_trial(url: str) -> None:
    storage = open_storage(url)
    ledger = Ledger(storage.engine)
    open_study("s", storage, ledger, DEFINITION, {}, url)
    grown = replace(DEFINITION, space={"arms": ["none", "legal", "biomedical"]})
    with pytest.raises(StorageError) as caught:
        open_study("s", storage, ledger, grown, {}, url)
    text = str(caught.value)
    assert "space.arms: ['none', 'legal'] then, ['none', 'legal', 'biomedical'] now" in text
    assert "\n" not in text
    storage.close()


# --- 11. a database of Optuna 4


def test_11_plain_reads_the_times_of_another_major_version_hours_wrong_and_ours_refuses(
    url: str, monkeypatch: pytest.MonkeyPatch, plain: Callable[..., optuna.Study]
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    study = plain(url)
    study.optimize(lambda trial: 1.0, n_trials=1)
    began = study.trials[0].datetime_start
    assert began is not None
    backend = study._storage._backend  # type: ignore[attr-defined]
    with backend.engine.begin() as connection:  # as Optuna 4 wrote it: by the clock on the wall
        connection.execute(sa.text("UPDATE trials SET datetime_start = :t"), {"t": str(began)})
        connection.exec_driver_sql("UPDATE version_info SET library_version = '4.5.0'")
    read = plain(url).trials[0].datetime_start
    assert read is not None
    assert (read - began).total_seconds() == 5.5 * 3600
    with pytest.raises(StorageError, match=r"found Optuna 4\.5\.0, which stores times otherwise"):
        open_storage(url)
    monkeypatch.undo()
    time.tzset()


# --- 12. what a retried trial inherits


@experimental
def test_12_plain_a_retry_has_the_rungs_that_its_forerunner_came_to() -> None:
    study = optuna.create_study(pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1))
    trial = study.ask()
    trial.report(0.5, 1)
    trial.should_prune()
    retry = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
    retry(study, study.trials[0])
    waiting = study.trials[1]
    assert waiting.state is TrialState.WAITING
    assert waiting.intermediate_values == {1: 0.5}
    assert "completed_rung_0" in waiting.system_attrs


def test_12_ours_begins_with_nothing_but_its_parameters(loop: Loop) -> None:
    loop.abandon(dead_process())
    trial_id = loop.trials[0]._trial_id
    loop.storage.set_trial_intermediate_value(trial_id, 1, 0.5)
    loop.storage.set_trial_system_attr(trial_id, "completed_rung_0", 0.5)
    begun: list[optuna.trial.FrozenTrial] = []

    def train(recipe: Recipe, report: Any) -> TransferGain:
        begun.append(loop.trials[1])
        return gain_of(1.0)

    loop.run(train, 1)
    assert (begun[0].intermediate_values, begun[0].system_attrs) == ({}, {})
    assert begun[0].params == loop.trials[0].params
