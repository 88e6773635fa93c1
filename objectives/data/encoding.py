"""Text to token ids: a split is encoded once and kept, ragged, without padding.

For tagging, the first sub-word of each word carries its label and its prediction (Devlin et al.
2019, section 5.3, https://arxiv.org/abs/1810.04805). A word that no sub-word stands for, because
the text was cut or the tokenizer dropped it, keeps position -1, so that scoring can count it
as wrong.

For question answering, a context that is longer than fits beside its question becomes several
windows that overlap by a third (Devlin et al. 2019, appendix A.5: XTREME's 128 of 384).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.task import SHORTEST_WINDOW, Task, TaskKind

if TYPE_CHECKING:
    import datasets

IGNORED = -100
"""The label of a sub-word that has none; `torch.nn.functional.cross_entropy` skips it."""


# XTREME's `max_query_length` (scripts/train_qa.sh); at most half of the window.
MAX_QUESTION = 64


@dataclass(frozen=True)
class Windows:
    """Windows that contexts were cut into, for question answering.

    Attributes:
        rows: Example -> its rows of `EncodedSplit.input_ids`, each [windows].
        offsets: Row -> beginning and end of each sub-word in the context, in characters, each
            [s, 2]; -1 outside of the context.
        null: Row -> place of the sub-word that stands for "no answer", [rows].
        contexts: Example -> context.
    """

    rows: Sequence[NDArray[np.int64]]
    offsets: Sequence[NDArray[np.int64]]
    null: NDArray[np.int64]
    contexts: Sequence[str]


@dataclass(frozen=True)
class EncodedSplit:
    """One split as numbers. A row is what the model sees at once; but for windows, an example.

    Attributes:
        input_ids: Sub-word ids, each [s]; one item per row.
        token_type_ids: Segment ids, each [s], per row; None where the tokenizer makes none.
        labels: Tagging: class ids, each [s], `IGNORED` off the first sub-words. Classification:
            a class id each. Similarity: a score each. QA: where the answer begins and ends,
            [rows, 2], in a window without it the place of "no answer". MLM: None, as masking
            draws them anew. Retrieval: None.
        word_positions: Tagging: where each word's first sub-word stands, or -1, each [words].
        gold: Labels as in the corpus, per example, for scoring; None where hidden. QA: the
            possible answers. Retrieval: (id, text, side, match).
        windows: Windows over the contexts, for question answering.
    """

    input_ids: Sequence[NDArray[np.int64]]
    token_type_ids: Sequence[NDArray[np.int64]] | None
    labels: Sequence[NDArray[np.int64]] | NDArray[np.int64] | NDArray[np.float32] | None
    word_positions: Sequence[NDArray[np.int64]] | None
    gold: Sequence[object]
    windows: Windows | None = None

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.gold)

    @property
    def row_lengths(self) -> NDArray[np.int64]:
        """Sub-words per row, [rows]."""
        return np.fromiter(map(len, self.input_ids), np.int64, len(self.input_ids))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Sub-words per example, of its longest window, [examples]."""
        lengths = self.row_lengths
        if self.windows is None:
            return lengths
        return np.array([lengths[rows].max() for rows in self.windows.rows], np.int64)

    def rows_of(self, examples: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of some examples."""
        if self.windows is None:
            return examples
        return np.concatenate([self.windows.rows[example] for example in examples])

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
        windows=_joined_windows(splits),
    )


def _joined_windows(splits: Sequence[EncodedSplit]) -> Windows | None:
    parts = [split.windows for split in splits if split.windows is not None]
    if not parts:
        return None
    starts = np.cumsum([0, *(len(split.input_ids) for split in splits)])
    return Windows(
        rows=[x + start for part, start in zip(parts, starts, strict=False) for x in part.rows],
        offsets=[x for part in parts for x in part.offsets],
        null=np.concatenate([part.null for part in parts]),
        contexts=[x for part in parts for x in part.contexts],
    )


def encode(
    split: datasets.Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> EncodedSplit:
    """Encode a split.

    Args:
        split: Examples as `load_split` returns them, with the columns of `task.kind`. A label
            outside of `task.tags` must have been left out before.
        task: Catalogue record of the task.
        tokenizer: A fast tokenizer.
        max_length: Longest sequence, special tokens included; the rest is cut off, or goes into
            another window.

    Raises:
        SpecError: No window of question answering fits into `max_length`.
    """
    columns: list[list[Any]] = [split[name][:] for name in task.kind.columns]
    texts: list[list[Any]]
    gold: list[Any]
    if task.kind is TaskKind.QA:
        _, questions, contexts, answers = columns
        return _encode_questions(questions, contexts, answers, tokenizer, max_length)
    if task.kind is TaskKind.RETRIEVAL:
        texts, gold = [columns[1]], list(zip(*columns, strict=True))
    else:
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
    elif task.kind is TaskKind.SIMILARITY:
        numbers = np.array([np.nan if score is None else score for score in gold], np.float32)
    return EncodedSplit(input_ids, token_type_ids, numbers, None, gold)


def _encode_questions(
    questions: list[str],
    contexts: list[str],
    answers: list[list[dict[str, Any]] | None],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> EncodedSplit:
    if max_length < SHORTEST_WINDOW:
        raise SpecError(
            "max_length", f"{SHORTEST_WINDOW} or more for question answering", str(max_length)
        )
    encodings = tokenizer(
        _shortened(questions, tokenizer, min(MAX_QUESTION, max_length // 2)),
        contexts,
        truncation="only_second",
        max_length=max_length,
        stride=max_length // 3,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    input_ids = [np.asarray(ids, np.int64) for ids in encodings["input_ids"]]
    segments = encodings.get("token_type_ids")
    examples = np.asarray(encodings["overflow_to_sample_mapping"], np.int64)
    offsets = []
    null = np.empty(len(input_ids), np.int64)
    spans = np.empty((len(input_ids), 2), np.int64)
    for row, ids in enumerate(input_ids):
        outside = [part != 1 for part in encodings.sequence_ids(row)]
        places = np.array(encodings["offset_mapping"][row], np.int64)
        places[outside] = -1
        offsets.append(places)
        null[row] = int(np.flatnonzero(ids == tokenizer.cls_token_id)[0])
        span = _answer_place(places, answers[examples[row]])
        spans[row] = null[row] if span is None else span
    starts = np.searchsorted(examples, np.arange(len(questions) + 1))
    rows = [np.arange(first, last) for first, last in pairwise(starts)]
    return EncodedSplit(
        input_ids=input_ids,
        token_type_ids=segments and [np.asarray(ids, np.int64) for ids in segments],
        labels=spans,
        word_positions=None,
        gold=[
            None if of_question is None else [x["text"] for x in of_question]
            for of_question in answers
        ],
        windows=Windows(rows, offsets, null, contexts),
    )


def _shortened(texts: list[str], tokenizer: PreTrainedTokenizerBase, longest: int) -> list[str]:
    """Texts, each cut to at most `longest` sub-words."""
    encodings = tokenizer(
        texts,
        add_special_tokens=False,
        truncation=True,
        max_length=longest,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    ends = [offsets[-1][1] if offsets else 0 for offsets in encodings["offset_mapping"]]
    return [text[:end] for text, end in zip(texts, ends, strict=True)]


def _answer_place(
    offsets: NDArray[np.int64], answers: list[dict[str, Any]] | None
) -> tuple[int, int] | None:
    """The first answer's first and last sub-word, if the window holds all of it."""
    if not answers:
        return None
    start = answers[0]["start"]
    end = start + len(answers[0]["text"])
    inside = np.flatnonzero(offsets[:, 0] >= 0)
    if not len(inside) or start < offsets[inside[0], 0] or end > offsets[inside[-1], 1]:
        return None
    touched = inside[(offsets[inside, 0] < end) & (offsets[inside, 1] > start)]
    return (int(touched[0]), int(touched[-1])) if len(touched) else None


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
