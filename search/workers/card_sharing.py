"""Several workers on one card: how many fit, and NVIDIA's service that lets them compute at once.

Without the service the card takes turns between processes, and a small encoder leaves most of it
idle in its turn (https://docs.nvidia.com/deploy/mps/). Nothing here touches CUDA: a process is
a client of the service only if it finds it when CUDA starts in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open

from objectives.hardware import usable_cores
from spaces.errors import SpecError, first_line
from spaces.records import expanded

# A worker's CUDA context, kernels and libraries.
FIXED_BYTES = 1 << 30
# Of a parameter: float32 weight, the one that it began with and the pretrained one, gradient and
# two moments of Adam, the bfloat16 leaf, and 14 for activations.
BYTES_PER_PARAMETER = 40
# An encoder whose files are not here yet counts as XLM-R large.
UNKNOWN_PARAMETERS = 560_000_000
# More than that do not fill a card better.
MOST_WORKERS = 8
_PIPE, _LOG = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
_SECONDS = 30


def workers_by_memory(backbones: Sequence[str], cards: int) -> tuple[int, str]:
    """Number of workers for each card, and why, in words.

    It is free memory divided by what a worker needs, 1 GiB and 40 bytes for each parameter of the
    largest encoder, and at least 1, at most 8 and at most the CPU cores for each card.

    Args:
        backbones: Encoders of the study: folders, or names on the Hub.
        cards: Number of cards.

    Raises:
        SpecError: Nothing says how much memory is free.
    """
    free = _free_bytes()
    parameters = max(map(_parameters, backbones))
    need = FIXED_BYTES + BYTES_PER_PARAMETER * parameters
    workers = max(1, min(free // need, usable_cores() // cards, MOST_WORKERS))
    reason = (
        f"{free / 2**30:.0f} GiB are free, {need / 2**30:.1f} GiB for a worker at "
        f"{parameters / 1e6:.0f} M parameters, {usable_cores()} CPU cores"
    )
    return workers, reason


@contextmanager
def shared_cards(workers: int, device: str, on_line: Callable[[str], None]) -> Iterator[None]:
    """Let workers that share cards compute at once while the context is entered.

    Enter it before CUDA starts in this process. Processes started within inherit it. Of a run that
    is killed the service stays, without work.

    Args:
        workers: Workers of the run on this machine.
        device: auto, cpu, cuda or cuda:N.
        on_line: Listener told, in a line, how the cards are shared; not where none is.
    """
    cards = 1 if ":" in device else torch.cuda.device_count()
    if device == "cpu" or torch.cuda.device_count() == 0 or workers <= cards:
        yield
        return
    with multi_process_service() as environment:
        if environment is None:
            on_line(
                f"{workers} workers take turns on {_counted(cards)}: no "
                f"nvidia-cuda-mps-control that starts is here"
            )
            yield
            return
        on_line(f"{workers} workers share {_counted(cards)} by NVIDIA MPS")
        os.environ.update(environment)
        try:
            yield
        finally:
            for name in environment:
                del os.environ[name]


@contextmanager
def multi_process_service() -> Iterator[dict[str, str] | None]:
    """NVIDIA's Multi-Process Service, running while the context is entered.

    Yields:
        Variables that processes need to use it: none where whoever manages the machine has set
        it up, None where it is not installed or does not start.
    """
    if _PIPE in os.environ:
        yield {}
        return
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
        variables = {_PIPE: f"{folder}/pipe", _LOG: f"{folder}/log"}
        for place in variables.values():
            Path(place).mkdir()
        environment = {**os.environ, **variables}
        if not _runs([control, "-d"], "", environment):
            yield None
            return
        try:
            yield variables
        finally:
            _runs([control], "quit\n", environment)


def _runs(command: Sequence[str], words: str, environment: dict[str, str]) -> bool:
    """Whether a command ends well."""
    try:
        done = subprocess.run(
            command,
            input=words,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _free_bytes() -> int:
    """Free memory of the card that has least of it, by NVIDIA's tool, which starts no CUDA."""
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        query.append(f"--id={visible}")
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS, check=True)
        return min(int(line) << 20 for line in said.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise SpecError(
            "--workers-per-gpu auto",
            "nvidia-smi, to say how much memory is free",
            first_line(error),
            "name a number",
        ) from error


def _parameters(backbone: str) -> int:
    """Parameters of an encoder, by the shapes in its files."""
    files = list(expanded(backbone).glob("*.safetensors"))
    if not files:
        return UNKNOWN_PARAMETERS
    total = 0
    for file in files:
        with safe_open(file, framework="np") as weights:
            names = weights.keys()
            total += sum(prod(weights.get_slice(name).get_shape()) for name in names)
    return total


def _counted(cards: int) -> str:
    return "a card" if cards == 1 else f"{cards} cards"
