"""One run: from a recipe and a seed to scores.

The loop over targets. What a stage is, and how it is found or trained, is in `objectives.stages`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from transformers import PreTrainedModel

from objectives.backbone import Backbone
from objectives.data.study_corpora import StudyCorpora
from objectives.gains.transfer_gain import TransferGain
from objectives.hardware import Hardware
from objectives.models.backbone_files import POCKET_BACKBONE
from objectives.models.encoders import build_model, load_backbone
from objectives.pocket.weights import pocket_backbone
from objectives.stages.intermediate import IntermediateStages
from objectives.stages.stage import (
    OnProgress,
    OnStageRun,
    Position,
    StageJob,
    Start,
    Work,
    asked_run,
    tell_updates,
    train_stage,
)
from objectives.stages.target import TargetStages
from spaces.catalogue import Catalogue
from spaces.errors import unknown_name
from spaces.recipe import Recipe, Stage
from spaces.studies import SEARCH_SPLIT, StudySpec
from storage.checkpoints import CheckpointCache
from storage.leases import Leases
from storage.ledger import Ledger
from storage.tables import PairedScore, Score, StageRun


@dataclass
class TransferObjective:
    """Trains and scores the recipes of one study; keeps corpora and encoders in memory.

    Attributes:
        spec: Specification of the study.
        catalogue: Catalogue of the study's tasks.
        corpora: Data of the study.
        cache: Checkpoint cache for intermediate stages.
        leases: Leases of the database that the study's workers share.
        ledger: Ledger that keeps scores and what stages took.
        hardware: Device and precision of all trainings.
        on_progress: Listener told of every update and every batch scored; what it raises ends
            the trial.
    """

    spec: StudySpec
    catalogue: Catalogue
    corpora: StudyCorpora
    cache: CheckpointCache
    leases: Leases
    ledger: Ledger
    hardware: Hardware
    on_progress: OnProgress
    _backbones: dict[str, Backbone] = field(default_factory=dict)

    def __call__(
        self, recipe: Recipe, seed: int, on_stage_run: OnStageRun
    ) -> tuple[PairedScore, ...]:
        """Train and score a recipe with one seed, on validation splits.

        Args:
            recipe: Recipe to train.
            seed: Random seed of all its stages.
            on_stage_run: Listener told of each stage that the run asks for, and of each one that
                it trained or began to.

        Returns:
            A score for each target task and language, held against nothing yet.

        Raises:
            DivergedError: A training left the finite numbers.
            DeviceMemoryError: Not even one example fits on the device.
            DataError: A corpus is broken or too small.
            BackboneError: The encoder cannot be loaded.
            CacheError: A checkpoint cannot be written.
        """
        starts = self._starts(recipe, seed, on_stage_run)
        target = self._target_stages(SEARCH_SPLIT, on_stage_run)
        backbone, scores = self.backbone(recipe.backbone), list[Score]()
        for route in recipe.routes:
            start = starts[route.intermediate]
            job = self._job(backbone, route.target, start, seed, "target")
            scores += target.scores(job).values()
        return tuple(PairedScore(seed, score) for score in scores)

    def confirm(
        self, recipe: Recipe, direct: Mapping[str, Recipe], seeds: Sequence[int]
    ) -> TransferGain:
        """Train a recipe and its baselines with fresh seeds, and score all on test splits.

        Nothing may be chosen by what comes out.

        Args:
            recipe: Recipe to confirm.
            direct: Target task -> the best direct training of it.
            seeds: Random seeds, each of a run of the recipe and of either baseline.

        Raises:
            TransferSearchError: As for a run.
        """

        def nobody(run: StageRun) -> None:
            """A confirmation's stages are no part of the search's cost."""

        backbone, target = self.backbone(recipe.backbone), self._target_stages("test", nobody)
        pairs: list[PairedScore] = []
        for seed in seeds:
            starts = self._starts(recipe, seed, nobody)
            for route in recipe.routes:
                task, root = route.target.task, Start.of(backbone)
                tuned = direct[task]
                (stage,) = (x.target for x in tuned.routes if x.target.task == task)
                other = self.backbone(tuned.backbone)
                jobs = (
                    self._job(backbone, route.target, starts[route.intermediate], seed, "target"),
                    self._job(other, stage, Start.of(other), seed, "reference"),
                    self._job(backbone, route.target, root, seed, "baseline"),
                )
                scores, reference, baseline = map(target.scores, jobs)
                pairs += [PairedScore(seed, scores[x], reference[x], baseline[x]) for x in scores]
        return TransferGain(tuple(pairs), self.spec.target.aggregate)

    def trained_model(self, recipe: Recipe, task: str, seed: int) -> tuple[Stage, PreTrainedModel]:
        """The target stage of one task, and the model that it makes; trained anew.

        Only scores are kept of target stages; the intermediate ones come from the cache. The stage
        is at the setting that validation chose for the seed.

        Args:
            recipe: Recipe of a trial.
            task: Name of one of the recipe's target tasks.
            seed: Random seed of all stages.

        Raises:
            UnknownNameError: The recipe has no such target.
            TransferSearchError: As for a trial.
        """
        routes = {route.target.task: route for route in recipe.routes}
        if task not in routes:
            raise unknown_name("target task", task, routes, "in the recipe")
        backbone = self.backbone(recipe.backbone)
        intermediate = self._intermediate_stages(lambda run: None)
        _, start = self._row(backbone, routes[task].intermediate, seed, intermediate)
        job = self._job(backbone, routes[task].target, start, seed, "target")
        stage = self._target_stages(SEARCH_SPLIT, lambda run: None).chosen(job)
        job = replace(job, stage=stage)
        weights = start.weights()
        if not job.examples:
            return stage, build_model(backbone, weights, self.catalogue[task], seed)
        model, _ = train_stage(job, weights, Work(), tell_updates(job, self.on_progress))
        return stage, model

    def backbone(self, name: str) -> Backbone:
        """An encoder of the study, loaded (the pocket encoder: made) once."""
        if name not in self._backbones:
            backbone = pocket_backbone() if name == POCKET_BACKBONE else load_backbone(name)
            self._backbones[name] = backbone.on(self.hardware.device)
        return self._backbones[name]

    def _intermediate_stages(self, on_stage_run: OnStageRun) -> IntermediateStages:
        epochs = self.spec.intermediate.epochs
        return IntermediateStages(self.cache, self.ledger, epochs, self.on_progress, on_stage_run)

    def _target_stages(self, split: str, on_stage_run: OnStageRun) -> TargetStages:
        return TargetStages(
            *(self.spec, self.catalogue, self.corpora, self.leases, self.ledger),
            *(split, self.on_progress, on_stage_run),
        )

    def _starts(
        self, recipe: Recipe, seed: int, on_stage_run: OnStageRun
    ) -> dict[tuple[Stage, ...], Start]:
        """Intermediate stages of a route -> the encoder that its target stage starts from."""
        backbone = self.backbone(recipe.backbone)
        intermediate = self._intermediate_stages(on_stage_run)
        starts: dict[tuple[Stage, ...], Start] = {(): Start.of(backbone)}
        for row in dict.fromkeys(
            route.intermediate for route in recipe.routes if route.intermediate
        ):
            jobs, starts[row] = self._row(backbone, row, seed, intermediate)
            for job in jobs:
                intermediate.count_as_used(job)
                on_stage_run(asked_run(job))
        return starts

    def _row(
        self,
        backbone: Backbone,
        row: tuple[Stage, ...],
        seed: int,
        intermediate: IntermediateStages,
    ) -> tuple[list[StageJob], Start]:
        """The jobs of intermediate stages in a row, and the encoder that the last one makes."""
        start, jobs = Start.of(backbone), []
        for stage in row:
            jobs.append(self._job(backbone, stage, start, seed, "intermediate"))
            start = intermediate.result(jobs[-1])
        return jobs, start

    def _job(
        self, backbone: Backbone, stage: Stage, start: Start, seed: int, position: Position
    ) -> StageJob:
        task = self.catalogue.tasks.get(stage.task)  # None for a mixture, which has a name only
        is_trained = task is None or task.kind.is_trained
        examples = tuple(self.corpora.training(backbone, stage)) if is_trained else ()
        return StageJob(backbone, stage, start, seed, position, examples, self.hardware)
