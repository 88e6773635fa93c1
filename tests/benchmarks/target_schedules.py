"""Whether one target training can stand for every number of epochs: constant against falling.

A target stage that warms up and stays constant is scored after 1, 2 and 4 epochs of one training;
one whose rate falls to zero over the stage needs a training for each. Both are compared at the
same mean rate: constant at half the falling one's peak. Of the large size the constant training is
also scored by the mean of its weights over the last half epoch (Haegele et al. 2024, section 4.2,
https://arxiv.org/abs/2405.18392), and with a rate that falls to zero over the last half epoch. All
are trained on English and scored on validation splits, averaged over languages.

    python -m tests.benchmarks.target_schedules --data DIR --backbone DIR  # two hours on one core
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from transformers import PreTrainedModel

from objectives.data.batching import Padding
from objectives.data.choosing import choose_source
from objectives.data.encoding import EncodedSplit, encode
from objectives.hardware import choose_hardware
from objectives.models.encoders import build_model, load_backbone, quiet_libraries
from objectives.runner import Runner
from objectives.scores.languages import score_languages
from objectives.training.fine_tuning import finetune
from spaces.catalogue import load_catalogue
from spaces.recipe import Schedule, Stage, untrained_stage
from tests.benchmarks.as_command import run_as_command
from tests.benchmarks.schedules import drawn_split, rate_falls_at_the_end, whole_mean

PEAKS = (1e-4, 2e-4, 3e-4)
EPOCHS = (1, 2, 4)
BATCH_SIZE, WARMUP_RATIO = 16, 0.1
CONSTANT, MEAN, BRANCH, LINEAR = "constant", "mean", "branch", "linear"


@dataclass(frozen=True)
class Target:
    """A task, where it is scored, and its two training sizes.

    Attributes:
        task: Name in the catalogue; trained on its English split.
        languages: ISO 639-3 codes, scored on the validation split.
        sizes: Training examples, a small and a large number.
        max_length: Sub-words at which an example is cut.
    """

    task: str
    languages: tuple[str, ...]
    sizes: tuple[int, int]
    max_length: int


TARGETS = (
    Target("panx", ("eng", "swa", "yor", "tgl", "ind", "eus"), (400, 4000), 128),
    Target("udpos", ("eng", "ind", "eus"), (400, 2000), 128),
    Target("sib200", ("eng", "swa", "ind", "tgl", "jav", "eus"), (400, 700), 64),
)


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--data", required=True, help="folder of corpora")
    options.add_argument("--backbone", required=True, help="folder of an encoder")
    options.add_argument(
        "--seeds", type=int, nargs=2, default=[3, 1], help="of the small size and of the large one"
    )
    options.add_argument("--targets", nargs="+", default=[x.task for x in TARGETS])
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--precision", default="auto")
    options.add_argument("--branches", action="store_true", help="the falling ends too")
    options.add_argument(
        "--scores", type=Path, help="file of scores, added to; what it has is not trained again"
    )
    chosen = options.parse_args()
    quiet_libraries()
    torch.set_num_threads(chosen.threads)
    bench = _Bench(chosen)
    for size, seeds in zip((0, 1), chosen.seeds, strict=True):
        for seed in range(seeds):
            for target in TARGETS:
                if target.task in chosen.targets:
                    bench.compare(target, target.sizes[size], seed)
    _show(bench.scores)


Cell = tuple[str, int, float, str, int, int]
"""Task, examples, peak rate, schedule, epochs, seed."""


class _Bench:
    def __init__(self, chosen: argparse.Namespace) -> None:
        self.backbone = load_backbone(chosen.backbone)
        self.catalogue = load_catalogue()
        self.source = choose_source(chosen.data)
        self.runner = Runner(
            choose_hardware("cpu", chosen.precision), Padding.of(self.backbone.tokenizer)
        )
        self.branches: bool = chosen.branches
        self.file: Path | None = chosen.scores
        self.scores: dict[Cell, float] = {}
        if self.file and self.file.exists():
            for line in self.file.read_text().splitlines():
                *cell, score = json.loads(line)
                self.scores[tuple(cell)] = score

    def compare(self, target: Target, examples: int, seed: int) -> None:
        """Score one seed's trainings: each rate, constant and falling."""
        for peak in PEAKS:
            self._train(target, examples, peak / 2, CONSTANT, EPOCHS, seed)
            # The shorter falling ones are trainings of their own; at the large size too dear.
            lengths = EPOCHS if examples == target.sizes[0] else EPOCHS[-1:]
            for epochs in lengths:
                self._train(target, examples, peak, LINEAR, (epochs,), seed)
            if examples != target.sizes[0] and self.branches:
                with rate_falls_at_the_end():
                    self._train(target, examples, peak / 2, BRANCH, EPOCHS[-1:], seed)

    def _train(
        self,
        target: Target,
        examples: int,
        rate: float,
        schedule: str,
        lengths: tuple[int, ...],
        seed: int,
    ) -> None:
        cells = {k: (target.task, examples, rate, schedule, k, seed) for k in lengths}
        if all(cell in self.scores for cell in cells.values()):
            return
        task = self.catalogue[target.task]
        train = self._split(
            target, self.catalogue.training_task(task).name, "eng", "train", examples
        )
        validation = {
            x: self._split(target, self._owner(target.task, x), x, "validation")
            for x in target.languages
        }
        stage = Stage(
            *(target.task, lengths[-1], rate, BATCH_SIZE, examples, WARMUP_RATIO),
            *(target.max_length, Schedule.LINEAR if schedule == LINEAR else Schedule.CONSTANT),
        )
        averaged = schedule == CONSTANT and examples != target.sizes[0]
        model = build_model(self.backbone, self.backbone.weights, task, seed)
        state = None
        for epochs in lengths:
            shorter = replace(stage, epochs=epochs)
            mean: dict[str, torch.Tensor] = {}
            window = stage.updates_per_epoch // 2

            def add(
                done: int,
                total: int,
                mean: dict[str, torch.Tensor] = mean,
                model: PreTrainedModel = model,
                window: int = window,
            ) -> None:
                if done > total - window:
                    for name, weight in model.named_parameters():
                        mean[name] = mean.get(name, 0) + weight.detach() / window

            runner = replace(self.runner, on_batch=add) if averaged else self.runner
            state = finetune([(model, train)], shorter, seed, runner, state=state).state
            self._score(cells[epochs], model, validation)
            if averaged:
                raw = {k: v.clone() for k, v in model.state_dict().items()}
                model.load_state_dict(whole_mean(raw, mean, train, self.runner.padding))
                self._score((*cells[epochs][:3], MEAN, *cells[epochs][4:]), model, validation)
                model.load_state_dict(raw)

    def _score(
        self, cell: Cell, model: PreTrainedModel, validation: Mapping[str, EncodedSplit]
    ) -> None:
        task = self.catalogue[cell[0]]
        stage = untrained_stage(task.name, 0)  # of a task that is trained nothing of it is used
        scored = score_languages(model, validation, task, stage, self.runner, None)
        # The source language's score scatters less, and is shown apart.
        means = {cell: [x.score for name, x in scored.items() if name != "eng"]}
        if "eng" in scored:
            means[(f"{cell[0]} eng", *cell[1:])] = [scored["eng"].score]
        for place, of_place in means.items():
            self.scores[place] = 100 * fmean(of_place)
            print(*place, f"{self.scores[place]:.2f}", file=sys.stderr)
            if self.file:
                with self.file.open("a") as lines:
                    lines.write(json.dumps([*place, self.scores[place]]) + "\n")

    def _owner(self, task: str, language: str) -> str:
        record = self.catalogue[task]
        has = language in record.languages
        return task if has else self.catalogue.training_task(record).name

    def _split(
        self, target: Target, task: str, language: str, split: str, examples: int | None = None
    ) -> EncodedSplit:
        record = self.catalogue[task]
        rows = drawn_split(record, language, split, self.source, examples)
        return encode(rows, record, self.backbone.tokenizer, target.max_length)


def _show(scores: Mapping[Cell, float]) -> None:
    """The table: each way minus the falling rate, and the best that each offers."""
    print("points, mean over seeds; differences: ways minus falling, +- standard error over seeds")
    columns = (CONSTANT, MEAN, BRANCH)
    print(
        f"{'task':<10}{'examples':>9}{'mean rate':>10}{'epochs':>7}{LINEAR:>9}"
        + "".join(f"{name:>18}" for name in columns)
    )
    result: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for task, size in dict.fromkeys((cell[0], cell[1]) for cell in scores):
        for peak, epochs in product(PEAKS, EPOCHS):
            falling = _of_seeds(scores, task, size, peak, LINEAR, epochs)
            if not falling:
                continue
            line = f"{task:<10}{size:>9}{peak / 2:>10g}{epochs:>7}{fmean(falling.values()):>9.1f}"
            for way in columns:
                found = _of_seeds(scores, task, size, peak / 2, way, epochs)
                gaps = [found[seed] - falling[seed] for seed in found.keys() & falling.keys()]
                line += f"{fmean(gaps):>+9.2f} +- {_error(gaps):<5.2f}" if gaps else " " * 18
                if epochs == EPOCHS[-1]:
                    result[f"{task} {size}"][f"{way}_minus_falling"] += gaps
            print(line)
        # The best of its epochs and rates, as validation chooses: the falling one needs a training
        # for each number of epochs, which the large size has for the longest alone.
        for seed in {cell[5] for cell in scores}:
            of_constant, of_linear = (
                [x for cell, x in scores.items() if _is_of(cell, task, size, way, seed)]
                for way in (CONSTANT, LINEAR)
            )
            if of_constant and of_linear:
                gap = max(of_constant) - max(of_linear)
                result[f"{task} {size}"]["best_minus_best_falling"].append(gap)
    summary = {
        place: {
            name: (round(fmean(gaps), 2), round(_error(gaps), 2), len(gaps))
            for name, gaps in of_place.items()
            if gaps
        }
        for place, of_place in result.items()
    }
    for place, of_place in summary.items():
        for name, (mean, error, count) in of_place.items():
            print(f"{place:<16}{name:<26}{mean:+.2f} +- {error:.2f} ({count})")
    print(json.dumps({"benchmark": "target_schedules", "differences": summary}))


def _of_seeds(
    scores: Mapping[Cell, float], task: str, size: int, rate: float, way: str, epochs: int
) -> dict[int, float]:
    return {
        cell[5]: x for cell, x in scores.items() if cell[:5] == (task, size, rate, way, epochs)
    }


def _is_of(cell: Cell, task: str, size: int, way: str, seed: int) -> bool:
    return (cell[0], cell[1], cell[3], cell[5]) == (task, size, way, seed)


def _error(gaps: Sequence[float]) -> float:
    return stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")


if __name__ == "__main__":
    run_as_command(main)
