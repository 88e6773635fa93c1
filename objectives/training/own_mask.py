"""Attention masks that are made without a question to the device.

In each forward pass transformers asks whether anything is padded, `padding_mask.all()`, to leave
the mask out of scaled dot product attention where it can. On a card the answer is there when all
work in flight is done, so that the processor can never prepare the next update meanwhile, and a
CUDA graph cannot ask at all. A mask of ours goes in by transformers' own extension point
(https://huggingface.co/docs/transformers/en/attention_interface): its own mask, always made. So
sliding windows (ModernBERT) and prompts stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_unasked"


def _always_masked(*arguments: Any, **options: Any) -> torch.Tensor | None:
    """The mask of transformers, [b, 1, s, s], never left out."""
    options["allow_is_bidirectional_skip"] = False
    return sdpa_mask(*arguments, **options)


AttentionMaskInterface.register(NAME, _always_masked)
AttentionInterface.register(NAME, sdpa_attention_forward)


@contextmanager
def unasked_masks(models: Sequence[nn.Module]) -> Iterator[None]:
    """Let models make their attention masks without asking the device.

    Encoders whose attention is not transformers' scaled dot product one (XLNet, DeBERTa, MPNet)
    stay as they are: the first two ask nothing anyway, MPNet goes on asking.

    Args:
        models: Models, or what peft made of them.
    """
    found = {
        id(module.config): module
        for model in models
        for module in model.modules()
        if isinstance(module, PreTrainedModel) and module.config._attn_implementation == "sdpa"
    }
    for module in found.values():
        module.set_attn_implementation(NAME)
    try:
        yield
    finally:
        for module in found.values():
            module.set_attn_implementation("sdpa")
