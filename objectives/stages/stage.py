"""One training of a recipe: what determines its weights, how it is trained, who is told of it.

A stage's key is the fingerprint of all that determines its weights, the key of the stage before
it included. So equal stages of any two trials are one, and a checkpoint or a score that is found
under the key is the one that training would give.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from objectives.backbone import Backbone, Weights
from objectives.data.batching import Padding
from objectives.data.study_corpora import TrainingCorpus
from objectives.hardware import Hardware
from objectives.models.encoders import build_model, share_encoder
from objectives.models.methods import apply_method, merged
from objectives.runner import OnBatch, Runner
from objectives.training.fine_tuning import (
    TRAINING_VERSION,
    Training,
    TrainingState,
    finetune_with_pauses,
)
from spaces.recipe import Stage
from storage.fingerprint import fingerprint
from storage.leases import Holder, OnWait
from storage.tables import StageRun

Position = Literal["intermediate", "target", "baseline", "reference", "scoring", "waiting"]
VERSIONS = {
    "python": platform.python_version(),
    **{name: version(name) for name in ("torch", "transformers", "datasets", "optuna")},
}
"""Package -> version that this process trains with."""


@dataclass(frozen=True)
class StageProgress:
    """How far a trial is.

    Attributes:
        position: Place of the stage in the recipe, or what else is going on; waiting: another
            worker trains the stage.
        task: Name of the task that the stage trains on.
        seed: Random seed that the stage is trained with.
        done: Updates done; examples, while scoring.
        total: Updates in all; examples, while scoring; 0 while unknown.
    """

    position: Position
    task: str
    seed: int
    done: int
    total: int


OnProgress = Callable[[StageProgress], None]
"""Listener told of each update and of each batch scored; what it raises ends the trial."""
OnStageRun = Callable[[StageRun], None]
"""Listener told of each stage that a trial asks for, and of each that it trained or began to."""


@dataclass(frozen=True)
class Start:
    """The encoder that a stage starts from.

    Attributes:
        key: Key of the checkpoint, or of the backbone.
        weights: Reads the encoder's weights, or has them trained; called only when needed.
    """

    key: str
    weights: Callable[[], Weights]

    @classmethod
    def of(cls, backbone: Backbone) -> Start:
        """The start of a first stage: the pretrained encoder."""
        return cls(backbone.key, lambda: backbone.weights)


@dataclass(frozen=True)
class StageJob:
    """One stage of a recipe with all that determines its weights.

    Attributes:
        backbone: Pretrained encoder that the recipe begins with.
        stage: Task, length, learning rate and method of the training.
        start: Encoder that the stage starts from.
        seed: Random seed of the head, of dropout and of the order of the batches.
        position: Place of the stage in the recipe.
        examples: Corpus of each task that the stage trains on; empty for retrieval, which is not
            trained.
        hardware: Device and precision of the training.
    """

    backbone: Backbone
    stage: Stage
    start: Start
    seed: int
    position: Position
    examples: tuple[TrainingCorpus, ...]
    hardware: Hardware

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """All that determines the stage's weights, in JSON's types."""
        named = asdict(self.stage)
        # Which tasks they are is said by their examples.
        fields = {name: value for name, value in named.items() if name not in {"task", "parts"}}
        return {
            "training_version": TRAINING_VERSION,
            "torch": torch.__version__,
            "hardware": self.hardware.kind,
            "backbone": self.backbone.key,
            "parent": self.start.key,
            "tasks": [
                {"kind": x.task.kind, "labels": x.task.tags, "corpus": x.corpus.key}
                for x in self.examples
            ],
            "stage": fields,
            # Without examples nothing is drawn.
            "seed": self.seed if self.examples else 0,
        }

    @cached_property
    def key(self) -> str:
        """Fingerprint of `inputs`."""
        return fingerprint(self.inputs)

    @property
    def has_prefixes(self) -> bool:
        """Whether fewer epochs are the beginning of more, and can be gone on from."""
        return self.stage.has_prefixes

    def prefixes(self, epochs: Collection[int]) -> list[StageJob]:
        """The job and the shorter ones that it goes through and saves, the longest first.

        Args:
            epochs: Numbers of epochs that the study can ask for.
        """
        shorter = {x for x in epochs if x < self.stage.epochs} if self.has_prefixes else set()
        stages = [replace(self.stage, epochs=x) for x in sorted(shorter, reverse=True)]
        return [self, *(replace(self, stage=stage) for stage in stages)]


@dataclass
class Work:
    """What this process did itself for one stage.

    Attributes:
        updates: Optimizer steps taken.
        training_seconds: Wall time of these updates.
        scoring_seconds: Wall time of scoring the stage.
    """

    updates: int = 0
    training_seconds: float = 0.0
    scoring_seconds: float = 0.0


def train_stage(
    job: StageJob,
    weights: Weights,
    work: Work,
    on_update: OnBatch,
    state: TrainingState | None = None,
) -> tuple[PreTrainedModel, Training]:
    """Train a stage; returns its model, adapters merged, and what the training came to.

    Args:
        job: The stage.
        weights: Encoder weights to start from; with a `state`, those of the shorter training.
        work: Record of this process's work, added to also where the training fails.
        on_update: Listener told of each update.
        state: State of a shorter training to go on from.

    Raises:
        DivergedError: A loss is not finite.
        DeviceMemoryError: Not even one example fits on the device.
    """
    (trained,) = train_through(job, [job.stage], weights, work, on_update, state)
    return trained


def train_through(
    job: StageJob,
    stages: Sequence[Stage],
    weights: Weights,
    work: Work,
    on_update: OnBatch,
    state: TrainingState | None = None,
) -> Iterator[tuple[PreTrainedModel, Training]]:
    """Train a stage, and pause on the way after each of some numbers of epochs.

    Args:
        job: The stage.
        stages: The stage at each number of epochs to pause after, rising; the last is the job's.
        weights: Encoder weights to start from; with a `state`, those of the shorter training.
        work: Record of this process's work, added to also where the training fails.
        on_update: Listener told of each update.
        state: State of a shorter training to go on from.

    Yields:
        The model as it is then, adapters merged, good until the next; and what the training since
        the pause before came to.

    Raises:
        DivergedError: A loss is not finite.
        DeviceMemoryError: Not even one example fits on the device.
    """

    def count(done: int, total: int) -> None:
        work.updates += 1
        on_update(done, total)

    models = [build_model(job.backbone, weights, x.task, job.seed) for x in job.examples]
    owner = share_encoder(models) if len(models) > 1 else models[0]
    adapted = apply_method(owner, job.backbone, job.stage)
    parts = [
        (adapted if model is owner else model, x.corpus.encoded)
        for model, x in zip(models, job.examples, strict=True)
    ]
    runner = Runner(job.hardware, Padding.of(job.backbone.tokenizer), count)
    trainings = finetune_with_pauses(parts, stages, job.seed, runner, state=state)
    for stage in stages:
        started = time.perf_counter()
        try:
            training = next(trainings)
        finally:
            work.training_seconds += time.perf_counter() - started
        yield merged(adapted, goes_on=stage is not stages[-1]), training


def tell_updates(job: StageJob, on_progress: OnProgress, lease: OnBatch | None = None) -> OnBatch:
    """Listener to updates that passes them on as progress of the job.

    Args:
        job: The stage that is trained.
        on_progress: Listener to progress.
        lease: Listener told before it, so that those who wait for the lease know, too.
    """

    def on_update(done: int, total: int) -> None:
        if lease is not None:
            lease(done, total)
        on_progress(StageProgress(job.position, job.stage.task, job.seed, done, total))

    return on_update


def tell_waiting(job: StageJob, on_progress: OnProgress) -> OnWait:
    """Listener to the holder of the job's lease that passes its progress on as waiting."""

    def on_wait(holder: Holder) -> None:
        on_progress(StageProgress("waiting", job.stage.task, job.seed, holder.done, holder.total))

    return on_wait


def asked_run(job: StageJob) -> StageRun:
    """Record of a stage that a trial asks for, whoever trains it."""
    return StageRun(
        seed=job.seed,
        position=job.position,
        task=job.stage.task,
        checkpoint_key=job.key,
        updates_asked=job.stage.updates,
        updates_trained=0,
        training_seconds=0.0,
        scoring_seconds=0.0,
        finished=True,
    )


@contextmanager
def counted_work(job: StageJob, on_stage_run: OnStageRun) -> Iterator[Work]:
    """Tell of the work done within, also of a training that comes to nothing."""
    work = Work()
    finished = False
    try:
        yield work
        finished = True
    finally:
        if work.updates:
            on_stage_run(
                replace(
                    asked_run(job),
                    updates_asked=0,
                    updates_trained=work.updates,
                    training_seconds=work.training_seconds,
                    scoring_seconds=work.scoring_seconds,
                    finished=finished,
                )
            )
