"""Text to token ids: a split is encoded once and kept, ragged, without padding.

For tagging, the first sub-word of each word carries its label and its prediction (Devlin et al.
2019, section 5.3, https://arxiv.org/abs/1810.04805). A word that no sub-word stands for, because
the text was cut or the tokenizer dropped it, keeps position -1, so that scoring can count it
as wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from spaces.catalogue import Task

IGNORED = -100
"""The label of a sub-word that has none; `torch.nn.functional.cross_entropy` skips it."""


@dataclass(frozen=True)
class EncodedSplit:
    """One split as numbers; all sequences have one item per example.

    Attributes:
        input_ids: Sub-word ids, each [s].
        token_type_ids: Segment ids, each [s]; None where the tokenizer makes none.
        labels: Tagging: class ids, each [s], `IGNORED` off the first sub-words. Classification:
            a class id each. Similarity: a score each. MLM: None, as masking draws them anew.
        word_positions: Tagging: where each word's first sub-word stands, or -1, each [words].
        gold: Labels as in the corpus, for scoring; None where hidden.
    """

    input_ids: Sequence[NDArray[np.int64]]
    token_type_ids: Sequence[NDArray[np.int64]] | None
    labels: Sequence[NDArray[np.int64]] | NDArray[np.int64] | NDArray[np.float32] | None
    word_positions: Sequence[NDArray[np.int64]] | None
    gold: Sequence[object]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Sub-words per example, [examples]."""
        return np.fromiter(map(len, self.input_ids), np.int64, len(self.input_ids))

    @property
    def lost_words(self) -> int:
        """Words without a sub-word, over all examples."""
        return sum(int((positions < 0).sum()) for positions in self.word_positions or ())


def joined(splits: Sequence[EncodedSplit]) -> EncodedSplit:
    """Several splits of one task as one, for scoring: their labels for training are left out."""
    segments = [split.token_type_ids for split in splits]
    positions = [split.word_positions for split in splits]
    return EncodedSplit(
        input_ids=[ids for split in splits for ids in split.input_ids],
        token_type_ids=None if None in segments else [x for part in segments for x in part or ()],
        labels=None,
        word_positions=None if None in positions else [x for p in positions for x in p or ()],
        gold=[gold for split in splits for gold in split.gold],
    )


def encode(
    split: datasets.Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> EncodedSplit:
    """Encode a split.

    Args:
        split: From `load_split`, columns of `task.kind`. A label outside of `task.tags` must
            have been left out before.
        task: Its catalogue record.
        tokenizer: A fast tokenizer.
        max_length: Longest sequence, special tokens included; the rest is cut off.
    """
    columns = [split[name][:] for name in task.kind.columns]
    texts, gold = (
        (columns[:-1], columns[-1]) if len(columns) > 1 else (columns, [None] * len(split))
    )
    encodings = tokenizer(
        *texts,
        is_split_into_words=task.kind.is_tagging,
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
    )
    input_ids = [np.asarray(ids, np.int64) for ids in encodings["input_ids"]]
    segments = encodings.get("token_type_ids")
    token_type_ids = None
    if segments is not None:
        token_type_ids = [np.asarray(ids, np.int64) for ids in segments]
    class_ids: dict[object, int] = {label: number for number, label in enumerate(task.tags)}
    if task.kind.is_tagging:
        positions = [
            _first_subwords(encodings.word_ids(row), len(words))
            for row, words in enumerate(texts[0])
        ]
        labels = [
            _place(ids, where, tags, class_ids)
            for ids, where, tags in zip(input_ids, positions, gold, strict=True)
        ]
        return EncodedSplit(input_ids, token_type_ids, labels, positions, gold)
    numbers: NDArray[np.int64] | NDArray[np.float32] | None = None
    if task.kind.is_classification:
        numbers = np.array([class_ids.get(label, IGNORED) for label in gold], np.int64)
    elif len(columns) > 1:
        numbers = np.array([np.nan if score is None else score for score in gold], np.float32)
    return EncodedSplit(input_ids, token_type_ids, numbers, None, gold)


def _first_subwords(word_ids: list[int | None], words: int) -> NDArray[np.int64]:
    positions = np.full(words, -1, np.int64)
    for position in range(len(word_ids) - 1, -1, -1):  # backwards, so that the first one stays
        word = word_ids[position]
        if word is not None:
            positions[word] = position
    return positions


def _place(
    ids: NDArray[np.int64],
    positions: NDArray[np.int64],
    tags: Sequence[str] | None,
    class_ids: dict[object, int],
) -> NDArray[np.int64]:
    labels = np.full(len(ids), IGNORED, np.int64)
    if tags is not None:
        kept = positions >= 0
        labels[positions[kept]] = np.array([class_ids[tag] for tag in tags], np.int64)[kept]
    return labels
