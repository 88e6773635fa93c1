"""Fine-tuning: one stage of a recipe, in plain torch.

What decides the weights is in the arguments; the same arguments give the same weights bit for
bit on a CPU with the same number of threads. Whoever changes what comes out raises
TRAINING_VERSION, which is part of every stage's key.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.batching import MASK_SHARE, Padding, collate, epoch_order, mask_tokens
from objectives.encoding import IGNORED, EncodedSplit
from objectives.hardware import Hardware
from objectives.vocabulary import trimmed_vocabulary
from spaces.errors import DeviceMemoryError, DivergedError
from spaces.recipe import Schedule, Stage

TRAINING_VERSION = 1

# Sub-words, padding included, that go through the model at once; a larger batch is accumulated.
TOKEN_BUDGET = 16_384
# Updates between looks at the losses: on a GPU each look waits for all work in flight.
CHECK_EVERY = 10
MAX_GRADIENT_NORM = 1.0

OnUpdate = Callable[[int, int], None]
"""Called after each update with updates done and in all; may raise to end the stage."""


@dataclass(frozen=True)
class Training:
    """What a training cost and came to.

    Attributes:
        updates: Optimizer steps.
        seconds: Wall time.
        losses: Mean loss of each update, [updates].
    """

    updates: int
    seconds: float
    losses: tuple[float, ...]


def finetune(
    model: nn.Module,
    split: EncodedSplit,
    stage: Stage,
    padding: Padding,
    seed: int,
    hardware: Hardware,
    on_update: OnUpdate,
    mask_share: float = MASK_SHARE,
) -> Training:
    """Train a model in place.

    Args:
        model: From `build_model`; moved to the device.
        split: The encoded training examples.
        stage: Epochs, rate, batch size, warm-up, schedule.
        padding: Of the backbone's tokenizer.
        seed: Of dropout and of the order of the batches.
        hardware: Device and precision.
        on_update: Called after each update.
        mask_share: Share of sub-words hidden in masked language modelling, in (0, 1).

    Raises:
        DivergedError: A loss is not finite; names the first such update.
        DeviceMemoryError: Not even one example fits on the device.
    """
    started = time.perf_counter()
    model.to(hardware.device).train()
    with trimmed_vocabulary(model, split, padding.token_id) as split:
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=stage.learning_rate, weight_decay=0.0, fused=True
        )
        updates_per_epoch = -(-len(split) // stage.batch_size)
        updates = stage.epochs * updates_per_epoch
        losses: list[torch.Tensor] = []
        norms: list[torch.Tensor] = []
        budget = TOKEN_BUDGET
        for epoch in range(stage.epochs):
            # One stream of random numbers per epoch: an epoch does not depend on how many came
            # before it in this process.
            torch.manual_seed(_epoch_seed(seed, epoch))
            for rows in epoch_order(split.lengths, stage.batch_size, seed, epoch):
                done = len(losses)
                for group in optimizer.param_groups:
                    group["lr"] = stage.learning_rate * rate_factor(
                        done, updates, updates_per_epoch, stage
                    )
                batch = collate(split, rows, padding)
                if split.labels is None:
                    mask_tokens(batch, padding, mask_share, (seed, epoch, done))
                loss, budget = _backward(model, batch, hardware, budget)
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss)
                norms.append(norm)
                if len(losses) % CHECK_EVERY == 0 or len(losses) == updates:
                    _check_finite(losses, norms)
                on_update(len(losses), updates)
    return Training(
        len(losses), time.perf_counter() - started, tuple(torch.stack(losses).tolist())
    )


def rate_factor(done: int, updates: int, updates_per_epoch: int, stage: Stage) -> float:
    """Share of the peak learning rate for the update after `done` ones, in (0, 1]."""
    warm = updates if stage.schedule is Schedule.LINEAR else updates_per_epoch
    warmup = math.ceil(stage.warmup_ratio * warm)
    if done < warmup:
        return (done + 1) / (warmup + 1)
    if stage.schedule is Schedule.CONSTANT:
        return 1.0
    return (updates - done) / (updates - warmup)


def batch_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed loss, float32 []: cross entropy over labels of integers, else squared error.

    Args:
        logits: [b, s, c] with labels [b, s], [b, c] with labels [b], or [b, 1] with scores [b].
        labels: `IGNORED` where there is none.
    """
    logits = logits.float()
    if labels.dtype.is_floating_point:
        return functional.mse_loss(logits.squeeze(-1), labels, reduction="sum")
    return functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def _backward(
    model: nn.Module, batch: dict[str, torch.Tensor], hardware: Hardware, budget: int
) -> tuple[torch.Tensor, int]:
    """Gradients of the mean loss over the batch's labels, and the budget that memory allowed.

    A batch over the budget goes through in pieces. The sum over pieces is divided by the labels
    of the whole batch, so that cutting does not change what is computed.
    """
    labels = batch["labels"]
    counted = labels.numel() if labels.dtype.is_floating_point else int((labels != IGNORED).sum())
    rows, width = batch["input_ids"].shape
    while True:
        size = min(rows, max(1, budget // width))
        try:
            total = torch.zeros((), device=hardware.device)
            for start in range(0, rows, size):
                piece = {k: v[start : start + size] for k, v in batch.items()}
                inputs = {k: _moved(v, hardware.device) for k, v in piece.items()}
                wanted = inputs.pop("labels")
                with hardware.autocast():
                    logits = model(**inputs).logits
                loss = batch_loss(logits, wanted) / max(1, counted)
                loss.backward()
                total += loss.detach()
            return total, budget
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        # Outside of the handler, so that its traceback no longer holds the activations.
        model.zero_grad()
        if hardware.device.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            raise DeviceMemoryError(
                f"out of memory on {hardware.device} with one example of {width} sub-words: "
                f"{reason}"
            )
        budget = size // 2 * width


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; on a CPU it says so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _check_finite(losses: list[torch.Tensor], norms: list[torch.Tensor]) -> None:
    """Look at the last updates; gradients too, or the last one could break the weights unseen."""
    first = max(0, len(losses) - CHECK_EVERY)
    recent = torch.stack([torch.stack(losses[first:]), torch.stack(norms[first:])])
    broken = (~torch.isfinite(recent)).any(0)
    if bool(broken.any()):
        place = int(broken.nonzero()[0])
        loss, norm = recent[:, place].tolist()
        raise DivergedError(
            f"diverged: loss {loss:g}, gradient norm {norm:g} at update {first + place + 1}"
        )


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
