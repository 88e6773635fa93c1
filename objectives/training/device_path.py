"""How a training uses its device: plainly on a CPU, with all that a card gains by on a card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from objectives.hardware import Hardware
from objectives.training.graphs import CardRecorder, RecordedUpdates, Recorder
from objectives.training.masters import Masters, bfloat16_leaves
from objectives.training.own_mask import unasked_masks

# Few widths are few graphs, and tensor cores compute in multiples of 8. Also without graphs, so
# that the same is computed with them.
CARD_WIDTHS = 16


@dataclass(frozen=True)
class DevicePath:
    """The choices of a training loop that leave what is learnt as it is, but for rounding.

    Attributes:
        width_multiple: Sub-words to a multiple of which batches are padded.
        masters: Whether linear layers keep their weights in bfloat16, beside float32 ones.
        own_mask: Whether attention masks are made without a question to the device.
        capturable: Whether the learning rate and the steps are tensors on the device.
        recorder: Makes what records updates; None records none.
        graphs_required: Whether a recording that fails ends the training.
    """

    width_multiple: int = 1
    masters: bool = False
    own_mask: bool = False
    capturable: bool = False
    recorder: Callable[[], Recorder] | None = None
    graphs_required: bool = False

    def width(self, batch: Mapping[str, torch.Tensor], longest: int) -> int:
        """Width to pad a batch to, in sub-words.

        Args:
            batch: Batch from `collate`.
            longest: Width that no batch may exceed, for an encoder's places.
        """
        width = batch["input_ids"].shape[1]
        if "spans" in batch:  # more places would be more answers to choose from
            return width
        return max(width, min(longest, -(-width // self.width_multiple) * self.width_multiple))

    def optimizer(
        self, trained: Sequence[nn.Parameter], rate: float, device: torch.device
    ) -> torch.optim.Optimizer:
        """AdamW without weight decay, with a learning rate that can be changed."""
        return torch.optim.AdamW(
            trained,
            lr=torch.tensor(rate, device=device) if self.capturable else rate,
            weight_decay=0.0,
            fused=True,
            capturable=self.capturable,
        )

    def masters_of(self, models: Sequence[nn.Module]) -> Masters:
        """What models compute with beside their float32 weights."""
        return bfloat16_leaves(models) if self.masters else Masters()

    @contextmanager
    def prepared(self, models: Sequence[nn.Module], masters: Masters) -> Iterator[None]:
        """Let models compute this way while the context is entered."""
        masks = unasked_masks(models) if self.own_mask else nullcontext()
        with masks, masters.in_models():
            yield

    def recorded_updates(self, device: torch.device) -> RecordedUpdates | None:
        """What records the updates of a stage; None where none is recorded."""
        if self.recorder is None:
            return None
        return RecordedUpdates(self.recorder(), device, self.graphs_required)


def path_of(hardware: Hardware) -> DevicePath:
    """The way to use a device that suits it."""
    if hardware.device.type != "cuda":
        return DevicePath()
    return DevicePath(
        width_multiple=CARD_WIDTHS,
        masters=hardware.precision == "bfloat16",
        own_mask=True,
        capturable=True,
        recorder=None if hardware.graphs == "off" else partial(CardRecorder, hardware.device),
        graphs_required=hardware.graphs == "on",
    )
