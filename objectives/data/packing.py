"""A batch as one block of bytes, so that it goes to a device in one copy.

Five arrays are five pinned blocks, five copies and five waits of some microseconds each, in front
of every update; one block is one. Where the block lies at a fixed place, the views into it are
what a CUDA graph reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch

# Bytes; views of any type may begin there, and loads are of 16 bytes.
ALIGNMENT = 16


@dataclass(frozen=True)
class Layout:
    """Where each array of a batch lies in the block; equal for batches of equal shapes.

    Attributes:
        parts: Name, type and shape of each array, in order.
    """

    parts: tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]

    @classmethod
    def of(cls, batch: Mapping[str, torch.Tensor]) -> Layout:
        """The layout of a batch."""
        return cls(tuple((name, x.dtype, tuple(x.shape)) for name, x in batch.items()))

    @property
    def size(self) -> int:
        """Bytes of the block."""
        return sum(_padded(dtype, shape) for _, dtype, shape in self.parts)

    def views(self, block: torch.Tensor) -> dict[str, torch.Tensor]:
        """The arrays in a block, without a copy.

        Args:
            block: Bytes, uint8 [size], on any device.
        """
        found, start = {}, 0
        for name, dtype, shape in self.parts:
            part = block[start : start + prod(shape) * dtype.itemsize]
            found[name] = part.view(dtype).view(shape)
            start += _padded(dtype, shape)
        return found


def packed(batch: Mapping[str, torch.Tensor], layout: Layout, *, pinned: bool) -> torch.Tensor:
    """A batch's arrays as one block on the CPU, uint8 [size].

    Args:
        batch: Arrays on the CPU.
        layout: Their layout.
        pinned: Whether the block is to lie in memory that a card reads by itself.
    """
    block = torch.empty(layout.size, dtype=torch.uint8, pin_memory=pinned)
    for name, place in layout.views(block).items():
        place.copy_(batch[name])
    return block


def moved(batch: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """A batch on a device; to a card in one copy, which nothing waits for."""
    if device.type != "cuda":
        return {name: tensor.to(device) for name, tensor in batch.items()}
    layout = Layout.of(batch)
    return layout.views(packed(batch, layout, pinned=True).to(device, non_blocking=True))


def _padded(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    size = prod(shape) * dtype.itemsize
    return -(-size // ALIGNMENT) * ALIGNMENT
