"""The pretrained encoder that the stages of a recipe start from.

How it is loaded, and how models are built on it, is in `objectives.models.encoders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

Weights = Mapping[str, torch.Tensor]
"""Parameter name -> tensor of an encoder, without a head, float32, all on one device."""


@dataclass(frozen=True)
class Backbone:
    """A pretrained encoder.

    Attributes:
        name: Name of the encoder in the study.
        key: Fingerprint of the encoder's files; the parent key of a first stage.
        revision: Commit of the repository on the Hub; empty for a folder.
        config: Architecture of the encoder.
        tokenizer: Fast tokenizer of the encoder.
        weights: Pretrained weights of the encoder alone, without a head; read only, as every
            model of it begins with a copy of them.
    """

    name: str
    key: str
    revision: str
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    weights: Weights

    def on(self, device: torch.device) -> Backbone:
        """The encoder resident on a device, where each stage begins with a copy of its weights.

        On a card that takes the size of the weights, 1.1 GB for XLM-R base, and as much again at
        most for the encoder of an intermediate stage while a trial starts from it; the
        processor's memory is relieved of as much. On a CPU it takes nothing.
        """
        weights = {name: weight.to(device) for name, weight in self.weights.items()}
        return replace(self, weights=weights)
