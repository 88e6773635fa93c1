"""Twelve ways in which plain Optuna loses or doubles work, shown on the Optuna installed here.

    python -m tests.benchmarks.traps [NUMBER ...]      # a minute and a half

Prints a table of what was seen and a line of JSON. A trap that is "mended" is one that this
Optuna falls into no more. That a study of ours falls into none of them is tested, in
tests/search_tests/test_traps.py and in test_journal.py and test_backends.py of storage_tests.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import (
    JournalStorage,
    RDBStorage,
    RetryHeartbeatStaleTrialCallback,
    fail_stale_trials,
)
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

from storage.embedded import EmbeddedServer
from tests.benchmarks.as_command import run_as_command

# A worker in a process of its own; `WORK` is what it does at a trial.
WORKER = """
import os, sys
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
HEARTBEAT: dict[str, Any] = {"heartbeat_interval": 1, "grace_period": 2}


@dataclass(frozen=True)
class Place:
    """Where one trap is laid.

    Attributes:
        folder: Empty.
        server: A PostgreSQL that may be stopped.
    """

    folder: Path
    server: EmbeddedServer

    def sqlite(self) -> str:
        """The URL of an SQLite file."""
        return f"sqlite:///{self.folder / 'study.db'}"

    def postgresql(self) -> str:
        """The URL of an empty database."""
        name = f"traps_{uuid.uuid4().hex}"
        engine = sa.create_engine(self.server.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        url = sa.make_url(self.server.url).set(database=name)
        return url.render_as_string(hide_password=False)


def open_plain(url: str, **options: Any) -> optuna.Study:
    """The study of a database, by Optuna alone."""
    storage = RDBStorage(url, engine_kwargs={"pool_pre_ping": True}, **options)
    return optuna.create_study(
        study_name="s", storage=storage, load_if_exists=True, sampler=RandomSampler(0)
    )


def start_worker(url: str, work: str, heartbeat: int | None = None) -> subprocess.Popen[str]:
    """A worker that is at its first trial by now."""
    names = {"WORK": work, "HEARTBEAT": heartbeat, "GRACE": heartbeat and 2 * heartbeat}
    script = WORKER
    for name, value in names.items():
        script = script.replace(name, str(value))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n", process.communicate()[1]
    return process


def states_of(study: optuna.Study) -> list[str]:
    """Of all trials, in order."""
    return [trial.state.name for trial in study.trials]


def killed_worker(place: Place) -> tuple[bool, str]:
    """The trial of a killed worker is RUNNING for ever."""
    url = place.sqlite()
    start_worker(url, "os.kill(os.getpid(), 9)").communicate()
    study = open_plain(url)
    study.optimize(lambda trial: 1.0, n_trials=2)
    return states_of(study)[0] == "RUNNING", ", ".join(states_of(study))


def heartbeat_and_outage(place: Place) -> tuple[bool, str]:
    """The heartbeat dies of one outage, and a living trial is declared dead."""
    url = place.postgresql()
    study = open_plain(url, **HEARTBEAT)
    states: list[str] = []

    def train(trial: optuna.Trial) -> float:
        time.sleep(1.5)  # the first signs of life
        place.server.kill()
        time.sleep(1.5)
        place.server.start()
        time.sleep(3.0)  # more than the grace period, in good health
        other = open_plain(url, **HEARTBEAT)
        fail_stale_trials(other)
        states.extend(states_of(other))
        return 1.0

    with suppress(AssertionError):
        study.optimize(train, n_trials=1)
    return states == ["FAIL"], f"{', '.join(states)} while it trained"


def paused_worker(place: Place) -> tuple[bool, str]:
    """A worker that was paused past its grace period crashes in spite of `catch`."""
    url = place.postgresql()
    process = start_worker(url, "sys.stdin.readline()", heartbeat=1)
    time.sleep(1.5)  # its first sign of life, without which nobody knows that it is silent
    process.send_signal(signal.SIGSTOP)
    study = open_plain(url, **HEARTBEAT)
    while study.trials[0].state is TrialState.RUNNING:
        time.sleep(0.5)
        fail_stale_trials(study)
    process.send_signal(signal.SIGCONT)
    _, problem = process.communicate("go\n")
    return process.returncode != 0, problem.splitlines()[-1] if problem else "it went on"


def outage_at_the_end(place: Place) -> tuple[bool, str]:
    """A result that is told while the database is away is lost."""
    url = place.postgresql()
    study = open_plain(url)

    def train(trial: optuna.Trial) -> float:
        place.server.kill()
        return 1.0

    with suppress(Exception):
        study.optimize(train, n_trials=1, catch=(Exception,))
    place.server.start()
    again = open_plain(url)
    again.optimize(lambda trial: 2.0, n_trials=1)
    found = [(trial.state.name, trial.value) for trial in again.trials]
    return found[0] == ("RUNNING", None), f"{found[0][0]}, value {found[0][1]}"


def out_of_memory(place: Place) -> tuple[bool, str]:
    """What does not fit the device is FAIL, and TPE proposes it again and again."""
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
    again = sum(batch == 64 for batch in chosen[-20:])
    return again > 12, f"{again} of the last 20 trials do not fit"


def one_seed(place: Place) -> tuple[bool, str]:
    """Workers with one seed propose alike."""
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="s", storage=storage)
    drawn = set()
    for _ in range(8):
        worker = optuna.load_study(study_name="s", storage=storage, sampler=TPESampler(seed=0))
        for _ in range(5):
            drawn.add(worker.ask().suggest_float("x", 0, 1))
    return len(drawn) < 40, f"{len(drawn)} of 40 proposals differ"


def counting(place: Place) -> tuple[bool, str]:
    """Neither queueing one trial nor counting to twenty is atomic."""
    url = place.postgresql()
    open_plain(url)
    barrier = threading.Barrier(8)

    def enqueue() -> None:
        study = open_plain(url)
        barrier.wait()
        study.enqueue_trial({"x": 1}, skip_if_exists=True)

    def a_while(trial: optuna.Trial) -> float:
        time.sleep(0.1)
        return 1.0

    def optimize() -> None:
        study = open_plain(url)
        barrier.wait()
        twenty = MaxTrialsCallback(20, states=(TrialState.COMPLETE,))
        study.optimize(a_while, callbacks=[twenty])

    counted = []
    for work in (enqueue, optimize):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counted.append(len(open_plain(url).trials))
    queued, made = counted
    return queued > 1 or made > 20, f"{queued} queued for 1, {made} made for 20"


def busy_sqlite(place: Place) -> tuple[bool, str]:
    """An SQLite file that others write for seven seconds costs a trial its result."""
    study = open_plain(place.sqlite())
    held: list[threading.Timer] = []

    def train(trial: optuna.Trial) -> float:
        file = place.folder / "study.db"
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN IMMEDIATE")
        held.append(threading.Timer(7.0, connection.close))
        held[0].start()
        return 1.0

    with suppress(Exception):
        study.optimize(train, n_trials=1, catch=(Exception,))
    held[0].join()
    return states_of(study) == ["RUNNING"], ", ".join(states_of(study))


def half_a_line(place: Place) -> tuple[bool, str]:
    """After half a line a journal cannot be read; the trial that was written next is lost."""
    file = place.folder / "study.journal"

    def load(**options: Any) -> optuna.Study:
        storage = JournalStorage(JournalFileBackend(str(file)))
        return optuna.create_study(storage=storage, study_name="s", load_if_exists=True)

    load()
    with file.open("ab") as journal:
        journal.write(b'{"op_code":4,"study')
    try:
        load().add_trial(optuna.trial.create_trial(value=2.0))
        return len(load().trials) != 1, f"{len(load().trials)} of 1 trials are read"
    except Exception as error:  # noqa: BLE001 - which one depends on Optuna
        return True, f"{type(error).__name__}: {error}"


def grown_space(place: Place) -> tuple[bool, str]:
    """One more choice ends a trial in the middle, and leaves it RUNNING."""
    study = optuna.create_study()
    study.ask().suggest_categorical("arm", ["none", "legal"])
    trial = study.ask()
    try:
        trial.suggest_categorical("arm", ["none", "legal", "biomedical"])
    except ValueError as error:
        return study.trials[1].state is TrialState.RUNNING, str(error)
    return False, "the third choice is drawn"


def other_major_version(place: Place) -> tuple[bool, str]:
    """The times in a database of Optuna 4 are read hours wrong."""
    os.environ["TZ"] = "Asia/Kolkata"
    time.tzset()
    study = open_plain(place.sqlite())
    study.optimize(lambda trial: 1.0, n_trials=1)
    began = study.trials[0].datetime_start
    engine = sa.create_engine(place.sqlite())
    with engine.begin() as connection:  # as Optuna 4 wrote it: by the clock on the wall
        connection.execute(sa.text("UPDATE trials SET datetime_start = :t"), {"t": str(began)})
        connection.exec_driver_sql("UPDATE version_info SET library_version = '4.5.0'")
    engine.dispose()
    read = open_plain(place.sqlite()).trials[0].datetime_start
    del os.environ["TZ"]
    time.tzset()
    assert began is not None
    assert read is not None
    hours = (read - began).total_seconds() / 3600
    return hours != 0, f"{hours:.1f} h late"


def inherited_rungs(place: Place) -> tuple[bool, str]:
    """A retried trial has the rungs that its forerunner came to."""
    study = optuna.create_study(pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1))
    trial = study.ask()
    trial.report(0.5, 1)
    trial.should_prune()
    retry = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
    retry(study, study.trials[0])
    inherited = sorted(study.trials[1].system_attrs)
    return "completed_rung_0" in inherited, ", ".join(inherited)


TRAPS: tuple[Callable[[Place], tuple[bool, str]], ...] = (
    killed_worker,
    heartbeat_and_outage,
    paused_worker,
    outage_at_the_end,
    out_of_memory,
    one_seed,
    counting,
    busy_sqlite,
    half_a_line,
    grown_space,
    other_major_version,
    inherited_rungs,
)


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks.traps")
    numbers = range(1, len(TRAPS) + 1)
    options.add_argument("numbers", nargs="*", type=int, help="1 to 12; all by default")
    chosen = options.parse_args().numbers or list(numbers)
    if unknown := set(chosen) - set(numbers):
        options.error(f"expected numbers from 1 to {len(TRAPS)}, found {sorted(unknown)}")
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    threading.excepthook = lambda _: None  # the heartbeat's thread that dies is a trap itself
    print(f"Optuna {optuna.__version__}")
    found: dict[int, bool] = {}
    with tempfile.TemporaryDirectory(prefix="traps-") as parent:
        Path(parent).chmod(0o711)  # where we are root, the server's user is another one
        server = EmbeddedServer(Path(parent, "postgresql"))
        for number in chosen:
            trap = TRAPS[number - 1]
            folder = Path(parent, str(number))
            folder.mkdir()
            found[number], seen = trap(Place(folder, server))
            word = "still there" if found[number] else "mended"
            print(
                f"{number:2d}  {word:11s}  {trap.__doc__}\n{'':17s}{seen.strip()[:80]}", flush=True
            )
        server.close()
    print(json.dumps({"optuna": optuna.__version__, "still_there": found}))


if __name__ == "__main__":
    run_as_command(main)
