"""The job script of search/README.md: it is one, and its worker gets Slurm's signal."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial

from search.command_line.run_options import read_run_options
from tests.processes import wait_until
from tests.search_tests.conftest import ROOT, Workplace

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


def job_script() -> str:
    """The script as the page shows it."""
    page = (ROOT / "search" / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", page, re.DOTALL)
    return str(script)


def test_it_is_a_script_of_bash_whose_command_is_a_run(tmp_path: Path) -> None:
    script = job_script()
    file = tmp_path / "job.sh"
    file.write_text(script, encoding="utf-8")
    done = subprocess.run(["bash", "-n", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    command = script.partition("exec python -m search.run ")[2].replace("\\\n", " ")
    options = read_run_options(command.split())
    assert options is not None
    assert options.patient
    assert "--signal=B:TERM@" in script, "to the batch shell alone, which the worker replaces"


@pytest.mark.slow
def test_a_signal_to_the_batch_shell_gives_the_trial_back(
    workplace: Workplace,
    trials_of: Callable[[str], list[FrozenTrial]],
) -> None:
    head, _, _ = job_script().partition("exec python")
    words = workplace.command("--patient", "--set", "target.epochs=40")[1:]
    storage = f'export TRANSFER_SEARCH_STORAGE="{workplace.storage}"'
    command = shlex.join([sys.executable, *words])
    (workplace.folder / "job.sh").write_text(f"{head}{storage}\nexec {command}\n")
    job = workplace.start("bash", "job.sh")

    def states() -> list[str]:
        return [trial.state.name for trial in trials_of(workplace.storage)]

    wait_until(lambda: "RUNNING" in states(), job)
    job.send_signal(signal.SIGTERM)
    output, _ = job.communicate()
    assert job.returncode == 128 + signal.SIGTERM, output
    failed = [trial for trial in trials_of(workplace.storage) if trial.state.name == "FAIL"]
    assert [trial.user_attrs["failure"] for trial in failed] == ["interrupted"]
