"""The command line as a newcomer meets it: words that are nearly right, questions, help."""

from __future__ import annotations

import io
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from search import cli, evaluate, init, run, status
from search.command_line.run_options import parser, read_run_options
from spaces.errors import SeveralErrors
from spaces.studies import load_study
from tests.search_tests.conftest import Workplace


@pytest.mark.parametrize(
    "words",
    [
        ["xtreme_legal"],
        ["xtreme_legal", "--trials", "4"],
        ["--trials", "4", "xtreme_legal"],
        ["--quiet", "--data=pocket", "xtreme_legal"],
        ["--set", "trials=3", "xtreme_legal", "--set", "a=b"],
        ["--study", "xtreme_legal"],
    ],
)
def test_a_study_needs_no_option(words: list[str]) -> None:
    options = read_run_options(words)
    assert options is not None
    assert options.study == "xtreme_legal"
    assert options.trials == (4 if "4" in words else None)
    assert options.overrides == (("trials=3", "a=b") if "--set" in words else ())


def test_two_studies_are_one_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["one", "two"], ["one", "--study", "two"]):
        with pytest.raises(SystemExit) as ended:
            parser().parse_args(words)
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: unrecognized arguments")


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["help"], ["--help"], ["-h"]):
        assert cli.main(words) == 0
        shown = capsys.readouterr().out
        assert all(name in shown for name in cli.COMMANDS)
        assert max(map(len, shown.splitlines())) <= 100
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("transfer-search 0.")
    with pytest.raises(SystemExit) as ended:
        cli.main(["help", "status"])
    assert ended.value.code == 0
    assert "--study" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("stauts", "Did you mean 'status'?"),
        ("rnu", "Did you mean 'run'?"),
        ("xtreme_legal", "`transfer-search run xtreme_legal`"),
        ("my.toml", "`transfer-search run my.toml`"),
        ("--study", "expected a command"),
    ],
)
def test_a_word_that_is_no_command_is_answered(
    capsys: pytest.CaptureFixture[str], word: str, advice: str
) -> None:
    assert cli.main([word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert advice in line
    assert "usage" not in line


def test_the_package_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "search", "stauts"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_all_that_is_wrong_with_a_study_file_is_said_at_once(workplace: Workplace) -> None:
    file = workplace.folder / "tiny.toml"
    text = file.read_text()
    file.write_text("tirals = 3\n" + text.replace("epochs = [1, 2]", 'epochs = "two"'))
    done = workplace.call(run.main, "tiny.toml", "--data", "pocket")
    assert done.returncode == 2
    assert done.stderr.count("error: ") == len(done.stderr.splitlines()) == 2
    assert "did you mean 'trials'?" in done.stderr
    assert "'intermediate.epochs.0': expected a whole number" in done.stderr
    file.write_text(
        text.replace('"pocket_ner_calendar"', '"pocket_ner_calender"').replace(
            '["pocket_ner"]', '["pocket_nerr"]'
        )
    )
    done = workplace.call(run.main, "tiny.toml", "--data", "pocket")
    assert "'pocket_ner_calendar'" in done.stderr
    assert "'pocket_ner'" in done.stderr
    file.write_text(text.replace('"qab"]', '"qzz", "qzy"]').replace('"legal"]', '"biomedical"]'))
    with pytest.raises(SystemExit) as ended:
        run.main([str(file), "--data", "pocket"])
    assert isinstance(ended.value.__cause__, SeveralErrors)
    assert len(ended.value.__cause__.errors) == 3


def test_the_name_of_a_file_here_is_guessed(workplace: Workplace) -> None:
    done = workplace.call(run.main, "tiny")
    assert "Did you mean 'tiny.toml'?" in done.stderr


def test_init_writes_a_study_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert init.main(["ner", "--languages", "swa,yor", "--trials", "7"]) == 0
    assert "python -m search.run ner.toml --dry-run" in capsys.readouterr().out
    spec = load_study("ner.toml")
    assert (spec.name, spec.trials, spec.target.languages) == ("ner", 7, ("swa", "yor"))
    assert spec.arms == ("none", "general", "biomedical", "legal")
    text = Path("ner.toml").read_text()
    assert text.count("#") > 8, "it says what its fields are"
    with pytest.raises(SystemExit):
        init.main(["ner"])
    assert "a new file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        init.main(["other", "--target", "panxx"])
    assert "'panx'" in capsys.readouterr().err
    assert not Path("other.toml").exists()


def test_init_asks_again_where_an_answer_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(["panxx", "panx", "swa", "generl", "general,legal", "", "12"])
    asked = list[str]()

    def ask(question: str) -> str:
        asked.append(question)
        return next(answers)

    text = init._asked(dict.fromkeys(init.QUESTIONS), "mine", ask)
    assert len(asked) == 7
    assert "did you mean 'panx'?" in capsys.readouterr().out.lower()
    fields = tomllib.loads(text)
    assert fields["arms"] == ["none", "general", "legal"]
    assert (fields["backbone"], fields["trials"]) == ("xlm-r", 12)


def test_a_failed_run_leaves_no_database(workplace: Workplace) -> None:
    broken = workplace.folder / "encoder"
    broken.mkdir()
    for file in workplace.encoder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes() if file.suffix == ".json" else b"x")
    done = workplace.call(run.main, "tiny.toml", "--data", "pocket", "--backbone", str(broken))
    assert done.returncode == 2
    assert not list(workplace.folder.glob("transfer-search.sqlite*"))


def test_a_finished_study_is_shown_without_torch(searched: Workplace) -> None:
    words = searched.command("--trials", "4")
    script = (
        "import sys, runpy; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=False)\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    for command in (words[2:], ["search.status", "tiny"]):
        done = searched.run(sys.executable, "-c", script, *command)
        assert done.returncode == 0, done.stderr
        assert "tiny" in done.stdout
    assert "general and pocket_ner: " in searched.call(run.main, *words[3:]).stdout


def test_a_finished_study_is_opened_again_where_it_may_be_another(searched: Workplace) -> None:
    """Where a file of the encoder or of the data is newer, what differs is looked for."""
    quick = searched.search("--trials", "4")
    assert "device: " not in quick.stderr
    assert "search on: " in quick.stdout
    changed = searched.search("--trials", "4", "--set", "target.epochs=2")
    assert changed.returncode == 2
    assert "spec.target.epochs" in changed.stderr
    more = searched.search("--trials", "5")
    assert more.returncode == 0
    assert "device: " in more.stderr


def test_a_dry_run_says_what_a_study_takes_and_keeps_nothing(workplace: Workplace) -> None:
    before = sorted(workplace.folder.iterdir())
    done = workplace.search("--dry-run")
    assert done.returncode == 0, done.stderr
    for part in ("data: pocket corpora", "space: 9 recipes", "then 5 trials", "time: about "):
        assert part in done.stdout
    for part in ("GPU-hours: ", "disk: about ", "gain that could be found: from about "):
        assert part in done.stdout
    assert sorted(workplace.folder.iterdir()) == before


def test_status_takes_a_study_without_its_option(searched: Workplace) -> None:
    assert "4 of 4 trials" in searched.call(status.main, "tiny").stdout


def test_where_nobody_may_write_it_is_said(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere/index.html")

    monkeypatch.setattr("search.evaluate.request_from", refused)
    done = workplace.call(evaluate.main, "--predictions", "x")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: /somewhere/index.html: expected a place that may be")
