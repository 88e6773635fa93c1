"""One trial: from a recipe to a gain.

The intermediate stage comes from the checkpoint cache or is trained into it, going on from the
longest shorter one of its kind. A target stage is trained, scored on all its languages and
forgotten; its scores stay in the ledger under the stage's key, so that a stage or a baseline
that any trial has had before is not trained again. Whoever trains a stage holds its lease.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Protocol

import torch
from transformers import PreTrainedModel

from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit
from objectives.data.study_corpora import Corpus, StudyCorpora
from objectives.gains.transfer_gain import TransferGain
from objectives.hardware import Hardware
from objectives.models.encoders import (
    Backbone,
    Weights,
    build_model,
    has_state,
    load_backbone,
    load_encoder,
    load_state,
    save_stage,
    share_encoder,
)
from objectives.models.methods import apply_method, merged
from objectives.models.pocket_pretraining import POCKET_BACKBONE, pocket_encoder
from objectives.scores.languages import score_languages
from objectives.scores.outcomes import packed
from objectives.training.fine_tuning import TRAINING_VERSION, Training, TrainingState, finetune
from spaces.catalogue import Catalogue
from spaces.errors import unknown_name
from spaces.recipe import Method, Recipe, Schedule, Stage
from spaces.studies import SEARCH_SPLIT, StudySpec
from storage.checkpoints import Checkpoint, CheckpointCache
from storage.fingerprint import fingerprint
from storage.leases import Holder, Lease, Leases
from storage.ledger import Ledger
from storage.tables import PairedScore, Score, StageRun, TrainedStage

Position = Literal[
    "pretraining", "intermediate", "target", "baseline", "reference", "scoring", "waiting"
]
Record = Callable[[StageRun], None]
Report = Callable[[int, Sequence[float]], bool]
VERSIONS = {
    "python": platform.python_version(),
    **{name: version(name) for name in ("torch", "transformers", "datasets", "optuna")},
}


@dataclass(frozen=True)
class StageProgress:
    """Where a trial stands.

    Attributes:
        position: What is going on; waiting: another worker trains the stage.
        task: On which task.
        seed: With which seed.
        done: Updates done (examples, while scoring).
        total: Updates in all (examples, while scoring); 0 while unknown.
    """

    position: Position
    task: str
    seed: int
    done: int
    total: int


class Progress(Protocol):
    """Who is told how far a stage is; a lease tells those who wait for it."""

    def progress(self, done: int, total: int) -> None:
        """Updates done and in all."""


@dataclass(frozen=True)
class _Start:
    """Where a stage starts from; the weights are read, or trained, when they are needed."""

    key: str
    weights: Callable[[], Weights]


@dataclass
class _Work:
    """What this process did itself for one stage."""

    updates: int = 0
    training_seconds: float = 0.0
    scoring_seconds: float = 0.0


@dataclass
class TransferObjective:
    """Trains and scores the recipes of one study; keeps encoded corpora and encoders in memory.

    Attributes:
        spec: The study.
        catalogue: Its tasks.
        corpora: Its data.
        cache: Keeps intermediate checkpoints.
        leases: Of the database that the study's workers share.
        ledger: Keeps scores, and what stages took.
        hardware: Where to compute.
        watch: Told of every update and every batch scored; what it raises ends the trial.
    """

    spec: StudySpec
    catalogue: Catalogue
    corpora: StudyCorpora
    cache: CheckpointCache
    leases: Leases
    ledger: Ledger
    hardware: Hardware
    watch: Callable[[StageProgress], None]
    _backbones: dict[str, Backbone] = field(default_factory=dict)

    def __call__(
        self, recipe: Recipe, report: Report, record: Record, *, confirms: bool = False
    ) -> TransferGain:
        """Train and score a recipe and its baselines, seed by seed.

        Args:
            recipe: What to train.
            report: Called after each seed with its index and the gains of that seed over the
                reference baseline, in percentage points, one per task and language that the
                study selects on; says whether to go on to the next seed.
            record: Told of each stage that the trial asks for, and of each one that it trained
                or began to.
            confirms: Score on test splits. Nothing may be chosen by what comes out.

        Raises:
            DivergedError: A training left the finite numbers.
            DeviceMemoryError: Not even one example fits on the device.
            DataError: A corpus is broken or too small.
            BackboneError: The encoder cannot be loaded.
            CacheError: A checkpoint cannot be written.
        """
        backbone = self.backbone(recipe.backbone)
        held_against = self.backbone(recipe.reference_backbone)
        split = "test" if confirms else SEARCH_SPLIT

        def scored(
            backbone: Backbone, stage: Stage, start: _Start, seed: int, position: Position
        ) -> dict[str, Score]:
            return self._scored(backbone, stage, start, seed, position, record, split)

        root, reference_root = _root(backbone), _root(held_against)
        for seed in recipe.seeds:
            for row in {route.intermediate for route in recipe.routes}:
                self._count_as_used(backbone, row, root, seed)
        languages = self.spec.selection_languages(self.catalogue)
        pairs: list[PairedScore] = []
        for index, seed in enumerate(recipe.seeds):
            starts: dict[tuple[Stage, ...], _Start] = {(): root}
            for route in recipe.routes:
                row = route.intermediate
                if row not in starts:
                    starts[row] = self._end_of_row(backbone, row, root, seed, record)
                scores = baseline = scored(backbone, route.target, root, seed, "baseline")
                if row:
                    scores = scored(backbone, route.target, starts[row], seed, "target")
                reference = scored(
                    held_against, route.reference, reference_root, seed, "reference"
                )
                pairs += [
                    PairedScore(seed, scores[name], baseline[name], reference[name])
                    for name in scores
                ]
            of_seed = [x for x in pairs if x.seed == seed and x.score.language in languages]
            if not report(index, [x.gain for x in of_seed]):
                break
        return TransferGain(tuple(pairs), self.spec.target.aggregate)

    def trained_model(self, recipe: Recipe, task: str, seed: int) -> tuple[Stage, PreTrainedModel]:
        """The target stage of one task, and the model that it makes; trained anew.

        Only scores are kept of target stages; the intermediate ones come from the cache.

        Args:
            recipe: Of a trial.
            task: One of its target tasks.
            seed: Which of its seeds.

        Raises:
            UnknownNameError: The recipe has no such target.
            TransferSearchError: As for a trial.
        """
        routes = {route.target.task: route for route in recipe.routes}
        if task not in routes:
            raise unknown_name("target task", task, routes, "in the recipe")
        backbone = self.backbone(recipe.backbone)
        root = _root(backbone)
        row, stage = routes[task].intermediate, routes[task].target
        weights = self._end_of_row(backbone, row, root, seed, lambda run: None).weights()
        if not self.catalogue[task].kind.is_trained:
            return stage, build_model(backbone, weights, self.catalogue[task], seed)
        nobody = SimpleNamespace(progress=lambda done, total: None)
        model, _ = self._train(backbone, stage, weights, seed, "target", nobody, _Work())
        return stage, model

    def backbone(self, name: str) -> Backbone:
        """An encoder of the study, loaded (and, for the pocket encoder, trained) once."""
        if name not in self._backbones:
            if name == POCKET_BACKBONE:
                text = self.catalogue["pocket_text"]

                def watch(done: int, total: int) -> None:
                    self.watch(StageProgress("pretraining", text.name, 0, done, total))

                made = pocket_encoder(text, self.cache, self.hardware, watch)
                # Known by how it is made: its bytes differ with the number of threads.
                backbone = replace(load_backbone(str(made.folder)), name=name, key=made.key)
            else:
                backbone = load_backbone(name)
            self._backbones[name] = backbone
        return self._backbones[name]

    # --- intermediate stages

    def _end_of_row(
        self,
        backbone: Backbone,
        row: tuple[Stage, ...],
        root: _Start,
        seed: int,
        record: Record,
    ) -> _Start:
        start = root
        for stage in row:
            start = self._intermediate(backbone, stage, start, seed, record)
        return start

    def _intermediate(
        self, backbone: Backbone, stage: Stage, start: _Start, seed: int, record: Record
    ) -> _Start:
        """The start that a stage makes; nobody trains it for scores that are known already."""
        key = fingerprint(self._stage_inputs(backbone, stage, start, seed))
        record(_asked(stage, "intermediate", key, seed))
        weights = cache(lambda: self._intermediate_weights(backbone, stage, start, seed, record))
        return _Start(key, weights)

    def _intermediate_weights(
        self, backbone: Backbone, stage: Stage, start: _Start, seed: int, record: Record
    ) -> Weights:
        missing: list[Stage] = []
        reached: Checkpoint | None = None
        for part in self._prefixes(stage):
            found = self.cache.find(self._stage_inputs(backbone, part, start, seed))
            if found is None:
                missing.append(part)
            elif part is stage or has_state(found):
                self._record_made(found)
                reached = found
                break
        for part in reversed(missing):
            reached = self._trained(backbone, part, start, reached, seed, record)
        assert reached is not None
        return load_encoder(reached, backbone.weights)

    def _prefixes(self, stage: Stage) -> list[Stage]:
        """The stage and the shorter ones that it goes through and saves, the longest first."""
        shorter: set[int] = set()
        if _has_prefixes(stage):
            shorter = {epochs for epochs in self.spec.intermediate.epochs if epochs < stage.epochs}
        return [stage, *(replace(stage, epochs=epochs) for epochs in sorted(shorter)[::-1])]

    def _trained(
        self,
        backbone: Backbone,
        stage: Stage,
        start: _Start,
        shorter: Checkpoint | None,
        seed: int,
        record: Record,
    ) -> Checkpoint:
        """The checkpoint of a stage, trained from a shorter one if there is one."""

        def train(folder: Path, lease: Lease) -> Mapping[str, Any]:
            weights, state, seconds = start.weights(), None, 0.0
            first, losses = 0, []
            if shorter is not None:
                weights = load_encoder(shorter, backbone.weights)
                state = load_state(shorter, shorter.inputs["stage"]["epochs"])
                seconds = shorter.notes["training_seconds"]
                # An older version of this program kept none.
                first, losses = state.epochs, shorter.notes.get("losses", [])
            model, training = self._train(
                backbone, stage, weights, seed, "intermediate", lease, work, state
            )
            goes_on = _has_prefixes(stage) and stage.epochs < max(self.spec.intermediate.epochs)
            state = training.state if goes_on else None
            with self.cache.writing():
                save_stage(model, weights, backbone.weights, state, folder)
            return {
                "task": stage.task,
                "updates": stage.updates,
                "training_seconds": seconds + training.seconds,
                "device": self.hardware.name,
                "precision": self.hardware.precision,
                "versions": VERSIONS,
                "losses": [*losses, *training.losses_by_epoch(stage.epochs - first)]
                if len(losses) == first
                else [],
            }

        inputs = self._stage_inputs(backbone, stage, start, seed)
        with _counted(stage, "intermediate", fingerprint(inputs), seed, record) as work:
            made = self.cache.get_or_create(
                inputs, train, lambda holder: self._wait(holder, stage, seed)
            )
        self._record_made(made)
        return made

    def _record_made(self, checkpoint: Checkpoint) -> None:
        """Let this database know what a stage took, also where another one's workers made it."""
        notes = {name: note for name, note in checkpoint.notes.items() if name != "losses"}
        made = TrainedStage(
            checkpoint_key=checkpoint.key,
            parent_key=checkpoint.inputs["parent"],
            scoring_seconds=0.0,
            **notes,
        )
        self.ledger.record_stage(made, (), losses=checkpoint.notes.get("losses", ()))

    def _count_as_used(
        self, backbone: Backbone, row: tuple[Stage, ...], root: _Start, seed: int
    ) -> None:
        """Keep what the trial will need from being evicted while it runs."""
        start = root
        for stage in row:
            for part in self._prefixes(stage):
                self.cache.touch(self._stage_inputs(backbone, part, start, seed))
            key = fingerprint(self._stage_inputs(backbone, stage, start, seed))
            start = replace(start, key=key)

    # --- target stages

    def _scored(
        self,
        backbone: Backbone,
        stage: Stage,
        start: _Start,
        seed: int,
        position: Position,
        record: Record,
        split: str,
    ) -> dict[str, Score]:
        """Language -> score of a target stage on a split, trained if need be."""
        task = self.catalogue[stage.task]
        key = fingerprint(self._stage_inputs(backbone, stage, start, seed))
        languages = self.spec.scored_languages(task)
        corpora = {x: self.corpora.evaluation(backbone, stage, x) for x in languages}
        tuning = None
        if split != SEARCH_SPLIT:
            tuning = corpora
            corpora = {x: self.corpora.confirmation(backbone, stage, x) for x in languages}

        def find() -> dict[str, Score] | None:
            known = self.ledger.scores(key, split)
            places = {x: (task.name, x, corpus.key) for x, corpus in corpora.items()}
            if not all(place in known for place in places.values()):
                return None
            return {language: known[place] for language, place in places.items()}

        def make(lease: Lease) -> dict[str, Score]:
            weights, seconds, losses = start.weights(), 0.0, []
            if task.kind.is_trained:
                model, training = self._train(
                    backbone, stage, weights, seed, position, lease, work
                )
                seconds = training.seconds
                losses = training.losses_by_epoch(stage.epochs)
            else:
                model = build_model(backbone, weights, task, seed)
            scores = self._score(backbone, model, stage, corpora, tuning, key, seed, work)
            made = TrainedStage(
                checkpoint_key=key,
                parent_key=start.key,
                task=task.name,
                updates=stage.updates,
                training_seconds=seconds,
                scoring_seconds=work.scoring_seconds,
                device=self.hardware.name,
                precision=self.hardware.precision,
                versions=VERSIONS,
            )
            self.ledger.record_stage(made, list(scores.values()), lease, losses)
            return scores

        if position != "reference":  # a study that shares nothing would ask for it once
            record(_asked(stage, position, key, seed))
        with _counted(stage, position, key, seed, record) as work:
            return self.leases.once(
                key, find, make, lambda holder: self._wait(holder, stage, seed)
            )

    def _score(
        self,
        backbone: Backbone,
        model: PreTrainedModel,
        stage: Stage,
        corpora: Mapping[str, Corpus],
        tuning: Mapping[str, Corpus] | None,
        key: str,
        seed: int,
        work: _Work,
    ) -> dict[str, Score]:
        task = self.catalogue[stage.task]
        assert task.metric is not None, task.name
        started = time.perf_counter()
        found = score_languages(
            model,
            _encoded(corpora),
            task,
            stage,
            Padding.of(backbone.tokenizer),
            self.hardware,
            lambda done, total: self.watch(StageProgress("scoring", task.name, seed, done, total)),
            None if tuning is None else _encoded(tuning),
        )
        work.scoring_seconds += time.perf_counter() - started
        return {
            language: Score(
                checkpoint_key=key,
                corpus_key=corpora[language].key,
                task=task.name,
                language=language,
                split=SEARCH_SPLIT if tuning is None else "test",
                metric=task.metric,
                score=scored.score,
                examples=len(corpora[language].encoded),
                lost_words=corpora[language].encoded.lost_words,
                unscored_examples=corpora[language].unscored,
                outcomes=packed(scored.outcomes),
            )
            for language, scored in found.items()
        }

    # --- any stage

    def _train(
        self,
        backbone: Backbone,
        stage: Stage,
        weights: Weights,
        seed: int,
        position: Position,
        lease: Progress,
        work: _Work,
        state: TrainingState | None = None,
    ) -> tuple[PreTrainedModel, Training]:
        def on_update(done: int, total: int) -> None:
            work.updates += 1
            lease.progress(done, total)
            self.watch(StageProgress(position, stage.task, seed, done, total))

        examples = self.corpora.training(backbone, stage)
        models = [build_model(backbone, weights, part.task, seed) for part in examples]
        owner = share_encoder(models) if len(models) > 1 else models[0]
        adapted = apply_method(owner, backbone, stage)
        first, *others = [
            (adapted if model is owner else model, part.corpus.encoded)
            for model, part in zip(models, examples, strict=True)
        ]
        started = time.perf_counter()
        try:
            training = finetune(
                *first,
                stage,
                Padding.of(backbone.tokenizer),
                seed,
                self.hardware,
                on_update,
                state=state,
                others=others,
            )
        finally:
            work.training_seconds += time.perf_counter() - started
        return merged(adapted), training

    def _stage_inputs(
        self, backbone: Backbone, stage: Stage, start: _Start, seed: int
    ) -> dict[str, Any]:
        """All that determines a stage's weights; its fingerprint is the stage's key."""
        fields = {name: v for name, v in asdict(stage).items() if name not in {"task", "parts"}}
        task = self.catalogue.tasks.get(stage.task)
        if task is not None and not task.kind.is_trained:
            parts, seed = [], 0  # nothing is drawn
        else:
            parts = [
                {"kind": x.task.kind, "labels": x.task.tags, "corpus": x.corpus.key}
                for x in self.corpora.training(backbone, stage)
            ]
        return {
            "training_version": TRAINING_VERSION,
            "torch": torch.__version__,
            "hardware": self.hardware.kind,
            "backbone": backbone.key,
            "parent": start.key,
            "tasks": parts,
            "stage": fields,
            "seed": seed,
        }

    def _wait(self, holder: Holder, stage: Stage, seed: int) -> None:
        self.watch(StageProgress("waiting", stage.task, seed, holder.done, holder.total))


def _encoded(corpora: Mapping[str, Corpus]) -> dict[str, EncodedSplit]:
    return {language: corpus.encoded for language, corpus in corpora.items()}


def _root(backbone: Backbone) -> _Start:
    return _Start(backbone.key, lambda: backbone.weights)


def _has_prefixes(stage: Stage) -> bool:
    """Whether so many epochs are the beginning of more, and can be gone on from.

    What LoRA adds is merged into the weights in the end, and cannot be told apart from them.
    """
    return stage.schedule is Schedule.CONSTANT and stage.method is Method.FULL


def _asked(stage: Stage, position: Position, key: str, seed: int) -> StageRun:
    return StageRun(seed, position, stage.task, key, stage.updates, 0, 0.0, 0.0, finished=True)


@contextmanager
def _counted(
    stage: Stage, position: Position, key: str, seed: int, record: Record
) -> Iterator[_Work]:
    """Record what is trained within, also what comes to nothing."""
    work = _Work()
    finished = False
    try:
        yield work
        finished = True
    finally:
        if work.updates:
            done = (work.updates, work.training_seconds, work.scoring_seconds)
            record(StageRun(seed, position, stage.task, key, 0, *done, finished=finished))
