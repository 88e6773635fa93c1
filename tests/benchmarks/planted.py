"""The planted effects of the pocket corpora, measured: what each row of PLANTED comes to.

Trains every intermediate corpus of the table before its target, with this project's own stages,
and prints the gain over the six languages per seed: over the target stage alone. Sizes are those
of a pocket study: a target stage of 64 examples, each side at whichever rate is best for it, and
the largest intermediate stage (600 examples, 2 epochs at 1e-3).

    python -m tests.benchmarks.planted [--seeds 5] [--target ner] [--quick]

Ends in a JSON line with `rows`.

To be run again whenever a pocket corpus, the pocket encoder or the training loop changes.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import fmean, stdev

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from objectives.hardware import keep_freed_memory, usable_cores
from objectives.models.encoders import quiet_libraries
from objectives.pocket import PLANTED, PlantedEffect
from tests.benchmarks.as_command import run_as_command
from tests.benchmarks.pocket_trainings import pocket_objective, pocket_recipe

EXAMPLES = 64
RATES = (5e-4, 1e-3, 2e-3)


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="one row, one seed")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--target", help="one target corpus; default: all")
    options.add_argument("--threads", type=int, default=usable_cores())
    options.add_argument("--cache", type=Path, help="checkpoints; default: a new folder")
    options.add_argument("--precision", default="auto")
    chosen = options.parse_args()
    rows = [row for row in PLANTED if chosen.target in {None, row.target}]
    if not rows:
        targets = ", ".join(dict.fromkeys(row.target for row in PLANTED))
        options.error(f"--target: expected one of {targets}, found {chosen.target!r}")
    if chosen.quick:
        chosen.seeds, rows = 1, rows[:1]
    quiet_libraries()
    keep_freed_memory()
    torch.set_num_threads(chosen.threads)
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"pocket corpora; {'intermediate':<24} {'target':<10} planted   gain (points)")
        for row in rows:
            gains = _gains(row, chosen, folder)
            spread = stdev(gains) if len(gains) > 1 else float("nan")
            print(
                f"{'':15} {row.intermediate:<24} {row.target:<10} {row.effect:<8} "
                f"{fmean(gains):+6.1f} sd {spread:4.1f}  {[round(gain, 1) for gain in gains]}",
                flush=True,
            )
            results.append(
                {
                    "intermediate": row.intermediate,
                    "target": row.target,
                    "planted": row.effect,
                    "gains": [round(gain, 2) for gain in gains],
                }
            )
    print(json.dumps({"benchmark": "planted", "data": "pocket corpora", "rows": results}))


def _gains(row: PlantedEffect, chosen: argparse.Namespace, folder: Path) -> list[float]:
    """The gain in the mean over the six languages, per seed."""
    with pocket_objective(
        [row.intermediate], row.target, folder, chosen.cache, chosen.precision
    ) as objective:

        def best(intermediate: str | None) -> list[float]:
            recipes = (pocket_recipe(intermediate, row.target, EXAMPLES, x) for x in RATES)
            scores = (
                [
                    100 * fmean(x.score.score for x in objective(recipe, seed, lambda run: None))
                    for seed in range(chosen.seeds)
                ]
                for recipe in recipes
            )
            return max(scores, key=fmean)

        return [x - y for x, y in zip(best(row.intermediate), best(None), strict=True)]


if __name__ == "__main__":
    run_as_command(main)
