"""Commands that are shown to people: what they say can be pasted and is what the study needs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from search.command_line.next_commands import StudyAddress, next_command
from search.command_line.run_options import RunOptions, read_run_options

URL = "postgresql+psycopg://me:s3cret@host/studies"
ADDRESS = StudyAddress(
    file="my studies/s.toml",
    name="mine",
    storage=URL,
    data="/data:/more data",
    backbone="an encoder",
    overrides=("target.epochs=3", 'target.tasks=["a b"]'),
    cache="/the cache",
)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """What a command's own parser makes of a line that a shell reads."""
    monkeypatch.setenv("TRANSFER_SEARCH_STORAGE", URL)

    def parsed(line: str) -> dict[str, Any]:
        python, flag, module, *words = shlex.split(line)
        assert (python, flag) == ("python", "-m")
        words = [URL if word == "$TRANSFER_SEARCH_STORAGE" else word for word in words]
        if module == "search.run":
            options = read_run_options(words)
            assert options is not None
            return vars(options)
        return vars(import_module(module).parser().parse_args(words))

    return parsed


@pytest.mark.parametrize("command", ["run", "extend"])
def test_a_command_on_the_studys_file_has_all_that_the_study_was_made_with(
    command: str, parsed: Callable[[str], dict[str, Any]]
) -> None:
    line = next_command(command, ADDRESS)
    found = parsed(line)
    assert (found["study"], found["name"]) == (ADDRESS.file, ADDRESS.name)
    assert tuple(found["overrides"]) == ADDRESS.overrides
    for name in ("data", "backbone", "cache", "storage"):
        assert found[name] == getattr(ADDRESS, name)


@pytest.mark.parametrize(("command", "more"), [("confirm", ()), ("export", ("--to", "x"))])
def test_a_command_that_trains_again_needs_the_folders_and_the_cache(
    command: str, more: tuple[str, ...], parsed: Callable[[str], dict[str, Any]]
) -> None:
    found = parsed(next_command(command, ADDRESS, *more))
    assert (found["study"], found["data"], found["cache"]) == ("mine", ADDRESS.data, "/the cache")
    assert found["backbone"] is None, "the storage knows it"
    pocket = StudyAddress("s.toml", "s", URL, data="pocket")
    assert "--data" not in next_command(command, pocket), "the storage knows it, too"


@pytest.mark.parametrize("command", ["status", "report", "cost", "dashboard"])
def test_a_command_that_reads_needs_the_name_and_the_storage(
    command: str, parsed: Callable[[str], dict[str, Any]]
) -> None:
    found = parsed(next_command(command, ADDRESS))
    assert (found["study"], found["storage"]) == ("mine", URL)
    assert found.get("cache") == ("/the cache" if command == "dashboard" else None)


def test_a_password_is_never_shown_and_never_masked() -> None:
    line = next_command("status", ADDRESS)
    assert line.endswith('--storage "$TRANSFER_SEARCH_STORAGE"')
    assert "s3cret" not in line
    assert "***" not in line
    assert "s3cret" not in json.dumps(ADDRESS.kept())


def test_what_is_the_default_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFER_SEARCH_STORAGE", raising=False)
    address = RunOptions("studies/s.toml").study_address("s", "hub")
    assert next_command("status", address) == "python -m search.status --study s"
    assert next_command("run", address, "--trials", "8") == (
        "python -m search.run --study studies/s.toml --data hub --trials 8"
    )
    monkeypatch.setenv("TRANSFER_SEARCH_STORAGE", "embedded")
    assert next_command("status", address).endswith(f"--storage {address.storage}")


def test_an_address_comes_back_from_what_is_kept_of_it() -> None:
    kept = json.loads(json.dumps(ADDRESS.kept()))
    assert StudyAddress.restored(kept, URL) == ADDRESS
