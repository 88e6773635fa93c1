"""The other commands: the catalogue, the list of studies, the console script."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType

import pytest

from search import cli, confirm, export, predict, run
from tests.search_tests.conftest import ROOT


def test_the_list_has_one_line_per_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("mohapatra_2022", "rosprompt_2025", "xstilts_2020"),
        *("xtreme_biomedical", "xtreme_domains", "xtreme_legal"),
    ]
    assert all(line.endswith("?") for line in lines)


def test_the_console_script_has_the_same_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--list"]) == 0
    assert "xtreme_legal" in capsys.readouterr().out
    assert cli.main([]) == 0
    assert "dashboard" in capsys.readouterr().out
    assert cli.main(["rum"]) == 2
    assert "Did you mean 'run'?" in capsys.readouterr().err


def test_every_module_that_is_a_command_is_one_of_the_console_script() -> None:
    own = {
        file.stem
        for file in (ROOT / "search").glob("*.py")
        if "__main__" in file.read_text(encoding="utf-8")
    }
    assert own - {"cli", "__main__"} == set(cli.COMMANDS)


def test_the_help_of_every_command_loads_no_torch() -> None:
    script = f"""
import contextlib, io, sys
from search import cli
for command in {list(cli.COMMANDS)}:
    shown = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(shown):
        cli.main([command, "--help"])
    assert f"usage: python -m search.{{command}} " in shown.getvalue(), command
    print(command, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [f"{x} False" for x in cli.COMMANDS], done.stderr


def test_the_help_says_what_is_done_with_test_splits(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        predict.main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "No run of a search is scored on a test split; this command reads one" in shown
    assert "with --study for --split test only" in shown


@pytest.mark.parametrize("command", [run, confirm, predict, export])
@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_what_counts_something_is_a_whole_number(
    command: ModuleType, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([f"--threads={number}"])
    assert ended.value.code == 2
    expected = f"--threads: expected a whole number from 1 to 4,096, found '{number}'; see"
    assert expected in capsys.readouterr().err
