"""Target stages: their scores are found in the ledger, or they are trained, scored and forgotten.

Only scores are kept, under the stage's key, so that a stage that any trial has had before is not
trained again. One training is scored at every setting that the study asks for: after
each number of epochs, or for retrieval at each layer and by each similarity. Which of them counts
is chosen seed by seed on validation, with and without an intermediate task alike.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from transformers import PreTrainedModel

from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit
from objectives.data.study_corpora import Corpus, StudyCorpora
from objectives.models.encoders import build_model
from objectives.runner import Runner
from objectives.scores.languages import score_languages
from objectives.scores.outcomes import packed
from objectives.scores.sentences import score_retrievals
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
    train_through,
)
from spaces.catalogue import Catalogue
from spaces.dimensions import settings_of
from spaces.recipe import Stage
from spaces.studies import SEARCH_SPLIT, StudySpec
from spaces.task import Metric
from storage.leases import Lease, Leases
from storage.ledger import Ledger
from storage.tables import Score, TrainedStage


@dataclass(frozen=True)
class TargetStages:
    """The target stages of one run.

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
        """Language -> score of a target stage, trained and scored if nobody has yet.

        The scores are of the setting that validation chose for the job's seed.

        Args:
            job: Target stage at its longest setting.
        """
        self.on_stage_run(asked_run(job))
        with counted_work(job, self.on_stage_run) as work:
            return self.leases.once(
                job.key,
                lambda: self._known(job),
                lambda lease: self._made(job, lease, work),
                tell_waiting(job, self.on_progress),
            )

    def chosen(self, job: StageJob) -> Stage:
        """The setting of a target stage that validation chose for the job's seed."""
        scores = self.scores(job)
        keys = {score.checkpoint_key for score in scores.values()}
        (stage,) = (x.stage for x in self._settings(job) if x.key in keys)
        return stage

    def _settings(self, job: StageJob) -> list[StageJob]:
        """The job at each of its settings, the shortest first."""
        stages = settings_of(job.stage, self.spec.target)
        return [replace(job, stage=stage) for stage in stages]

    def _corpora(self, job: StageJob, split: str) -> dict[str, Corpus]:
        """Language -> examples of a split that are scored."""
        read = self.corpora.evaluation
        if split != SEARCH_SPLIT:
            read = self.corpora.confirmation
        languages = self.spec.scored_languages(self.catalogue[job.stage.task])
        return {language: read(job.backbone, job.stage, language) for language in languages}

    def _known(self, job: StageJob) -> dict[str, Score] | None:
        """The scores in the ledger of the chosen setting; None where one is missing."""
        settings = self._settings(job)
        validation = self._recorded(settings, SEARCH_SPLIT)
        if not all(validation):
            return None
        best = max(range(len(settings)), key=lambda place: self._merit(validation[place]))
        if self.split == SEARCH_SPLIT:
            return validation[best]
        (scores,) = self._recorded([settings[best]], self.split)
        return scores or None

    def _recorded(self, settings: Sequence[StageJob], split: str) -> list[dict[str, Score]]:
        """Language -> score in the ledger, at each of the settings; empty where one is missing."""
        task = settings[0].stage.task
        corpora = self._corpora(settings[0], split)
        places = {language: (task, language, corpus.key) for language, corpus in corpora.items()}
        found = []
        for setting in settings:
            known = self.ledger.scores(setting.key, split)
            is_whole = all(place in known for place in places.values())
            found.append({x: known[place] for x, place in places.items()} if is_whole else {})
        return found

    def _merit(self, scores: Mapping[str, Score]) -> float:
        """Mean validation score over the languages that the study selects on."""
        selects = self.spec.selection_languages(self.catalogue)
        return fmean(x.score for x in scores.values() if x.language in selects)

    def _made(self, job: StageJob, lease: Lease, work: Work) -> dict[str, Score]:
        """Train and score a stage at each of its settings; the scores of the chosen one."""
        best: _ScoredSetting | None = None
        for trained in self._trained(job, lease, work):
            scored = self._score(trained.settings, trained.model, SEARCH_SPLIT, work)
            for setting, scores in zip(trained.settings, scored, strict=True):
                made = replace(
                    trained.made, checkpoint_key=setting.key, scoring_seconds=work.scoring_seconds
                )
                self.ledger.record_stage(made, list(scores.values()), lease, trained.losses)
                merit = self._merit(scores)
                if best is None or merit > best.merit:
                    model = trained.model
                    if self.split != SEARCH_SPLIT and setting.stage.epochs < job.stage.epochs:
                        model = copy.deepcopy(model)  # the training goes on with it
                    best = _ScoredSetting(setting, model, made, scores, merit)
        assert best is not None
        if self.split == SEARCH_SPLIT:
            return best.scores
        # A test split is read at the chosen setting alone.
        (scores,) = self._score([best.job], best.model, self.split, work)
        self.ledger.record_stage(best.made, list(scores.values()), lease)
        return scores

    def _trained(self, job: StageJob, lease: Lease, work: Work) -> Iterator[_Trained]:
        """The model at each setting, good until the next, with what is recorded of it."""
        weights, settings = job.start.weights(), self._settings(job)
        made = TrainedStage(
            checkpoint_key=job.key,
            parent_key=job.start.key,
            task=job.stage.task,
            updates=0,
            training_seconds=0.0,
            scoring_seconds=0.0,
            device=job.hardware.name,
            precision=job.hardware.precision,
            versions=VERSIONS,
        )
        if not job.examples:
            model = build_model(job.backbone, weights, self.catalogue[job.stage.task], job.seed)
            yield _Trained(settings, model, made, ())
            return
        stages = [setting.stage for setting in settings]
        on_update = tell_updates(job, self.on_progress, lease.progress)
        losses: tuple[float, ...] = ()
        trainings = train_through(job, stages, weights, work, on_update)
        for setting, (model, training) in zip(settings, trainings, strict=True):
            losses += tuple(training.losses_by_epoch(setting.stage.epochs - len(losses)))
            made = replace(
                made,
                updates=setting.stage.updates,
                training_seconds=made.training_seconds + training.seconds,
            )
            yield _Trained([setting], model, made, losses)

    def _score(
        self, settings: Sequence[StageJob], model: PreTrainedModel, split: str, work: Work
    ) -> list[dict[str, Score]]:
        """Language -> score of a model on a split, at each of the settings."""
        job = settings[0]
        task = self.catalogue[job.stage.task]
        assert task.metric is not None, task.name

        def on_batch(done: int, total: int) -> None:
            self.on_progress(StageProgress("scoring", task.name, job.seed, done, total))

        corpora, tuning = self._corpora(job, split), None
        if task.metric is Metric.BUCC_F1 and split != SEARCH_SPLIT:
            tuning = _encoded(self._corpora(job, SEARCH_SPLIT))
        encoded = _encoded(corpora)
        runner = Runner(job.hardware, Padding.of(job.backbone.tokenizer), on_batch)
        started = time.perf_counter()
        if job.examples:
            scored = [score_languages(model, encoded, task, job.stage, runner, tuning)]
        else:
            stages = [setting.stage for setting in settings]
            found = score_retrievals(model, encoded, task, stages, runner, tuning)
            scored = [found[stage] for stage in stages]
        work.scoring_seconds += time.perf_counter() - started
        return [
            {
                language: Score(
                    checkpoint_key=setting.key,
                    corpus_key=corpora[language].key,
                    task=task.name,
                    language=language,
                    split=split,
                    metric=task.metric,
                    score=of_language.score,
                    examples=len(encoded[language]),
                    lost_words=encoded[language].lost_words,
                    unscored_examples=corpora[language].unscored,
                    setting=setting.stage.setting,
                    outcomes=packed(of_language.outcomes, corpora[language].groups),
                )
                for language, of_language in of_setting.items()
            }
            for setting, of_setting in zip(settings, scored, strict=True)
        ]


@dataclass(frozen=True)
class _Trained:
    """A model of a target stage, at one of its settings or, of retrieval, at all of them.

    Attributes:
        settings: The stage at each setting that the model is scored at.
        model: The model; the training may go on with it.
        made: Record of what it took, without its key and its scoring.
        losses: Mean loss of each epoch.
    """

    settings: Sequence[StageJob]
    model: PreTrainedModel
    made: TrainedStage
    losses: tuple[float, ...]


@dataclass(frozen=True)
class _ScoredSetting:
    """A setting with its validation scores by language, and their mean that it is chosen by."""

    job: StageJob
    model: PreTrainedModel
    made: TrainedStage
    scores: dict[str, Score]
    merit: float


def _encoded(corpora: Mapping[str, Corpus]) -> dict[str, EncodedSplit]:
    return {language: corpus.encoded for language, corpus in corpora.items()}
