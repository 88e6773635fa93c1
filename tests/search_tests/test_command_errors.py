"""A wrong study or storage: one line and exit code 2, whatever the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search import cache, confirm, cost, dashboard, doctor, export, predict, report, run, status
from spaces.errors import SpecError, StorageError, TransferSearchError, UnknownNameError
from tests.raising import ends_with
from tests.studies import PLANS, write_study

Main = Callable[[list[str]], int]
READERS: list[tuple[Main, tuple[str, ...]]] = [
    *((command.main, ()) for command in (confirm, cost, dashboard, doctor, report, status)),
    (export.main, ("--to", "new")),
    (predict.main, ("--to", "new", "--task", "pocket_nli", "--trial", "0")),
]


@pytest.fixture(autouse=True)
def one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


@pytest.mark.parametrize(("main", "words"), READERS)
def test_a_study_that_is_not_there_is_answered_with_the_nearest(
    main: Main, words: tuple[str, ...]
) -> None:
    write_study("sqlite:///study.db", PLANS)
    where = ("--storage", "sqlite:///study.db")
    with ends_with(UnknownNameError, found="synthetik", advice="'synthetic'"):
        main(["--study", "synthetik", *where, *words])
    assert not Path("new").exists()


@pytest.mark.parametrize(("main", "words"), READERS)
def test_direct_trainings_are_shown_with_the_study_that_they_are_of(
    main: Main, words: tuple[str, ...]
) -> None:
    write_study("sqlite:///study.db", PLANS)
    where = ("--storage", "sqlite:///study.db")
    with ends_with(
        StorageError,
        subject="--study synthetic.baseline",
        found="direct trainings of 'synthetic'",
        advice="name synthetic",
    ):
        main(["--study", "synthetic.baseline", *where, *words])
    assert not Path("new").exists()


def test_no_study_is_named_as_the_direct_trainings_of_another() -> None:
    with ends_with(SpecError, subject="--name", found="'other.baseline'"):
        run.main(["--study", "xtreme_legal", "--data", "pocket", "--name", "other.baseline"])


@pytest.mark.parametrize("file", ["./-x.toml", "a\nb.toml", " .toml", "x.baseline.toml"])
def test_a_study_s_file_is_no_name_that_commands_stumble_over(file: str) -> None:
    with ends_with(SpecError, subject="--study without --name"):
        run.main([f"--study={file}", "--data", "pocket"])


@pytest.mark.parametrize(("main", "words"), [*READERS, (cache.main, ("ls",))])
def test_no_database_is_made_by_looking_for_one(main: Main, words: tuple[str, ...]) -> None:
    study = () if main is cache.main else ("--study", "s")
    with ends_with(TransferSearchError, found="no"):
        main([*words, *study, "--storage", "sqlite:///study.db"])
    assert not Path("study.db").exists()


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("", {"advice": "TRANSFER_SEARCH_STORAGE"}),
        ("mysql+pymysql://me@host/studies", {"advice": "use PostgreSQL"}),
        ("mariadb://me@host/studies", {"advice": "use PostgreSQL"}),
        ("redis://x", {"expected": "sqlite:///FILE"}),
    ],
)
@pytest.mark.parametrize(
    ("main", "words"),
    [
        *((main, ("--study", "s", *words)) for main, words in READERS),
        (run.main, ("--study", "xtreme_legal", "--data", "pocket")),
        (cache.main, ("gc",)),
    ],
)
def test_a_storage_that_no_study_can_live_in_is_answered_with_one_that_can_be(
    main: Main, words: tuple[str, ...], url: str, fields: dict[str, str]
) -> None:
    with ends_with(StorageError, **fields):
        main([*words, "--storage", url])
