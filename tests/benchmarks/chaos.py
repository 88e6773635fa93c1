"""A study of 200 trials through 50 faults on PostgreSQL: what was lost, doubled, or one too many.

    python -m tests.benchmarks.chaos [--quick] [--storage KIND] [--seed N] [--keep FOLDER]
    python -m tests.benchmarks.chaos --kills 50 --storage embedded

It is the chaos of `python -m search.doctor --chaos`, larger. Ends in a line of JSON, and in exit
code 1 if an invariant is broken. `--quick` has each kind of fault once. With `--kills` nothing
happens but that workers are killed (-9) and started again, half of the times within a trial.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

from search.checks.chaos import chaos_lines, run_chaos
from search.checks.chaos_plan import DATABASES, ChaosPlan, Fault
from tests.benchmarks.as_command import run_as_command


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks.chaos")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--storage", choices=DATABASES, default=ChaosPlan.storage)
    options.add_argument("--kills", type=int, help="so many kills, and no other fault")
    options.add_argument("--workers", type=int)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--keep", type=Path)
    chosen = options.parse_args()
    full = ChaosPlan(200, 4, 50, epochs=(4, 8, 16), learning_rates=16)
    size = ChaosPlan() if chosen.quick else full
    if chosen.kills is not None:
        # Long enough that no study is over before its last kill, on a fast machine either.
        kinds, trials = (Fault.KILL, Fault.KILL_IDLE), max(8, 14 * chosen.kills)
        size = ChaosPlan(trials, 2, chosen.kills, kinds, learning_rates=16)
    workers = chosen.workers or size.workers
    plan = replace(size, storage=chosen.storage, seed=chosen.seed, workers=workers)
    began = time.monotonic()
    result = run_chaos(plan, lambda line: print(line, flush=True), chosen.keep)
    print("\n".join(chaos_lines(result)))
    violations = {x.name: len(x.violations) for x in result.invariants}
    summary = {
        "storage": plan.storage,
        "trials": result.trials,
        "faults": sum(result.faults.values()),
        "by_kind": result.faults,
        "not_injected": result.skipped,
        "lost": violations["no result lost"],
        "doubled": violations["no result doubled"],
        "overshoot": result.overshoot,
        "retries": result.retries,
        "invariants_held": result.is_held,
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(summary))
    return 0 if result.is_held else 1


if __name__ == "__main__":
    run_as_command(main)
