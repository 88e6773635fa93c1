"""The statistics of a study tested on known truth: are its verdicts right as often as they say?

    python -m tests.benchmarks.calibration [--quick] [--landscape FILE]

Three instruments: studies simulated at scale (`calibration_simulated`), small studies that are
really trained on the pocket corpora (`calibration_trained`) and, with `--landscape`, a table of
published scores (`calibration_published`). Ends in a JSON line with `coverage` and `n` of
simulated studies of fixed designs; `false_positive_rate`, `power`, `decided_share` and
`seeds_used` of those confirmed look by look (`calibration_sequential`), those of fixed designs
under `fixed`;
`false_positive_rate_grouped` and `coverage_grouped` of those with five questions a passage
(`calibration_grouped`), those of the trained ones under `trained`, and those of the table under
`landscape`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from objectives.hardware import usable_cores
from tests.benchmarks.as_command import run_as_command
from tests.benchmarks.calibration_grouped import (
    grouped_summary,
    show_grouped,
    simulate_grouped,
)
from tests.benchmarks.calibration_published import (
    judge_landscape,
    landscape_summary,
    show_landscape,
)
from tests.benchmarks.calibration_sequential import EFFECTS as LOOKED_AT
from tests.benchmarks.calibration_sequential import (
    confirm_simulated,
    sequential_summary,
    show_sequential,
)
from tests.benchmarks.calibration_simulated import (
    EFFECTS,
    SEEDS,
    show,
    simulate,
    simulated_range,
    summary,
)
from tests.benchmarks.calibration_trained import FULL, QUICK, run_trained, show_trained


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="few studies of each design")
    options.add_argument("--studies", type=int, help="of each design; default: 1000, quick: 50")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--trained",
        action=argparse.BooleanOptionalAction,
        help="studies that are really trained; default: not with --quick, as they take minutes",
    )
    options.add_argument("--threads", type=int, default=usable_cores(), help="of the trainings")
    options.add_argument("--cache", type=Path, help="what is trained; default: a new folder")
    options.add_argument("--landscape", type=Path, help="published scores, tab-separated")
    chosen = options.parse_args()
    studies = chosen.studies or (50 if chosen.quick else 1000)
    start = time.perf_counter()
    tallies = []
    for effect in EFFECTS:
        for seeds in SEEDS:
            tallies.append(simulate(effect, seeds, studies, chosen.seed))
            print(f"{time.perf_counter() - start:.0f} s", tallies[-1].row(), file=sys.stderr)
    result: dict[str, Any] = {"benchmark": "calibration"} | summary(tallies)
    print("confirmed look by look", file=sys.stderr)
    confirmed = [confirm_simulated(effect, studies, chosen.seed) for effect in LOOKED_AT]
    # What confirmations are now stands under the plain names.
    fixed = ("false_positive_rate", "power", "power_design")
    result["fixed"] = {name: result.pop(name) for name in fixed}
    result |= sequential_summary(confirmed)
    result["simulated_median_range"] = round(simulated_range(chosen.seed), 1)
    show(tallies)
    show_sequential(confirmed)
    grouped = simulate_grouped(studies, chosen.seed)
    result |= grouped_summary(grouped)
    show_grouped(grouped)
    if chosen.trained or (chosen.trained is None and not chosen.quick):
        size = QUICK if chosen.quick else FULL
        result["trained"] = run_trained(size, chosen.seed, chosen.threads, chosen.cache)
        show_trained(result["trained"])
    if chosen.landscape:
        landscape = judge_landscape(chosen.landscape)
        show_landscape(landscape)
        result["landscape"] = landscape_summary(landscape)
    result["seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    run_as_command(main)
