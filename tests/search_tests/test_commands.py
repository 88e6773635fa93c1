"""The other commands: the catalogue, the list of studies, the console script."""

from __future__ import annotations

from pathlib import Path

import pytest

from search import cli, run, tasks


def test_the_list_has_one_line_per_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("xtreme_biomedical", "xtreme_domains", "xtreme_legal")
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


def test_a_misspelt_task_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        tasks.main(["pannx"])
    assert ended.value.code == 2
    assert "Did you mean 'panx'?" in capsys.readouterr().err


def test_the_console_script_has_the_same_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--list"]) == 0
    assert "xtreme_legal" in capsys.readouterr().out
    assert cli.main([]) == 0
    assert "dashboard" in capsys.readouterr().out
    assert cli.main(["rum"]) == 2
    assert (
        "expected a command (run, tasks, dashboard, cost, cache), found 'rum'"
        in capsys.readouterr().err
    )
