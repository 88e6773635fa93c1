"""Several workers of one run on one machine, and what their command lines show."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import optuna
import psutil
import pytest
import torch

from search.workers.local_processes import count_workers, device_environment, device_share
from storage.opening import open_storage
from tests.processes import wait_until
from tests.search_tests.conftest import Workplace


def fellows_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The further workers of a run, once there are any."""

    def fellows() -> list[psutil.Process]:
        return [child for child in psutil.Process(process.pid).children() if _is_fellow(child)]

    return wait_until(fellows, process)


def _is_fellow(child: psutil.Process) -> bool:
    try:
        return "--fellow" in child.cmdline()
    except psutil.NoSuchProcess:  # a zombie by now, or waited for
        return False


@pytest.mark.slow
def test_a_killed_fellow_is_started_again_and_a_signal_to_the_run_ends_it(
    workplace: Workplace,
) -> None:
    process = workplace.start(
        *workplace.command("--trials", "50", "--workers", "2", "--set", "target.epochs=60")
    )
    (first,) = fellows_of(process)
    first.kill()
    (second,) = wait_until(lambda: [x for x in fellows_of(process) if x != first], process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, output
    assert f"worker 1 was killed (signal {signal.SIGKILL:d}); started again" in output
    assert not second.is_running()
    trials = optuna.load_study(study_name="tiny", storage=workplace.storage).trials
    running = [trial for trial in trials if trial.state.name == "RUNNING"]
    # That of the killed one, where it had come so far, and nobody had taken it up yet.
    assert {trial.user_attrs["worker"].split("/")[2] for trial in running} <= {str(first.pid)}


def test_workers_are_counted_by_card(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_workers(None, None) == 1
    assert count_workers(4, None) == 4
    assert device_environment(1, "auto") == {}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert count_workers(None, 3) == 6
    assert count_workers(1, 3) == 1, "a fellow of a run with three per card"
    cards = [device_environment(number, "auto")["CUDA_VISIBLE_DEVICES"] for number in range(4)]
    assert cards == ["0", "1", "0", "1"]
    assert device_environment(3, "cuda:1") == device_environment(3, "cpu") == {}
    assert (device_share(6, "auto"), device_share(2, "auto"), device_share(4, "cpu")) == (
        1 / 3,
        1.0,
        1.0,
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert device_environment(1, "auto") == {"CUDA_VISIBLE_DEVICES": "7"}


def test_workers_per_card_without_a_card_are_an_error_of_one_line(workplace: Workplace) -> None:
    done = workplace.search("--workers-per-gpu", "2")
    assert done.returncode == 2
    assert "--workers-per-gpu: expected a CUDA device, found none" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks into /proc")
def test_workers_share_a_study_and_show_no_password_and_the_run_waits_for_all(
    workplace: Workplace, postgresql_url: str
) -> None:
    # Long enough that the one which starts later still finds trials to run.
    words = ("--trials", "4", "--workers", "2", "--set", "target.epochs=60")
    process = workplace.start(*workplace.command(*words, "--storage", postgresql_url))
    fellow = fellows_of(process)[0]
    shown = [
        file.parent.name
        for file in Path("/proc").glob("[0-9]*/cmdline")
        if b"s3cret" in _read(file)
    ]
    assert fellow.is_running()
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert not fellow.is_running()
    assert output.count("direct training; trials:") == 1, "the fellow shows nothing of its own"
    assert "--workers 2" in output

    storage = open_storage(postgresql_url)
    study = optuna.load_study(study_name="tiny", storage=storage)
    trials, noted = study.trials, storage.get_study_system_attrs(study._study_id)
    attributes = repr((study.user_attrs, noted, trials))
    with storage.engine.connect() as connection:
        query = (
            "SELECT trial_number, COUNT(*) FROM transfer_results WHERE study_name = 'tiny' "
            "GROUP BY 1"
        )
        counted = dict(map(tuple, connection.exec_driver_sql(query).all()))
    storage.close()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    assert sorted(trial.user_attrs["slot"] for trial in trials) == list(range(4))
    assert counted == dict.fromkeys(range(4), 2), "two languages, one seed"
    assert len({trial.user_attrs["worker"] for trial in trials}) == 2

    # The command line of the user shows it, and that is said; nothing else does.
    assert shown == [str(process.pid)]
    assert "--storage shows its password in the process list of this machine" in output
    assert "s3cret" not in output
    assert "s3cret" not in attributes
    assert not [
        file
        for file in workplace.folder.rglob("*")
        if file.is_file() and b"s3cret" in file.read_bytes()
    ]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it ended meanwhile
        return b""
