"""Batches: which examples go together, and how they become padded tensors.

Most of the time of a plain fine-tuning loop on short texts goes into padding. Batches are
therefore formed from examples of similar length, but only within windows of shuffled examples:
sorting a whole epoch by length makes batches so alike that scores fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from objectives.data.encoding import IGNORED, EncodedSplit
from spaces.errors import BackboneError

# Batches per window. Wider windows pad less and mix less.
WINDOW = 50
MASK_SHARE = 0.15  # Devlin et al. 2019, section 3.1


@dataclass(frozen=True)
class Padding:
    """Ids that a tokenizer's model needs around and between texts.

    Attributes:
        token_id: Id that fills up.
        segment_id: Segment id that fills up.
        left: Whether padding stands before the text (XLNet).
        mask_id: Id that hides a sub-word in masked language modelling; None if there is none.
        special_ids: Ids that are never hidden.
        vocabulary: Number of ids.
    """

    token_id: int
    segment_id: int
    left: bool
    mask_id: int | None
    special_ids: tuple[int, ...]
    vocabulary: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Padding:
        """The padding of a tokenizer."""
        return cls(
            token_id=tokenizer.pad_token_id,
            segment_id=tokenizer.pad_token_type_id,
            left=tokenizer.padding_side == "left",
            mask_id=tokenizer.mask_token_id,
            special_ids=tuple(tokenizer.all_special_ids),
            vocabulary=len(tokenizer),
        )


def epoch_order(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """The batches of one epoch, as row numbers; depends on the arguments only.

    Args:
        lengths: Sub-words per example, [examples].
        batch_size: Examples per batch; one batch may be smaller.
        seed: Random seed of the stage.
        epoch: Number of the epoch, counted from 0.

    Returns:
        ceil(examples / batch_size) arrays, every row once.
    """
    generator = np.random.default_rng((seed, epoch))
    shuffled = generator.permutation(len(lengths))
    batches = []
    for start in range(0, len(shuffled), WINDOW * batch_size):
        window = shuffled[start : start + WINDOW * batch_size]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def mixed_order(
    lengths: Sequence[NDArray[np.int64]], batch_size: int, seed: int, epoch: int
) -> list[tuple[int, NDArray[np.int64]]]:
    """The batches of one epoch over several tasks, as (task, rows); each holds one task's.

    Args:
        lengths: Sub-words per example of each task.
        batch_size: Examples per batch; one batch of each task may be smaller.
        seed: Random seed of the stage.
        epoch: Number of the epoch, counted from 0.
    """
    batches = [
        (task, rows)
        for task, of_task in enumerate(lengths)
        for rows in epoch_order(of_task, batch_size, seed, epoch)
    ]
    if len(lengths) == 1:
        return batches
    order = np.random.default_rng((seed, epoch, len(lengths))).permutation(len(batches))
    return [batches[i] for i in order]


def length_order(
    lengths: NDArray[np.int64], token_budget: int, batch_cost: int
) -> list[NDArray[np.int64]]:
    """Batches for scoring, longest rows first: those that cost least, padding and all.

    Of rows sorted by length, those of a batch stand next to each other; where one batch ends and
    the next begins is found by dynamic programming over the sorted rows. A few very long rows
    would otherwise have many short ones filled up to their length.

    Args:
        lengths: Sub-words per row, [rows].
        token_budget: Sub-words of a batch, padding included; a longer row is alone.
        batch_cost: Cost of a batch beside that of its sub-words, in sub-words.
    """
    order = np.argsort(-lengths, kind="stable")
    widths = lengths[order]
    costs = np.full(len(order) + 1, np.iinfo(np.int64).max)
    costs[0] = 0
    starts = np.zeros(len(order) + 1, np.int64)  # of the last batch, if one ends there
    for start, width in enumerate(widths.tolist()):
        most = min(len(order) - start, max(1, token_budget // max(1, width)))
        ends = slice(start + 1, start + 1 + most)
        new = costs[start] + batch_cost + width * np.arange(1, most + 1)
        is_less = new < costs[ends]
        costs[ends][is_less] = new[is_less]
        starts[ends][is_less] = start
    batches = []
    end = len(order)
    while end > 0:
        batches.append(order[starts[end] : end])
        end = int(starts[end])
    return batches[::-1]


def collate(
    split: EncodedSplit, rows: NDArray[np.int64], padding: Padding
) -> dict[str, torch.Tensor]:
    """Pad some rows to the longest of them.

    Returns:
        input_ids and attention_mask [b, s], token_type_ids [b, s] where there are any, and
        labels where there are any: [b, s] for tagging, else [b]. For question answering, spans
        [b, 2] in place of labels.
    """
    lengths = np.array([len(split.input_ids[i]) for i in rows], np.int64)
    batch = {"input_ids": _pad([split.input_ids[i] for i in rows], padding.token_id, padding.left)}
    ones = [np.ones(length, np.int64) for length in lengths]
    batch["attention_mask"] = _pad(ones, 0, padding.left)
    if split.token_type_ids is not None:
        segments = [split.token_type_ids[i] for i in rows]
        batch["token_type_ids"] = _pad(segments, padding.segment_id, padding.left)
    if split.labels is None:
        return batch
    if split.windows is not None:
        shift = (lengths.max() - lengths if padding.left else np.zeros_like(lengths))[:, None]
        spans: NDArray[np.int64] = np.asarray(split.labels, np.int64)[rows] + shift
        batch["spans"] = torch.from_numpy(spans)
    elif split.word_positions is not None:
        batch["labels"] = _pad([split.labels[i] for i in rows], IGNORED, padding.left)
    else:
        batch["labels"] = torch.from_numpy(np.asarray(split.labels)[rows])
    return batch


def mask_tokens(
    batch: dict[str, torch.Tensor], padding: Padding, share: float, seed: tuple[int, ...]
) -> None:
    """Hide sub-words in place and set `labels`, as in Devlin et al. 2019, section 3.1.

    Of the share chosen, 80 % become the mask, 10 % a random id, 10 % stay.

    Raises:
        BackboneError: The tokenizer has no mask.
    """
    if padding.mask_id is None:
        raise BackboneError("masked language modelling", "a tokenizer with a mask", "one without")
    ids = batch["input_ids"].numpy()
    generator = np.random.default_rng(seed)
    special = np.isin(ids, padding.special_ids)
    chosen = (generator.random(ids.shape) < share) & ~special
    kind = generator.random(ids.shape)
    noise = generator.integers(padding.vocabulary, size=ids.shape)
    hidden = np.where(kind < 0.8, padding.mask_id, np.where(kind < 0.9, noise, ids))
    batch["labels"] = torch.from_numpy(np.where(chosen, ids, IGNORED))
    batch["input_ids"] = torch.from_numpy(np.where(chosen, hidden, ids))


def widened(
    batch: dict[str, torch.Tensor], width: int, padding: Padding
) -> dict[str, torch.Tensor]:
    """A batch with more padding.

    Args:
        batch: Batch from `collate`, but of question answering: its loss is a softmax over all
            places, those of padding included.
        width: Width to pad to, at least that of the batch, in sub-words.
        padding: Padding of the tokenizer.
    """
    more = width - batch["input_ids"].shape[1]
    if more == 0:
        return batch
    fills = {
        "input_ids": padding.token_id,
        "attention_mask": 0,
        "token_type_ids": padding.segment_id,
        "labels": IGNORED,
    }
    sides = (more, 0) if padding.left else (0, more)
    wide = {}
    for name, tensor in batch.items():
        pads = tensor.dim() == 2
        wide[name] = functional.pad(tensor, sides, value=fills[name]) if pads else tensor
    return wide


def _pad(rows: list[NDArray[np.int64]], fill: int, left: bool) -> torch.Tensor:
    width = max(map(len, rows))
    padded = np.full((len(rows), width), fill, np.int64)
    for target, row in zip(padded, rows, strict=True):
        if left:
            target[width - len(row) :] = row
        else:
            target[: len(row)] = row
    return torch.from_numpy(padded)
