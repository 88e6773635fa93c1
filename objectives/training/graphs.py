"""Updates as CUDA graphs: recorded once per shape of batch, and launched as one from then on.

An update of a 12-layer encoder is about 1,100 kernels, which Python launches in some 27 ms, far
longer than a large card computes. A graph launches all of them at once. It reads its batch, the
learning rate and the optimizer's count of steps as tensors that stay where they are.

A shape is recorded at its third occurrence: the first two updates run plainly, which lets cuBLAS
and the allocator settle, and a shape that comes less often would not earn its recording. The
graphs of a stage take their memory from one pool; nothing in it outlives an update but its two
results, so that they may follow each other in any order.

Dropout: a graph reads torch's seed and offset when it is launched and moves the offset on as the
kernels themselves would, so that `torch.manual_seed` begins a stream anew for graphs, too, and an
update draws what it would have drawn without one.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache

import torch

from objectives.data.packing import Layout, packed
from objectives.hardware import is_out_of_memory
from spaces.errors import SpecError, first_line

RECORDED_AT = 3
# A stage has a shape per rounded width and number of rows; each graph keeps some megabytes.
MOST_GRAPHS = 32

_log = logging.getLogger(__name__)

Update = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
"""One whole update on a batch that is on the device: the loss and the gradient's norm, [2]."""


@dataclass(frozen=True)
class Recording:
    """A recorded update.

    Attributes:
        launch: Computes the update once more.
        result: Where each launch leaves the update's result, [2].
    """

    launch: Callable[[], None]
    result: torch.Tensor


Recorder = Callable[[Callable[[], torch.Tensor]], Recording]
"""Records what a function has a device do, without doing it."""


class CardRecorder:
    """Records CUDA graphs that share a pool of memory.

    Args:
        device: The card.
    """

    def __init__(self, device: torch.device) -> None:
        self._generator = torch.cuda.default_generators[
            torch.cuda.current_device() if device.index is None else device.index
        ]
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Callable[[], torch.Tensor]) -> Recording:
        """Record a graph; after a failure the device is as it was before."""
        graph = torch.cuda.CUDAGraph()
        before, stream = self._generator.get_state(), torch.cuda.current_stream(self._device)
        try:
            with (
                torch.cuda.device(self._device),
                torch.cuda.graph(graph, pool=self._pool, stream=self._stream),
            ):
                result = compute()
        except BaseException:  # whatever it is, the device is put right: passed on
            # A recording that broke off leaves its stream current, and the generator waiting for
            # its end.
            torch.cuda.set_stream(stream)
            fresh = torch.Generator(self._device)
            self._generator.graphsafe_set_state(fresh.graphsafe_get_state())
            self._generator.set_state(before)
            raise
        return Recording(graph.replay, result)


@dataclass
class RecordedUpdates:
    """The recorded updates of one stage.

    Attributes:
        record: Records an update.
        device: Where batches are computed.
        required: Whether a recording that fails ends the training; else the stage goes on without
            graphs, and says so.
        recordings: Task and layout of the batch -> its fixed block on the device and its
            recording; None where there was no memory for one.
    """

    record: Recorder
    device: torch.device
    required: bool = False
    recordings: dict[Hashable, tuple[torch.Tensor, Recording] | None] = field(default_factory=dict)
    _seen: Counter[Hashable] = field(default_factory=Counter)
    _broken: bool = False

    def run(
        self, task: int, batch: Mapping[str, torch.Tensor], update: Update
    ) -> torch.Tensor | None:
        """The loss and the gradient's norm of an update, [2]; None where it is to run plainly.

        Args:
            task: Number of the model that the batch is for.
            batch: Arrays on the CPU; what differs between updates is in them.
            update: One whole update.

        Raises:
            SpecError: The recording failed, and graphs are required.
        """
        layout = Layout.of(batch)
        key = (task, layout)
        self._seen[key] += 1
        if key not in self.recordings and self._is_worth_it(key):
            self.recordings[key] = self._recorded(layout, update)
        known = self.recordings.get(key)
        if known is None:
            return None
        block, recording = known
        fresh = packed(batch, layout, pinned=self.device.type == "cuda")
        block.copy_(fresh, non_blocking=True)
        recording.launch()
        return recording.result.clone()

    def _is_worth_it(self, key: Hashable) -> bool:
        return (
            not self._broken
            and self._seen[key] >= RECORDED_AT
            and len(self.recordings) < MOST_GRAPHS
        )

    def _recorded(self, layout: Layout, update: Update) -> tuple[torch.Tensor, Recording] | None:
        block = torch.zeros(layout.size, dtype=torch.uint8, device=self.device)
        views = layout.views(block)
        try:
            return block, self.record(lambda: update(views))
        except RuntimeError as error:
            if is_out_of_memory(error):
                return None
            reason = first_line(error)
            if self.required:
                raise SpecError(
                    "--graphs on",
                    "an encoder whose updates can be recorded",
                    reason,
                    "leave it at auto",
                ) from error
            self._broken = True
            say_once(f"this encoder is trained without CUDA graphs: {reason}")
            return None


@cache
def say_once(line: str) -> None:
    """Log a line, in this process not again: every stage of an encoder would say the same."""
    _log.warning("%s", line)
