"""How long a report takes, and how large its page is, by the number of trials.

    python -m tests.benchmarks.report_time [--quick]

Each study is written straight into a database, three seeds and six languages a trial, and
reported by a process of its own, without PNGs. Ends in a JSON line: trials -> `seconds` (from the
start of the process to its end), `cpu_seconds` (what it used, which a busy machine does not
stretch as much), `page_mb`, `csv_mb`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from tests.studies import Plan, write_study

TASKS = {
    "general": ("pocket_ner_calendar", "pocket_nli_reports"),
    "biomedical": ("pocket_ner_assay", "pocket_ner_dosage"),
    "legal": ("pocket_ner_parties", "pocket_ner_statutes"),
}
LANGUAGES = ("qaa", "qab", "qac", "qad", "qae", "qaf")
SEEDS = (0, 1, 2)
EPOCHS, RATES = (1, 2, 4, 8), (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
SIZES, QUICK_SIZES = (40, 400, 5000), (40, 400)


def plans(count: int) -> list[Plan]:
    """Trials drawn at random; batch sizes are so many that hardly two are the same recipe."""
    rng = np.random.default_rng(0)

    def drawn(values: tuple[Any, ...]) -> Any:
        return values[int(rng.integers(len(values)))]

    baselines: dict[tuple[int, int, str], int] = {}
    found = []
    for number in range(count):
        epochs = drawn((2, 4)) if number else 2
        params: dict[str, Any] = {"intermediate.domain": "none", "target.epochs": epochs}
        if number % 10:
            arm = drawn(tuple(TASKS))
            params |= {
                "intermediate.domain": arm,
                f"intermediate.task.{arm}": drawn(TASKS[arm]),
                "intermediate.epochs": drawn(EPOCHS),
                "intermediate.learning_rate": drawn(RATES),
                "intermediate.batch_size": int(2 ** rng.integers(3, 7)),
                "intermediate.examples": int(rng.integers(1, 21)) * 100,
            }
        right = {}
        for seed in SEEDS:
            for language in LANGUAGES:
                for e in (2, 4):
                    baselines.setdefault((e, seed, language), int(rng.integers(45, 55)))
                base = baselines[epochs, seed, language]
                gain = round(rng.normal(2 * (params["intermediate.domain"] == "legal"), 3))
                own = base if params["intermediate.domain"] == "none" else base + int(gain)
                right[seed, language] = (own, base, baselines[2, seed, language])
        found.append(Plan(params, right, (float(rng.uniform(5, 50)), 10.0)))
    return found


def measure(count: int, folder: Path) -> dict[str, float]:
    """Write and report one study."""
    url = f"sqlite:///{folder / f'{count}.db'}"
    name = write_study(
        url,
        plans(count),
        seeds=len(SEEDS),
        arms=["none", *TASKS],
        intermediate={
            "tasks": [task for tasks in TASKS.values() for task in tasks],
            "epochs": list(EPOCHS),
            "learning_rate": list(RATES),
        },
        target={"tasks": ["pocket_nli"], "languages": list(LANGUAGES), "epochs": [2, 4]},
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
    main()
