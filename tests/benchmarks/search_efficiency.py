"""How soon a search recommends a recipe near the best one, on landscapes whose truth is known.

    python -m tests.benchmarks.search_efficiency --landscape FILE --results FILE

The search model against drawing at random, with and without the pruner of seeds, and against TPE,
each through the program's own proposal path; 100 studies on each of six kinds of landscape, and
with 8 and 32 runs in flight. A study is on target when what it recommends is within one point of
the best recipe. `--results` keeps each finished study on a line, so that the command goes on where
it was stopped. `--landscape` is a table of published scores (intermediate, target, run, score);
without it that kind is left out, and its keys are null. `--quick` is a few studies of each.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna

from tests.benchmarks.as_command import run_as_command
from tests.benchmarks.search_landscapes import KINDS, draw_landscape
from tests.benchmarks.simulated_search import SEARCHES, SimulatedStudy

NEAR = 1.0
"""Points from the best recipe within which a recommendation is on target."""
RUNS, UPDATES = 120, 100_000
LONG_BUDGET = 300
WORKERS = (8, 32)
WORKERS_ON = ("simulated", "published")
COSTED_RUNS = (1000, 5000)
QUICK_STUDIES, QUICK_OTHERS = 5, 1
BARS = {
    "simulated_120": (0.75, "at least"),
    "simulated_100k_updates": (0.65, "at least"),
    "published_120": (0.80, "at least"),
    "own_120": (0.85, "at least"),
    "rough_120": (0.40, "at least"),
    "none_best_120": (0.85, "at least"),
    "half_simulated": (80, "at most"),
    "half_published": (70, "at most"),
    "over_random_pruner": (0.40, "at most"),
    "false_gain_null": (0.05, "at most"),
    "false_gain_none_best": (0.05, "at most"),
    "sure_right_simulated": (0.85, "at least"),
    "sure_right_published": (0.85, "at least"),
    "sure_right_rough": (0.85, "at least"),
}

Row = dict[str, Any]
Key = tuple[str, str, int, int]
"""Kind of landscape, search, runs in flight, number of the study."""


@dataclass(frozen=True)
class _Job:
    kind: str
    search: str
    workers: int
    number: int
    landscape: Path | None

    @property
    def key(self) -> Key:
        return self.kind, self.search, self.workers, self.number


def main() -> None:
    """Run what is missing, print a table and a JSON line."""
    options = _parser().parse_args()
    done = _read(options.results)
    jobs = [job for job in _jobs(options) if job.key not in done]
    for job, row in _run_all(jobs, options.processes):
        done[job.key] = row
        if options.results:
            with options.results.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps([*job.key, row]) + "\n")
    wanted = {job.key for job in _jobs(options)}
    studies = Studies({key: row for key, row in done.items() if key in wanted})
    _show(studies)
    costs = {f"proposal_{runs}": _proposal_cost(runs) for runs in COSTED_RUNS}
    print("\nCPU seconds of a proposal, 31 runs in flight, at so many runs: " + _listed(costs))
    print(json.dumps(studies.summary() | costs))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--landscape", type=Path, help="table of published scores")
    parser.add_argument("--studies", type=int, default=100, help="of each kind and search")
    parser.add_argument("--results", type=Path, help="keeps finished studies; read first")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few studies of each")
    return parser


def _jobs(options: argparse.Namespace) -> list[_Job]:
    """All studies, those of the model first."""
    studies = min(options.studies, QUICK_STUDIES) if options.quick else options.studies
    others = min(studies, QUICK_OTHERS) if options.quick else studies
    kinds = [kind for kind in KINDS if kind != "published" or options.landscape]
    jobs = [(kind, "transfer", 1, studies) for kind in kinds]
    names = [search.name for search in SEARCHES if search.name != "transfer"]
    jobs += [(kind, name, 1, others) for kind in kinds for name in names]
    jobs += [(x, "transfer", w, others) for w in WORKERS for x in WORKERS_ON if x in kinds]
    return [
        _Job(kind, name, workers, number, options.landscape)
        for kind, name, workers, count in jobs
        for number in range(count)
    ]


def _run_all(jobs: Sequence[_Job], processes: int) -> Iterator[tuple[_Job, Row]]:
    if processes == 1:
        yield from ((job, _run(job)) for job in jobs)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from zip(jobs, pool.map(_run, jobs), strict=True)


def _run(job: _Job) -> Row:
    optuna.logging.set_verbosity(logging.ERROR)
    search = next(search for search in SEARCHES if search.name == job.search)
    # So long that half of the studies are on target.
    budget = LONG_BUDGET if search.name == "random_pruner" else RUNS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Optuna's pruner, on trials of fewer seeds
        landscape = draw_landscape(job.kind, job.number, job.landscape)
        found = SimulatedStudy(landscape, search, job.workers).run(budget)
    return {
        "near": [int(x <= NEAR) for x in found["regret"]],
        "regret": round(found["regret"][_look(found["runs"], RUNS)], 3),
        "runs": found["runs"],
        "updates": [int(x) for x in found["updates"]],
        **{name: value for name, value in found.items() if name == "answer"},
    }


def _proposal_cost(runs: int) -> float:
    optuna.logging.set_verbosity(logging.ERROR)
    landscape = draw_landscape("simulated", 0, None)
    return round(SimulatedStudy(landscape, SEARCHES[0]).proposal_seconds(runs, 31), 3)


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _read(path: Path | None) -> dict[Key, Row]:
    if path is None or not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {(k, s, w, n): row for k, s, w, n, row in map(json.loads, lines)}


class Studies:
    """Finished studies, and shares of them.

    Args:
        rows: The studies.
    """

    def __init__(self, rows: dict[Key, Row]) -> None:
        self._rows = rows

    def of(self, kind: str, search: str = "transfer", workers: int = 1) -> list[Row]:
        """Those of a kind, a search and a number of runs in flight."""
        return [row for key, row in self._rows.items() if key[:3] == (kind, search, workers)]

    def share_at(self, rows: Iterable[Row], runs: int) -> float | None:
        """Share that is on target after so many runs; None where there are none."""
        return _mean(row["near"][_look(row["runs"], runs)] for row in rows)

    def share_at_updates(self, rows: Iterable[Row], updates: int) -> float | None:
        """Share that is on target after so many optimizer steps."""
        return _mean(row["near"][_look(row["updates"], updates)] for row in rows)

    def runs_to(self, rows: Sequence[Row], share: float) -> int | None:
        """Runs after which so large a share is on target; None where that is not reached."""
        if not rows:
            return None
        looks = min(len(row["near"]) for row in rows)
        shares = np.mean([row["near"][:looks] for row in rows], axis=0)
        reached = np.flatnonzero(shares >= share)
        return int(rows[0]["runs"][reached[0]]) if len(reached) else None

    def said(self, kind: str, what: str, given: str = "") -> float | None:
        """Share of the model's answers that hold `what`, of those that hold `given`."""
        answers = [row["answer"] for row in self.of(kind)]
        return _mean(x[what] for x in answers if not given or x[given])

    def summary(self) -> dict[str, Any]:
        """What it comes to, for the JSON line."""
        found: dict[str, Any] = {}
        for name in ("simulated", "published", "own", "rough", "none_best"):
            found[f"{name}_120"] = self.share_at(self.of(name), RUNS)
        rows = self.of("simulated")
        found["simulated_100k_updates"] = self.share_at_updates(rows, UPDATES)
        for kind in WORKERS_ON:
            found[f"half_{kind}"] = self.runs_to(self.of(kind), 0.5)
        peer = self.runs_to(self.of("published", "random_pruner"), 0.5)
        half = found["half_published"]
        found["over_random_pruner"] = half / peer if half and peer else None
        for kind in ("null", "none_best"):
            found[f"false_gain_{kind}"] = self.said(kind, "false_gain")
        for kind in ("simulated", "published", "rough"):
            found[f"sure_right_{kind}"] = self.said(kind, "right_arm", "sure_of_arm")
        for workers in WORKERS:
            for kind in WORKERS_ON:
                share = self.share_at(self.of(kind, workers=workers), RUNS)
                found[f"{kind}_120_workers_{workers}"] = share
        found["studies"] = {kind: len(self.of(kind)) for kind in KINDS}
        found["bars_missed"] = [
            name for name, bar in BARS.items() if not _is_met(found[name], *bar)
        ]
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in found.items()
        }


def _is_met(value: float | None, bar: float, side: str) -> bool:
    return value is not None and (value >= bar if side == "at least" else value <= bar)


def _look(reached: Sequence[float], limit: float) -> int:
    """The last look within a limit; the first where all are beyond it."""
    return max(0, int(np.searchsorted(reached, limit, side="right")) - 1)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return fmean(known) if known else None


def _show(studies: Studies) -> None:
    """Print what each search came to on each kind of landscape."""
    heads = ("60 runs", "120 runs", "50k upd", "100k upd", "half", "3/4", "regret", "studies")
    print("share of studies within a point of the best, and runs until so many of them are")
    print(f"{'':>26}" + "".join(f"{head:>10}" for head in heads))
    for kind in KINDS:
        for name, workers in [(s.name, 1) for s in SEARCHES] + [("transfer", w) for w in WORKERS]:
            rows = studies.of(kind, name, workers)
            if not rows:
                continue
            cells = [
                *(studies.share_at(rows, runs) for runs in (RUNS // 2, RUNS)),
                *(studies.share_at_updates(rows, n) for n in (UPDATES // 2, UPDATES)),
                *(studies.runs_to(rows, share) for share in (0.5, 0.75)),
                float(np.median([row["regret"] for row in rows])),
                len(rows),
            ]
            label = f"{kind} {name}" + (f" x{workers}" if workers > 1 else "")
            print(f"{label:>26}" + "".join(f"{_cell(cell):>10}" for cell in cells))
    print(f"\nof what the model said at {RUNS} runs")
    for kind in KINDS:
        if rows := studies.of(kind):
            parts = {
                "claims a gain": studies.said(kind, "claims_gain"),
                "falsely": studies.said(kind, "false_gain"),
                "sure of an arm": studies.said(kind, "sure_of_arm"),
                "rightly": studies.said(kind, "right_arm", "sure_of_arm"),
                "within its 90 %": studies.said(kind, "within_90"),
                "expected regret": fmean(row["answer"]["expected_regret"] for row in rows),
            }
            print(f"{kind:>12}: " + ", ".join(f"{x} {_cell(y)}" for x, y in parts.items()))


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run_as_command(main)
