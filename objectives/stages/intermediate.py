"""Intermediate stages: found in the checkpoint cache, or trained into it.

A stage goes on from the longest shorter one of its kind that is saved, and saves at each number
of epochs that the study can ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from objectives.backbone import Weights
from objectives.models.encoders import has_state, load_encoder, load_state, save_stage
from objectives.stages.stage import (
    VERSIONS,
    OnProgress,
    OnStageRun,
    StageJob,
    Start,
    counted_work,
    tell_updates,
    tell_waiting,
    train_stage,
)
from storage.checkpoints import Checkpoint, CheckpointCache
from storage.leases import Lease
from storage.ledger import Ledger
from storage.tables import TrainedStage


@dataclass(frozen=True)
class IntermediateStages:
    """The intermediate stages of one trial.

    Attributes:
        cache: Checkpoint cache of the study.
        ledger: Ledger that keeps what each stage took.
        epochs: Numbers of epochs that the study can ask for.
        on_progress: Listener to updates.
        on_stage_run: Listener to trainings.
    """

    cache: CheckpointCache
    ledger: Ledger
    epochs: Sequence[int]
    on_progress: OnProgress
    on_stage_run: OnStageRun

    def result(self, job: StageJob) -> Start:
        """The encoder that a stage makes, for the next one to start from.

        Nobody trains the stage for scores that are known already: it is looked for, and trained
        if need be, when the weights are asked for, once.
        """
        return Start(job.key, cache(lambda: self._weights(job)))

    def count_as_used(self, job: StageJob) -> None:
        """Keep the stage, and the shorter ones it could go on from, from being evicted now."""
        for part in job.prefixes(self.epochs):
            self.cache.touch(part.inputs)

    def _weights(self, job: StageJob) -> Weights:
        missing: list[StageJob] = []
        reached: Checkpoint | None = None
        for part in job.prefixes(self.epochs):
            saved = self.cache.find(part.inputs)
            if saved is None:
                missing.append(part)
            elif part is job or has_state(saved):
                self._record(saved)
                reached = saved
                break
        for part in reversed(missing):
            reached = self._trained(part, reached)
        assert reached is not None
        return load_encoder(reached, job.backbone.weights)

    def _trained(self, job: StageJob, shorter: Checkpoint | None) -> Checkpoint:
        """The checkpoint of a stage, trained from a shorter one if there is one."""
        root = job.backbone.weights

        def train(folder: Path, lease: Lease) -> Mapping[str, Any]:
            weights, state, seconds = job.start.weights(), None, 0.0
            first, losses = 0, []
            if shorter is not None:
                weights = load_encoder(shorter, root)
                state = load_state(shorter, shorter.inputs["stage"]["epochs"])
                seconds = shorter.notes["training_seconds"]
                # An older version of this program kept none.
                first, losses = state.epochs, shorter.notes.get("losses", [])
            on_update = tell_updates(job, self.on_progress, lease.progress)
            model, training = train_stage(job, weights, work, on_update, state)
            goes_on = job.has_prefixes and job.stage.epochs < max(self.epochs)
            with self.cache.writing():
                save_stage(model, weights, root, training.state if goes_on else None, folder)
            return {
                "task": job.stage.task,
                "updates": job.stage.updates,
                "training_seconds": seconds + training.seconds,
                "device": job.hardware.name,
                "precision": job.hardware.precision,
                "versions": VERSIONS,
                "losses": [*losses, *training.losses_by_epoch(job.stage.epochs - first)]
                if len(losses) == first
                else [],
            }

        with counted_work(job, self.on_stage_run) as work:
            made = self.cache.get_or_create(job.inputs, train, tell_waiting(job, self.on_progress))
            self._record(made)  # before its training is told of, so that its losses are known then
        return made

    def _record(self, checkpoint: Checkpoint) -> None:
        """Let this database know what a stage took, also where another one's workers made it."""
        notes = {name: note for name, note in checkpoint.notes.items() if name != "losses"}
        made = TrainedStage(
            checkpoint_key=checkpoint.key,
            parent_key=checkpoint.inputs["parent"],
            scoring_seconds=0.0,
            **notes,
        )
        self.ledger.record_stage(made, (), losses=checkpoint.notes.get("losses", ()))
