"""Training on the part of the vocabulary that a stage's examples use.

The embedding matrix is half of a small encoder and two thirds of XLM-R base (250,002 x 768 of
278 M weights), while a few thousand examples use some thousand rows of it. The others get no
gradient, and Adam without weight decay leaves a weight without gradient as it is. So the stage
trains a matrix of the used rows only and puts them back at its end: the same result, without
zeroing, measuring, clipping and updating the rest at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit


@dataclass(frozen=True)
class Vocabulary:
    """The sub-words that a training knows.

    Attributes:
        splits: The training examples, in the training's ids.
        padding: Padding of their batches, in the training's ids.
        in_model: A context in which the model has these sub-words and no others, to be entered as
            often as the training goes on. Outside of it the model is whole, with its rows as
            trained so far.
    """

    splits: Sequence[EncodedSplit]
    padding: Padding
    in_model: Callable[[], AbstractContextManager[None]] = nullcontext


def trimmed_vocabulary(
    model: nn.Module, splits: Sequence[EncodedSplit], padding: Padding
) -> Vocabulary:
    """The vocabulary that the examples use, with ids into a smaller matrix.

    Masked language modelling predicts over the whole vocabulary, by a matrix that most families
    share with the embeddings, and so keeps it.

    Args:
        model: Changed within the context only; others that share its encoder share the smaller
            matrix too.
        splits: The training examples, of one task or several; not changed.
        padding: Padding of their batches; not changed.
    """
    if any(split.labels is None for split in splits) or not isinstance(model, PreTrainedModel):
        return Vocabulary(splits, padding)
    whole = model.get_input_embeddings()
    if not isinstance(whole, nn.Embedding) or not whole.weight.requires_grad:
        return Vocabulary(splits, padding)
    # The embeddings' own padding, which gets no gradient, nearly always is the batches'.
    fills = {padding.token_id}
    if whole.padding_idx is not None:
        fills.add(whole.padding_idx)
    # RoBERTa counts positions from the padding's id on, so ids up to one that is a position stay
    # what they are. ModernBERT's, 50,283, is none.
    places = getattr(model.config, "max_position_embeddings", None) or 0
    kept = max((fill for fill in fills if fill < places), default=-1)
    ids = [row for split in splits for row in split.input_ids]
    used = np.unique(np.concatenate([*ids, np.arange(kept + 1), [*fills]]))
    small = np.full(whole.num_embeddings, -1, np.int64)
    small[used] = np.arange(len(used))
    rows = torch.from_numpy(used).to(whole.weight.device)
    part = nn.Embedding(
        *(len(used), whole.embedding_dim),
        None if whole.padding_idx is None else int(small[whole.padding_idx]),
        _weight=whole.weight.detach()[rows],
    )

    @contextmanager
    def in_model() -> Iterator[None]:
        model.set_input_embeddings(part)
        try:
            yield
        finally:
            with torch.no_grad():
                whole.weight[rows] = part.weight
            model.set_input_embeddings(whole)

    return Vocabulary(
        [replace(split, input_ids=[small[ids] for ids in split.input_ids]) for split in splits],
        replace(padding, token_id=int(small[padding.token_id])),
        in_model,
    )
