"""What a whole study costs: ours against a Trainer in an Optuna objective, in one run.

    python -m tests.benchmarks.study_cost --data DIR --backbone DIR
    python -m tests.benchmarks.study_cost --quick
    python -m tests.benchmarks.study_cost --draw --data DIR --backbone DIR

One fixed list of recipes of `xtreme_legal`, of its entities alone, is run by us (SQLite, ledger,
leases, checkpoint cache, all in a fresh folder) and by the peer: what a careful user writes, an
objective that calls `transformers.Trainer` for the intermediate stage, for the target and for the
baseline, pads dynamically, keeps the encoded corpora in memory and nothing else. Same encoder,
examples, epochs, batch, rates, schedules, precision and threads; the orders of the batches and the
draws of the heads differ, as between two seeds, and Trainer's warm-up makes its first update with
a rate of zero. The two take turns, recipe by recipe, so that a machine that slows down slows both.
Reading, encoding and a first small training of each are before the clocks.

The sizes are a fraction of the shipped study's: 48 of 1,200 examples for the intermediate task and
200 of 2,000 for the target, so that a peer of one thread takes about ten minutes for 24 recipes of
a six-layer encoder. Epochs, batch and number of rates are as shipped, and with them the
proportions of the stages; the rates themselves are five times higher, since nothing is learnt in
26 updates at 1e-5. Scored on two languages with 282 validation sentences in all. Fixed costs
(Trainer's set-up, our checkpoints) weigh more here than in a study of full size. The checkpoints
of the full run take several gigabytes of the temporary folder.

Ours trains every target stage to the longest of the study's numbers of epochs and takes the best
of them by validation; the peer trains each number apart, as its objective is asked. So recipes
that differ in nothing else are one to ours, and its scores are a little higher by that choice.

The score difference is between the two sides' mean F1 of a recipe, the seed spread between our own
of two seeds, both mean absolute differences in points.

Without a data folder the pocket corpora and an untrained encoder are used: the machinery then
runs, and neither ratios nor scores say anything about real studies.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import optuna
import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    Trainer,
    set_seed,
)

from objectives.backbone import Backbone
from objectives.data.encoding import EncodedSplit
from objectives.data.sources import choose_source
from objectives.data.study_corpora import StudyCorpora
from objectives.gains.transfer_gain import TransferGain
from objectives.hardware import Hardware, choose_hardware
from objectives.models.encoders import build_model, quiet_libraries
from objectives.scores.metrics import NO_PREDICTION, compute_score
from objectives.stages.stage import OnStageRun
from objectives.transfer import OnSeed, TransferObjective
from search.command_line.stop_signal import StopSignal
from search.workers.heartbeat import Budget, Pulse
from search.workers.loop import Worker
from search.workers.proposals import first_parameters
from search.workers.trial_attempts import OpenStudy
from spaces.catalogue import Catalogue, load_catalogue
from spaces.dimensions import SearchSpace, StageChoices, search_space, suggest_recipe
from spaces.pocket_twin import pocket_twin
from spaces.recipe import Recipe, Route, Schedule, Stage
from spaces.studies import NO_INTERMEDIATE, StudySpec, load_study
from spaces.study_checks import check_study
from spaces.task import Metric, Task
from storage.checkpoints import CheckpointCache
from storage.leases import Leases
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.patient_storage import SharedStorage
from storage.slots import Slots
from storage.tables import TrainedStage
from storage.workers import Workers
from tests.benchmarks.one_training import train_with_trainer, trainer_rows
from tests.benchmarks.training_ways import untrained_encoder

SHIPPED = "xtreme_legal"
# The sampler's draws depend on it.
STUDY_NAME = "study_cost"
RATES = "{ low = 5e-5, high = 5e-4, points = 4 }"
# What Trainer has a model for without more ado, and what the list was drawn from.
TASKS = (
    *("wnut17", "wikigold", "uner_ewt", "bc5cdr", "ncbi_disease", "bc2gm"),
    *("e_ner", "inlegalner"),
)
TARGET = "panx"
SIZES = ("intermediate.examples=48", "target.examples=200")
QUICK_SIZES = ("intermediate.examples=16", "target.examples=32")
LANGUAGES = ("swa", "tgl")
POCKET_LANGUAGES = ("qaa", "qab")
# Recipes of both sides, and trials of ours at which the cost is looked at.
RUNS = (24, (8, 24, 72))
QUICK_RUNS = (8, (4, 8, 12))
QUICK_POCKET_RUNS = (6, (4, 8, 12))
EVALUATION_BATCH = 64
# Of no trial, so that nothing of the first training is found again.
WARM_UP_SEED = 999

# TASK:WXYZ with W, X the places of epochs and rate of the intermediate stage among the study's
# choices, and Y, Z those of the target stage; none:YZ. Drawn once by `--draw`: the project's
# sampler, each arm first, on the real gains of a study of these sizes (MiniLM-L6, bfloat16 on a
# CPU, one thread). Another machine's rounding may lead it elsewhere.
DRAWN = """
    none:11 uner_ewt:1100 ncbi_disease:2110 inlegalner:1202 none:03 e_ner:1210 none:11
    ncbi_disease:2202 e_ner:0001 uner_ewt:2001 bc5cdr:2110 bc5cdr:2110 bc5cdr:2113 bc5cdr:2312
    wnut17:0110 bc5cdr:2110 bc2gm:0300 inlegalner:1313 inlegalner:1313 inlegalner:1313
    wikigold:1313 wikigold:1313 wikigold:1013 wikigold:1312 wikigold:1303 none:13 wikigold:0211
    wikigold:0211 wikigold:0213 wikigold:0213 wikigold:0313 wikigold:0213 wikigold:0213 none:12
    wnut17:0213 none:00 e_ner:1103 wikigold:0202 e_ner:1312 wikigold:1013 bc2gm:0003
    wikigold:0213 wikigold:0213 wikigold:1213 ncbi_disease:1211 ncbi_disease:1211
    ncbi_disease:1211 ncbi_disease:1201 ncbi_disease:1211 none:01 ncbi_disease:1211 e_ner:1211
    ncbi_disease:1211 ncbi_disease:2211 none:10 none:11 ncbi_disease:1213 ncbi_disease:1211
    inlegalner:1100 ncbi_disease:1211 bc2gm:2312 ncbi_disease:1211 ncbi_disease:1211
    ncbi_disease:1211 ncbi_disease:1311 uner_ewt:1310 wnut17:1312 uner_ewt:1300 uner_ewt:1300
    uner_ewt:1300 uner_ewt:1300 uner_ewt:1300
"""
RECIPES = tuple(DRAWN.split())
POSITIONS = ("intermediate", "target")
PLACES = ("epochs", "learning_rate")


def main() -> None:
    """Run the benchmark."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="within 50 s")
    options.add_argument("--draw", action="store_true", help="draw the recipes anew, print them")
    options.add_argument("--data", help="folder of corpora; default: the pocket corpora")
    options.add_argument("--backbone", help="folder of an encoder; goes with --data")
    options.add_argument("--recipes", type=int, help="how many of the list both sides run")
    options.add_argument("--precision", default="auto")
    options.add_argument("--device", default="auto")
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    if (chosen.data is None) != (chosen.backbone is None):
        options.error("--data and --backbone go together")
    compared, growth = RUNS
    if chosen.quick:
        compared, growth = QUICK_RUNS if chosen.data else QUICK_POCKET_RUNS
    if chosen.recipes is not None:
        compared = chosen.recipes
    if not 1 <= compared <= len(RECIPES) and not chosen.draw:
        options.error(f"--recipes: expected 1 to {len(RECIPES)}, found {compared}")
    quiet_libraries()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as name:
        bench = _prepare(chosen, Path(name))
        if chosen.draw:
            _draw(bench.ours, max(RUNS[1]))
        else:
            _run_all(chosen, bench, compared, growth)


@dataclass
class _Clock:
    """Seconds of each recipe, wall and processor."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


class _Quiet:
    """Shows nothing of a worker."""

    def on_trial_started(self, number: int, recipe: Recipe) -> None:
        """Nothing."""

    def on_trial_finished(self, trial: FrozenTrial, gain: TransferGain | None, done: int) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """A line to the log of the benchmark."""
        print(line, file=sys.stderr, flush=True)


@dataclass
class _Ours:
    """The product as a worker runs it, one process, in a fresh folder.

    Attributes:
        queued: Whether trials come from Optuna's queue only, or are drawn.
        within: Wall seconds of each trial within the objective, without Optuna.
        recipes: Of each trial.
        scores: Mean target score of each trial, in [0, 1].
    """

    study: Study
    storage: SharedStorage
    space: SearchSpace
    objective: TransferObjective
    ledger: Ledger
    queued: bool
    clock: _Clock = field(default_factory=_Clock)
    within: list[float] = field(default_factory=list)
    recipes: list[Recipe] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        leases = self.objective.leases
        self._slots = Slots(self.storage.engine, leases, STUDY_NAME)
        workers = Workers(self.storage.engine, STUDY_NAME)
        self._pulse = Pulse(workers, Budget(0), StopSignal())
        self._first = 0
        # The first slots try each arm and take nothing of the queue, whose list does so itself.
        while self.queued and first_parameters(self.space, self._first):
            slot = self._slots.take(self._first + 1)
            assert slot is not None
            with slot.lease:
                self._slots.close(slot)
            self._first += 1
        opened = OpenStudy(
            *(self.study, self.storage, self.ledger, self._slots, self.space),
            *(self.objective.spec, self.languages),
        )
        self._worker = Worker(opened, self._timed(), self._pulse, _Quiet())

    @property
    def languages(self) -> frozenset[str]:
        return self.objective.spec.selection_languages(self.objective.catalogue)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Be a worker, with its signs of life."""
        with self._pulse.beating(self.objective.hardware.name):
            yield

    def run(self) -> None:
        """One trial: of what is queued, or else of what the sampler draws."""
        self._pulse.budget = Budget(self._first + len(self.scores) + 1)
        with self.clock.running():
            self._worker.run()

    def _timed(self) -> Any:
        """The objective, with its clock."""

        def objective(recipe: Recipe, on_seed: OnSeed, on_stage_run: OnStageRun) -> TransferGain:
            started = time.perf_counter()
            gain = self.objective(recipe, on_seed, on_stage_run)
            self.within.append(time.perf_counter() - started)
            self.recipes.append(recipe)
            self.scores.append(gain.overall_score(self.languages))
            return gain

        for name in ("spec", "catalogue", "cache"):
            setattr(objective, name, getattr(self.objective, name))
        return objective

    def score(self, recipe: Recipe, seed: int) -> float:
        """The recipe's score with another seed; in no trial and on no clock."""
        again = replace(recipe, seeds=(seed,))
        return self.objective(again, lambda index, gains: True, lambda run: None).overall_score(
            self.languages
        )


@dataclass
class _Peer:
    """What a careful user of Optuna and Trainer writes.

    Attributes:
        folder: Of the encoder.
        rows: Encoded training examples of each task, in memory.
        evaluation: Language -> the encoded target examples; the same as rows for Trainer.
    """

    study: Study
    space: SearchSpace
    catalogue: Catalogue
    folder: str
    backbone: Backbone
    hardware: Hardware
    rows: Mapping[str, list[dict[str, list[int]]]]
    evaluation: Mapping[str, tuple[EncodedSplit, list[dict[str, list[int]]]]]
    clock: _Clock = field(default_factory=_Clock)
    scores: list[float] = field(default_factory=list)

    def run(self) -> None:
        """One trial of what is queued."""
        with self.clock.running():
            self.study.optimize(self._trial, n_trials=1)

    def _trial(self, trial: Trial) -> float:
        recipe = suggest_recipe(trial, self.space)
        (route,), (seed,) = recipe.routes, recipe.seeds
        target = route.target
        baseline = score = self.score(self.train(self.pretrained(target, seed), target, seed))
        if route.intermediate:
            (stage,) = route.intermediate
            first = self.pretrained(stage, seed)
            self.train(first, stage, seed)
            model = self.pretrained(target, seed)
            model.base_model.load_state_dict(first.base_model.state_dict())
            score = self.score(self.train(model, target, seed))
        self.scores.append(score)
        return 100 * (score - baseline)

    def pretrained(self, stage: Stage, seed: int) -> PreTrainedModel:
        """The encoder with a new head."""
        set_seed(seed)
        tags = self.catalogue[stage.task].tags
        model: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(
            self.folder, num_labels=len(tags), dtype=torch.float32
        )
        return model

    def train(self, model: PreTrainedModel, stage: Stage, seed: int) -> Trainer:
        constant = stage.schedule is Schedule.CONSTANT
        warm_up = stage.updates_per_epoch if constant else stage.updates
        return train_with_trainer(
            model,
            self.rows[stage.task],
            DataCollatorForTokenClassification(self.backbone.tokenizer),
            self.hardware,
            num_train_epochs=stage.epochs,
            per_device_train_batch_size=stage.batch_size,
            per_device_eval_batch_size=EVALUATION_BATCH,
            learning_rate=stage.learning_rate,
            lr_scheduler_type="constant_with_warmup" if constant else "linear",
            warmup_steps=math.ceil(stage.warmup_ratio * warm_up),
            seed=seed,
        )

    def score(self, trainer: Trainer) -> float:
        """The mean over languages of F1 on the study's target task."""
        task = self.catalogue[self.space.target_tasks[0].name]
        return fmean(
            compute_score(
                Metric.SPAN_F1, split.gold, _tags(trainer.predict(rows).predictions, split, task)
            )
            for split, rows in self.evaluation.values()
        )


@dataclass(frozen=True)
class _Bench:
    ours: _Ours
    peer: _Peer
    source: str
    encoder: str


@dataclass(frozen=True)
class _Bill:
    """Seconds of some of our trials, as the ledger has them.

    Attributes:
        wall: In all.
        asked: If every stage asked for were trained and scored each time, by our loop.
        trained: Really trained and scored.
        distinct: Each distinct stage once, of stages that go on from each other the longest:
            no search can do with less.
        outside: Outside the objective: Optuna, and the ledger's results.
        models: How many were built, one for each training.
    """

    wall: float
    asked: float
    trained: float
    distinct: float
    outside: float
    models: int


def _run_all(
    chosen: argparse.Namespace, bench: _Bench, compared: int, growth: Sequence[int]
) -> None:
    ours, peer = bench.ours, bench.peer
    trials = max(compared, *growth)
    for number, text in enumerate(RECIPES[:trials]):
        point = _parameters(text, ours.objective)
        if number < compared:
            peer.study.enqueue_trial(point)
        # No dimension of ours: one training gives them all.
        ours.study.enqueue_trial({k: v for k, v in point.items() if k != "target.epochs"})
    _warm_up(ours, peer)
    with ours.beating():
        _take_turns(ours, peer, trials, compared)
    _show(chosen, bench, compared, growth, _seed_spread(ours, compared, chosen.quick))


def _take_turns(ours: _Ours, peer: _Peer, trials: int, compared: int) -> None:
    for number in range(trials):
        ours.run()
        line = f"{number + 1:3} {RECIPES[number]:<18} ours {ours.clock.wall[-1]:6.2f} s"
        line += f" F1 {ours.scores[-1]:.3f}"
        if number < compared:
            peer.run()
            line += f"   peer {peer.clock.wall[-1]:6.2f} s F1 {peer.scores[-1]:.3f}"
        print(line, file=sys.stderr, flush=True)


def _show(
    chosen: argparse.Namespace,
    bench: _Bench,
    compared: int,
    growth: Sequence[int],
    spread: tuple[float, float],
) -> None:
    ours, peer = bench.ours, bench.peer
    bills = {trials: _bill(ours, range(trials)) for trials in (*growth, compared)}
    # TPE repeats itself. We answer a repeat from the ledger; a user might have skipped it.
    new = [n for n in range(compared) if RECIPES[n] not in RECIPES[:n]]
    once = _bill(ours, new)
    once_peer = sum(peer.clock.wall[n] for n in new)
    hardware = peer.hardware
    print(f"{bench.source}; {bench.encoder}; {hardware.name}, {hardware.precision}")
    print(_sizes(peer.space, ours.languages))
    pairs = list(zip(ours.scores, peer.scores, strict=False))
    print(f"\n{'recipe':<20} {'F1 ours':>8} {'F1 peer':>8} {'ours s':>8} {'peer s':>8}")
    for place, (own, other) in enumerate(pairs):
        print(
            f"{RECIPES[place]:<20} {100 * own:8.1f} {100 * other:8.1f} "
            f"{ours.clock.wall[place]:8.2f} {peer.clock.wall[place]:8.2f}"
        )
    bill = bills[compared]
    wall, cpu = sum(peer.clock.wall), sum(peer.clock.cpu)
    own_cpu = sum(ours.clock.cpu[:compared])
    print(f"\n{compared} recipes: peer {wall:.1f} s wall, {cpu:.1f} s CPU;")
    print(f"{'':<11} ours {bill.wall:.1f} s wall, {own_cpu:.1f} s CPU")
    for name, more, less, words in (
        ("all", wall, bill.wall, f"peer / ours ({cpu / own_cpu:.2f} of CPU), made of"),
        ("engine", wall, bill.asked, "peer / our loop, were all that is asked for trained"),
        ("reuse", bill.asked, bill.trained, "that / what was trained"),
        ("the rest", bill.trained, bill.wall, "that / ours"),
    ):
        print(f"{name:<9} {more / less:6.2f} = {more:7.1f} / {less:7.1f} s, {words}")
    print(
        f"without the {compared - len(new)} repeated recipes: all {once_peer / once.wall:.2f}, "
        f"reuse {once.asked / once.trained:.2f}"
    )
    building = _building_seconds(ours)
    print("\ntrials     wall  distinct   ratio   again  building  keeping  outside   (seconds)")
    for trials in growth:
        each = bills[trials]
        around = each.wall - each.outside - each.trained
        print(
            f"{trials:6} {each.wall:8.1f} {each.distinct:9.1f} {each.wall / each.distinct:7.3f} "
            f"{each.trained - each.distinct:7.1f} {each.models * building:9.1f} "
            f"{around - each.models * building:8.1f} {each.outside:8.1f}"
        )
    print(
        "again: trained more than once; building: models before a training, at the time of one;\n"
        "keeping: checkpoints written, hashed and read, leases, keys, scores, stage runs;\n"
        "outside: Optuna, its sampler and database, the results of a trial"
    )
    gaps = [100 * (own - other) for own, other in pairs]
    print(
        f"\nF1, points: ours - peer {fmean(gaps):+.2f} in the mean, {fmean(map(abs, gaps)):.2f} "
        f"in absolute terms;\nours between two seeds {spread[0]:.2f} in absolute terms "
        f"(standard deviation {spread[1]:.2f})"
    )
    print(
        json.dumps(
            {
                "benchmark": "study_cost",
                "data": bench.source,
                "encoder": bench.encoder,
                "device": hardware.name,
                "precision": hardware.precision,
                "threads": chosen.threads,
                "quick": chosen.quick,
                "recipes": compared,
                "distinct_recipes": len(new),
                "trials": max(bills),
                "wall_seconds_ours": round(bill.wall, 2),
                "wall_seconds_peer": round(wall, 2),
                "wall_ratio": round(wall / bill.wall, 3),
                "cpu_ratio": round(cpu / own_cpu, 3),
                "reuse_ratio": round(bill.asked / bill.trained, 3),
                "engine_ratio": round(wall / bill.asked, 3),
                "wall_ratio_without_repeats": round(once_peer / once.wall, 3),
                "reuse_ratio_without_repeats": round(once.asked / once.trained, 3),
                "cost_over_distinct": round(
                    bills[max(growth)].wall / bills[max(growth)].distinct, 4
                ),
                "cost_over_distinct_by_trials": {
                    trials: round(bills[trials].wall / bills[trials].distinct, 4)
                    for trials in growth
                },
                "score_difference": round(fmean(map(abs, gaps)), 3),
                "score_bias": round(fmean(gaps), 3),
                "seed_spread": round(spread[0], 3),
                "seed_deviation": round(spread[1], 3),
            }
        )
    )


# --- what is measured


def _bill(ours: _Ours, trials: Sequence[int]) -> _Bill:
    stages = ours.ledger.trained_stages(STUDY_NAME)
    runs = ours.ledger.stage_runs(STUDY_NAME)
    asked = trained = 0.0
    models = 0
    distinct: dict[object, float] = {}
    for number in trials:
        for run in runs[number]:
            trained += run.training_seconds + run.scoring_seconds
            models += run.updates_trained > 0
            if run.position == "reference":  # asked for once, by whoever came first
                asked += run.training_seconds + run.scoring_seconds
            if not run.updates_asked:
                continue
            took = _seconds(stages[run.checkpoint_key])
            asked += took
            place: object = run.checkpoint_key
            if run.position == "intermediate":
                (stage,) = ours.recipes[number].routes[0].intermediate
                # Whoever trains the longest of these has the shorter ones on the way.
                place = (replace(stage, epochs=0), run.seed)
            distinct[place] = max(distinct.get(place, 0.0), took)
    wall = sum(ours.clock.wall[number] for number in trials)
    outside = wall - sum(ours.within[number] for number in trials)
    return _Bill(wall, asked, trained, sum(distinct.values()), outside, models)


def _seconds(stage: TrainedStage) -> float:
    """From the stage's parent on, whatever part of it was there already."""
    return stage.training_seconds + stage.scoring_seconds


def _building_seconds(ours: _Ours) -> float:
    """What building one model takes: the ledger counts from the first update on."""
    objective = ours.objective
    backbone = objective.backbone(ours.space.backbones[0])
    task = objective.catalogue[ours.space.target_tasks[0].name]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        build_model(backbone, backbone.weights, task, 0)
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def _seed_spread(ours: _Ours, compared: int, quick: bool) -> tuple[float, float]:
    """Mean absolute difference between two seeds of a recipe, and the standard deviation.

    In points of F1, over the first recipes with an intermediate stage.
    """
    count, seeds = (2, (1,)) if quick else (6, (1, 2))
    scores: dict[Recipe, list[float]] = {}
    for recipe, score in zip(ours.recipes[:compared], ours.scores, strict=False):
        if recipe.intermediate and len(scores) < count:
            scores.setdefault(recipe, [100 * score])
    for recipe, found in scores.items():
        found += [100 * ours.score(recipe, seed) for seed in seeds]
        print(f"seeds: {[round(score, 1) for score in found]}", file=sys.stderr, flush=True)
    gaps = [abs(a - b) for found in scores.values() for a, b in combinations(found, 2)]
    return fmean(gaps), fmean(map(stdev, scores.values()))


def _tags(logits: Any, split: EncodedSplit, task: Task) -> list[list[str]]:
    """The predicted tag of each word; one without a sub-word counts as in our scoring."""
    assert split.word_positions is not None
    return [
        [NO_PREDICTION if p < 0 else task.tags[best[p]] for p in positions]
        for best, positions in zip(logits.argmax(-1), split.word_positions, strict=True)
    ]


# --- what is run


def _prepare(chosen: argparse.Namespace, folder: Path) -> _Bench:
    """Both sides with their corpora read and encoded, and nothing queued."""
    catalogue = load_catalogue()
    spec = _spec(chosen, catalogue)
    encoder = chosen.backbone or str(
        untrained_encoder(folder / "encoder", hidden_size=128, layers=2, heads=4)
    )
    spec = spec.model_copy(update={"backbone": (encoder,)})
    source = choose_source(chosen.data or "pocket")
    hardware = choose_hardware(chosen.device, chosen.precision)
    storage = open_storage(f"sqlite:///{folder / 'study.db'}")
    leases, ledger = Leases(storage.engine), Ledger(storage.engine, storage.outbox)
    corpora = StudyCorpora(spec, catalogue, source)
    objective = TransferObjective(
        *(spec, catalogue, corpora, CheckpointCache(folder / "cache", leases), leases, ledger),
        *(hardware, lambda progress: None),
    )
    space = search_space(spec, catalogue, corpora.train_sizes())
    study = optuna.create_study(study_name=STUDY_NAME, storage=storage, direction="maximize")
    backbone = objective.backbone(encoder)
    # Whoever has no scores along a training searches over its length.
    peer_space = replace(space, target=replace(space.target, epochs=spec.target.epochs))
    stages = {name: _any_stage(space.intermediate, name) for name in spec.intermediate.tasks}
    (target,) = spec.target.tasks
    stages[target] = _any_stage(space.target, target)
    scored = {
        x: corpora.evaluation(backbone, stages[target], x).encoded
        for x in spec.scored_languages(catalogue[target])
    }
    peer = _Peer(
        study=optuna.create_study(direction="maximize"),
        space=peer_space,
        catalogue=catalogue,
        folder=encoder,
        backbone=backbone,
        hardware=hardware,
        rows={
            name: trainer_rows(corpora.training(backbone, stage)[0].corpus.encoded)
            for name, stage in stages.items()
        },
        evaluation={x: (split, trainer_rows(split)) for x, split in scored.items()},
    )
    shown = Path(encoder).name if chosen.backbone else "an untrained encoder"
    return _Bench(
        _Ours(study, storage, space, objective, ledger, queued=not chosen.draw),
        peer,
        "local folder" if chosen.data else str(source),
        shown,
    )


def _spec(chosen: argparse.Namespace, catalogue: Catalogue) -> StudySpec:
    languages = LANGUAGES if chosen.data else POCKET_LANGUAGES
    spoken = languages[:1] if chosen.quick else languages
    shipped = load_study(SHIPPED)
    tasks = [f"intermediate.tasks={json.dumps(TASKS)}", f"target.tasks={json.dumps([TARGET])}"]
    overrides = [
        *(QUICK_SIZES if chosen.quick else SIZES),
        f"target.languages={list(spoken)}",
        "seeds=1",
        *(f"{name}.learning_rate={RATES}" for name in POSITIONS),
        *(f"{name}.epochs={list(getattr(shipped, name).epochs)}" for name in POSITIONS),
    ]
    spec = load_study(SHIPPED, [*tasks, *overrides])
    if not chosen.data:
        spec = pocket_twin(spec, catalogue, overrides)
        target = spec.target.model_copy(update={"languages": tuple(spoken)})
        spec = spec.model_copy(update={"target": target})
    check_study(spec, catalogue)
    return spec


def _parameters(text: str, objective: TransferObjective) -> dict[str, Any]:
    """The parameters of a recipe of the list.

    In the pocket corpora, which have fewer tasks, a task stands for another one of its arm.
    """
    spec, catalogue = objective.spec, objective.catalogue
    name, _, places = text.partition(":")
    found: dict[str, Any] = {"intermediate.domain": NO_INTERMEDIATE}
    positions = POSITIONS[1:]
    if name != NO_INTERMEDIATE:
        domain = catalogue[name].domain
        tasks = spec.arm_choices(catalogue, domain)
        place = [x for x in TASKS if catalogue[x].domain is domain].index(name)
        task = name if name in tasks else tasks[place % len(tasks)]
        found = {"intermediate.domain": str(domain), f"intermediate.task.{domain}": task}
        positions = POSITIONS
    fields = [(position, field_name) for position in positions for field_name in PLACES]
    for (position, field_name), digit in zip(fields, places, strict=True):
        choices = getattr(getattr(spec, position), field_name)
        found[f"{position}.{field_name}"] = choices[int(digit)]
    return found


def _draw(ours: _Ours, trials: int) -> None:
    """Run the study as the product searches, on its real gains, and print what TPE drew."""
    spec = ours.objective.spec
    with ours.beating():
        for number in range(trials):
            ours.run()
            print(
                f"{number + 1:3} {ours.clock.wall[-1]:6.2f} s F1 {ours.scores[-1]:.3f} "
                f"{_text(ours.recipes[-1], spec)}",
                file=sys.stderr,
                flush=True,
            )
    print(json.dumps([_text(recipe, spec) for recipe in ours.recipes]))


def _text(recipe: Recipe, spec: StudySpec) -> str:
    """A recipe as it stands in the list."""
    (route,) = recipe.routes
    stages = [*(("intermediate", stage) for stage in route.intermediate), ("target", route.target)]
    # Of the target stage these are the longest epochs, which give all.
    digits = [
        getattr(getattr(spec, position), name).index(getattr(stage, name))
        for position, stage in stages
        for name in PLACES
    ]
    return f"{recipe.intermediate or NO_INTERMEDIATE}:{''.join(map(str, digits))}"


def _warm_up(ours: _Ours, peer: _Peer) -> None:
    """What is compiled or allocated on first use is nobody's trial."""
    target = replace(_any_stage(ours.space.target, ours.space.target_tasks[0].name), epochs=1)
    backbone = ours.space.backbones[0]
    route = Route((), target, target)
    recipe = Recipe(backbone, "", (route,), ours.space.seeds, backbone)
    ours.score(recipe, WARM_UP_SEED)
    peer.score(peer.train(peer.pretrained(target, WARM_UP_SEED), target, WARM_UP_SEED))


def _any_stage(choices: StageChoices, task: str) -> Stage:
    """All stages of a task in a study have the same examples, encoded alike."""
    return Stage(
        *(task, choices.epochs[0], choices.learning_rate[0], choices.batch_size[0]),
        *(choices.examples[0], choices.warmup_ratio[0], choices.max_length, choices.schedule),
    )


def _sizes(space: SearchSpace, languages: frozenset[str]) -> str:
    parts = [
        f"{name} {choices.examples[0]} examples, epochs {list(choices.epochs)}, "
        f"rates {list(choices.learning_rate)}"
        for name, choices in (("intermediate", space.intermediate), ("target", space.target))
    ]
    return f"{'; '.join(parts)}; scored on {', '.join(sorted(languages))}"


if __name__ == "__main__":
    main()
