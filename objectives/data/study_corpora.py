"""The corpora of one study, each read and encoded once and kept in memory.

Which split a stage trains on and which a checkpoint is scored on is the study's to say
(`StudySpec.needed_splits`); none of them is a test split. Those are for `confirmation` alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import datasets
import numpy as np
from numpy.typing import NDArray

from objectives.data.encoding import EncodedSplit, encode
from objectives.data.sources import (
    DataSource,
    TestPurpose,
    corpus_key,
    load_split,
    load_test_split,
)
from objectives.models.encoders import Backbone
from spaces.catalogue import Catalogue, Task
from spaces.errors import DataError
from spaces.recipe import Stage
from spaces.studies import SplitName, StudySpec

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpus:
    """Encoded examples.

    Attributes:
        key: Fingerprint of the examples before encoding.
        encoded: The examples.
        unscored: How many were left out, as the source language has not their label.
    """

    key: str
    encoded: EncodedSplit
    unscored: int = 0


@dataclass(frozen=True)
class TrainingCorpus:
    """The examples that a stage trains on, and as which task."""

    task: Task
    corpus: Corpus


@dataclass
class StudyCorpora:
    """Reads what a study needs from one source.

    Attributes:
        spec: The study.
        catalogue: Its tasks.
        source: Where to read.
    """

    spec: StudySpec
    catalogue: Catalogue
    source: DataSource
    _splits: dict[SplitName, datasets.Dataset] = field(default_factory=dict)
    _corpora: dict[tuple[object, ...], Corpus] = field(default_factory=dict)

    def fingerprints(self) -> dict[str, str]:
        """`task language split` -> fingerprint, for all that the study reads.

        Raises:
            DataError: A split is missing or broken.
        """
        splits = self.spec.needed_splits(self.catalogue)
        return {" ".join(name): corpus_key(self._split(name)) for name in splits}

    def train_sizes(self) -> dict[str, int]:
        """Task -> examples in the split it is trained on."""
        splits = self.spec.training_splits(self.catalogue)
        return {name: len(self._split(split)) for name, split in splits.items()}

    def training(self, backbone: Backbone, stage: Stage) -> list[TrainingCorpus]:
        """The training examples of a stage: of its task, or of each task of a mixture.

        Raises:
            DataError: There are fewer than the stage asks for.
        """
        if stage.parts:
            parts = [replace(stage, task=x.task, examples=x.examples) for x in stage.parts]
            return [self._training(backbone, part) for part in parts]
        return [self._training(backbone, stage)]

    def _training(self, backbone: Backbone, stage: Stage) -> TrainingCorpus:
        task = self.catalogue[stage.task]
        place = (backbone.key, stage.task, stage.examples, stage.shots, stage.max_length)
        if place not in self._corpora:
            name = self.spec.training_split(task, self.catalogue)
            split = self._split(name)
            if len(split) < stage.examples:
                raise DataError(
                    f"task {stage.task!r}: expected {stage.examples} training examples, found "
                    f"{len(split)}; lower `examples` in the study or drop the task"
                )
            # A fixed draw, in which smaller sizes are part of larger ones.
            drawn = np.random.default_rng(0).permutation(len(split))
            if stage.shots:
                drawn = _shots(split["label"][:], drawn, stage, self.catalogue.training_task(task))
            chosen = split.select(np.sort(drawn[: stage.examples]))
            self._corpora[place] = self._corpus(chosen, 0, task, backbone, stage, name)
        return TrainingCorpus(task, self._corpora[place])

    def evaluation(self, backbone: Backbone, stage: Stage, language: str) -> Corpus:
        """The examples that a checkpoint of `stage` is scored on in one language."""
        name = self.spec.scored_split(self.catalogue[stage.task], language, self.catalogue)
        return self._evaluation(backbone, stage, name)

    def confirmation(self, backbone: Backbone, stage: Stage, language: str) -> Corpus:
        """The same of the test split: for what was chosen before, and never to choose by.

        Raises:
            DataError: There is none, or its labels are hidden.
        """
        task, _, _ = self.spec.scored_split(self.catalogue[stage.task], language, self.catalogue)
        name = task, language, "test"
        if name not in self._splits:
            self._splits[name] = load_test_split(
                self.catalogue[task], language, self.source, TestPurpose.CONFIRM
            )
            if None in self._splits[name][self.catalogue[task].kind.columns[-1]][:]:
                raise DataError(
                    f"task {task!r}: expected gold labels of the {language} test split, found "
                    f"them hidden in {self.source}; name a source that has them with --data"
                )
        return self._evaluation(backbone, stage, name)

    def _evaluation(self, backbone: Backbone, stage: Stage, name: SplitName) -> Corpus:
        place = (backbone.key, stage.task, *name, stage.max_length)
        if place not in self._corpora:
            task = self.catalogue[stage.task]
            split = chosen = self._split(name)
            if task.unscored_labels:
                known = set(task.labels)
                chosen = split.select([i for i, x in enumerate(split["label"]) if x in known])
            unscored = len(split) - len(chosen)
            self._corpora[place] = self._corpus(chosen, unscored, task, backbone, stage, name)
        return self._corpora[place]

    def _split(self, name: SplitName) -> datasets.Dataset:
        if name not in self._splits:
            task, language, split = name
            self._splits[name] = load_split(self.catalogue[task], language, split, self.source)
        return self._splits[name]

    def _corpus(
        self,
        chosen: datasets.Dataset,
        unscored: int,
        task: Task,
        backbone: Backbone,
        stage: Stage,
        name: SplitName,
    ) -> Corpus:
        """Encode, and say once what of the split the model does not see or is not scored."""
        encoded = encode(chosen, task, backbone.tokenizer, stage.max_length)
        if lost := encoded.lost_words:
            words = sum(map(len, encoded.word_positions or ()))
            _log.warning(
                "%s %s %s: %d of %d words have no sub-word (cut off at %d, or unknown to the "
                "tokenizer); they count as wrong",
                *(*name, lost, words, stage.max_length),
            )
        if unscored:
            _log.warning(
                "%s %s %s: %d of %d examples are not scored: the source language has not their "
                "label",
                *(*name, unscored, unscored + len(chosen)),
            )
        return Corpus(corpus_key(chosen), encoded, unscored)


def _shots(
    labels: list[str], drawn: NDArray[np.int64], stage: Stage, task: Task
) -> NDArray[np.int64]:
    """The first so many examples of each class, in the order drawn."""
    chosen = []
    for label in task.labels:
        of_class = [i for i in drawn if labels[i] == label][: stage.shots]
        if len(of_class) < stage.shots:
            raise DataError(
                f"task {stage.task!r}: expected {stage.shots} training examples of class "
                f"{label!r}, found {len(of_class)}; lower target.shots"
            )
        chosen += of_class
    return np.array(chosen, np.int64)
