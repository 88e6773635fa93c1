"""Several workers of one run on one machine."""

from __future__ import annotations

import signal
import time

import optuna
import psutil
import pytest
import torch
from search.fellows import count_workers, device_of

from tests.search_tests.conftest import Workplace


def test_workers_share_a_study_and_the_run_waits_for_all(workplace: Workplace) -> None:
    done = workplace.run(
        *workplace.command("--trials", "4", "--workers", "2", "--set", "target.epochs=60")
    )
    assert done.returncode == 0, done.stderr
    trials = optuna.load_study(study_name="tiny", storage=workplace.storage).trials
    # Two workers may both begin the last trial.
    assert len(trials) in {4, 5}
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert len({trial.user_attrs["worker"] for trial in trials}) == 2
    assert done.stdout.count("best recipe:") == 1, "the fellow shows nothing of its own"
    assert "--workers 2" in done.stdout


def test_a_signal_to_the_run_ends_its_fellows_too(workplace: Workplace) -> None:
    process = workplace.start(
        *workplace.command("--trials", "50", "--workers", "2", "--set", "target.epochs=60")
    )
    deadline = time.monotonic() + 60
    fellows: list[psutil.Process] = []
    while not fellows:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        fellows = [p for p in psutil.Process(process.pid).children() if p.is_running()]
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert not any(fellow.is_running() for fellow in fellows)
    trials = optuna.load_study(study_name="tiny", storage=workplace.storage).trials
    assert not [trial for trial in trials if trial.state.name == "RUNNING"]


def test_workers_are_counted_by_card(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_workers(None, None) == 1
    assert count_workers(4, None) == 4
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert count_workers(None, 3) == 6
    assert count_workers(1, 3) == 1, "a fellow of a run with three per card"
    assert [device_of(n, "auto") for n in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert device_of(3, "cuda:1") == "cuda:1"
    assert device_of(3, "cpu") == "cpu"


def test_workers_per_card_without_a_card_are_an_error_of_one_line(workplace: Workplace) -> None:
    done = workplace.search("--workers-per-gpu", "2")
    assert done.returncode == 2
    assert "--workers-per-gpu: expected a CUDA device, found none" in done.stderr
