"""How long a report takes, and how large its page is, by the number of trials.

    python -m tests.benchmarks.report_time [--quick]

Each study is written straight into a database, one seed and six languages a trial, and reported by
a process of its own, without PNGs. Ends in a JSON line: trials -> `seconds` (from the start of the
process to its end), `cpu_seconds` (what it used, which a busy machine does not stretch as much),
`page_mb`, `csv_mb`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from tests.benchmarks.as_command import run_as_command
from tests.studies import NONE, TASK, Plan, Right, write_study

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


def main() -> None:
    """Measure all sizes."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="without the study of 5,000 trials")
    options.add_argument("--to", type=Path, help="keep the studies and the reports here")
    chosen = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        where = chosen.to or Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        for count in QUICK_SIZES if chosen.quick else SIZES:
            found[str(count)] = measure(count, where)
            print(f"{count:>6} trials: {found[str(count)]}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    run_as_command(main)
