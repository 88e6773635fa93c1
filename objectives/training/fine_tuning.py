"""Fine-tuning: one stage of a recipe, in plain torch.

What decides the weights is in the arguments; the same arguments give the same weights bit for
bit on a CPU with the same number of threads. Whoever changes what comes out raises
TRAINING_VERSION, which is part of every stage's key.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from objectives.data.batching import MASK_SHARE, collate, mask_tokens, mixed_order, widened
from objectives.data.encoding import IGNORED, EncodedSplit
from objectives.data.packing import moved
from objectives.hardware import Hardware, is_out_of_memory
from objectives.runner import Runner
from objectives.training.device_path import DevicePath, path_of
from objectives.training.graphs import RecordedUpdates
from objectives.training.hidden_places import hidden_logits, hidden_places
from objectives.training.masters import Masters
from objectives.training.used_rows import trimmed_vocabulary
from spaces.errors import DeviceMemoryError, DivergedError
from spaces.recipe import Schedule, Stage

TRAINING_VERSION = 4

# Sub-words, padding included, that go through the model at once; a larger batch is accumulated.
TOKEN_BUDGET = 16_384
# Updates between looks at the losses: on a GPU each look waits for all work in flight.
CHECK_EVERY = 10
MAX_GRADIENT_NORM = 1.0


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
    mask_share: float = MASK_SHARE,
    state: TrainingState | None = None,
    path: DevicePath | None = None,
) -> Training:
    """Train a model in place, or the models of a mixture together.

    Args:
        parts: Models from `build_model`, moved to the device, each with the encoded examples
            that it trains on: one, or for a mixture several that share the first one's encoder.
            Each batch is of one task. Where the training goes on from `state`, the encoder has
            the weights that it had then.
        stage: Epochs, learning rate, batch size, warm-up and schedule of the training.
        seed: Random seed of dropout and of the order of the batches.
        runner: Hardware, padding, and the listener told of each update.
        mask_share: Share of sub-words hidden in masked language modelling, in (0, 1).
        state: State of a shorter training of the same stage to go on from; the stage must have
            `Schedule.CONSTANT` and more epochs. None trains from the beginning.
        path: How the device is used; None for what suits the runner's.

    Raises:
        DivergedError: A loss is not finite; names the first such update.
        DeviceMemoryError: Not even one example fits on the device.
    """
    started = time.perf_counter()
    path = path or path_of(runner.hardware)
    models = [model for model, _ in parts]
    for each in models:
        each.to(runner.hardware.device).train()
    splits = [split for _, split in parts]
    with ExitStack() as stack:
        splits, padding = stack.enter_context(
            trimmed_vocabulary(models[0], splits, runner.padding)
        )
        parameters = _parameters(models)
        trained = [parameter for parameter in parameters.values() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            trained,
            lr=path.rate(stage.learning_rate, runner.hardware.device),
            weight_decay=0.0,
            fused=True,
            capturable=path.capturable,
        )
        updates_per_epoch = sum(-(-len(part) // stage.batch_size) for part in splits)
        updates = stage.epochs * updates_per_epoch
        first_epoch = 0
        if state is not None:
            if stage.schedule is not Schedule.CONSTANT:
                raise ValueError(f"a stage of schedule {stage.schedule} has no shorter prefix")
            first_epoch = state.epochs
            _restore(state, parameters, optimizer)
        done = first_epoch * updates_per_epoch
        losses: list[torch.Tensor] = []
        norms: list[torch.Tensor] = []
        masters = stack.enter_context(path.prepared(models))
        recorded = path.recorded_updates(runner.hardware.device)
        update = _Updates(models, trained, optimizer, runner.hardware, masters, recorded)
        lengths = [part.lengths for part in splits]
        for epoch in range(first_epoch, stage.epochs):
            # One stream of random numbers per epoch: an epoch does not depend on how many came
            # before it in this process.
            torch.manual_seed(_epoch_seed(seed, epoch))
            for task, examples in mixed_order(lengths, stage.batch_size, seed, epoch):
                update.set_rate(
                    stage.learning_rate * rate_factor(done, updates, updates_per_epoch, stage)
                )
                part = splits[task]
                batch = collate(part, part.rows_of(examples), padding)
                masked = part.labels is None
                if masked:
                    mask_tokens(batch, padding, mask_share, (seed, epoch, done))
                batch = widened(batch, path.width(batch, stage.max_length), padding)
                loss, norm = update(task, batch, masked=masked)
                losses.append(loss)
                norms.append(norm)
                done += 1
                if done % CHECK_EVERY == 0 or done == updates:
                    _check_finite(losses, norms, done)
                runner.on_batch(done, updates)
        encoder = f"{getattr(models[0], 'base_model_prefix', '')}."
        state = TrainingState(stage.epochs, _tensors(parameters, encoder, optimizer))
    seconds = time.perf_counter() - started
    return Training(len(losses), seconds, tuple(torch.stack(losses).tolist()), state)


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


def span_loss(logits: torch.Tensor, spans: torch.Tensor) -> torch.Tensor:
    """Summed cross entropy of beginnings and ends over the places of a window, halved.

    As Devlin et al. 2019, section 4.2, and the models of transformers.

    Args:
        logits: [b, s, 2].
        spans: Places in [0, s), [b, 2].
    """
    return functional.cross_entropy(logits.float(), spans, reduction="sum") / 2


def model_logits(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Logits of a model: [b, s, c] per sub-word, [b, c] per row, [b, s, 2] for answer spans."""
    outputs = model(**inputs)
    if "start_logits" in outputs:
        return torch.stack((outputs.start_logits, outputs.end_logits), -1)
    logits: torch.Tensor = outputs.logits
    return logits


@dataclass
class _Updates:
    """The updates of one stage: gradients of a batch's mean loss, clipped, and a step.

    Attributes:
        models: Model of each task.
        trained: Parameters that the optimizer changes.
        optimizer: Optimizer of the stage.
        hardware: Device and precision.
        masters: Float32 weights beside those that the models compute with.
        recorded: Updates that were recorded; None where none is to be.
        budget: Sub-words, padding included, that memory allows at once.
    """

    models: Sequence[nn.Module]
    trained: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer
    hardware: Hardware
    masters: Masters
    recorded: RecordedUpdates | None
    budget: int = field(default_factory=lambda: TOKEN_BUDGET)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the updates to come."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)  # in place, where graphs read it
            else:
                group["lr"] = rate

    def __call__(
        self, task: int, batch: Mapping[str, torch.Tensor], *, masked: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One update.

        Args:
            task: Number of the model that the batch is for.
            batch: Batch from `collate`, with labels.
            masked: Whether the labels are of masked language modelling.

        Returns:
            The mean loss before the update, [], and the norm of its gradient, [].
        """
        batch = {**batch, "counted": torch.tensor(float(max(1, _labels_in(batch))))}
        rows, width = batch["input_ids"].shape
        if self.recorded is not None and rows * width <= self.budget:
            whole = _with_places(batch) if masked else batch
            result = self.recorded.run(task, whole, partial(self._whole, task))
            if result is not None:
                return result[0], result[1]
        loss = self._backward(self.models[task], batch, masked=masked)
        return loss, self._step()

    def _whole(self, task: int, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """An update on a batch that fits and is on the device: loss and gradient norm, [2]."""
        try:
            loss = _mean_loss(self.models[task], inputs, self.hardware)
            loss.backward()
            self.masters.collect()
            return torch.stack((loss.detach(), self._step()))
        except RuntimeError:
            self._forget_gradients()
            raise

    def _step(self) -> torch.Tensor:
        norm = torch.nn.utils.clip_grad_norm_(self.trained, MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.masters.publish()
        return norm

    def _backward(
        self, model: nn.Module, batch: Mapping[str, torch.Tensor], *, masked: bool
    ) -> torch.Tensor:
        """Gradients of the mean loss over the batch's labels; the loss.

        A batch over the budget goes through in pieces. The sum over pieces is divided by the
        labels of the whole batch, so that cutting does not change what is computed.
        """
        device = self.hardware.device
        rows, width = batch["input_ids"].shape
        while True:
            size = min(rows, max(1, self.budget // width))
            try:
                total = torch.zeros((), device=device)
                for start in range(0, rows, size):
                    piece = {
                        k: v[start : start + size] if v.dim() else v for k, v in batch.items()
                    }
                    if masked:
                        piece = _with_places(piece)
                    loss = _mean_loss(model, moved(piece, device), self.hardware)
                    loss.backward()
                    self.masters.collect()
                    total += loss.detach()
                return total
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
            # Outside of the handler, so that its traceback no longer holds the activations.
            self._forget_gradients()
            if device.type == "cuda":
                torch.cuda.empty_cache()
            if size == 1:
                raise DeviceMemoryError(
                    f"out of memory on {device} with one example of {width} sub-words",
                    found=reason,
                    advice="lower max_length or take a larger device",
                )
            self.budget = size // 2 * width

    def _forget_gradients(self) -> None:
        self.optimizer.zero_grad()
        for model in self.models:
            model.zero_grad()


def _mean_loss(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], hardware: Hardware
) -> torch.Tensor:
    """The summed loss of a piece over the labels of its whole batch, []."""
    inputs = dict(inputs)
    counted, spans = inputs.pop("counted"), inputs.pop("spans", None)
    labels, loss_of = (inputs.pop("labels"), batch_loss) if spans is None else (spans, span_loss)
    places = inputs.pop("places", None)
    with hardware.autocast():
        if places is None:
            logits = model_logits(model, inputs)
        else:
            logits = hidden_logits(model, inputs, places)
    return loss_of(logits, labels) / counted


def _with_places(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A batch of masked language modelling with `places`, [n], and the labels there, [n]."""
    places, labels = hidden_places(batch["labels"])
    return {**batch, "labels": labels, "places": places}


def _labels_in(batch: Mapping[str, torch.Tensor]) -> int:
    """Labels that a batch's loss is the mean over."""
    if "spans" in batch:  # a span counts once per row
        return len(batch["spans"])
    # IGNORED is no score.
    return int((batch["labels"] != IGNORED).sum())


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
