"""What the chaos is made of: its plan, and workers that are forked. Chaos itself is slow."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from search.checks.chaos import run_chaos
from search.checks.chaos_plan import ChaosPlan, Fault, put_off
from search.checks.fleet import ForkedWorkers
from search.doctor import parser
from spaces.errors import SpecError
from tests.raising import raises
from tests.search_tests.conftest import Workplace


def test_the_command_s_defaults_are_the_plan_s() -> None:
    options, plan = parser().parse_args(["--chaos"]), ChaosPlan()
    given = (options.chaos, options.trials, options.workers, options.faults, options.seed)
    assert given == (plan.storage, plan.trials, plan.workers, plan.faults, plan.seed)


def test_a_plan_that_cannot_be_is_refused() -> None:
    with raises(
        SpecError,
        subject="storage",
        expected="postgresql, sqlite, embedded or pooler",
        found="redis",
    ):
        ChaosPlan(storage="redis")


def test_chaos_keeps_nothing_in_a_folder_that_is_there(tmp_path: Path) -> None:
    with raises(SpecError, subject="--keep", expected="a new folder", found="File exists"):
        run_chaos(ChaosPlan(), print, tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def test_a_forked_worker_has_options_environment_log_and_exit_code(log: Path) -> None:
    with ForkedWorkers({"TRANSFER_SEARCH_STORAGE": "redis://x"}) as forks:
        listing = forks.start(["--list"], log)
        _await(listing, forks)
        assert forks.exit_code(listing) == 0
        assert "xtreme_legal" in log.read_text(encoding="utf-8")
        wrong = forks.start(["--study", "xtreme_legal"], log)
        _await(wrong, forks)
        assert forks.exit_code(wrong) == 2
        lines = log.read_text(encoding="utf-8").splitlines()
        assert lines[-1].startswith("error: storage: expected sqlite:///FILE")


def test_a_forked_worker_takes_signals_and_none_is_left(workplace: Workplace, log: Path) -> None:
    words = [*workplace.command()[3:], "--storage", workplace.storage]
    words[words.index("tiny.toml")] = str(workplace.folder / "tiny.toml")
    with ForkedWorkers({}) as forks:
        killed, stopped = forks.start(words, log), forks.start(words, log)
        forks.kill(killed)
        assert forks.exit_code(killed) == -signal.SIGKILL
        forks.send(stopped, signal.SIGSTOP)
        forks.send(killed, signal.SIGTERM)  # which is gone
        assert forks.exit_code(stopped) is None
    assert not psutil.pid_exists(stopped)


def _await(pid: int, forks: ForkedWorkers) -> None:
    while forks.exit_code(pid) is None:
        time.sleep(0.02)


def test_a_fault_that_finds_nothing_to_hit_gives_way_to_another_kind() -> None:
    kill, idle = Fault.KILL, Fault.KILL_IDLE
    # Workers that are all within trials: were it one of the two idle ones again, none would end.
    assert put_off(idle, [idle, kill, kill]) == [idle, kill, idle, kill]
    assert put_off(idle, [kill, idle]) == [kill, idle, idle]
    assert put_off(idle, [idle]) == [idle, idle]
    assert put_off(idle, []) == [idle]
