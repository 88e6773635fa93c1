"""One epoch of NER fine-tuning: our loop against transformers.Trainer, in one run.

Same encoder, examples, batch size, epochs, learning rate, precision and threads; the Trainer
pads to 128 (as most published scripts do), then dynamically, then dynamically and grouped by
length. Wall seconds are of the training alone, on one seed, each way twice in turn with the
faster one kept; F1 on the validation split is over all seeds.

    python -m tests.benchmarks.finetune --data DIR --backbone DIR
    python -m tests.benchmarks.finetune --quick

Without a data folder the pocket corpora and an untrained encoder are used: the ratios are then
of short invented sentences, and the F1 says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertModel,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from objectives.backbone import Backbone
from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit, encode
from objectives.data.sources import DataSource, choose_source, load_split
from objectives.hardware import Hardware, choose_hardware
from objectives.models.encoders import build_model, load_backbone, quiet_libraries
from objectives.pocket.encoder import pocket_tokenizer
from objectives.runner import Runner
from objectives.scores.metrics import compute_score, predict, predicted_labels
from objectives.training.fine_tuning import finetune
from spaces.catalogue import load_catalogue
from spaces.recipe import Schedule, Stage
from spaces.task import Task

MAX_LENGTH = 128
BATCH_SIZE = 16
LEARNING_RATE = 5e-5
WARMUP_RATIO = 0.1
PEERS = ("padded to 128", "dynamic padding", "grouped by length")


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="within 50 s")
    options.add_argument("--data", default="pocket", help="folder of corpora")
    options.add_argument("--backbone", help="folder of an encoder")
    options.add_argument("--task", default="panx", help="an NER task of the data folder")
    options.add_argument("--examples", type=int, default=2000)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--precision", default="auto")
    options.add_argument("--device", default="auto")
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    if chosen.quick:
        chosen.examples, chosen.seeds = 96, 1
    quiet_libraries()
    torch.set_num_threads(chosen.threads)
    hardware = choose_hardware(chosen.device, chosen.precision)
    catalogue = load_catalogue()
    source = choose_source(chosen.data)
    pocket = source.folder is None
    task = catalogue["pocket_ner" if pocket else chosen.task]
    with tempfile.TemporaryDirectory() as folder:
        backbone = load_backbone(
            chosen.backbone or str(untrained_encoder(Path(folder), 384, layers=6, heads=12))
        )
        train, validation = (_encoded(task, x, source, backbone) for x in ("train", "validation"))
        train = _first(train, chosen.examples)
        _run_all(chosen, task, backbone, train, validation, hardware, str(source))


def _run_all(
    chosen: argparse.Namespace,
    task: Task,
    backbone: Backbone,
    train: EncodedSplit,
    validation: EncodedSplit,
    hardware: Hardware,
    source: str,
) -> None:
    stage = Stage(
        *(task.name, 1, LEARNING_RATE, BATCH_SIZE, len(train)),
        *(WARMUP_RATIO, MAX_LENGTH, Schedule.LINEAR),
    )
    runner = Runner(hardware, Padding.of(backbone.tokenizer))
    ways = ("ours", *PEERS)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    scores: dict[str, list[float]] = {way: [] for way in ways}

    def run(way: str, seed: int) -> None:
        model = build_model(backbone, backbone.weights, task, seed).to(hardware.device)
        started = time.perf_counter()
        if way == "ours":
            finetune([(model, train)], stage, seed, runner)
        else:
            _train_peer(way, model, train, backbone, seed, hardware)
        if hardware.device.type == "cuda":
            torch.cuda.synchronize()
        seconds[way].append(time.perf_counter() - started)
        if len(scores[way]) <= seed:
            logits = predict(model, validation, runner)
            labels = predicted_labels(logits, validation, task)
            scores[way].append(compute_score("span_f1", validation.gold, labels))

    for way in ways:  # what is compiled or allocated on first use is nobody's epoch
        model = build_model(backbone, backbone.weights, task, 0).to(hardware.device)
        warm = _first(train, BATCH_SIZE)
        if way == "ours":
            finetune([(model, warm)], stage, 0, runner)
        else:
            _train_peer(way, model, warm, backbone, 0, hardware)
    for _ in range(1 if chosen.quick else 2):
        for way in ways:
            run(way, 0)
    for seed in range(1, chosen.seeds):
        for way in ("ours", "dynamic padding"):
            run(way, seed)
    ours = min(seconds["ours"])
    print(f"{source}, {task.name}: {len(train)} examples, batch {BATCH_SIZE}, one epoch")
    encoder = chosen.backbone or "an untrained encoder"
    print(f"{encoder}; {hardware.name}, {hardware.precision}, {chosen.threads} thread(s)")
    print(f"{'way':<28} {'seconds':>8} {'ratio':>6} {'F1':>6} seeds")
    for way in ways:
        name = way if way == "ours" else f"Trainer, {way}"
        print(
            f"{name:<28} {min(seconds[way]):8.2f} {min(seconds[way]) / ours:6.2f} "
            f"{fmean(scores[way]):6.3f} {len(scores[way])}"
        )
    print(
        json.dumps(
            {
                "benchmark": "finetune",
                "data": source,
                "device": hardware.name,
                "precision": hardware.precision,
                "threads": chosen.threads,
                "examples": len(train),
                "seeds": chosen.seeds,
                "trainer_default_ratio": round(min(seconds["padded to 128"]) / ours, 3),
                "trainer_dynamic_ratio": round(min(seconds["dynamic padding"]) / ours, 3),
                "trainer_grouped_ratio": round(min(seconds["grouped by length"]) / ours, 3),
                "f1_ours": round(fmean(scores["ours"]), 4),
                "f1_peer": round(fmean(scores["dynamic padding"]), 4),
                "f1_ours_by_seed": [round(score, 4) for score in scores["ours"]],
                "f1_peer_by_seed": [round(score, 4) for score in scores["dynamic padding"]],
            }
        )
    )


def _train_peer(
    way: str,
    model: PreTrainedModel,
    train: EncodedSplit,
    backbone: Backbone,
    seed: int,
    hardware: Hardware,
) -> None:
    """What a careful user of Trainer writes."""
    full = way == "padded to 128"
    collator = DataCollatorForTokenClassification(
        backbone.tokenizer,
        padding="max_length" if full else True,
        max_length=MAX_LENGTH if full else None,
    )
    train_with_trainer(
        model,
        trainer_rows(train),
        collator,
        hardware,
        num_train_epochs=1,
        per_device_train_batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP_RATIO,
        lr_scheduler_type="linear",
        seed=seed,
        train_sampling_strategy="group_by_length" if way == PEERS[2] else "random",
    )


def trainer_rows(split: EncodedSplit) -> list[dict[str, list[int]]]:
    """Examples with labels as Trainer takes them."""
    assert split.labels is not None
    return [
        {"input_ids": ids.tolist(), "labels": np.asarray(labels).tolist()}
        for ids, labels in zip(split.input_ids, split.labels, strict=True)
    ]


def train_with_trainer(
    model: PreTrainedModel,
    rows: list[dict[str, list[int]]],
    collator: DataCollatorForTokenClassification,
    hardware: Hardware,
    **options: Any,
) -> Trainer:
    """Train with transformers' Trainer, which saves, logs and reports nothing."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            bf16=hardware.precision == "bfloat16",
            use_cpu=hardware.device.type == "cpu",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **options,
        )
        trainer = Trainer(model, arguments, data_collator=collator, train_dataset=rows)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return trainer


def _encoded(task: Task, split: str, source: DataSource, backbone: Backbone) -> EncodedSplit:
    rows = load_split(task, task.languages[0], split, source)
    return encode(rows, task, backbone.tokenizer, MAX_LENGTH)


def _first(split: EncodedSplit, examples: int) -> EncodedSplit:
    def cut(values: Any) -> Any:
        return None if values is None else values[:examples]

    return EncodedSplit(**{name: cut(value) for name, value in vars(split).items()})


def untrained_encoder(folder: Path, hidden_size: int, layers: int, heads: int) -> Path:
    """An encoder with random weights in `folder`, for the pocket vocabulary."""
    tokenizer = pocket_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden_size,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
