"""NER fine-tuning: our loop against transformers.Trainer, and against this project as it was.

Same encoder, examples, batch size, learning rate, precision and threads; Trainer pads
dynamically, then also groups by length. Beside a small encoder stand encoders of the shapes of
XLM-R base and ModernBERT base, with random weights and the same sub-words under ids from all over
their vocabularies: few updates, for what they cost. Each training is a process of its own, all of
them in turn; an update's CPU seconds are a mean without the first one.

    python -m tests.benchmarks.finetune --data DIR --backbone DIR [--against CHECKOUT]
    python -m tests.benchmarks.finetune --quick

Then one epoch of 2,000 sentences on the small encoder, per seed: F1 on the validation split of
our loop, whose batches are of similar lengths within windows, and of Trainer's. Only with
`--backbone` and `--data`, as an untrained encoder's F1 says nothing.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from transformers import AutoModelForTokenClassification

from objectives.data.batching import Padding
from objectives.hardware import choose_hardware
from objectives.models.encoders import quiet_libraries
from objectives.runner import Runner
from objectives.scores.metrics import compute_score, predict, predicted_labels
from tests.benchmarks.as_command import run_as_command
from tests.benchmarks.one_training import BATCH_SIZE, OUR_WAY
from tests.benchmarks.training_ways import (
    DYNAMIC,
    Trainings,
    compare,
    parsed_options,
    prepared,
    print_result,
    read_split,
    run_job,
)

EPOCH = 2000 // BATCH_SIZE


def main() -> None:
    """Run the benchmark."""
    chosen = parsed_options(__doc__.partition("\n")[0])
    quiet_libraries()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trainings = prepared(chosen, "ner", folder)
        found = compare(trainings)
        scores: dict[str, list[float]] = {}
        if chosen.backbone and trainings.source.folder is not None and not chosen.quick:
            for way in (OUR_WAY, DYNAMIC):
                scores[way] = [_score(trainings, way, x, folder) for x in range(chosen.seeds)]
                print(f"F1 of {way}: {[round(score, 3) for score in scores[way]]}")
        print_result("finetune", trainings, found, f1=scores)


def _score(trainings: Trainings, way: str, seed: int, folder: Path) -> float:
    """F1 on the validation split after one epoch."""
    where = folder / f"{way} {seed}"
    run_job(
        replace(trainings.base, way=way, seed=seed, updates=EPOCH, model=str(where)), against=None
    )
    task, backbone = trainings.task, trainings.backbone
    validation = read_split(task, "validation", trainings.source, backbone)
    model = AutoModelForTokenClassification.from_pretrained(where)
    hardware = choose_hardware("cpu", trainings.chosen.precision)
    logits = predict(model, validation, Runner(hardware, Padding.of(backbone.tokenizer)))
    labels = predicted_labels(logits, validation, task)
    return compute_score("span_f1", validation.gold, labels)


if __name__ == "__main__":
    run_as_command(main)
