"""Training on the part of the vocabulary that a stage's examples use.

The embedding matrix is half of a small encoder and two thirds of XLM-R base (250,002 x 768 of
278 M weights), while a few thousand examples use some thousand rows of it. The others get no
gradient, and Adam without weight decay leaves a weight without gradient as it is. So the stage
trains a matrix of the used rows only and puts them back at its end: the same result, without
zeroing, measuring, clipping and updating the rest at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from objectives.data.encoding import EncodedSplit


@contextmanager
def trimmed_vocabulary(
    model: nn.Module, splits: Sequence[EncodedSplit], padding_id: int
) -> Iterator[list[EncodedSplit]]:
    """The splits with ids into a smaller matrix, which `model` has meanwhile.

    Masked language modelling predicts over the whole vocabulary, and so keeps it.

    Args:
        model: Restored in the end, with the rows as trained; others that share its encoder
            share the smaller matrix too.
        splits: The training examples, of one task or several; not changed.
        padding_id: Stays what it is.
    """
    if any(split.labels is None for split in splits) or not isinstance(model, PreTrainedModel):
        yield list(splits)
        return
    whole = model.get_input_embeddings()
    if not isinstance(whole, nn.Embedding) or not whole.weight.requires_grad:
        yield list(splits)
        return
    # All ids up to the padding's stay what they are: RoBERTa counts positions by that id.
    ids = [row for split in splits for row in split.input_ids]
    used = np.union1d(np.concatenate(ids), np.arange(padding_id + 1))
    small = np.full(whole.num_embeddings, -1, np.int64)
    small[used] = np.arange(len(used))
    rows = torch.from_numpy(used).to(whole.weight.device)
    part = nn.Embedding(
        len(used), whole.embedding_dim, whole.padding_idx, _weight=whole.weight.detach()[rows]
    )
    model.set_input_embeddings(part)
    try:
        yield [
            replace(split, input_ids=[small[ids] for ids in split.input_ids]) for split in splits
        ]
    finally:
        with torch.no_grad():
            whole.weight[rows] = part.weight
        model.set_input_embeddings(whole)
