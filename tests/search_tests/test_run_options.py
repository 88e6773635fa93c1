"""What a run is asked for: from words, for its further workers, and for its next commands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search.command_line.run_options import (
    RunOptions,
    further_worker,
    read_run_options,
    worker_words,
)
from search.command_line.words import in_bytes, in_hours
from spaces.errors import SpecError
from tests.raising import raises

URL = "postgresql+psycopg://me:s3cret@host/studies"
ALL = RunOptions(
    study="s.toml",
    name="mine",
    overrides=("target.epochs=3", 'intermediate.tasks=["a b", "c"]', "sampler=-x"),
    trials=40,
    gpu_hours=1.25,
    timeout=5400.0,
    until=0.5,
    data="/data:/more data",
    accept_licences=True,
    backbone="-odd",
    storage=URL,
    patient=True,
    lease=7.5,
    cache="s3://bucket/x",
    cache_limit=1_500_000_001,
    device="cuda:1",
    precision="bfloat16",
    graphs="on",
    threads=3,
    workers=4,
    workers_per_gpu=2,
    launcher="ray",
    ray_address="h:1",
    end=True,
    fellow=True,
    device_share=0.125,
    quiet=True,
    dry_run=True,
)


@pytest.mark.parametrize("options", [RunOptions("s", storage=URL), ALL])
def test_the_words_of_a_run_ask_for_the_same_but_name_no_storage(options: RunOptions) -> None:
    words = worker_words(options)
    assert "s3cret" not in " ".join(words)
    again = read_run_options([*words, "--storage", "sqlite:///other.db"])
    assert again == replace(options, storage="sqlite:///other.db")


def test_every_field_is_said_when_it_is_not_the_default() -> None:
    default = RunOptions(ALL.study, storage=URL)
    same = {name for name, value in vars(ALL).items() if value == getattr(default, name)}
    assert same == {"study", "storage"}, "or the test above shows less than it says"


def test_a_further_worker_is_asked_for_the_same_without_the_launcher() -> None:
    worker = further_worker(ALL, 2, "auto", 0.5)
    assert (worker.workers, worker.workers_per_gpu, worker.launcher) == (1, None, "local")
    assert (worker.ray_address, worker.end, worker.fellow) == (None, False, True)
    assert (worker.threads, worker.device, worker.device_share) == (2, "auto", 0.5)
    kept = ("study", "name", "overrides", "trials", "until", "data", "backbone", "cache", "lease")
    assert all(getattr(worker, name) == getattr(ALL, name) for name in kept)


def test_workers_per_card_are_a_number_or_chosen_by_memory_but_not_for_ray() -> None:
    words = ["--study", "s", "--workers-per-gpu"]
    chosen = read_run_options([*words, "auto"])
    assert chosen is not None
    assert chosen.workers_per_gpu == "auto"
    with raises(SpecError, subject="--workers-per-gpu", found="auto"):
        read_run_options([*words, "auto", "--launcher", "ray"])


def test_nothing_that_is_logged_holds_a_password() -> None:
    assert "s3cret" not in repr(ALL)
    assert "s3cret" not in repr(ALL.study_address("mine", "hub"))


def test_the_storage_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFER_SEARCH_STORAGE", raising=False)
    assert RunOptions("s").storage == "sqlite:///transfer-search.sqlite"
    monkeypatch.setenv("TRANSFER_SEARCH_STORAGE", URL)
    assert RunOptions("s").storage == URL
    asked = read_run_options(["--study", "s"])
    assert asked == RunOptions("s", storage=URL), "a notebook and a command line ask alike"


@pytest.mark.parametrize("points", ["0", "-1", "soon"])
def test_the_regret_to_end_at_is_a_number_of_points(
    points: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_run_options(["--study", "s", "--until", points])
    assert ended.value.code == 2
    assert "--until" in capsys.readouterr().err


def test_a_list_is_no_run() -> None:
    assert read_run_options(["--list"]) is None


@pytest.mark.parametrize(
    ("words", "option"), [(["--address", "h:1"], "--address"), (["--end"], "--end")]
)
def test_options_of_ray_want_ray(words: list[str], option: str) -> None:
    with raises(SpecError, subject=option, expected="--launcher ray"):
        read_run_options(["--study", "s", *words])


def test_sizes_and_durations_are_said_for_people() -> None:
    assert [in_hours(x) for x in (30, 720, 5400, 86400)] == ["30 s", "12 min", "1.5 h", "24 h"]
    assert [in_bytes(x) for x in (0, 999, 1_230_000)] == ["0 B", "999 B", "1.23 MB"]
