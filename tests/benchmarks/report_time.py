"""How long a report and a dashboard take, and how large the page is, by the number of trials.

    python -m tests.benchmarks.report_time [--quick]
    python -m tests.benchmarks.report_time --against CHECKOUT

Each study is written straight into a database, one seed and six languages a trial, and reported by
a process of its own, without PNGs; then the dashboard is started and its page asked for. With
another checkout each writes its own studies, in its own way, and both are measured in turn. Ends
in a JSON line: checkout -> trials -> `seconds` (from the start of the process to its end),
`cpu_seconds` (what it used, which a busy machine does not stretch as much), `page_mb`, `csv_mb`,
`served` and `served_cpu` (from the start of the dashboard until its page came).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.benchmarks.as_command import run_as_command
from tests.studies import NONE, TASK, Plan, Right, write_study

HERE = Path(__file__).parents[2]
NAME = "synthetic"
MEASURE = """
import json, sys
from pathlib import Path
import optuna
from tests.benchmarks.report_time import measure
optuna.logging.set_verbosity(optuna.logging.ERROR)
print(json.dumps(measure(int(sys.argv[1]), Path(sys.argv[2]))))
"""
TASKS = {
    "general": ("pocket_ner_calendar", "pocket_nli_reports"),
    "biomedical": ("pocket_ner_assay", "pocket_ner_dosage"),
    "legal": ("pocket_ner_parties", "pocket_ner_statutes"),
}
LANGUAGES = ("qaa", "qab", "qac", "qad", "qae", "qaf")
DIRECT_SEEDS = (0, 1, 2, 3, 4)
EPOCHS, RATES, BATCH_SIZES = (2, 5, 10), (1e-5, 3e-5, 1e-4, 3e-4), (16, 32)
TARGET_RATES = (1e-4, 3e-4, 1e-3)
SIZES, QUICK_SIZES = (40, 400, 5000), (40, 400)


def plans(count: int) -> list[Plan]:
    """Direct trainings, and so many trials at random; the same recipe again has a new seed."""
    rng = np.random.default_rng(0)

    def drawn(values: tuple[Any, ...]) -> Any:
        return values[int(rng.integers(len(values)))]

    def right(mean: float) -> Right:
        return {(TASK, x): int(np.clip(rng.normal(mean, 3), 0, 100)) for x in LANGUAGES}

    found = [
        Plan({**NONE, "target.learning_rate": rate}, right(50), seed)
        for rate in TARGET_RATES
        for seed in DIRECT_SEEDS
    ]
    seeds: Counter[tuple[Any, ...]] = Counter()
    for _ in range(count):
        arm = drawn(tuple(TASKS))
        params: dict[str, Any] = {
            "intermediate.domain": arm,
            "intermediate.task": drawn(TASKS[arm]),
            "intermediate.epochs": drawn(EPOCHS),
            "intermediate.learning_rate": drawn(RATES),
            "intermediate.batch_size": drawn(BATCH_SIZES),
            "target.learning_rate": drawn(TARGET_RATES),
        }
        seed = seeds[tuple(params.values())]
        seeds[tuple(params.values())] += 1
        seconds = (float(rng.uniform(5, 50)), 10.0)
        found.append(Plan(params, right(50 + 2 * (arm == "legal")), seed, seconds))
    return found


def measure(count: int, folder: Path) -> dict[str, float]:
    """Write and report one study."""
    url = f"sqlite:///{folder / f'{count}.db'}"
    name = write_study(
        url,
        plans(count),
        arms=["none", *TASKS],
        intermediate={
            "tasks": [task for tasks in TASKS.values() for task in tasks],
            "epochs": list(EPOCHS),
            "learning_rate": list(RATES),
            "batch_size": list(BATCH_SIZES),
        },
        target={
            "tasks": [TASK],
            "languages": list(LANGUAGES),
            "learning_rate": list(TARGET_RATES),
        },
    )
    to = folder / str(count)
    command = [sys.executable, "-m", "search.report", "--study", name, "--storage", url]
    started, used = time.perf_counter(), _cpu_seconds()
    subprocess.run([*command, "--no-png", "--to", str(to)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    sizes = {x: (to / x).stat().st_size / 1e6 for x in ("index.html", "trials.csv")}
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(_cpu_seconds() - used, 1),
        "page_mb": round(sizes["index.html"], 2),
        "csv_mb": round(sizes["trials.csv"], 2),
    }


def _cpu_seconds() -> float:
    """Of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def served(count: int, folder: Path, checkout: Path) -> dict[str, float]:
    """Start the dashboard of a study that `measure` wrote, and ask for its page."""
    words = ("--study", NAME, "--storage", f"sqlite:///{folder / f'{count}.db'}", "--port", "0")
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "search.dashboard", *words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=_environment(checkout),
    ) as server:
        assert server.stdout is not None
        page = server.stdout.readline().split()[0]
        with urllib.request.urlopen(page, timeout=60) as answer:
            answer.read()
        seconds = time.perf_counter() - started
        used = psutil.Process(server.pid).cpu_times()
        server.terminate()
    return {"served": round(seconds, 1), "served_cpu": round(used.user + used.system, 1)}


def _measured_in(checkout: Path, count: int, folder: Path) -> dict[str, float]:
    """All of one size, by the code of a checkout."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-c", MEASURE, str(count), str(folder)]
    done = subprocess.run(
        words,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,  # python looks for modules in its working directory first
        env=_environment(checkout),
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found | served(count, folder, checkout)


def _environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout.resolve())}


def main() -> None:
    """Measure all sizes."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="without the study of 5,000 trials")
    options.add_argument("--only", type=int, metavar="TRIALS", help="a study of this size")
    options.add_argument("--to", type=Path, help="keep the studies and the reports here")
    options.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout")
    chosen = options.parse_args()
    checkouts = {"here": HERE} | ({"against": chosen.against} if chosen.against else {})
    sizes = (chosen.only,) if chosen.only else QUICK_SIZES if chosen.quick else SIZES
    found: dict[str, dict[int, dict[str, float]]] = {name: {} for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        where = (chosen.to or Path(folder)).resolve()
        for count in sizes:
            for name, checkout in checkouts.items():
                found[name][count] = _measured_in(checkout, count, where / name)
                print(f"{name:>8} {count:>6} trials: {found[name][count]}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    run_as_command(main)
