"""Masked language modelling: the head sees the hidden places only.

Over a vocabulary of 250,002 the logits of a batch take more time and memory than the encoder
does, and the loss looks at the hidden 15 % of them. So the encoder hands its head these places
only, as BERT's authors do (`gather_indexes` in
https://github.com/google-research/bert/blob/master/run_pretraining.py).

Nothing else has so much to leave out: the head of tagging is one matrix of a few columns, and
answer spans need the logits of all places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from objectives.data.encoding import IGNORED

# For each new shape of a product in bfloat16, oneDNN compiles a kernel, for half a millisecond.
_MULTIPLE = 32


def hidden_places(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The places of a batch that have a label, and their labels, each [n].

    Filled up to a multiple of 32 with a place whose label is `IGNORED`.

    Args:
        labels: `IGNORED` where nothing is hidden, [b, s], on the CPU.

    Returns:
        Places in the flattened batch, in [0, b * s), and the labels there.
    """
    labels = labels.flatten()
    places = (labels != IGNORED).nonzero().squeeze(1)
    missing = -len(places) % _MULTIPLE
    return (
        functional.pad(places, (0, missing)),
        functional.pad(labels[places], (0, missing), value=IGNORED),
    )


def hidden_logits(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], places: torch.Tensor
) -> torch.Tensor:
    """Logits of a masked language model at some places, [n, c].

    The head of every family works place by place and draws no random numbers, so that these are
    the logits that it would give among those of all places.

    Args:
        model: A model of transformers, adapted by peft or not.
        inputs: What it takes, each [b, s].
        places: Places in the flattened batch, in [0, b * s), on the model's device, [n].
    """

    def keep(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state.flatten(0, 1).index_select(0, places)
        return output

    # The outermost: an adapted model is one within another.
    whole = next(part for part in model.modules() if isinstance(part, PreTrainedModel))
    hook = whole.base_model.register_forward_hook(keep)
    try:
        logits: torch.Tensor = model(**inputs).logits
    finally:
        hook.remove()
    return logits
