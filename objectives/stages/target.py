"""Target stages: their scores are found in the ledger, or they are trained, scored and forgotten.

Only scores are kept, under the stage's key, so that a stage or a baseline that any trial has had
before is not trained again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from transformers import PreTrainedModel

from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit
from objectives.data.study_corpora import Corpus, StudyCorpora
from objectives.models.encoders import build_model
from objectives.runner import Runner
from objectives.scores.languages import score_languages
from objectives.scores.outcomes import packed
from objectives.scores.sentences import RetrievalSetting, score_retrievals
from objectives.stages.stage import (
    VERSIONS,
    OnProgress,
    OnStageRun,
    StageJob,
    StageProgress,
    Work,
    asked_run,
    counted_work,
    tell_updates,
    tell_waiting,
    train_stage,
)
from spaces.catalogue import Catalogue
from spaces.studies import SEARCH_SPLIT, StudySpec
from spaces.task import Metric
from storage.leases import Lease, Leases
from storage.ledger import Ledger
from storage.tables import Score, TrainedStage


@dataclass(frozen=True)
class TargetStages:
    """The target stages of one trial, its baselines included.

    Attributes:
        spec: Specification of the study.
        catalogue: Catalogue of the study's tasks.
        corpora: Data of the study.
        leases: Leases of the database that the study's workers share.
        ledger: Ledger that keeps the scores.
        split: Split that is scored: validation, or test in a confirmation.
        on_progress: Listener to updates and to batches scored.
        on_stage_run: Listener to stages asked for and to trainings.
    """

    spec: StudySpec
    catalogue: Catalogue
    corpora: StudyCorpora
    leases: Leases
    ledger: Ledger
    split: str
    on_progress: OnProgress
    on_stage_run: OnStageRun

    def scores(self, job: StageJob) -> dict[str, Score]:
        """Language -> score of a target stage, trained and scored if nobody has yet."""
        corpora = self._scored(job)
        if job.position != "reference":  # a study that shares nothing would ask for it once
            self.on_stage_run(asked_run(job))
        with counted_work(job, self.on_stage_run) as work:
            return self.leases.once(
                self._scored_at_once(job)[0].key,
                lambda: self._known(job, corpora),
                lambda lease: self._made(job, corpora, lease, work),
                tell_waiting(job, self.on_progress),
            )

    def _scored_at_once(self, job: StageJob) -> list[StageJob]:
        """The jobs that are scored when this one is, which is among them; any of them gives all.

        Of retrieval, all the layers and similarities that the study searches: another trial that
        asks for another of them finds its scores. Of a test split only what is asked for.
        """
        if job.examples or self.split != SEARCH_SPLIT:
            return [job]
        searched = [
            replace(job.stage, pooled_layer=layer, similarity=similarity)
            for layer in self.spec.target.pooled_layer
            for similarity in self.spec.target.similarity
        ]
        stages = searched if job.stage in searched else [job.stage, *searched]
        return [replace(job, stage=stage) for stage in stages]

    def _scored(self, job: StageJob) -> dict[str, Corpus]:
        """Language -> examples that are scored."""
        read = self.corpora.evaluation
        if self.split != SEARCH_SPLIT:
            read = self.corpora.confirmation
        languages = self.spec.scored_languages(self.catalogue[job.stage.task])
        return {language: read(job.backbone, job.stage, language) for language in languages}

    def _known(self, job: StageJob, corpora: Mapping[str, Corpus]) -> dict[str, Score] | None:
        """The scores in the ledger; None where one is missing."""
        known = self.ledger.scores(job.key, self.split)
        places = {x: (job.stage.task, x, corpus.key) for x, corpus in corpora.items()}
        if not all(place in known for place in places.values()):
            return None
        return {language: known[place] for language, place in places.items()}

    def _made(
        self, job: StageJob, corpora: Mapping[str, Corpus], lease: Lease, work: Work
    ) -> dict[str, Score]:
        """Train and score a stage, and record both."""
        weights, seconds, losses = job.start.weights(), 0.0, []
        if job.examples:
            on_update = tell_updates(job, self.on_progress, lease.progress)
            model, training = train_stage(job, weights, work, on_update)
            seconds, losses = training.seconds, training.losses_by_epoch(job.stage.epochs)
        else:
            task = self.catalogue[job.stage.task]
            model = build_model(job.backbone, weights, task, job.seed)
        scored = self._score(job, model, corpora, work)
        for key, scores in scored.items():
            made = TrainedStage(
                checkpoint_key=key,
                parent_key=job.start.key,
                task=job.stage.task,
                updates=job.stage.updates,
                training_seconds=seconds,
                scoring_seconds=work.scoring_seconds / len(scored),
                device=job.hardware.name,
                precision=job.hardware.precision,
                versions=VERSIONS,
            )
            self.ledger.record_stage(made, list(scores.values()), lease, losses)
        return scored[job.key]

    def _score(
        self, job: StageJob, model: PreTrainedModel, corpora: Mapping[str, Corpus], work: Work
    ) -> dict[str, dict[str, Score]]:
        """Key -> language -> score, of all that is scored at once."""
        task = self.catalogue[job.stage.task]
        assert task.metric is not None, task.name

        def on_batch(done: int, total: int) -> None:
            self.on_progress(StageProgress("scoring", task.name, job.seed, done, total))

        tuning = None
        if task.metric is Metric.BUCC_F1 and self.split != SEARCH_SPLIT:
            tuning = _encoded(
                {x: self.corpora.evaluation(job.backbone, job.stage, x) for x in corpora}
            )
        encoded = _encoded(corpora)
        runner = Runner(job.hardware, Padding.of(job.backbone.tokenizer), on_batch)
        started = time.perf_counter()
        if job.examples:
            scored = {job.key: score_languages(model, encoded, task, job.stage, runner, tuning)}
        else:
            keys = {RetrievalSetting.of(x.stage): x.key for x in self._scored_at_once(job)}
            found = score_retrievals(model, encoded, task, list(keys), runner, tuning)
            scored = {keys[setting]: of_setting for setting, of_setting in found.items()}
        work.scoring_seconds += time.perf_counter() - started
        return {
            key: {
                language: Score(
                    checkpoint_key=key,
                    corpus_key=corpora[language].key,
                    task=task.name,
                    language=language,
                    split=self.split,
                    metric=task.metric,
                    score=of_language.score,
                    examples=len(encoded[language]),
                    lost_words=encoded[language].lost_words,
                    unscored_examples=corpora[language].unscored,
                    outcomes=packed(of_language.outcomes),
                )
                for language, of_language in of_key.items()
            }
            for key, of_key in scored.items()
        }


def _encoded(corpora: Mapping[str, Corpus]) -> dict[str, EncodedSplit]:
    return {language: corpus.encoded for language, corpus in corpora.items()}
