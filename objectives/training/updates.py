"""One update: the loss of a batch, its gradients in pieces that fit, clipped, and a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from objectives.data.encoding import IGNORED
from objectives.data.packing import moved
from objectives.hardware import Hardware, is_out_of_memory
from objectives.training.graphs import RecordedUpdates
from objectives.training.hidden_places import hidden_logits, hidden_places
from objectives.training.masters import Masters
from spaces.errors import DeviceMemoryError, first_line

# Sub-words, padding included, that go through the model at once; a larger batch is accumulated.
TOKEN_BUDGET = 16_384
MAX_GRADIENT_NORM = 1.0


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
class Updates:
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
                reason = first_line(error)
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
