"""Ways to train, side by side: each in its own process, in turn, by CPU time and peak memory.

What `finetune` and `mlm` share.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import BertConfig, BertModel

from objectives.backbone import Backbone
from objectives.data.choosing import choose_source
from objectives.data.data_source import DataSource
from objectives.data.encoding import EncodedSplit, encode
from objectives.data.sources import load_split
from objectives.hardware import choose_hardware
from objectives.models.encoders import load_backbone
from objectives.pocket.encoder import pocket_tokenizer
from spaces.catalogue import load_catalogue
from spaces.task import Task
from tests.benchmarks.one_training import (
    BATCH_SIZE,
    GROUPED,
    OUR_WAY,
    SHAPES,
    Job,
    job_text,
    save_examples,
)

DYNAMIC, BEFORE = "Trainer, dynamic padding", "ours before"
MAX_LENGTH = 128
QUICK_LAYERS = 2
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Trainings:
    """Trainings that a benchmark compares.

    Attributes:
        chosen: Its options.
        task: NER task whose sentences are trained on.
        source: Where they are read.
        backbone: The small encoder.
        base: A training of the small encoder, to be varied.
    """

    chosen: argparse.Namespace
    task: Task
    source: DataSource
    backbone: Backbone
    base: Job


def parsed_options(description: str) -> argparse.Namespace:
    """The options that both benchmarks have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--quick", action="store_true", help="two layers, few updates")
    options.add_argument("--data", default="pocket", help="folder of corpora")
    options.add_argument("--backbone", help="folder of a small encoder")
    options.add_argument("--task", default="panx", help="an NER task of the data folder")
    options.add_argument(
        "--against", type=Path, metavar="CHECKOUT", help="the project as it was, as a way more"
    )
    options.add_argument("--updates", type=int, default=60, help="of the small encoder")
    options.add_argument("--large-updates", type=int, default=10, help="of the others")
    options.add_argument("--repeats", type=int, default=2, help="of each; the cheapest counts")
    options.add_argument("--seeds", type=int, default=3, help="of F1, where it is measured")
    options.add_argument("--precision", default="auto")
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    if chosen.quick:
        chosen.updates = chosen.large_updates = 4
        chosen.repeats = chosen.seeds = 1
    return chosen


def prepared(chosen: argparse.Namespace, kind: str, folder: Path) -> Trainings:
    """The sentences, written to `folder`, and the small encoder."""
    source = choose_source(chosen.data)
    task = load_catalogue()["pocket_ner" if source.folder is None else chosen.task]
    encoder = chosen.backbone or str(untrained_encoder(folder / "encoder", 384, 6, 12))
    backbone = load_backbone(encoder)
    save_examples(read_split(task, "train", source, backbone), backbone.tokenizer, folder / "data")
    base = Job(
        *(kind, OUR_WAY, encoder, 0, str(folder / "data"), chosen.updates),
        *(chosen.precision, chosen.threads, 0),
    )
    return Trainings(chosen, task, source, backbone, base)


def read_split(task: Task, split: str, source: DataSource, backbone: Backbone) -> EncodedSplit:
    """A split in the task's first language."""
    rows = load_split(task, task.languages[0], split, source)
    return encode(rows, task, backbone.tokenizer, MAX_LENGTH)


def compare(trainings: Trainings) -> dict[str, dict[str, dict[str, float]]]:
    """CPU seconds an update and peak memory, encoder -> way -> figure; printed as a table."""
    chosen, base = trainings.chosen, trainings.base
    large = replace(base, updates=chosen.large_updates, layers=QUICK_LAYERS if chosen.quick else 0)
    jobs = {"small": base} | {shape: replace(large, encoder=shape) for shape in SHAPES}
    ways = [OUR_WAY, *([BEFORE] if chosen.against else []), DYNAMIC, GROUPED]
    runs: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for _ in range(chosen.repeats):
        for name, job in jobs.items():
            for way in ways:
                runs[name, way].append(run_job(replace(job, way=way), chosen.against))
    small = chosen.backbone or "an untrained BERT of 6 layers"
    hardware = choose_hardware("cpu", chosen.precision)
    print(f"{trainings.source}, {trainings.task.name}; batch {BATCH_SIZE}; small: {small}")
    print(f"{hardware.precision}, {chosen.threads} thread(s), CPU seconds of an update")
    print(f"{'encoder':<12} {'way':<28} {'seconds':>8} {'ratio':>6} {'peak MB':>8}")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in jobs:
        best = {way: min(runs[name, way], key=lambda run: run["cpu_seconds"]) for way in ways}
        ours = best[OUR_WAY]["cpu_seconds"]
        found[name] = {
            way: {
                "cpu_seconds": round(run["cpu_seconds"], 4),
                "ratio": round(run["cpu_seconds"] / ours, 3),
                "peak_mb": round(run["peak_mb"]),
            }
            for way, run in best.items()
        }
        for way, figures in found[name].items():
            seconds, ratio, peak = figures.values()
            print(f"{name:<12} {way:<28} {seconds:8.3f} {ratio:6.2f} {peak:8.0f}", flush=True)
    return found


def run_job(job: Job, against: Path | None) -> Mapping[str, Any]:
    """What one training in a process of its own says of itself."""
    root = ROOT
    if job.way == BEFORE:
        assert against is not None
        root, job = against.resolve(), replace(job, way=OUR_WAY)
    script = Path(__file__).with_name("one_training.py")
    done = subprocess.run(
        [sys.executable, "-P", script, job_text(job)],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_result(
    name: str, trainings: Trainings, ways: Mapping[str, object], **more: object
) -> None:
    """The JSON line at the end."""
    chosen = trainings.chosen
    result = {
        "benchmark": name,
        "data": str(trainings.source),
        "precision": choose_hardware("cpu", chosen.precision).precision,
        "threads": chosen.threads,
        "layers": QUICK_LAYERS if chosen.quick else "all",
        "encoders": ways,
    }
    print(json.dumps(result | more))


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
