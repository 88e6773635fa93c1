"""What it costs to share a study: ours against plain Optuna, on one PostgreSQL, in one run.

    python -m tests.benchmarks.coordination [--quick]

A trial here trains nothing: it is asked for, its parameters are suggested, and it is told. Ours
does that as `search.workers.loop.Worker` does, with the slot, its lease, the account of device
time and the claim of the recipe; the peer is `study.ask`, `suggest_recipe` and `study.tell` on
`RDBStorage`, with the same TPE. For each number of workers and of trials in the study: seconds of
a trial (median over workers and trials) and trials per second of the whole fleet. Then the cold
start: workers that have loaded all their modules open the storage and propose a first trial, all
at once. Last the share that coordination has of a trial of one minute: 32 workers that sleep half
a minute on average between asking and telling, each differently long, as trials take.

Ends in a JSON line: `ask_tell_ratio` (the largest of ours / peer over the cells),
`cold_start_ratio` (peer / ours), `overhead_share`, and `cells`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study import Study
from optuna.trial import TrialState

from objectives.gains.transfer_gain import TransferGain
from search.command_line.stop_signal import StopSignal
from search.workers.heartbeat import Budget, Pulse
from search.workers.loop import Worker
from search.workers.trial_attempts import OpenStudy
from spaces.dimensions import SearchSpace, suggest_recipe
from spaces.recipe import Recipe
from spaces.stage_specs import Aggregate
from spaces.studies import Sampler
from storage.embedded import EmbeddedServer
from storage.leases import Leases
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.slots import Slots
from storage.tables import SLOTS
from storage.workers import Workers
from tests.benchmarks.as_command import run_as_command
from tests.benchmarks.plain_trial import PlainTrial
from tests.studies import small_space

ARMS: dict[str, tuple[str, ...]] = {
    "general": ("a", "b", "c"),
    "biomedical": ("d", "e", "f"),
    "legal": ("g", "h", "i"),
}
RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4)
SPACE: SearchSpace = small_space(ARMS, epochs=(1, 2, 3, 5, 8), learning_rate=RATES)
"""Six parameters of a trial, which has an intermediate task."""
MINUTE = 60.0


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        workers: Numbers of them.
        histories: Trials that the study has already.
        trials: Of a fleet in one cell; each worker has at least two.
        rounds: Of a cell, ours and the peer in turn, by the number of workers.
        sleep: Mean seconds of a trial of those that sleep.
    """

    workers: tuple[int, ...]
    histories: tuple[int, ...]
    trials: int
    rounds: dict[int, int]
    sleep: float


FULL = Plan((1, 8, 32), (0, 1000, 5000), 64, {1: 3, 8: 3, 32: 1}, 30.0)
"""32 workers on one machine take minutes, so that they have one round."""
QUICK = Plan((1, 4), (0, 1000), 16, {1: 1, 4: 1}, 1.0)


def main() -> int:
    """Run the benchmark; returns the exit code."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="few workers, a short history")
    options.add_argument("--child", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child:
        return _child(given.child)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan = QUICK if given.quick else FULL
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder, "postgresql"))
        url = server.url
        os.environ["TRANSFER_SEARCH_STATE"] = folder
        for number in plan.workers:
            fleets = {side: Fleet(url, side, number) for side in ("ours", "peer")}
            cells += [_cell(fleets, history, plan) for history in plan.histories]
            if number == max(plan.workers):
                cold = _cold_start(fleets, plan)
                share = _overhead(fleets["ours"], plan)
            for fleet in fleets.values():
                fleet.end()
        server.close()
    result = {
        "ask_tell_ratio": round(max(cell["ratio"] for cell in cells), 3),
        "cold_start_ratio": round(cold["peer_s"] / cold["ours_s"], 2),
        "overhead_share": round(share, 5),
        "cold_start": cold,
        "cells": cells,
    }
    print(json.dumps(result))
    return 0


def _cell(fleets: dict[str, Fleet], history: int, plan: Plan) -> dict[str, Any]:
    """Both sides in turn, several times over, as the machine's speed drifts."""
    found: dict[str, list[float]] = {"ours": [], "peer": [], "ours_rate": [], "peer_rate": []}
    workers = fleets["ours"].workers
    each = max(2, plan.trials // workers)
    for _ in range(plan.rounds[workers]):
        for side in ("ours", "peer"):
            done = fleets[side].run(history, each)
            found[side].append(median(x for one in done["trials"] for x in one))
            found[f"{side}_rate"].append(workers * each / done["seconds"])
    row = {
        "workers": workers,
        "stored_trials": history,
        "ours_ms": round(1000 * median(found["ours"]), 1),
        "peer_ms": round(1000 * median(found["peer"]), 1),
        "ratio": round(
            median(a / b for a, b in zip(found["ours"], found["peer"], strict=True)), 3
        ),
        "ours_per_s": round(median(found["ours_rate"]), 1),
        "peer_per_s": round(median(found["peer_rate"]), 1),
    }
    print(
        f"{workers:>3} workers, {history:>5} trials: ours {row['ours_ms']:>7} ms "
        f"({row['ours_per_s']}/s), Optuna {row['peer_ms']:>7} ms ({row['peer_per_s']}/s), "
        f"ratio {row['ratio']}",
        flush=True,
    )
    return row


def _cold_start(fleets: dict[str, Fleet], plan: Plan) -> dict[str, Any]:
    history = max(plan.histories)
    seconds = {
        side: median(max(fleet.run(history, 1)["cold"]) for _ in range(plan.rounds[fleet.workers]))
        for side, fleet in fleets.items()
    }
    print(
        f"cold start at {history} trials, until the last worker has its first trial: "
        f"ours {seconds['ours']:.2f} s, Optuna {seconds['peer']:.2f} s",
        flush=True,
    )
    return {"ours_s": round(seconds["ours"], 2), "peer_s": round(seconds["peer"], 2)}


def _overhead(fleet: Fleet, plan: Plan) -> float:
    """Of one minute, what a trial waits for others; at twice the load of such trials, or more."""
    done = fleet.run(max(plan.histories), 3, sleep=plan.sleep)
    share = float(median(x for one in done["trials"] for x in one[1:])) / MINUTE
    print(f"coordination of {fleet.workers} workers: {100 * share:.2f} % of a one-minute trial")
    return share


# --- a fleet of processes


class Fleet:
    """Processes of one side, which have loaded their modules and begin together when told.

    Args:
        url: Of the database.
        side: ours or peer.
        workers: How many.
    """

    def __init__(self, url: str, side: str, workers: int) -> None:
        self.workers = workers
        self._url, self._side = url, side
        command = [sys.executable, "-m", "tests.benchmarks.coordination", "--child", side]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(workers)
        ]
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        self.run(0, 1)  # which loads what is loaded at its first use

    def run(self, history: int, each: int, sleep: float = 0.0) -> dict[str, Any]:
        """A new study with a history, and so many trials of each worker.

        Returns:
            Seconds of each trial of each worker, to the first trial of each, and to the last
            trial of the last one.
        """
        name = f"{self._side}-{time.monotonic_ns()}"
        _write_history(self._url, name, history)
        total = history + self.workers * each
        plan = {"url": self._url, "name": name, "each": each, "sleep": sleep, "limit": total}
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(plan) + "\n")
            process.stdin.flush()
        found = [json.loads(p.stdout.readline()) for p in self._processes if p.stdout]
        storage = open_storage(self._url)
        study = optuna.load_study(study_name=name, storage=storage)
        complete = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        storage.close()
        assert complete == total, (complete, plan)
        return {
            "trials": [x["trials"] for x in found],
            "cold": [x["cold"] for x in found],
            "seconds": max(x["end"] for x in found),
        }

    def end(self) -> None:
        """Let the processes go."""
        for process in self._processes:
            process.communicate()


def _child(side: str) -> int:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        trials, cold, end = (_ours if side == "ours" else _peer)(json.loads(line))
        done = {"trials": trials, "cold": cold - started, "end": end - started}
        print(json.dumps(done), flush=True)
    return 0


def _peer(plan: dict[str, Any]) -> tuple[list[float], float, float]:
    storage = RDBStorage(plan["url"], engine_kwargs={"pool_pre_ping": True})
    sampler = optuna.samplers.TPESampler(
        multivariate=True, group=True, constant_liar=True, seed=os.getpid()
    )
    study = optuna.load_study(study_name=plan["name"], storage=storage, sampler=sampler)
    found, cold, end = [], 0.0, 0.0
    for _ in range(plan["each"]):
        started = time.perf_counter()
        trial = study.ask()
        suggest_recipe(PlainTrial(trial), SPACE)
        cold = cold or time.perf_counter()
        study.tell(trial, 1.0)
        end = time.perf_counter()
        found.append(end - started)
    storage.remove_session()
    storage.engine.dispose()
    return found, cold, end


def _ours(plan: dict[str, Any]) -> tuple[list[float], float, float]:
    storage = open_storage(plan["url"])
    study = optuna.load_study(study_name=plan["name"], storage=storage)
    engine, name = storage.engine, plan["name"]
    ledger, leases = Ledger(engine, storage.outbox), Leases(engine)
    pulse = Pulse(Workers(engine, name), Budget(plan["limit"]), StopSignal())
    worker = _Untrained(study, storage, ledger, Slots(engine, leases, name), pulse, plan)
    with pulse.beating("cpu"):
        worker.run()
    storage.close()
    return worker.seconds, worker.cold, worker.end


class _Untrained(Worker):
    """A worker whose trials train nothing, and which keeps the time of all the rest."""

    def __init__(
        self, study: Study, storage: Any, ledger: Ledger, slots: Slots, pulse: Pulse, plan: Any
    ) -> None:
        spec: Any = SimpleNamespace(
            target=SimpleNamespace(aggregate=Aggregate.MEAN), sampler=Sampler.TPE, first_seed=0
        )
        # Of a study whose gains are over something; what, nobody here asks.
        zero: Any = SimpleNamespace()
        opened = OpenStudy(study, storage, ledger, slots, SPACE, spec, frozenset(), zero)
        objective: Any = None
        super().__init__(opened, plan["limit"], objective, pulse, self)
        self._sleep = plan["sleep"]
        self._slept = 0.0
        self.seconds: list[float] = []
        self.cold, self.end = 0.0, time.perf_counter()

    def _train(self, slot: Any, trial: Any, recipe: Recipe) -> TransferGain:
        self.cold = self.cold or time.perf_counter()
        before = time.perf_counter()
        time.sleep(self._sleep * random.uniform(0.5, 1.5))
        self._slept = time.perf_counter() - before
        return cast(TransferGain, SimpleNamespace(overall_gain=lambda languages: 1.0))

    shows_answers = False

    def on_answer(self, line: str) -> None:
        """Nothing."""

    def on_trial_started(self, trial: Any, recipe: Recipe) -> None:
        """Nothing."""

    def on_stage_run(self, trial: Any, run: Any) -> None:
        """Nothing."""

    def on_trial_finished(self, trial: Any, result: Any, done: int) -> None:
        """Keep the time since the end of the trial before, without sleep."""
        before, self.end = self.end, time.perf_counter()
        self.seconds.append(self.end - before - self._slept)

    def say(self, line: str) -> None:
        """Nothing."""


def _write_history(url: str, name: str, count: int) -> None:
    """A study with so many complete trials, drawn at random, and as many slots that are done."""
    storage = open_storage(url)
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    with storage.engine.begin() as connection:
        first = connection.execute(sa.text("SELECT coalesce(max(trial_id), 0) FROM trials"))
        last = int(first.scalar_one())
        for table, rows in _drawn_history(count).items():
            shifted = [{**row, "trial_id": row["trial_id"] + last} for row in rows]
            if table is models.TrialModel.__table__:
                shifted = [{**row, "study_id": study._study_id} for row in shifted]
            connection.execute(sa.insert(table), shifted)
        connection.execute(
            sa.text("SELECT setval('trials_trial_id_seq', :last)"), {"last": max(1, last + count)}
        )
        row = {"study_name": name, "attempts": 1, "done": True}
        done = [{**row, "slot": i, "lease_key": f"{name}-{i}"} for i in range(count)]
        if done:
            connection.execute(sa.insert(SLOTS), done)
        connection.execute(sa.text("ANALYZE"))
    storage.close()


@cache
def _drawn_history(count: int) -> dict[Any, list[dict[str, Any]]]:
    """Rows of Optuna's tables, of trials 1 to `count`."""
    rng = np.random.default_rng(0)
    now = datetime.now()
    rows: dict[Any, list[dict[str, Any]]] = {}
    for trial_id in range(1, count + 1):
        trial: dict[str, Any] = {"trial_id": trial_id, "number": trial_id - 1}
        trial |= {"state": TrialState.COMPLETE}
        trial |= {"datetime_start": now, "datetime_complete": now}
        rows.setdefault(models.TrialModel.__table__, []).append(trial)
        value: dict[str, Any] = {"trial_id": trial_id, "objective": 0}
        value |= {"value": float(rng.normal())}
        value |= {"value_type": models.TrialValueModel.TrialValueType.FINITE}
        rows.setdefault(models.TrialValueModel.__table__, []).append(value)
        drawn = _Drawn(rng)
        suggest_recipe(drawn, SPACE)
        rows.setdefault(models.TrialParamModel.__table__, []).extend(
            {"trial_id": trial_id, **param} for param in drawn.params
        )
    return rows


class _Drawn:
    """Draws parameters at random, as rows of Optuna's table."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.params: list[dict[str, Any]] = []

    def suggest_categorical(self, name: str, choices: Any, possible: Any) -> Any:
        """One that it can be."""
        place = choices.index(possible[int(self._rng.integers(len(possible)))])
        distribution = distribution_to_json(CategoricalDistribution(choices))
        self.params.append(
            {"param_name": name, "param_value": float(place), "distribution_json": distribution}
        )
        return choices[place]


if __name__ == "__main__":
    run_as_command(main)
