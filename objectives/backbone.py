"""The pretrained encoder that the stages of a recipe start from.

How it is loaded, and how models are built on it, is in `objectives.models.encoders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

Weights = Mapping[str, torch.Tensor]
"""Parameter name -> tensor of an encoder, without a head, float32 on the CPU."""


@dataclass(frozen=True)
class Backbone:
    """A pretrained encoder.

    Attributes:
        name: Name of the encoder in the study.
        key: Fingerprint of the encoder's files; the parent key of a first stage.
        revision: Commit of the repository on the Hub; empty for a folder.
        config: Architecture of the encoder.
        tokenizer: Fast tokenizer of the encoder.
        weights: Pretrained weights of the encoder alone, without a head.
    """

    name: str
    key: str
    revision: str
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    weights: Weights
