"""Scoring validation splits, one row per kind of task: our way against two others, in one run.

Same encoder, examples and threads; the head is untrained, as what is predicted costs the same.
`Trainer` is `transformers.Trainer.predict` with its defaults: eight rows at a time in the order of
the split, padded to the longest. `budget` sorts rows by length and fills each batch up to the
budget, as this program did at first. Ours cuts sorted rows where padding and batches cost least,
and lets equal rows through once. Sentence retrieval is scored in every layer and similarity at
once against one of them. CPU seconds, each way `--repeats` times in turn with the least kept.

    python -m tests.benchmarks.scoring --data DIR --backbone DIR
    python -m tests.benchmarks.scoring --quick

Without a data folder the pocket corpora and an untrained encoder are used. Ends in a JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from numpy.typing import NDArray
from seqeval.metrics import f1_score as seqeval_f1
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from objectives.backbone import Backbone
from objectives.data.batching import Padding, collate, length_order
from objectives.data.choosing import choose_source
from objectives.data.data_source import DataSource
from objectives.data.encoding import EncodedSplit, encode, joined
from objectives.data.sources import has_split, load_split
from objectives.hardware import Hardware
from objectives.models.encoders import build_model, load_backbone, quiet_libraries
from objectives.runner import Runner
from objectives.scores.metrics import (
    CPU_BATCH_COST,
    CPU_TOKEN_BUDGET,
    compute_score,
    predict,
    predicted_labels,
)
from objectives.scores.sentences import score_retrievals
from objectives.training.updates import model_logits
from spaces.catalogue import load_catalogue
from spaces.recipe import Similarity, Stage, untrained_stage
from spaces.task import Metric, Task, TaskKind
from tests.benchmarks.as_command import run_as_command
from tests.benchmarks.training_ways import untrained_encoder

REAL = {
    "panx": ("swa", "tgl", "ind", "eus"),
    "udpos": ("eus", "tam", "urd"),
    "xnli": ("swa", "urd"),
    "tydiqa": ("swa",),
    "tatoeba": ("swa", "jav", "tgl"),
}
INVENTED = ("qaa", "qab", "qac")
POCKET = dict.fromkeys(
    ("pocket_ner", "pocket_pos", "pocket_nli", "pocket_qa", "pocket_retrieval"), INVENTED
)
TRAINER_ROWS = 8
CPU = Hardware(torch.device("cpu"), "float32")


@dataclass(frozen=True)
class Case:
    """One task to score.

    Attributes:
        task: Catalogue record.
        splits: Language -> encoded examples.
        model: Model with an untrained head; for retrieval an encoder.
        padding: Padding of its tokenizer.
    """

    task: Task
    splits: dict[str, EncodedSplit]
    model: PreTrainedModel
    padding: Padding


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="40 examples of each, once")
    options.add_argument("--data", default="pocket", help="folder of corpora")
    options.add_argument("--backbone", help="folder of an encoder")
    options.add_argument("--examples", type=int, default=200, help="at most, of each language")
    options.add_argument("--only", nargs="+", default=(), metavar="TASK", help="default: all")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    if chosen.quick:
        chosen.examples, chosen.repeats = 40, 1
    quiet_libraries()
    torch.set_num_threads(chosen.threads)
    source, catalogue = choose_source(chosen.data), load_catalogue()
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        backbone = load_backbone(
            chosen.backbone or str(untrained_encoder(Path(folder), 384, layers=6, heads=12))
        )
        print(f"{source}, {backbone.name}; CPU seconds, padding in percent of all sub-words")
        for name, languages in (POCKET if source.folder is None else REAL).items():
            if chosen.only and name not in chosen.only:
                continue
            case = _case(catalogue[name], languages, source, backbone, chosen.examples)
            if case.task.kind.is_trained:
                results.append(_predicted(case, chosen.repeats, folder))
            else:
                layers = backbone.config.num_hidden_layers
                results.append(_retrieved(case, chosen.repeats, layers))
    print(json.dumps({"benchmark": "scoring", "data": source.kind, "rows": results}))


def _case(
    task: Task, languages: Sequence[str], source: DataSource, backbone: Backbone, examples: int
) -> Case:
    length = 384 if task.kind is TaskKind.QA else 128
    splits = {}
    for language in languages:
        if has_split(task, language, "validation", source):
            split = load_split(task, language, "validation", source)
            if task.kind.is_trained:  # of retrieval one side would be left without the other
                split = split.select(range(min(examples, len(split))))
            splits[language] = encode(split, task, backbone.tokenizer, length)
    model = build_model(backbone, backbone.weights, task, seed=0)
    return Case(task, splits, model, Padding.of(backbone.tokenizer))


def _predicted(case: Case, repeats: int, folder: str) -> dict[str, Any]:
    split = joined(list(case.splits.values()))
    lengths = split.row_lengths
    in_order = list(np.array_split(np.arange(len(lengths)), range(8, len(lengths), TRAINER_ROWS)))
    by_budget = list(_budget_order(lengths))
    distinct = np.unique([ids.tobytes() for ids in split.input_ids], return_index=True)[1]
    ours = length_order(lengths[distinct], CPU_TOKEN_BUDGET, CPU_BATCH_COST)
    seconds, logits = _least(
        {
            "Trainer": lambda: _by_trainer(case, split, folder),
            "budget": lambda: _by_batches(case, split, by_budget),
            "ours": lambda: predict(case.model, split, Runner(CPU, case.padding)),
        },
        repeats,
    )
    padding = {
        "Trainer": _padding_share(lengths, in_order),
        "budget": _padding_share(lengths, by_budget),
        "ours": _padding_share(lengths[distinct], ours),
    }
    labels = predicted_labels(logits["ours"], split, case.task)
    assert case.task.metric is not None, case.task.name
    given = case.task.metric, split.gold, labels, case.task.answers, next(iter(case.splits))
    metrics: dict[str, Callable[[], Any]] = {"ours": lambda: compute_score(*given)}
    if case.task.metric is Metric.SPAN_F1:
        metrics["seqeval"] = lambda: _by_seqeval(list(split.gold), labels)
    metric_seconds, scores = _least(metrics, repeats)
    assert len(set(scores.values())) == 1, scores
    tokens = int(lengths.sum())
    print(f"{case.task.name:<18} {len(split)} examples, {tokens} sub-words in {len(lengths)} rows")
    for way, spent in seconds.items():
        print(f"    {way:<10} {spent:>7.2f} s  padding {100 * padding[way]:>4.1f} %")
    shown = ", ".join(f"{way} {1000 * x:.1f} ms" for way, x in metric_seconds.items())
    print(f"    metric     {shown}", flush=True)
    return {
        "task": case.task.name,
        "kind": case.task.kind,
        "examples": len(split),
        "rows": len(lengths),
        "distinct_rows": len(distinct),
        "cpu_seconds": {way: round(x, 3) for way, x in seconds.items()},
        "padding_share": {way: round(x, 4) for way, x in padding.items()},
        "metric_seconds": {way: round(x, 5) for way, x in metric_seconds.items()},
    }


def _retrieved(case: Case, repeats: int, layers: int) -> dict[str, Any]:
    every = [
        untrained_stage(case.task.name, 128, layer, similarity)
        for layer in range(layers + 1)
        for similarity in Similarity
    ]
    runner = Runner(CPU, case.padding)

    def scored(stages: Sequence[Stage]) -> dict[Stage, list[float]]:
        found = score_retrievals(case.model, case.splits, case.task, stages, runner)
        return {stage: [x.score for x in by.values()] for stage, by in found.items()}

    seconds, scores = _least(
        {"one": lambda: scored(every[-1:]), "all at once": lambda: scored(every)}, repeats
    )
    assert scores["one"][every[-1]] == scores["all at once"][every[-1]]
    sentences = sum(len(split) for split in case.splits.values())
    print(f"{case.task.name:<18} {sentences} sentences; {len(every)} layers and similarities")
    for way, spent in seconds.items():
        print(
            f"    {way:<12} {spent:>7.2f} s  {spent / seconds['one']:>5.2f} times one", flush=True
        )
    return {
        "task": case.task.name,
        "kind": case.task.kind,
        "examples": sentences,
        "settings": len(every),
        "cpu_seconds": {way: round(x, 3) for way, x in seconds.items()},
    }


def _by_seqeval(gold: list[Any], labels: list[Any]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POS tags are no tags of chunks
        return float(seqeval_f1(gold, labels, zero_division=0))


def _least(
    ways: dict[str, Callable[[], Any]], repeats: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """The least CPU seconds of each way, run in turn, and what each gives."""
    seconds: dict[str, float] = {}
    results = {}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.process_time()
            results[name] = way()
            spent = time.process_time() - started
            seconds[name] = min(seconds.get(name, spent), spent)
    return seconds, results


def _budget_order(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Longest first, each batch as full as the budget lets it be."""
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        rows = max(1, CPU_TOKEN_BUDGET // int(lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def _padding_share(lengths: NDArray[np.int64], batches: Sequence[NDArray[np.int64]]) -> float:
    filled = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    return 1 - int(lengths.sum()) / filled


def _by_batches(
    case: Case, split: EncodedSplit, batches: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.float32]]:
    case.model.eval()
    found = []
    with torch.inference_mode():
        for rows in batches:
            found.append(model_logits(case.model, collate(split, rows, case.padding)).numpy())
    return found


def _by_trainer(case: Case, split: EncodedSplit, folder: str) -> Any:
    def padded(rows: list[int]) -> dict[str, torch.Tensor]:
        return collate(split, np.array(rows), case.padding)

    arguments = TrainingArguments(
        output_dir=folder,
        per_device_eval_batch_size=TRAINER_ROWS,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    trainer = Trainer(case.model, arguments, data_collator=padded)
    trainer.remove_callback(PrinterCallback)
    rows: Any = list(range(len(split.input_ids)))
    return trainer.predict(rows).predictions


if __name__ == "__main__":
    run_as_command(main)
