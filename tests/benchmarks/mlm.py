"""Masked language modelling: our loop against transformers.Trainer, and as it was before.

Only hidden places go through our head. Trainer has DataCollatorForLanguageModeling, which hides
the same share, and computes the logits of all places, as this project did before (`--against`
names a checkout of it). All else is as in `finetune`: a small encoder, and the shapes of XLM-R
base and ModernBERT base, each training in a process of its own.

    python -m tests.benchmarks.mlm --data DIR --backbone DIR [--against CHECKOUT]
    python -m tests.benchmarks.mlm --quick
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from objectives.models.encoders import quiet_libraries
from tests.benchmarks.as_command import run_as_command
from tests.benchmarks.training_ways import compare, parsed_options, prepared, print_result


def main() -> None:
    """Run the benchmark."""
    chosen = parsed_options(__doc__.partition("\n")[0])
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        trainings = prepared(chosen, "mlm", Path(folder))
        print_result("mlm", trainings, compare(trainings))


if __name__ == "__main__":
    run_as_command(main)
