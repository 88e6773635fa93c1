"""Broken inputs of every kind that users have, by the thousand: none may be more than one line.

Of each input the program either says in one short line what is wrong (exit code 2), or takes it.
Anything else is counted: a traceback; a hang (more than 10 CPU seconds, or four minutes); and what
is silent, an input that is taken though it must not be, or a part of which is lost without a word.
Inputs are drawn from the seed alone.

    python -m tests.benchmarks.fuzz [--quick] [--seed N] [--only PART] [--show]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from objectives.models.encoders import quiet_libraries
from search.command_line.options import quiet_optuna
from tests.benchmarks.as_command import run_as_command
from tests.benchmarks.fuzz_data import (
    fuzz_corpora,
    fuzz_encoders,
    fuzz_predictions,
    fuzz_rows,
)
from tests.benchmarks.fuzz_requests import (
    fuzz_options,
    fuzz_overrides,
    fuzz_places,
    fuzz_studies,
    fuzz_texts,
    fuzz_urls,
    fuzz_visits,
)
from tests.benchmarks.fuzz_storage import fuzz_checkpoints, fuzz_databases, fuzz_outbox
from tests.benchmarks.fuzz_tally import Tally

QUICK, WHOLE = 1, 10


PARTS: dict[str, Callable[[Tally, random.Random, Path, int], None]] = {
    "studies": fuzz_studies,
    "set": fuzz_overrides,
    "options": fuzz_options,
    "urls": fuzz_urls,
    "data": fuzz_places,
    "visits": fuzz_visits,
    "texts": fuzz_texts,
    "corpora": fuzz_corpora,
    "rows": fuzz_rows,
    "predictions": fuzz_predictions,
    "encoders": fuzz_encoders,
    "outbox": fuzz_outbox,
    "checkpoints": fuzz_checkpoints,
    "databases": fuzz_databases,
}


def main() -> int:
    """Try the inputs; the exit code is 1 where any of them is at fault."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="a tenth of them, within 50 CPU s")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", choices=PARTS)
    options.add_argument("--show", action="store_true", help="show each fault")
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    quiet_libraries()
    quiet_optuna()
    tally = Tally(shows=chosen.show)
    for name, fuzz in PARTS.items():
        if chosen.only in {None, name}:
            with tempfile.TemporaryDirectory() as folder:
                os.environ["TRANSFER_SEARCH_STATE"] = folder
                dice = random.Random(f"{chosen.seed} {name}")
                fuzz(tally, dice, Path(folder), QUICK if chosen.quick else WHOLE)
    result = {
        "tried": tally.total("taken", "refused", "tracebacks", "hangs", "silent"),
        "clean": tally.total("taken", "refused"),
        "refused": tally.total("refused"),
        **{x: tally.total(x) for x in ("tracebacks", "hangs", "silent")},
        "by_part": {name: dict(count) for name, count in tally.counts.items()},
        "cpu_seconds": round(time.process_time(), 1),
        "seed": chosen.seed,
    }
    print(json.dumps(result))
    return int(bool(tally.faults))


if __name__ == "__main__":
    run_as_command(main)
