"""Twelve ways in which plain Optuna loses or doubles work: a study of ours is in none of them.

That Optuna itself falls into them is shown by `python -m tests.benchmarks.traps`, which counts
them in the same order.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

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
from tests.processes import started
from tests.search_tests.loop import Loop, dead_process
from tests.studies import small_space

ROOT = Path(__file__).parents[2]
# A worker; what it does at a trial is the script's `work`.
WORKER = """
import os, sys, time
from tests.processes import started
from tests.search_tests.loop import Loop
loop = Loop(sys.argv[1], sys.argv[2], 1.0)
pulses = []
def work(recipe, seed):
    print("training", flush=True)
    WORK
    return 2.0
loop.run(work, 2, passed=pulses.append)
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
    with ExitStack() as processes:

        def start(url: str, work: str) -> subprocess.Popen[str]:
            process = processes.enter_context(
                started(
                    [
                        *(sys.executable, "-c", WORKER.replace("WORK", work)),
                        *(url, str(tmp_path / "s.cache")),
                    ],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
            assert process.stdout is not None
            assert process.stdout.readline() == "training\n", process.communicate()[1]
            return process

        yield start


def well(recipe: Recipe, seed: int) -> float:
    """A training that goes well."""
    return 1.0


# --- 1. the trial of a killed worker


def test_1_the_trial_of_a_killed_worker_is_failed_and_tried_again(
    url: str, loop: Loop, start: Callable[..., subprocess.Popen[str]]
) -> None:
    start(url, "os.kill(os.getpid(), 9)").wait()
    loop.run(well, 2)
    assert loop.states == ["FAIL", "COMPLETE", "COMPLETE"]
    assert loop.attributes("reason")[0] == "its worker was killed"


# --- 2. the heartbeat and an error of the database


def test_2_a_heartbeat_lives_through_an_outage(
    postgresql_url: str, tmp_path: Path, server: Server
) -> None:
    loop = Loop(postgresql_url, str(tmp_path / "s.cache"), 3.0)
    pulses: list[Pulse] = []
    taken: list[object] = []

    def train(recipe: Recipe, seed: int) -> float:
        server.stop()
        back = server.start_in(3.5)
        for _ in range(100):  # for five seconds at least
            pulses[0].check()
            time.sleep(0.05)
        back.join()
        taken.append(loop.slots.take(1))
        return 1.0

    loop.run(train, 1, passed=pulses.append)
    assert taken == [None], "nobody else may have the slot"
    assert loop.states == ["COMPLETE"]
    loop.storage.close()


# --- 3. a worker that is paused past its lease


def test_3_a_paused_worker_learns_it_publishes_nothing_and_goes_on_with_what_is_left(
    shared: Loop, postgresql_url: str, start: Callable[..., subprocess.Popen[str]]
) -> None:
    work = "sys.stdin.readline(); pulses[0].check(); print('trained')"
    process = start(postgresql_url, work)
    process.send_signal(signal.SIGSTOP)
    shared.run(well, 1)
    process.send_signal(signal.SIGCONT)
    out, problem = process.communicate("go\n")
    assert process.returncode == 0, problem
    assert out == "training\ntrained\n", "it learns it at its next step, and trains the next trial"
    assert shared.states == ["FAIL", "COMPLETE", "COMPLETE"]
    assert shared.attributes("slot") == [0, 0, 1]
    assert [trial.value for trial in shared.trials] == [
        None,
        pytest.approx(1.0),
        pytest.approx(2.0),
    ]


# --- 4. the database is away when a trial is told


def test_4_a_result_is_told_when_the_database_is_back(shared: Loop, server: Server) -> None:
    returns: list[threading.Timer] = []

    def train(recipe: Recipe, seed: int) -> float:
        server.stop()
        returns.append(server.start_in(2.0))
        return 4.0

    shared.run(train, 1)
    returns[0].join()
    assert [(x.state.name, x.value) for x in shared.trials] == [("COMPLETE", pytest.approx(4.0))]
    assert shared.ledger.recorded_trials("s") == {0}


# --- 5. what does not fit the device


def test_5_what_does_not_fit_is_pruned_and_avoided(loop: Loop) -> None:
    """The largest of four learning rates stands for the batch size that does not fit."""
    rates = (1e-5, 2e-5, 3e-5, 9e-5)
    loop.space = small_space({"none": (), "legal": ("c",)}, (1, 2, 4), rates)
    chosen: list[float] = []

    def train(recipe: Recipe, seed: int) -> float:
        target = recipe.routes[0].target
        chosen.append(target.learning_rate)
        if chosen[-1] == 9e-5:
            raise DeviceMemoryError("out of memory with one example")
        return 1e5 * chosen[-1] + target.epochs / 4

    loop.run(train, 45)
    assert len(chosen) == 45
    assert sum(rate == 9e-5 for rate in chosen[-20:]) < 8


# --- 6. one seed in all workers


def test_6_workers_propose_by_slot(loop: Loop) -> None:
    rates = tuple(float(x) for x in range(1, 1001))
    space = small_space({"none": ()}, epochs=(1,), learning_rate=rates)
    history = History(loop.storage, loop.study, space)
    drawn = {suggest_recipe(Proposal(history, slot), space) for slot in range(40)}
    assert len(drawn) > 36


# --- 7. queueing and counting


def _at_once(work: Callable[[], object], times: int = 8) -> None:
    threads = [threading.Thread(target=work, daemon=True) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_7_eight_workers_make_exactly_as_many_as_asked_for(
    postgresql_url: str, tmp_path: Path
) -> None:
    loops = [Loop(postgresql_url, str(tmp_path / "s.cache")) for _ in range(8)]
    for loop in loops:
        loop.space = small_space({"none": (), "general": ("a",), "legal": ("c",)}, (1, 2), (1e-4,))
    for _ in range(3):
        loops[0].study.enqueue_trial({"intermediate.domain": "legal", "target.epochs": 2})
    free = iter(loops)

    def slowly(recipe: Recipe, seed: int) -> float:
        time.sleep(0.1)
        return 1.0

    _at_once(lambda: next(free).run(slowly, 20))
    assert loops[0].states == ["COMPLETE"] * 20
    assert loops[0].attributes("retry_of") == [None] * 20, "none was run twice"
    assert all(trial.params["target.epochs"] == 2 for trial in loops[0].trials[:3])
    arms = [trial.params["intermediate.domain"] for trial in loops[0].trials]
    slots = dict(zip(loops[0].attributes("slot"), arms, strict=True))
    assert sorted(slots) == list(range(20))
    assert (slots[0], slots[1]) == ("general", "legal"), "each arm is tried first, once"
    for loop in loops:
        loop.storage.close()


# --- 8. an SQLite file that others write


def test_8_a_busy_file_costs_no_result(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.opening.SQLITE_TIMEOUT", 0.1)
    loop = Loop(url, str(tmp_path / "s.cache"))
    held: list[threading.Timer] = []

    def train(recipe: Recipe, seed: int) -> float:
        file = tmp_path / "study.db"
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN IMMEDIATE")
        held.append(threading.Timer(1.5, connection.close))
        held[0].start()
        return 1.0

    loop.run(train, 1)
    held[0].join()
    assert loop.states == ["COMPLETE"]
    loop.storage.close()


# --- 9. the journal's lock and its last line: tests/storage_tests/test_journal.py


# --- 10. a space that grew


DEFINITION = StudyDefinition(
    spec={"first_seed": 0},
    space={"arms": ["none", "legal"]},
    source="pocket",
    corpora={},
    backbones={},
    precision="float32",
)


def test_10_a_space_that_grew_is_refused_with_what_differs(url: str) -> None:
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


# --- 11. a database of Optuna 4: tests/storage_tests/test_backends.py


# --- 12. what a retried trial inherits


def test_12_a_retry_begins_with_nothing_but_its_parameters(loop: Loop) -> None:
    loop.abandon(dead_process())
    trial_id = loop.trials[0]._trial_id
    loop.storage.set_trial_intermediate_value(trial_id, 1, 0.5)
    loop.storage.set_trial_system_attr(trial_id, "completed_rung_0", 0.5)
    begun: list[optuna.trial.FrozenTrial] = []

    def train(recipe: Recipe, seed: int) -> float:
        begun.append(loop.trials[1])
        return 1.0

    loop.run(train, 1)
    assert (begun[0].intermediate_values, begun[0].system_attrs) == ({}, {})
    assert begun[0].params == loop.trials[0].params
