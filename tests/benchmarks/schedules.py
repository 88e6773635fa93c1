"""What a shared trunk costs: final gains after a decaying, a constant or an averaged stage.

Only a stage at a constant rate is a prefix of a longer one. Whether its encoder is a weaker one
to go on from is measured here by the paired gain on the target, against a rate that falls to
zero over the stage, a constant rate that falls to zero over the last half epoch (a branch off
the trunk: Hu et al. 2024, MiniCPM, section 4, https://arxiv.org/abs/2404.06395), and the mean
of the weights over the last half epoch or epoch at a constant rate (Haegele et al. 2024,
section 4.2, https://arxiv.org/abs/2405.18392). All take the same updates.

    python -m tests.benchmarks.schedules --data DIR --backbone DIR      # an hour on one core
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from statistics import fmean, stdev
from unittest.mock import patch

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import datasets
import numpy as np
import torch

from objectives.backbone import Backbone, Weights
from objectives.data.batching import Padding
from objectives.data.choosing import choose_source
from objectives.data.data_source import DataSource
from objectives.data.encoding import EncodedSplit, encode
from objectives.data.sources import load_split
from objectives.hardware import Hardware, choose_hardware
from objectives.models.encoders import build_model, load_backbone, quiet_libraries
from objectives.runner import Runner
from objectives.scores.metrics import compute_score, predict, predicted_labels
from objectives.training import fine_tuning as training
from objectives.training.fine_tuning import finetune, rate_factor
from spaces.catalogue import Catalogue, load_catalogue
from spaces.recipe import Schedule, Stage
from spaces.task import Task
from tests.benchmarks.as_command import run_as_command

LANGUAGES = ("swa", "yor", "jav", "tgl", "ind", "eus")
TASKS = ("uner_ewt", "bc5cdr", "e_ner", "ag_news")
RATES = (1e-4, 3e-5)
EPOCHS, EXAMPLES, BATCH_SIZE, MAX_LENGTH = 3, 600, 16, 128
TARGET = Stage("panx", 4, 1e-4, BATCH_SIZE, 400, 0.1, MAX_LENGTH, Schedule.LINEAR)
WAYS = ("linear", "decayed branch", "constant", "mean of half an epoch", "mean of an epoch")


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--data", required=True, help="folder of corpora")
    options.add_argument("--backbone", required=True, help="folder of an encoder")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--tasks", nargs="+", default=list(TASKS))
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--precision", default="auto")
    chosen = options.parse_args()
    quiet_libraries()
    torch.set_num_threads(chosen.threads)
    bench = _Bench(
        load_backbone(chosen.backbone),
        load_catalogue(),
        choose_source(chosen.data),
        choose_hardware("cpu", chosen.precision),
    )
    gains: dict[tuple[float, str, str], list[float]] = defaultdict(list)
    for seed in range(chosen.seeds):
        base = bench.score(bench.backbone.weights, seed)
        for rate in RATES:
            for task in chosen.tasks:
                for way, weights in bench.encoders(task, rate, seed).items():
                    gain = 100 * (bench.score(weights, seed) - base)
                    gains[rate, task, way].append(gain)
                    print(f"seed {seed}, {rate:g}, {task}, {way}: {gain:+.1f}", file=sys.stderr)
    _show(gains, chosen.tasks)


class _Bench:
    """The corpora, and the two trainings."""

    def __init__(
        self, backbone: Backbone, catalogue: Catalogue, source: DataSource, hardware: Hardware
    ) -> None:
        self.backbone, self.catalogue, self.hardware = backbone, catalogue, hardware
        self._source = source
        self._padding = Padding.of(backbone.tokenizer)
        self._target = self._split(TARGET.task, "eng", "train", TARGET.examples)
        self._validation = [self._split(TARGET.task, x, "validation") for x in LANGUAGES]

    def score(self, weights: Weights, seed: int) -> float:
        """Mean span F1 over the languages after the target stage."""
        task = self.catalogue[TARGET.task]
        assert task.metric is not None
        model = build_model(self.backbone, weights, task, seed)
        runner = Runner(self.hardware, self._padding)
        finetune([(model, self._target)], TARGET, seed, runner)
        scores = []
        for split in self._validation:
            logits = predict(model, split, runner)
            labels = predicted_labels(logits, split, task)
            scores.append(compute_score(task.metric, split.gold, labels))
        return fmean(scores)

    def encoders(self, task_name: str, rate: float, seed: int) -> dict[str, Weights]:
        """The encoder of each of `WAYS`; the last three are of one training."""
        task = self.catalogue[task_name]
        split = self._split(task_name, "eng", "train", EXAMPLES)
        found: dict[str, Weights] = {}
        for way in WAYS[:3]:
            schedule = Schedule.LINEAR if way == "linear" else Schedule.CONSTANT
            stage = Stage(
                *(task_name, EPOCHS, rate, BATCH_SIZE, EXAMPLES, 0.1, MAX_LENGTH, schedule)
            )
            model = build_model(self.backbone, self.backbone.weights, task, seed)
            encoder = model.base_model
            windows = {WAYS[3]: stage.updates_per_epoch // 2, WAYS[4]: stage.updates_per_epoch}
            sums: dict[str, dict[str, torch.Tensor]] = {name: {} for name in windows}

            def add(
                done: int,
                total: int,
                encoder: torch.nn.Module = encoder,
                windows: Mapping[str, int] = windows,
                sums: dict[str, dict[str, torch.Tensor]] = sums,
            ) -> None:
                for name, window in windows.items():
                    if done > total - window:
                        for place, weight in encoder.named_parameters():
                            share = weight.detach() / window
                            sums[name][place] = sums[name].get(place, 0) + share

            with rate_falls_at_the_end() if way == "decayed branch" else nullcontext():
                runner = Runner(self.hardware, self._padding, add)
                finetune([(model, split)], stage, seed, runner)
            found[way] = {k: v.detach().clone() for k, v in encoder.state_dict().items()}
            if way == "constant":
                found |= {
                    name: whole_mean(found[way], mean, split, self._padding)
                    for name, mean in sums.items()
                }
        return {way: {**self.backbone.weights, **weights} for way, weights in found.items()}

    def _split(
        self, task_name: str, language: str, split: str, examples: int | None = None
    ) -> EncodedSplit:
        rows = drawn_split(self.catalogue[task_name], language, split, self._source, examples)
        return encode(rows, self.catalogue[task_name], self.backbone.tokenizer, MAX_LENGTH)


def drawn_split(
    task: Task, language: str, split: str, source: DataSource, examples: int | None = None
) -> datasets.Dataset:
    """A split, or so many of its examples: the same for all trainings."""
    rows = load_split(task, language, split, source)
    if examples is None:
        return rows
    if len(rows) < examples:
        sys.exit(f"{task.name} {split}: expected {examples} examples, found {len(rows)}")
    drawn = np.random.default_rng(0).permutation(len(rows))[:examples]
    return rows.select(np.sort(drawn))


def whole_mean(
    last: Weights, mean: Weights, split: EncodedSplit, padding: Padding
) -> dict[str, torch.Tensor]:
    """Mean weights; of the embeddings only the rows in use were trained."""
    used = np.union1d(np.concatenate(split.input_ids), np.arange(padding.token_id + 1))
    whole = {name: weight.clone() for name, weight in last.items()}
    for name, weight in mean.items():
        if whole[name].shape == weight.shape:
            whole[name] = weight
        else:
            whole[name][torch.from_numpy(used)] = weight
    return whole


@contextmanager
def rate_falls_at_the_end() -> Iterator[None]:
    """Let the constant rate fall to zero over the last half epoch."""

    def falling(done: int, updates: int, updates_per_epoch: int, stage: Stage) -> float:
        factor = rate_factor(done, updates, updates_per_epoch, stage)
        return factor * min(1.0, (updates - done) / (updates_per_epoch // 2))

    with patch.object(training, "rate_factor", falling):
        yield


def _show(gains: Mapping[tuple[float, str, str], list[float]], tasks: list[str]) -> None:
    print(f"{'rate':>7} {'task':<12}" + "".join(f"{way:>24}" for way in WAYS))
    for rate in RATES:
        for task in tasks:
            cells = (fmean(gains[rate, task, way]) for way in WAYS)
            print(f"{rate:>7g} {task:<12}" + "".join(f"{cell:>+24.2f}" for cell in cells))
    result: dict[str, dict[str, float]] = {}
    for way in WAYS[1:]:
        differences = [
            mine - linear
            for rate in RATES
            for task in tasks
            for mine, linear in zip(
                gains[rate, task, way], gains[rate, task, WAYS[0]], strict=True
            )
        ]
        error = stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
        result[way] = {"minus_linear": round(fmean(differences), 2), "error": round(error, 2)}
    print(json.dumps({"benchmark": "schedules", "ways": result}))


if __name__ == "__main__":
    run_as_command(main)
