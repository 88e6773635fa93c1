"""Fine-tuning: one stage of a recipe, in plain torch.

What decides the weights is in the arguments; the same arguments give the same weights bit for
bit on a CPU with the same number of threads. Whoever changes what comes out raises
TRAINING_VERSION, which is part of every stage's key.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import nn

from objectives.data.batching import MASK_SHARE, collate, mask_tokens, mixed_order, widened
from objectives.data.encoding import EncodedSplit
from objectives.runner import Runner
from objectives.training.device_path import DevicePath, path_of
from objectives.training.updates import Updates
from objectives.training.used_rows import trimmed_vocabulary
from spaces.errors import DivergedError
from spaces.recipe import Schedule, Stage

TRAINING_VERSION = 5

# Updates between looks at the losses: on a GPU each look waits for all work in flight.
CHECK_EVERY = 10


@dataclass(frozen=True)
class TrainingState:
    """State of a training, besides the encoder's weights, from which it can be continued exactly.

    The random numbers need no place in it: they start anew with each epoch.

    Attributes:
        epochs: Passes over the examples already trained.
        tensors: `weight.NAME` -> each parameter of the head, and `ENTRY.NAME` -> each entry
            that the optimizer keeps of a parameter, embeddings cut to the rows in use.
    """

    epochs: int
    tensors: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Training:
    """The cost and the losses of one call of `finetune`.

    Attributes:
        updates: Optimizer steps taken by the call.
        seconds: Wall time of the call.
        losses: Mean loss of each update of the call, [updates].
        state: State from which a longer training can be continued.
    """

    updates: int
    seconds: float
    losses: tuple[float, ...]
    state: TrainingState

    def losses_by_epoch(self, epochs: int) -> list[float]:
        """Mean loss of each epoch.

        Args:
            epochs: Number of epochs that the call trained.
        """
        size = self.updates // epochs
        return [fmean(self.losses[i : i + size]) for i in range(0, self.updates, size)]


def finetune(
    parts: Sequence[tuple[nn.Module, EncodedSplit]],
    stage: Stage,
    seed: int,
    runner: Runner,
    state: TrainingState | None = None,
    path: DevicePath | None = None,
) -> Training:
    """Train models in place on one stage, without a pause; as `finetune_with_pauses` does it."""
    (training,) = finetune_with_pauses(parts, [stage], seed, runner, state, path)
    return training


def finetune_with_pauses(
    parts: Sequence[tuple[nn.Module, EncodedSplit]],
    stages: Sequence[Stage],
    seed: int,
    runner: Runner,
    state: TrainingState | None = None,
    path: DevicePath | None = None,
) -> Iterator[Training]:
    """Train models in place on one stage, and pause after some numbers of epochs.

    It is one training, whose optimizer, graphs and smaller embeddings are made once. What it
    makes by a pause is what a training that ends there makes, bit for bit on a CPU.

    Args:
        parts: Models, whose parameters that require a gradient are trained, and the examples of
            each that it trains on: one, or for a mixture several that share the first one's
            encoder. Each batch is of one task. Where the training goes on from `state`, the
            encoder has the weights that it had then.
        stages: The stage at each number of epochs to pause after, rising, and alike in all else:
            learning rate, batch size, warm-up and schedule. Several need `Schedule.CONSTANT`.
        seed: Random seed of dropout and of the order of the batches.
        runner: Hardware, padding, and the listener told of each update, and of how many there are
            up to the last pause.
        state: State of a shorter training of the same stage to go on from; the stage must have
            `Schedule.CONSTANT` and more epochs. None trains from the beginning.
        path: How the device is used; None for what suits the runner's.

    Yields:
        What the training came to since the pause before; in each pause the models are whole, to
        be looked at but not to be changed, and the state is good until the next.

    Raises:
        DivergedError: A loss is not finite; names the first such update.
        DeviceMemoryError: Not even one example fits on the device.
    """
    started = time.perf_counter()
    longest, device = stages[-1], runner.hardware.device
    if longest.schedule is not Schedule.CONSTANT and (state is not None or len(stages) > 1):
        raise ValueError(f"a stage of schedule {longest.schedule} has no shorter prefix")
    path = path or path_of(runner.hardware)
    models = [model for model, _ in parts]
    for each in models:
        each.to(device)
    vocabulary = trimmed_vocabulary(models[0], [split for _, split in parts], runner.padding)
    with vocabulary.in_model():
        parameters = _parameters(models)
    trained = [parameter for parameter in parameters.values() if parameter.requires_grad]
    optimizer = path.optimizer(trained, longest.learning_rate, device)
    first_epoch = 0
    if state is not None:
        first_epoch = state.epochs
        _restore(state, parameters, optimizer)
    masters = path.masters_of(models)
    update = Updates(
        models, trained, optimizer, runner.hardware, masters, path.recorded_updates(device)
    )
    splits, padding = vocabulary.splits, vocabulary.padding
    lengths = [part.lengths for part in splits]
    updates_per_epoch = sum(-(-len(part) // longest.batch_size) for part in splits)
    updates = longest.epochs * updates_per_epoch
    done = first_epoch * updates_per_epoch
    for stage in stages:
        losses: list[torch.Tensor] = []
        norms: list[torch.Tensor] = []
        with vocabulary.in_model(), path.prepared(models, masters):
            for each in models:
                each.train()
            for epoch in range(first_epoch, stage.epochs):
                # One stream of random numbers per epoch: an epoch does not depend on how many
                # came before it in this process.
                torch.manual_seed(_epoch_seed(seed, epoch))
                for task, examples in mixed_order(lengths, stage.batch_size, seed, epoch):
                    update.set_rate(
                        stage.learning_rate * rate_factor(done, updates, updates_per_epoch, stage)
                    )
                    part = splits[task]
                    batch = collate(part, part.rows_of(examples), padding)
                    masked = part.labels is None
                    if masked:
                        mask_tokens(batch, padding, MASK_SHARE, (seed, epoch, done))
                    batch = widened(batch, path.width(batch, stage.max_length), padding)
                    loss, norm = update(task, batch, masked=masked)
                    losses.append(loss)
                    norms.append(norm)
                    done += 1
                    if done % CHECK_EVERY == 0 or done == stage.epochs * updates_per_epoch:
                        _check_finite(losses, norms, done)
                    runner.on_batch(done, updates)
        first_epoch = stage.epochs
        encoder = f"{getattr(models[0], 'base_model_prefix', '')}."
        state = TrainingState(stage.epochs, _tensors(parameters, encoder, optimizer))
        seconds = time.perf_counter() - started
        yield Training(len(losses), seconds, tuple(torch.stack(losses).tolist()), state)
        started = time.perf_counter()


def rate_factor(done: int, updates: int, updates_per_epoch: int, stage: Stage) -> float:
    """Share of the peak learning rate for the update after `done` ones, in (0, 1]."""
    warm = updates if stage.schedule is Schedule.LINEAR else updates_per_epoch
    warmup = math.ceil(stage.warmup_ratio * warm)
    if done < warmup:
        return (done + 1) / (warmup + 1)
    if stage.schedule is Schedule.CONSTANT:
        return 1.0
    return (updates - done) / (updates - warmup)


def _parameters(models: Sequence[nn.Module]) -> dict[str, nn.Parameter]:
    """All parameters, each once: of a mixture's further heads as `1/NAME`, `2/NAME`, ..."""
    parameters = dict(models[0].named_parameters())
    known = {id(parameter) for parameter in parameters.values()}
    for number, model in enumerate(models[1:], start=1):
        for name, parameter in model.named_parameters():
            if id(parameter) not in known:
                parameters[f"{number}/{name}"] = parameter
    return parameters


def _tensors(
    parameters: Mapping[str, nn.Parameter], encoder: str, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, parameter in parameters.items():
        if not name.startswith(encoder):
            tensors[f"weight.{name}"] = parameter.detach()
        for entry, tensor in optimizer.state.get(parameter, {}).items():
            tensors[f"{entry}.{name}"] = tensor
    return tensors


def _restore(
    state: TrainingState,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    for place, tensor in state.tensors.items():
        entry, _, name = place.partition(".")
        parameter = parameters[name]
        if entry == "weight":
            with torch.no_grad():
                parameter.copy_(tensor)
        else:
            optimizer.state[parameter][entry] = tensor.to(parameter.device, copy=True)


def _check_finite(losses: list[torch.Tensor], norms: list[torch.Tensor], done: int) -> None:
    """Look at the last updates; gradients too, or the last one could break the weights unseen."""
    first = max(0, len(losses) - CHECK_EVERY)
    recent = torch.stack([torch.stack(losses[first:]), torch.stack(norms[first:])])
    broken = (~torch.isfinite(recent)).any(0)
    if bool(broken.any()):
        place = int(broken.nonzero()[0])
        loss, norm = recent[:, place].tolist()
        raise DivergedError(
            f"training diverged at update {done - len(losses) + first + place + 1}",
            "a finite loss and gradient",
            f"loss {loss:g}, gradient norm {norm:g}",
        )


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
