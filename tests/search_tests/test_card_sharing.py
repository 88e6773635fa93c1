"""Workers that share cards: how many there are, and NVIDIA's service beside them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from search.workers import card_sharing
from search.workers.card_sharing import multi_process_service, shared_cards, workers_by_memory
from search.workers.local_processes import count_workers
from spaces.errors import SpecError
from tests.raising import raises

# Notes how it was called, with what on its input and where its pipe is.
CONTROL = """#!/bin/sh
echo "$*|$(cat)|$CUDA_MPS_PIPE_DIRECTORY" >> {log}
exit {code}
"""


@pytest.fixture
def executables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with programs besides the system's; two cards are pretended."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(card_sharing, "usable_cores", lambda: 12)
    return folder


@pytest.fixture
def install(executables: Path) -> Callable[[str, str], None]:
    """Put a program on the path."""

    def put(name: str, script: str) -> None:
        (executables / name).write_text(script)
        (executables / name).chmod(0o755)

    return put


def shown(mebibytes: str) -> str:
    return f'#!/bin/sh\necho "$*" >> "$0.log"\nprintf "{mebibytes}"\n'


def encoder(folder: Path, parameters: int) -> str:
    folder.mkdir()
    save_file({"weight": torch.zeros(parameters // 1000, 1000)}, folder / "model.safetensors")
    return str(folder)


# --- how many


def test_workers_are_counted_by_the_memory_of_the_fullest_card(
    executables: Path,
    install: Callable[[str, str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small, large = encoder(tmp_path / "s", 1_000_000), encoder(tmp_path / "l", 20_000_000)
    install("nvidia-smi", shown(r"81000\n5400\n"))
    # 1 GiB and 40 bytes for each of 20 M parameters are 1.75 GiB; 5,400 MiB hold three.
    workers, reason = workers_by_memory([small, large], 2)
    assert workers == 3
    assert reason == ("5 GiB are free, 1.7 GiB for a worker at 20 M parameters, 12 CPU cores")
    assert workers_by_memory([small], 2)[0] == 5
    install("nvidia-smi", shown(r"81000\n80000\n"))
    assert workers_by_memory([small], 2)[0] == 6, "as the CPU has cores"
    assert workers_by_memory([small], 1)[0] == card_sharing.MOST_WORKERS
    assert workers_by_memory(["FacebookAI/xlm-roberta-base"], 2)[0] == 3, "as XLM-R large"
    install("nvidia-smi", shown(r"100\n"))
    assert workers_by_memory([large], 2)[0] == 1

    lines: list[str] = []
    install("nvidia-smi", shown(r"81000\n5400\n"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    assert count_workers(None, "auto", [large], lines.append) == 6
    assert lines == [f"3 workers on each card: {reason}"]
    assert (executables / "nvidia-smi.log").read_text().splitlines()[-1].endswith("--id=1,3")


@pytest.mark.parametrize("said", [None, "", "N/A\n"])
def test_without_an_answer_of_the_driver_a_number_is_asked_for(
    said: str | None, executables: Path, install: Callable[[str, str], None]
) -> None:
    if said is not None:
        install("nvidia-smi", shown(said))
    with raises(SpecError, subject="--workers-per-gpu auto", advice="name a number"):
        workers_by_memory(["none"], 2)


# --- the service


def test_workers_that_share_cards_do_so_by_the_service_which_ends_with_them(
    executables: Path, install: Callable[[str, str], None]
) -> None:
    log = executables / "log"
    install("nvidia-cuda-mps-control", CONTROL.format(log=log, code=0))
    lines: list[str] = []
    with shared_cards(6, "auto", lines.append):
        pipe = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(pipe).is_dir(), "fellow workers inherit it"
        assert log.read_text() == f"-d||{pipe}\n"
    assert lines == ["6 workers share 2 cards by NVIDIA MPS"]
    assert log.read_text().splitlines()[1:] == [f"|quit|{pipe}"]
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert not Path(pipe).exists()


def test_the_service_ends_also_where_the_run_fails(
    executables: Path, install: Callable[[str, str], None]
) -> None:
    log = executables / "log"
    install("nvidia-cuda-mps-control", CONTROL.format(log=log, code=0))
    with pytest.raises(KeyError), shared_cards(6, "cuda", print):
        raise KeyError
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.parametrize("code", [None, 1])
def test_without_the_service_workers_take_turns_and_that_is_said(
    code: int | None, executables: Path, install: Callable[[str, str], None]
) -> None:
    if code is not None:
        install("nvidia-cuda-mps-control", CONTROL.format(log=executables / "log", code=code))
    lines: list[str] = []
    with shared_cards(2, "cuda:1", lines.append):
        assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert lines == [
        "2 workers take turns on a card: no nvidia-cuda-mps-control that starts is here"
    ]


@pytest.mark.parametrize(("workers", "device"), [(2, "auto"), (1, "cuda:0"), (8, "cpu")])
def test_nothing_is_started_where_no_card_is_shared(
    workers: int, device: str, executables: Path, install: Callable[[str, str], None]
) -> None:
    install("nvidia-cuda-mps-control", CONTROL.format(log=executables / "log", code=0))
    lines: list[str] = []
    with shared_cards(workers, device, lines.append):
        assert not (executables / "log").exists()
    assert lines == []


def test_a_service_that_the_machine_has_is_used_as_it_is(
    executables: Path, install: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("nvidia-cuda-mps-control", CONTROL.format(log=executables / "log", code=0))
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/run/mps")
    with multi_process_service() as variables:
        assert variables == {}
    assert not (executables / "log").exists()
    assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == "/run/mps"
