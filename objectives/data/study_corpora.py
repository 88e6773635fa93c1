"""The corpora of one study, each read once, tokenised when it is first needed, and kept in memory.

Which split a stage trains on and which a checkpoint is scored on is the study's to say
(`StudySpec.needed_splits`); none of them is a test split. Those are for `confirmation` alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property

import datasets
import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from objectives.backbone import Backbone
from objectives.data.data_source import DataSource
from objectives.data.encoding import EncodedSplit, encode
from objectives.data.groups import example_groups
from objectives.data.row_checks import check_scorable
from objectives.data.sources import TestPurpose, corpus_key, load_split, load_test_split
from spaces.catalogue import Catalogue
from spaces.errors import DataError
from spaces.recipe import Stage
from spaces.studies import SplitName, StudySpec
from spaces.task import Task, TaskKind

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Examples of one split, tokenised when their numbers are first asked for.

    Whoever needs only the key, as a stage does whose scores are known, tokenises nothing.

    Attributes:
        key: Fingerprint of the examples before tokenisation.
        name: Task, language and split that the examples are from.
        task: Catalogue record that fixes columns and labels.
        examples: The examples as read.
        tokenizer: Tokenizer of the backbone.
        max_length: Longest input, in sub-words.
        unscored: Number of examples left out because the source language lacks their label.
    """

    key: str
    name: SplitName
    task: Task
    examples: datasets.Dataset
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    unscored: int = 0

    @cached_property
    def encoded(self) -> EncodedSplit:
        """The examples as numbers; words that the model does not see are logged."""
        encoded = encode(self.examples, self.task, self.tokenizer, self.max_length)
        if lost := encoded.lost_words:
            words = sum(map(len, encoded.word_positions or ()))
            _log.warning(
                "%s %s %s: %d of %d words have no sub-word (cut off at %d, or unknown to the "
                "tokenizer); they count as wrong",
                *(*self.name, lost, words, self.max_length),
            )
        return encoded

    @cached_property
    def groups(self) -> NDArray[np.int32] | None:
        """The group of each example that is scored, [examples]; None: each is its own."""
        return example_groups(self.examples, self.task.kind)


@dataclass(frozen=True)
class TrainingCorpus:
    """Examples that a stage trains on, and the task that they are examples of."""

    task: Task
    corpus: Corpus


@dataclass
class StudyCorpora:
    """Reads the splits that a study needs from one source.

    Attributes:
        spec: Specification of the study.
        catalogue: Catalogue of the study's tasks.
        source: Data source that splits are read from.
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

    def read(self, name: SplitName) -> datasets.Dataset:
        """A training or validation split; it is kept in memory only where the study needs it.

        Raises:
            DataError: It is missing or broken.
        """
        if name in self._splits:
            return self._splits[name]
        task, language, split = name
        return load_split(self.catalogue[task], language, split, self.source)

    def train_sizes(self) -> dict[str, int]:
        """Task -> number of examples in the split that it is trained on."""
        splits = self.spec.training_splits(self.catalogue)
        return {name: len(self._split(split)) for name, split in splits.items()}

    def check_scored(self) -> None:
        """Check that what is scored can have a score other than 0.

        Raises:
            DataError: A split that is trained on or scored has no entity, no answer, or no two
                scores.
        """
        for task in self.spec.target_tasks(self.catalogue):
            for language in self.spec.scored_languages(task):
                name = self.spec.scored_split(task, language, self.catalogue)
                self._check_scorable(task, name, limit=self.spec.target.validation_examples)
        for trained, split in self.spec.training_splits(self.catalogue).items():
            self._check_scorable(self.catalogue[trained], split)

    def _check_scorable(self, task: Task, name: SplitName, limit: int | None = None) -> None:
        if task.kind in {TaskKind.RETRIEVAL, TaskKind.MLM}:
            return
        _, language, which = name
        examples = self._split(name)
        if limit is not None and not task.unscored_labels:  # which are left out before the draw
            examples = _drawn(examples, task, limit)
        check_scorable(
            examples[task.kind.columns[-1]][:],
            task,
            f"task {task.name!r}, {language} {which} split",
            "drop the task"
            if which == "train"
            else f"leave the language out: --set 'target.without.{task.name}=[\"{language}\"]'",
        )

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
                    f"task {stage.task!r}",
                    f"{stage.examples} training examples",
                    str(len(split)),
                    "lower `examples` in the study or drop the task",
                )
            # A fixed draw, in which smaller sizes are part of larger ones.
            drawn = np.random.default_rng(0).permutation(len(split))
            if stage.shots:
                drawn = _shots(split["label"][:], drawn, stage, self.catalogue.training_task(task))
            chosen = split.select(np.sort(drawn[: stage.examples]))
            self._corpora[place] = Corpus(
                corpus_key(chosen), name, task, chosen, backbone.tokenizer, stage.max_length
            )
        return TrainingCorpus(task, self._corpora[place])

    def evaluation(self, backbone: Backbone, stage: Stage, language: str) -> Corpus:
        """The examples that a checkpoint of `stage` is scored on in one language.

        Of a large split those that `target.validation_examples` leaves.
        """
        name = self.spec.scored_split(self.catalogue[stage.task], language, self.catalogue)
        return self._evaluation(backbone, stage, name, self.spec.target.validation_examples)

    def confirmation(self, backbone: Backbone, stage: Stage, language: str) -> Corpus:
        """The examples of the test split, for what was chosen before, and never to choose by.

        Raises:
            DataError: There is none, its labels are hidden, or no model can score on it.
        """
        task, _, _ = self.spec.scored_split(self.catalogue[stage.task], language, self.catalogue)
        name = task, language, "test"
        if name not in self._splits:
            self._splits[name] = load_test_split(
                self.catalogue[task], language, self.source, TestPurpose.CONFIRM
            )
            if None in self._splits[name][self.catalogue[task].kind.columns[-1]][:]:
                raise DataError(
                    f"task {task!r}",
                    f"gold labels of the {language} test split",
                    f"them hidden in {self.source}",
                    "name a source that has them with --data",
                )
            self._check_scorable(self.catalogue[task], name)
        return self._evaluation(backbone, stage, name, None)

    def _evaluation(
        self, backbone: Backbone, stage: Stage, name: SplitName, limit: int | None
    ) -> Corpus:
        """The examples of a split that have a known label, at most so many of them."""
        place = (backbone.key, stage.task, *name, stage.max_length)
        if place not in self._corpora:
            task = self.catalogue[stage.task]
            split = chosen = self._split(name)
            if task.unscored_labels:
                known = set(task.labels)
                chosen = split.select([i for i, x in enumerate(split["label"]) if x in known])
            if unscored := len(split) - len(chosen):
                _log.warning(
                    "%s %s %s: %d of %d examples are not scored: the source language has not "
                    "their label",
                    *(*name, unscored, len(split)),
                )
            if limit is not None and task.kind is not TaskKind.RETRIEVAL:
                chosen = _drawn(chosen, task, limit)
            self._corpora[place] = Corpus(
                corpus_key(chosen),
                name,
                task,
                chosen,
                backbone.tokenizer,
                stage.max_length,
                unscored,
            )
        return self._corpora[place]

    def _split(self, name: SplitName) -> datasets.Dataset:
        if name not in self._splits:
            self._splits[name] = self.read(name)
        return self._splits[name]


def _drawn(examples: datasets.Dataset, task: Task, limit: int) -> datasets.Dataset:
    """At most `limit` examples in their order, by a fixed draw in which fewer are part of more.

    Questions of one passage are drawn together, so that they may be a few less. Of translations
    with as many examples the same places are drawn.
    """
    if len(examples) <= limit:
        return examples
    # Of pairs rows are drawn: as many of different premises say more than those of a few.
    together = example_groups(examples, task.kind) if task.kind is TaskKind.QA else None
    groups = np.arange(len(examples))
    if together is not None:
        groups = np.unique(together, return_inverse=True)[1]
    sizes = np.bincount(groups)
    order = np.random.default_rng(0).permutation(len(sizes))
    drawn = order[: max(1, int(np.searchsorted(np.cumsum(sizes[order]), limit, "right")))]
    return examples.select(np.flatnonzero(np.isin(groups, drawn)))


def _shots(
    labels: list[str], drawn: NDArray[np.int64], stage: Stage, task: Task
) -> NDArray[np.int64]:
    """Rows of the first `stage.shots` examples of each class, in the order drawn."""
    chosen = []
    for label in task.labels:
        of_class = [i for i in drawn if labels[i] == label][: stage.shots]
        if len(of_class) < stage.shots:
            raise DataError(
                f"task {stage.task!r}",
                f"{stage.shots} training examples of class {label!r}",
                str(len(of_class)),
                "lower target.shots",
            )
        chosen += of_class
    return np.array(chosen, np.int64)
