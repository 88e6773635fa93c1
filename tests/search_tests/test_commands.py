"""The other commands: the catalogue, the list of studies, the console script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from search import cli, confirm, export, predict, run, tasks
from spaces.backbones import known_backbones
from spaces.catalogue import load_catalogue
from spaces.errors import DataError, UnknownNameError
from tests.raising import ends_with
from tests.search_tests.conftest import ROOT


def test_the_list_has_one_line_per_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("mohapatra_2022", "rosprompt_2025", "xstilts_2020"),
        *("xtreme_biomedical", "xtreme_domains", "xtreme_legal"),
    ]
    assert all(line.endswith("?") for line in lines)


def test_the_catalogue_says_where_each_task_would_come_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "ner" / "wnut17" / "eng"
    folder.mkdir(parents=True)
    for split in ("train", "dev"):
        (folder / f"{split}.conll").write_text("Ola\tB-person\n")
    assert tasks.main(["--data", str(tmp_path)]) == 0
    rows = {
        line.split("│")[1].strip(): line
        for line in capsys.readouterr().out.splitlines()
        if "│" in line
    }
    assert "local: train" in rows["wnut17"]
    assert "nowhere" in rows["wikigold"]
    assert "pocket (generated)" in rows["pocket_ner"]


def test_one_task_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert tasks.main(["panx"]) == 0
    shown = capsys.readouterr().out
    assert "PER, ORG, LOC" in shown
    assert "google/xtreme" in shown


def test_a_misspelt_task_is_answered_with_the_nearest() -> None:
    with ends_with(UnknownNameError, found="pannx", advice="'panx'"):
        tasks.main(["pannx"])


def test_the_console_script_has_the_same_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--list"]) == 0
    assert "xtreme_legal" in capsys.readouterr().out
    assert cli.main([]) == 0
    assert "dashboard" in capsys.readouterr().out
    assert cli.main(["rum"]) == 2
    assert f"expected a command ({', '.join(cli.COMMANDS)}), found 'rum'" in (
        capsys.readouterr().err
    )


def test_every_module_that_is_a_command_is_one_of_the_console_script() -> None:
    own = {
        file.stem
        for file in (ROOT / "search").glob("*.py")
        if "__main__" in file.read_text(encoding="utf-8")
    }
    assert own - {"cli"} == set(cli.COMMANDS)


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
    assert "A search never reads a test split; this command does" in shown
    assert "with --study for --split test only" in shown


def test_several_folders_are_searched_in_turn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for task in ("wnut17", "wikigold"):
        folder = tmp_path / f"of_{task}" / "ner" / task / "eng"
        folder.mkdir(parents=True)
        for split in ("train", "dev"):
            (folder / f"{split}.conll").write_text("Ola\tB-PER\n")
    folders = [str(tmp_path / "of_wnut17"), str(tmp_path / "of_wikigold")]
    assert tasks.main(["--data", os.pathsep.join(folders)]) == 0
    shown = capsys.readouterr().out
    for task in ("wnut17", "wikigold"):
        (row,) = [line for line in shown.splitlines() if line.startswith(f"│ {task} ")]
        assert "local: train" in row
    gone = str(tmp_path / "gone")
    with ends_with(DataError, subject="--data", expected="or a folder", found=repr(gone)):
        tasks.main(["--data", os.pathsep.join([folders[0], gone])])
    with pytest.raises(SystemExit):
        tasks.main(["--help"])
    assert f"several folders are joined by {os.pathsep!r}" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_grid_counts_the_tasks_of_each_cell_and_says_which_are_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tasks.main(["--grid"]) == 0
    shown = capsys.readouterr().out
    grid = load_catalogue().grid()
    for kind in {kind for kind, _ in grid}:
        counts = [len(names) for (of, _), names in grid.items() if of == kind]
        row, *_ = (x for x in shown.splitlines() if x.startswith(f"│ {kind} "))
        assert row.replace("│", " ").split() == [kind, *(str(n or "none") for n in counts)]
    empty = ", ".join(f"{kind} {domain}" for (kind, domain), names in grid.items() if not names)
    assert f"empty: {empty}. " in " ".join(shown.split())
    assert "│ pos                 │ biomedical │ genia " in shown


def test_every_encoder_with_a_short_name_is_shown_with_what_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert tasks.main(["--backbones"]) == 0
    lines = capsys.readouterr().out.splitlines()
    records = known_backbones()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(records)
    assert max(map(len, lines)) <= 64  # an address is never broken
    (xlnet,) = [i for i, line in enumerate(lines) if line.startswith("xlnet ")]
    about = " ".join(" ".join(lines[xlnet : xlnet + 6]).split())
    assert "xlnet/xlnet-base-cased, unpinned English, at most 512 sub-words, licence MIT" in about
    assert "https://arxiv.org/abs/1906.08237" in about
    assert "not known to have safetensors" in about


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
