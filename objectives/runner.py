"""How batches go through a model: shared by training, prediction and scoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from objectives.data.batching import Padding
from objectives.hardware import Hardware

OnBatch = Callable[[int, int], None]
"""Listener told of batches done and in all; what it raises ends the pass."""


def ignore_batches(done: int, total: int) -> None:
    """Listener to batches that does nothing."""


@dataclass(frozen=True)
class Runner:
    """Everything a pass over examples needs besides the model and the examples.

    Attributes:
        hardware: Device and precision of the computation.
        padding: Padding that the model's tokenizer asks for.
        on_batch: Listener called after each batch with the work done and in all: optimizer
            updates while training, rows while predicting.
    """

    hardware: Hardware
    padding: Padding
    on_batch: OnBatch = ignore_batches
