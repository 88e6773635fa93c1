"""Workers as jobs of submitit: what is submitted, and what becomes of a job that is preempted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from optuna.trial import FrozenTrial

from search.launch.hosted_worker import Order
from search.launch.on_slurm import SlurmWorker, parse_parameters
from spaces.errors import SpecError
from storage.urls import redacted
from tests.search_tests.conftest import Workplace

submitit = pytest.importorskip("submitit")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:00", 90),
        ("12:00:00", 720),
        ("1:00:01", 61),
        ("2-0", 2880),
        ("1-2:30", 1590),
    ],
)
def test_times_are_read_as_slurm_reads_them(text: str, minutes: int) -> None:
    assert parse_parameters([f"time={text}"]) == {"time": minutes}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["partition"], "expected KEY=VALUE as in partition=gpu, found 'partition'"),
        (["time=soon"], "expected a time as in 12:00:00, found 'soon'"),
        (["time=0"], "expected a time above 0"),
        (["partition=gpu"], "expected time=TIME"),
        (["cluster=k8s"], "expected slurm or local, found 'k8s'"),
    ],
)
def test_options_that_slurm_would_not_take(words: list[str], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        parse_parameters(words)


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the commands of Slurm; the file that gets what is submitted."""
    commands, script = tmp_path / "bin", tmp_path / "submitted"
    commands.mkdir()
    for name, text in {
        "srun": "exit 0",
        "sbatch": f'cat "$1" > {script}; env >> {script}; echo Submitted batch job 17',
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.setenv("TRANSFER_SEARCH_STORAGE", "")
    return script


def test_a_job_array_is_submitted_and_the_command_returns(
    workplace: Workplace, sbatch: Path
) -> None:
    done = workplace.search(
        *("--launcher", "slurm", "--workers", "3", "--slurm", "partition=gpu"),
        *("--slurm", "time=12:00:00", "--slurm", "gpus_per_node=1", "--slurm", "reservation=r"),
        *("--storage", "postgresql+psycopg://me:s3cret@nowhere/study"),
    )
    assert done.returncode == 0, done.stderr
    assert "submitted 3 workers of 'tiny': 17_0 17_1 17_2" in done.stdout
    assert "end:     scancel 17" in done.stdout
    assert "s3cret" not in done.stdout
    script = sbatch.read_text()
    head, environment = script.split("# command")
    for line in ("array=0-2%3", "partition=gpu", "time=720", "gpus-per-node=1", "requeue"):
        assert f"#SBATCH --{line}" in head
    assert "#SBATCH --reservation=r" in head
    assert "#SBATCH --signal=USR2@90" in head
    assert "s3cret" not in head
    assert "TRANSFER_SEARCH_STORAGE=postgresql+psycopg://me:s3cret@nowhere/study" in environment
    folder = workplace.folder / "transfer-search.slurm"
    assert folder.stat().st_mode & 0o777 == 0o700
    jobs = [file for file in folder.rglob("*") if file.is_file()]
    assert jobs
    assert not [file for file in jobs if b"s3cret" in file.read_bytes()]


def test_what_cannot_be_a_job_is_one_line(workplace: Workplace, sbatch: Path) -> None:
    time_given = ("--launcher", "slurm", "--slurm", "time=60")
    done = workplace.search(*time_given)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected a database that all nodes reach, found one of this machine" in done.stderr
    done = workplace.search("--slurm", "time=60")
    assert "--slurm: expected --launcher slurm with it" in done.stderr
    (sbatch.parent / "bin" / "srun").unlink()
    done = workplace.search(*time_given, "--storage", "postgresql+psycopg://me@nowhere/study")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert 'Could not detect "srun"' in done.stderr


def test_a_job_does_not_run_on_another_storage_than_its_launcher(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgresql+psycopg://me:s3cret@host/study"
    worker = SlurmWorker(Order(("--study", "tiny.toml")), redacted(url))
    for found in ("", "postgresql+psycopg://me:s3cret@host/other"):
        monkeypatch.setenv("TRANSFER_SEARCH_STORAGE", found)
        with pytest.raises(SystemExit, match="2"):
            worker()
        error = capsys.readouterr().err
        assert "submit with --slurm export=ALL" in error
        assert "s3cret" not in error


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_preempted_job_gives_its_trial_back_and_is_queued_again(
    workplace: Workplace,
    wait_for: Callable[..., None],
    trials_of: Callable[[str], list[FrozenTrial]],
) -> None:
    storage = workplace.storage
    done = workplace.run(
        *workplace.command("--trials", "3", "--set", "target.epochs=40", "--storage", storage),
        *("--launcher", "slurm", "--slurm", "cluster=local"),
    )
    assert done.returncode == 0, done.stderr
    job = psutil.Process(int(done.stdout.split("'tiny': ")[1].split()[0]))
    folder = workplace.folder / "transfer-search.slurm"

    def states() -> list[str]:
        return [trial.state.name for trial in trials_of(storage)]

    wait_for(lambda: states()[:1] == ["COMPLETE"] and "RUNNING" in states(), job.is_running)
    for task in job.children():
        task.send_signal(signal.SIGUSR2)
    wait_for(lambda: any(folder.rglob("*_result.pkl")), lambda: True)
    trials = trials_of(storage)
    failed = [trial for trial in trials if trial.state.name == "FAIL"]
    assert [trial.user_attrs["failure"] for trial in failed] == ["interrupted"]
    again = [trial for trial in trials if trial.user_attrs.get("retry_of") == failed[0].number]
    assert [trial.params for trial in again] == [failed[0].params]
    assert states().count("COMPLETE") == 3
    logs = "".join(file.read_text() for file in folder.rglob("*_log.*"))
    assert "Requeued job" in logs
