"""Which device and precision a run takes, and how a wrong one is answered."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from objectives.hardware import Hardware, choose_hardware
from spaces.errors import SpecError
from tests.raising import raises


def test_what_is_asked_for_is_taken_or_what_there_is() -> None:
    hardware = choose_hardware("cpu", "float32")
    assert (hardware.kind, hardware.name) == ("cpu float32", "cpu (1 threads)")
    assert choose_hardware("cpu", "bfloat16").kind == "cpu bfloat16"
    assert choose_hardware().device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    with raises(SpecError, expected="auto, float32 or bfloat16", found="'half'"):
        choose_hardware("cpu", "half")
    with raises(SpecError, expected="auto, on or off", found="'maybe'"):
        choose_hardware("cpu", graphs="maybe")


def test_graphs_are_of_a_card_and_no_part_of_what_is_learnt() -> None:
    assert choose_hardware("cpu").graphs == choose_hardware("cpu", graphs="off").graphs == "off"
    with raises(SpecError, subject="--graphs on", expected="a CUDA device", found="cpu"):
        choose_hardware("cpu", graphs="on")
    card = torch.device("cuda")
    assert Hardware(card, "bfloat16", "on").kind == Hardware(card, "bfloat16").kind


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "two words"])
def test_a_device_that_is_not_here_is_named(device: str) -> None:
    with raises(
        SpecError, subject="--device", expected="auto, cpu, cuda or cuda:N", found=repr(device)
    ) as caught:
        choose_hardware(device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_a_forward_pass_computes_in_the_precision(precision: str, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(4, 4)
    with choose_hardware("cpu", precision).autocast():
        assert layer(torch.ones(2, 4)).dtype is dtype
    assert layer.weight.dtype is torch.float32


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of the C library of Linux")
def test_freed_memory_is_kept_for_the_next_update() -> None:
    """Page faults of a large block that is taken again and again, in a process of its own."""
    script = """
import resource, torch
from objectives.hardware import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(16_000_000 // 4).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
torch.set_num_threads(1)
first = faults()
keep_freed_memory()
faults()
print(first, faults())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert after < before / 2
