"""A rehearsal: what the stages of a study take on this device, by a few real updates of each.

Nothing of it is kept. Each stage is trained by the code that will train it, on some of its own
examples, so that their lengths, the encoder and the device all count.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from objectives.data.batching import Padding
from objectives.data.study_corpora import Corpus, TrainingCorpus
from objectives.models.encoders import ENCODER_FILE, build_model, save_stage
from objectives.runner import Runner
from objectives.scores.languages import score_languages
from objectives.scores.sentences import score_retrievals
from objectives.stages.stage import Position, StageJob, Start, Work, train_stage
from objectives.training.fine_tuning import Training
from objectives.transfer import TransferObjective
from spaces.dimensions import settings_of
from spaces.recipe import Stage

UPDATES = 9
"""Updates of each stage, of which the first is not counted: it allocates."""
SCORED_EXAMPLES = 100
"""Most examples of a language that are scored."""
READ_EXAMPLES = 20_000
"""Training examples that are read for the sub-words of a stage; more have hardly any others."""
FLOAT32, MOMENTS = 4, 2
"""Bytes of a saved weight; moments of each that AdamW goes on from."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class StageTimes:
    """What one stage takes; seconds.

    Attributes:
        update: An update, in the mean.
        around: All but the updates: a model is built, and given up again.
        encoding: Its training examples become numbers, once in a process.
    """

    update: float
    around: float
    encoding: float


@dataclass(frozen=True)
class SavedSize:
    """What a checkpoint of an intermediate stage takes.

    Attributes:
        seconds: To write it.
        weights: Bytes of its weights.
        state: Bytes of what a longer training goes on from.
    """

    seconds: float
    weights: int
    state: int


@dataclass(frozen=True)
class ScoringTimes:
    """What scoring a target task takes; seconds.

    Attributes:
        pass_: All its languages once.
        encoding: Their examples become numbers, once in a process.
        examples: Number of examples.
    """

    pass_: float
    encoding: float
    examples: int


@dataclass
class Rehearsal:
    """Measures stages of a study.

    Attributes:
        objective: What will train them.
        clock: Seconds from any moment on; of a process in tests on busy machines.
    """

    objective: TransferObjective
    clock: Clock = time.perf_counter
    _is_warm: bool = field(default=False, init=False)

    def stage(self, backbone: str, stage: Stage, position: Position) -> StageTimes:
        """What a stage takes."""
        job, encoding = self._short(backbone, stage, position)
        _, _, update, around = self._trained(job)
        return StageTimes(update, around, encoding)

    def saving(self, backbone: str, stage: Stage) -> SavedSize:
        """What a checkpoint of an intermediate stage takes; with its state where it has one."""
        job, _ = self._short(backbone, stage, "intermediate")
        model, training, *_ = self._trained(job)
        state = training.state if job.has_prefixes else None
        with tempfile.TemporaryDirectory(prefix="transfer-search-") as place:
            folder = Path(place)
            began = self.clock()
            root = job.backbone.weights
            save_stage(model, root, root, state, folder)
            seconds = self.clock() - began
            sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        weights = sizes.pop(ENCODER_FILE)
        saved = SavedSize(seconds, weights, sum(sizes.values()))
        return self._with_further_rows(saved, model, job, stage)

    def _with_further_rows(
        self, saved: SavedSize, model: PreTrainedModel, short: StageJob, stage: Stage
    ) -> SavedSize:
        """The checkpoint of a whole stage, which changes more embeddings than a short one."""
        matrix = model.get_input_embeddings().weight
        assert isinstance(matrix, torch.Tensor)
        if not matrix.requires_grad:
            return saved
        rows, width = matrix.shape
        few = min(stage.examples, READ_EXAMPLES)
        parts = tuple(replace(x, examples=min(x.examples, few)) for x in stage.parts)
        read = replace(stage, examples=few, parts=parts)
        whole = _used_rows(self.objective.corpora.training(short.backbone, read))
        before = _used_rows(short.examples)
        # A matrix that changes in half of its rows or more is written whole.
        written, had = (rows if 2 * used >= rows else used for used in (whole, before))
        row = FLOAT32 * width
        return replace(
            saved,
            weights=saved.weights + row * (written - had),
            state=saved.state + MOMENTS * row * (whole - before) * bool(saved.state),
        )

    def scoring(self, backbone: str, stage: Stage) -> ScoringTimes:
        """What scoring a target stage takes, at one of its settings or, untrained, at all."""
        objective, task = self.objective, self.objective.catalogue[stage.task]
        encoder = objective.backbone(backbone)
        model = build_model(encoder, encoder.weights, task, 0)
        languages = objective.spec.scored_languages(task)
        whole = {x: objective.corpora.evaluation(encoder, stage, x) for x in languages}
        examples = sum(len(corpus.examples) for corpus in whole.values())
        few = {x: _first(whole[x]) for x in (*languages[:1], *languages[1:][-1:])}
        began = self.clock()
        encoded = {language: corpus.encoded for language, corpus in few.items()}
        encoding = self.clock() - began
        runner = Runner(objective.hardware, Padding.of(encoder.tokenizer))
        stages = list(settings_of(stage, objective.spec.target))
        counted = 0.0
        for _ in range(2):  # the first allocates
            began = self.clock()
            if stage.epochs:
                score_languages(model, encoded, task, stage, runner)
            else:
                score_retrievals(model, encoded, task, stages, runner)
            counted = self.clock() - began
        share = examples / sum(len(corpus.examples) for corpus in few.values())
        return ScoringTimes(share * counted, share * encoding, examples)

    def _short(self, backbone: str, stage: Stage, position: Position) -> tuple[StageJob, float]:
        """A stage of few updates, and what it takes to encode the examples of the whole one."""
        objective, encoder = self.objective, self.objective.backbone(backbone)
        few = min(stage.examples, UPDATES * stage.batch_size)
        parts = tuple(
            replace(part, examples=min(part.examples, 2 * stage.batch_size))
            for part in stage.parts
        )
        short = replace(stage, epochs=1, examples=few, parts=parts)
        examples = tuple(objective.corpora.training(encoder, short))
        job = StageJob(
            encoder, short, Start.of(encoder), 0, position, examples, objective.hardware
        )
        began = self.clock()
        read = sum(len(x.corpus.encoded) for x in examples)
        seconds = self.clock() - began
        return job, seconds * stage.examples / max(1, read)

    def _trained(self, job: StageJob) -> tuple[PreTrainedModel, Training, float, float]:
        if not self._is_warm:
            self._is_warm = True
            self._trained(job)
        marks = list[float]()

        def mark(done: int, total: int) -> None:
            marks.append(self.clock())

        began = self.clock()
        model, training = train_stage(job, job.backbone.weights, Work(), mark)
        ended = self.clock()
        counted = len(marks) - 1
        update = (marks[-1] - marks[0]) / counted if counted else marks[0] - began
        around = max(0.0, ended - began - len(marks) * update)
        return model, training, update, around


def _used_rows(examples: Sequence[TrainingCorpus]) -> int:
    """Sub-words of training examples; 0 of text without labels, which changes all of them."""
    splits = [x.corpus.encoded for x in examples]
    if any(split.labels is None for split in splits):
        return 0
    return len(np.unique(np.concatenate([row for split in splits for row in split.input_ids])))


def _first(corpus: Corpus) -> Corpus:
    """Some examples of a corpus, from all of its length."""
    total = len(corpus.examples)
    chosen = np.unique(np.linspace(0, total - 1, min(total, SCORED_EXAMPLES)).astype(int))
    return replace(corpus, examples=corpus.examples.select(chosen))


def shape_of(stage: Stage) -> tuple[object, ...]:
    """What the pace of a stage depends on, beside its task."""
    return (
        stage.batch_size,
        stage.max_length,
        stage.method,
        stage.frozen_layers,
        stage.lora_rank,
        stage.prompt_length,
    )
