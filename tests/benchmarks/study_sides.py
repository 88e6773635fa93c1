"""The two sides of `study_cost`: the product as a worker runs it, and Trainer in an objective."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, cast

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
from objectives.data.choosing import choose_source
from objectives.data.encoding import EncodedSplit
from objectives.data.study_corpora import StudyCorpora
from objectives.gains.transfer_gain import TransferGain
from objectives.hardware import Hardware, choose_hardware
from objectives.scores.metrics import NO_PREDICTION, compute_score
from objectives.stages.stage import OnStageRun
from objectives.transfer import TransferObjective
from search.command_line.stop_signal import StopSignal
from search.studies.baseline import baseline_name
from search.studies.direct_trainings import RATE, tuning_space
from search.surrogate.recipe_table import build_table
from search.workers.baseline_phase import BaselinePhase, direct_gains
from search.workers.heartbeat import Budget, Pulse
from search.workers.loop import Worker
from search.workers.proposals import first_parameters
from search.workers.search_model import ModelledSpace
from search.workers.trial_attempts import OpenStudy
from spaces.catalogue import Catalogue, load_catalogue
from spaces.dimensions import SearchSpace, StageChoices, search_space, suggest_recipe
from spaces.pocket_twin import pocket_twin
from spaces.recipe import Recipe, Schedule, Stage
from spaces.studies import NO_INTERMEDIATE, StudySpec, load_study
from spaces.study_checks import check_study
from spaces.task import Metric, Task
from storage.checkpoints import CheckpointCache
from storage.leases import Leases
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.patient_storage import SharedStorage
from storage.slots import Slots
from storage.tables import PairedScore, StageRun
from storage.workers import Workers
from tests.benchmarks.one_training import train_with_trainer, trainer_rows
from tests.benchmarks.plain_trial import PlainTrial
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
EVALUATION_BATCH = 64

POSITIONS = ("intermediate", "target")
PLACES = ("epochs", "learning_rate")


@dataclass
class Clock:
    """Seconds of each recipe, wall and processor."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep the time of what is done within."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


class Quiet:
    """Shows nothing of a worker."""

    shows_answers = False

    def on_answer(self, line: str) -> None:
        """Nothing."""

    def on_trial_started(self, trial: FrozenTrial, recipe: Recipe) -> None:
        """Nothing."""

    def on_stage_run(self, trial: FrozenTrial, run: StageRun) -> None:
        """Nothing."""

    def on_trial_finished(
        self, trial: FrozenTrial, result: TransferGain | None, done: int
    ) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """A line to the log of the benchmark."""
        print(line, file=sys.stderr, flush=True)


@dataclass
class Ours:
    """The product as a worker runs it, one process, in a fresh folder.

    It begins with the direct trainings of the program's own plan (`tune`), and then runs what
    waits in Optuna's queue.

    Attributes:
        direct: Clock of the direct trainings, all as one.
        clock: Of each trial.
        within: Wall seconds of each training of a recipe within the objective, without Optuna;
            direct trainings first.
        scores: Mean target score of each trial, in [0, 1].
        direct_scores: Rate of the target stage -> mean target score of the first seed.
    """

    study: Study
    storage: SharedStorage
    space: SearchSpace
    objective: TransferObjective
    ledger: Ledger
    direct: Clock = field(default_factory=Clock)
    clock: Clock = field(default_factory=Clock)
    within: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    recipes: list[Recipe] = field(default_factory=list)
    direct_scores: dict[float, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        workers = Workers(self.storage.engine, STUDY_NAME)
        self._pulse = Pulse(workers, Budget(0), StopSignal())

    @property
    def languages(self) -> frozenset[str]:
        """Those that the study selects on."""
        return self.objective.spec.selection_languages(self.objective.catalogue)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Be a worker, with its signs of life."""
        with self._pulse.beating(self.objective.hardware.name):
            yield

    def tune(self) -> None:
        """The direct trainings, as many as a study begins with."""
        engine, spec, leases = self.storage.engine, self.objective.spec, self.objective.leases
        name = baseline_name(STUDY_NAME)
        trainings = OpenStudy(
            optuna.create_study(study_name=name, storage=self.storage, direction="maximize"),
            *(self.storage, self.ledger, Slots(engine, leases, name), tuning_space(self.space)),
            *(spec, self.languages),
        )
        with self.direct.running():
            baseline = BaselinePhase(
                *(STUDY_NAME, trainings, self.space, self._timed(), self._pulse, Quiet()),
                on_plan=lambda done, total: None,
            ).run()
        self._slots = Slots(engine, leases, STUDY_NAME)
        space, self._first = baseline.space(self.space), 0
        # The first slots try each arm and take nothing of the queue.
        while first_parameters(space.indirect(), self._first):
            slot = self._slots.take(self._first + 1)
            assert slot is not None
            with slot.lease:
                self._slots.close(slot)
            self._first += 1
        best = tuple(training.params for training in baseline.tasks.values())
        modelled = ModelledSpace(build_table(space), direct_gains(trainings, baseline), best)
        self._opened = replace(
            trainings,
            study=self.study,
            slots=self._slots,
            space=space.indirect(),
            baseline=baseline,
            modelled=modelled,
        )
        for trial in trainings.trials():
            pairs = self.ledger.pairs(name, "validation", trial.number)[trial.number]
            rate = trial.params.get(RATE, self.space.target.learning_rate[0])
            self.direct_scores.setdefault(rate, self._score(pairs))

    def run(self) -> None:
        """One trial of what is queued."""
        limit = self._first + len(self.scores) + 1
        with self.clock.running():
            Worker(self._opened, limit, self._timed(self.scores), self._pulse, Quiet()).run()

    def _timed(self, scores: list[float] | None = None) -> Any:
        """The objective, with its clock; scores are kept where a list is given."""

        def objective(
            recipe: Recipe, seed: int, on_stage_run: OnStageRun
        ) -> tuple[PairedScore, ...]:
            started = time.perf_counter()
            pairs = self.objective(recipe, seed, on_stage_run)
            self.within.append(time.perf_counter() - started)
            if scores is not None:
                scores.append(self._score(pairs))
                self.recipes.append(recipe)
            return pairs

        for name in ("spec", "catalogue", "cache"):
            setattr(objective, name, getattr(self.objective, name))
        return objective

    def score(self, recipe: Recipe, seed: int) -> float:
        """The recipe's score with another seed; in no trial and on no clock."""
        return self._score(self.objective(recipe, seed, lambda run: None))

    def _score(self, pairs: tuple[PairedScore, ...] | list[PairedScore]) -> float:
        return TransferGain(tuple(pairs)).overall_score(self.languages)


@dataclass
class Peer:
    """What a careful user of Optuna and Trainer writes.

    Attributes:
        folder: Of the encoder.
        rows: Encoded training examples of each task, in memory.
        evaluation: Language -> the encoded target examples; the same as rows for Trainer.
        seed: Of all trainings.
        updates: Of each trial, the baseline's among them.
    """

    study: Study
    space: SearchSpace
    catalogue: Catalogue
    folder: str
    backbone: Backbone
    hardware: Hardware
    rows: Mapping[str, list[dict[str, list[int]]]]
    evaluation: Mapping[str, tuple[EncodedSplit, list[dict[str, list[int]]]]]
    seed: int
    clock: Clock = field(default_factory=Clock)
    scores: list[float] = field(default_factory=list)
    updates: list[int] = field(default_factory=list)

    def run(self) -> None:
        """One trial of what is queued."""
        with self.clock.running():
            self.study.optimize(self._trial, n_trials=1)

    def _trial(self, trial: Trial) -> float:
        recipe = suggest_recipe(PlainTrial(trial), self.space)
        (route,) = recipe.routes
        seed = self.seed
        target = route.target
        stages = (target, *route.intermediate, *((target,) if route.intermediate else ()))
        self.updates.append(sum(stage.updates for stage in stages))
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
        """Train a model on a stage, as it is asked for."""
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
                Metric.SPAN_F1,
                split.gold,
                _tags(trainer.predict(cast(Any, rows)).predictions, split, task),
            )
            for split, rows in self.evaluation.values()
        )


def _tags(logits: Any, split: EncodedSplit, task: Task) -> list[list[str]]:
    """The predicted tag of each word; one without a sub-word counts as in our scoring."""
    assert split.word_positions is not None
    return [
        [NO_PREDICTION if p < 0 else task.tags[best[p]] for p in positions]
        for best, positions in zip(logits.argmax(-1), split.word_positions, strict=True)
    ]


def prepare(chosen: argparse.Namespace, folder: Path) -> tuple[Ours, Peer, str, str]:
    """Both sides with their corpora read and encoded; and names of the source and the encoder."""
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
    stages = {name: any_stage(space.intermediate, name) for name in spec.intermediate.tasks}
    (target,) = spec.target.tasks
    stages[target] = any_stage(space.target, target)
    scored = {
        x: corpora.evaluation(backbone, stages[target], x).encoded
        for x in spec.scored_languages(catalogue[target])
    }
    peer = Peer(
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
        seed=spec.first_seed,
    )
    shown = Path(encoder).name if chosen.backbone else "an untrained encoder"
    ours = Ours(study, storage, space, objective, ledger)
    return ours, peer, "local folder" if chosen.data else str(source), shown


def _spec(chosen: argparse.Namespace, catalogue: Catalogue) -> StudySpec:
    languages = LANGUAGES if chosen.data else POCKET_LANGUAGES
    spoken = languages[: 1 if chosen.quick else None]
    shipped = load_study(SHIPPED)
    tasks = [f"intermediate.tasks={json.dumps(TASKS)}", f"target.tasks={json.dumps([TARGET])}"]
    overrides = [
        *(QUICK_SIZES if chosen.quick else SIZES),
        f"target.languages={list(spoken)}",
        *(("baseline_seeds=1",) if chosen.quick else ()),
        *(f"{name}.learning_rate={RATES}" for name in POSITIONS),
        *(f"{name}.epochs={list(getattr(shipped, name).epochs)}" for name in POSITIONS),
    ]
    spec = load_study(SHIPPED, [*tasks, *overrides])
    if not chosen.data:
        spec = pocket_twin(spec, catalogue, [*tasks, *overrides])
        target = spec.target.model_copy(update={"languages": tuple(spoken)})
        spec = spec.model_copy(update={"target": target})
    check_study(spec, catalogue)
    return spec


def parameters(text: str, objective: TransferObjective) -> dict[str, Any]:
    """The parameters of a recipe of the list.

    In the pocket corpora, which have fewer tasks, a task stands for another one of its arm.
    """
    spec, catalogue = objective.spec, objective.catalogue
    name, _, places = text.partition(":")
    found: dict[str, Any] = {"intermediate.domain": NO_INTERMEDIATE}
    positions: tuple[str, ...] = POSITIONS[1:]
    if name != NO_INTERMEDIATE:
        domain = catalogue[name].domain
        tasks = spec.arm_choices(catalogue, domain)
        place = [x for x in TASKS if catalogue[x].domain is domain].index(name)
        task = name if name in tasks else tasks[place % len(tasks)]
        found = {"intermediate.domain": str(domain), "intermediate.task": task}
        positions = POSITIONS
    fields = [(position, field_name) for position in positions for field_name in PLACES]
    for (position, field_name), digit in zip(fields, places, strict=True):
        choices = getattr(getattr(spec, position), field_name)
        found[f"{position}.{field_name}"] = choices[int(digit)]
    return found


def any_stage(choices: StageChoices, task: str) -> Stage:
    """All stages of a task in a study have the same examples, encoded alike."""
    return Stage(
        *(task, choices.epochs[0], choices.learning_rate[0], choices.batch_size[0]),
        *(choices.examples[0], choices.warmup_ratio[0], choices.max_length, choices.schedule),
    )
