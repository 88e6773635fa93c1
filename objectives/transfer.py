"""One trial: from a recipe to a gain.

The intermediate stage comes from the checkpoint cache or is trained into it. A target stage is
trained, scored on all its languages and forgotten; its scores stay in the ledger under the
stage's key, so that a stage or a baseline that any trial has had before is not trained again.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from objectives.batching import Padding
from objectives.gain import TransferGain
from objectives.hardware import Hardware
from objectives.metrics import compute_score, predict, predicted_labels
from objectives.models import (
    Backbone,
    Weights,
    build_model,
    load_backbone,
    load_encoder,
    save_encoder,
)
from objectives.pretraining import POCKET_BACKBONE, pocket_encoder
from objectives.study_corpora import StudyCorpora
from objectives.training import TRAINING_VERSION, OnUpdate, finetune
from spaces.catalogue import Catalogue
from spaces.recipe import Recipe, Stage
from spaces.studies import SEARCH_SPLIT, StudySpec
from storage.checkpoints import CheckpointCache
from storage.fingerprint import fingerprint
from storage.ledger import Ledger, PairedScore, Score, StageRun

Position = Literal["pretraining", "intermediate", "target", "baseline", "scoring"]
VERSIONS = {
    "python": platform.python_version(),
    **{name: version(name) for name in ("torch", "transformers", "datasets", "optuna")},
}


@dataclass(frozen=True)
class StageProgress:
    """Where a trial stands.

    Attributes:
        position: What is going on.
        task: On which task.
        seed: With which seed.
        done: Updates done (languages, while scoring).
        total: Updates in all (languages, while scoring).
    """

    position: Position
    task: str
    seed: int
    done: int
    total: int


@dataclass(frozen=True)
class TrialOutcome:
    """What one trial found and what it took."""

    gain: TransferGain
    stage_runs: tuple[StageRun, ...]


@dataclass(frozen=True)
class _Start:
    """Where a stage starts from; the weights are read when they are needed."""

    key: str
    weights: Callable[[], Weights]


@dataclass
class TransferObjective:
    """Trains and scores the recipes of one study; keeps encoded corpora and encoders in memory.

    Attributes:
        spec: The study.
        catalogue: Its tasks.
        corpora: Its data.
        cache: Keeps intermediate checkpoints.
        ledger: Keeps scores.
        hardware: Where to compute.
        watch: Told of every update and every language scored; what it raises ends the trial.
    """

    spec: StudySpec
    catalogue: Catalogue
    corpora: StudyCorpora
    cache: CheckpointCache
    ledger: Ledger
    hardware: Hardware
    watch: Callable[[StageProgress], None]
    _backbones: dict[str, Backbone] = field(default_factory=dict)

    def __call__(self, recipe: Recipe, report: Callable[[int, float], None]) -> TrialOutcome:
        """Train and score a recipe and its baseline, seed by seed.

        Args:
            recipe: What to train.
            report: Called after each seed with its index and the mean gain so far, in
                percentage points; may raise to end the trial.

        Raises:
            DivergedError: A training left the finite numbers.
            DeviceMemoryError: Not even one example fits on the device.
            DataError: A corpus is broken or too small.
            BackboneError: The encoder cannot be loaded.
        """
        backbone = self.backbone(recipe.backbone)
        root = _Start(backbone.key, lambda: backbone.weights)
        pairs: list[PairedScore] = []
        runs: list[StageRun] = []
        gain = TransferGain(())
        for index, seed in enumerate(recipe.seeds):
            start = root
            if recipe.intermediate is not None:
                start = self._intermediate(backbone, recipe.intermediate, root, seed, runs)
            for stage in recipe.targets:
                baseline = self._scored(backbone, stage, root, seed, "baseline", runs)
                scores = baseline
                if recipe.intermediate is not None:
                    scores = self._scored(backbone, stage, start, seed, "target", runs)
                pairs += [PairedScore(seed, scores[name], baseline[name]) for name in scores]
            gain = TransferGain(tuple(pairs))
            report(index, gain.mean_gain(self.spec.selection_languages(self.catalogue)))
        return TrialOutcome(gain, tuple(runs))

    def backbone(self, name: str) -> Backbone:
        """An encoder of the study, loaded (and, for the pocket encoder, trained) once."""
        if name not in self._backbones:
            if name == POCKET_BACKBONE:
                text = self.catalogue["pocket_text"]
                watch = self._watching("pretraining", text.name, 0)
                made = pocket_encoder(text, self.cache, self.hardware, watch)
                # Known by how it is made: its bytes differ with the number of threads.
                backbone = replace(load_backbone(str(made.folder)), name=name, key=made.key)
            else:
                backbone = load_backbone(name)
            self._backbones[name] = backbone
        return self._backbones[name]

    # --- stages

    def _intermediate(
        self, backbone: Backbone, stage: Stage, start: _Start, seed: int, runs: list[StageRun]
    ) -> _Start:
        inputs = self._stage_inputs(backbone, stage, start, seed)

        def train(folder: Path) -> Mapping[str, Any]:
            model, seconds = self._train(backbone, stage, start, seed, "intermediate")
            save_encoder(model, start.weights(), folder)
            return {"seconds": seconds, "device": self.hardware.name, "versions": VERSIONS}

        started = time.perf_counter()
        checkpoint = self.cache.get_or_create(inputs, train)
        seconds = time.perf_counter() - started
        runs.append(
            self._stage_run(
                stage, seed, "intermediate", checkpoint.key, start, checkpoint.reused, seconds
            )
        )
        return _Start(checkpoint.key, lambda: load_encoder(checkpoint))

    def _scored(
        self,
        backbone: Backbone,
        stage: Stage,
        start: _Start,
        seed: int,
        position: Position,
        runs: list[StageRun],
    ) -> dict[str, Score]:
        """Language -> score of a target stage on the search's split, trained if need be."""
        started = time.perf_counter()
        task = self.catalogue[stage.task]
        key = fingerprint(self._stage_inputs(backbone, stage, start, seed))
        corpora = {
            language: self.corpora.evaluation(backbone, stage, language)
            for language in self.spec.scored_languages(task)
        }
        known = self.ledger.scores(key, SEARCH_SPLIT)
        reused = all((task.name, x, corpus.key) in known for x, corpus in corpora.items())
        if not reused:
            model, _ = self._train(backbone, stage, start, seed, position)
            padding = Padding.of(backbone.tokenizer)
            for number, (language, corpus) in enumerate(corpora.items()):
                self.watch(StageProgress("scoring", task.name, seed, number, len(corpora)))
                logits = predict(model, corpus.encoded, padding, self.hardware)
                predicted = predicted_labels(logits, task)
                assert task.metric is not None, task.name
                known[task.name, language, corpus.key] = Score(
                    checkpoint_key=key,
                    corpus_key=corpus.key,
                    task=task.name,
                    language=language,
                    split=SEARCH_SPLIT,
                    metric=task.metric,
                    score=compute_score(task.metric, corpus.encoded.gold, predicted),
                    examples=len(corpus.encoded),
                    lost_words=corpus.encoded.lost_words,
                    unscored_examples=corpus.unscored,
                )
            self.ledger.record_scores(known.values())
        seconds = time.perf_counter() - started
        runs.append(self._stage_run(stage, seed, position, key, start, reused, seconds))
        return {x: known[task.name, x, corpus.key] for x, corpus in corpora.items()}

    def _train(
        self, backbone: Backbone, stage: Stage, start: _Start, seed: int, position: Position
    ) -> tuple[Any, float]:
        task = self.catalogue[stage.task]
        model = build_model(backbone, start.weights(), task, seed)
        training = finetune(
            model,
            self.corpora.training(backbone, stage).encoded,
            stage,
            Padding.of(backbone.tokenizer),
            seed,
            self.hardware,
            self._watching(position, stage.task, seed),
        )
        return model, training.seconds

    def _stage_inputs(
        self, backbone: Backbone, stage: Stage, start: _Start, seed: int
    ) -> dict[str, Any]:
        """All that determines a stage's weights; its fingerprint is the stage's key."""
        task = self.catalogue[stage.task]
        return {
            "training_version": TRAINING_VERSION,
            "torch": torch.__version__,
            "hardware": self.hardware.kind,
            "backbone": backbone.key,
            "parent": start.key,
            "kind": task.kind,
            "labels": task.tags,
            "corpus": self.corpora.training(backbone, stage).key,
            "stage": {name: v for name, v in asdict(stage).items() if name != "task"},
            "seed": seed,
        }

    def _stage_run(
        self,
        stage: Stage,
        seed: int,
        position: Position,
        key: str,
        start: _Start,
        reused: bool,
        seconds: float,
    ) -> StageRun:
        return StageRun(
            seed=seed,
            position=position,
            task=stage.task,
            checkpoint_key=key,
            parent_key=start.key,
            reused=reused,
            updates=stage.updates,
            seconds=seconds,
            device=self.hardware.name,
            precision=self.hardware.precision,
            versions=VERSIONS,
        )

    def _watching(self, position: Position, task: str, seed: int) -> OnUpdate:
        return lambda done, total: self.watch(StageProgress(position, task, seed, done, total))
