"""Workers on Ray: real clusters on this machine, whose actors and launchers are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial

from search.command_line.run_options import read_run_options
from search.launch.on_ray import worker_resources
from tests.processes import wait_until
from tests.search_tests.conftest import Workplace

# Two clusters on one machine would take each other's ports: all tests with one are in this file.
pytest.importorskip("ray")

RAY = Path(sys.executable).with_name("ray")


def nodes(*resources: dict[str, float]) -> list[dict[str, dict[str, float]]]:
    return [{"Resources": each} for each in resources]


def test_workers_are_dealt_to_the_cards_and_cores_of_a_cluster() -> None:
    cluster = nodes({"CPU": 16, "GPU": 4}, {"CPU": 3, "GPU": 8}, {"CPU": 8})

    def found(*words: str) -> tuple[dict[str, float], int]:
        options = read_run_options(["--study", "s", *words])
        assert options is not None
        return worker_resources(options, cluster)

    assert found() == ({"num_cpus": 1, "num_gpus": 1}, 4 + 3)
    assert found("--workers-per-gpu", "2") == ({"num_cpus": 1, "num_gpus": 0.5}, 8 + 3)
    assert found("--threads", "4") == ({"num_cpus": 4, "num_gpus": 1}, 4)
    assert found("--device", "cpu", "--threads", "4") == ({"num_cpus": 4}, 4 + 0 + 2)


@pytest.mark.slow
def test_a_study_on_a_cluster_of_this_machine(workplace: Workplace) -> None:
    done = workplace.run(
        *workplace.command("--trials", "2", "--launcher", "ray", "--workers", "1"),
        PYTHONWARNINGS="default",
    )
    assert done.returncode == 0, done.stderr
    assert "1 workers of 1 CPU each on Ray" in done.stderr
    assert "2 of 2 trials are done" in done.stderr
    assert "the recommended recipe" in done.stdout
    trials = optuna.load_study(study_name="tiny", storage=workplace.storage).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2


def test_what_ray_cannot_do_is_one_line(workplace: Workplace) -> None:
    done = workplace.search("--launcher", "ray", "--end")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--end: expected --address" in done.stderr


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters of these tests want a token, as Ray's own of this machine do; not the user's."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)


@pytest.fixture
def cluster(workplace: Workplace) -> Iterator[Callable[..., str]]:
    """Start a node, the first one or a further one; the address of the cluster."""
    environment = {**workplace.environment(), "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"PYTHONWARNINGS": "default"}
    address = "127.0.0.1:6397"
    place = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # its sockets' paths are short

    def start(*words: str) -> str:
        first = [f"--temp-dir={place}", "--include-dashboard=false"]
        done = subprocess.run(
            [RAY, "start", "--num-cpus=2", "--num-gpus=2", *words]
            + (first if "--head" in words else []),
            env=environment,
            cwd=workplace.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return address

    yield start
    # `ray stop` would end every cluster of this machine.
    ours = []
    for process in psutil.process_iter():
        try:
            if str(place) in " ".join(process.cmdline()):
                ours += [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
    for process in ours:
        if process.is_running():
            process.kill()
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
def test_actors_and_launchers_are_killed_and_the_study_is_exact(
    workplace: Workplace,
    postgresql_url: str,
    cluster: Callable[..., str],
    trials_of: Callable[[str], list[FrozenTrial]],
) -> None:
    address = cluster("--head", "--port=6397")
    words = workplace.command("--trials", "6", "--set", "target.epochs=40", "--launcher", "ray")
    words += ["--address", address]
    environment = {"TRANSFER_SEARCH_STORAGE": postgresql_url, "PYTHONWARNINGS": "default"}

    def launch() -> subprocess.Popen[str]:
        return workplace.start(*words, **environment)

    def trials() -> list[FrozenTrial]:
        return trials_of(postgresql_url)

    def worker_of_running() -> int:
        running = [trial for trial in trials() if trial.state.name == "RUNNING"]
        return int(running[0].user_attrs["worker"].split("/")[-2]) if running else 0

    launcher = launch()
    worker = wait_until(lambda: len(trials()) > 1 and worker_of_running(), launcher)
    os.kill(worker, signal.SIGKILL)
    # Ray starts it again, which settles what it left; without a launcher it might not.
    wait_until(lambda: any(x.state.name == "FAIL" for x in trials()), launcher)
    launcher.kill()
    launcher.wait()

    again = launch()
    output, _ = again.communicate()
    assert again.returncode == 0, output
    found = trials()
    complete = Counter(x.user_attrs["slot"] for x in found if x.state.name == "COMPLETE")
    assert complete == dict.fromkeys(range(6), 1)
    assert len({trial.user_attrs["worker"] for trial in found}) >= 2
    lost = [trial for trial in found if trial.user_attrs.get("failure") == "lost"]
    assert lost
    assert all(any(x.user_attrs.get("retry_of") == y.number for x in found) for y in lost)


@pytest.mark.slow
def test_a_database_of_one_machine_is_refused_on_two(
    workplace: Workplace, cluster: Callable[..., str]
) -> None:
    address = cluster("--head", "--port=6397")
    cluster(f"--address={address}")
    words = ["--launcher", "ray", "--address", address, "--storage", "sqlite:///x.db"]
    done = workplace.run(*workplace.command(*words), PYTHONWARNINGS="ignore")
    assert done.returncode == 2
    assert "expected a database that all 2 nodes of the cluster reach, found one of this" in (
        done.stderr
    )
