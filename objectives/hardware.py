"""Where a model computes, and how precisely."""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass

import torch

from spaces.errors import SpecError, first_line

# Of mallopt(3): give memory back above this, and take blocks above that from the system singly.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_FREED_BYTES = 1 << 30

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GRAPHS = ("auto", "on", "off")


@dataclass(frozen=True)
class Hardware:
    """A device and a precision.

    Attributes:
        device: Device: cpu, cuda or cuda:N.
        precision: Name in `PRECISIONS`; bfloat16 means autocast over float32 weights.
        graphs: Whether updates are recorded as CUDA graphs: auto (where an encoder allows it), on
            or off. No part of `kind`, as the same is computed.
    """

    device: torch.device
    precision: str
    graphs: str = "off"

    @property
    def kind(self) -> str:
        """Part of a stage's key that names the hardware, as in `cpu bfloat16`."""
        return f"{self.device.type} {self.precision}"

    @property
    def name(self) -> str:
        """Name of the device for people."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{self.device.type} ({torch.get_num_threads()} threads)"

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context for a forward pass."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
        )


def choose_hardware(
    device: str = "auto", precision: str = "auto", graphs: str = "auto"
) -> Hardware:
    """The hardware for `--device`, `--precision` and `--graphs`.

    Args:
        device: auto (CUDA if there is a card), cpu, cuda or cuda:N.
        precision: auto (bfloat16 where the device computes in it natively), float32, bfloat16.
        graphs: auto (on a card), on or off.

    Raises:
        SpecError: No such device here, no such precision, or graphs without a card.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = first_line(error)
        raise SpecError(
            "--device",
            "auto, cpu, cuda or cuda:N",
            f"{device!r}, which this machine cannot use: {reason}",
        ) from error
    if precision == "auto":
        precision = "bfloat16" if _computes_bfloat16(chosen) else "float32"
    if precision not in PRECISIONS:
        raise SpecError("--precision", f"auto, {' or '.join(PRECISIONS)}", f"{precision!r}")
    if graphs not in GRAPHS:
        raise SpecError("--graphs", "auto, on or off", f"{graphs!r}")
    if chosen.type != "cuda":
        if graphs == "on":
            raise SpecError("--graphs on", "a CUDA device", f"{chosen}", "leave it at auto")
        graphs = "off"
    return Hardware(chosen, precision, graphs)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; on a CPU it says so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to a gigabyte, for the next update.

    A CPU training frees its activations after each update and asks for as many again; glibc
    gives them back to the system meanwhile, which then zeroes them page by page: a tenth of the
    processor's time. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _FREED_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _FREED_BYTES)


def _computes_bfloat16(device: torch.device) -> bool:
    """By the device's instructions, not by a timing, which could differ from run to run.

    A CPU without them still runs bfloat16, slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def usable_cores() -> int:
    """CPU cores this process may use; fewer than the machine has under a batch system."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
