"""The doctor: what it finds on a sound machine, and on one that is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search.checks import installation, machine
from search.checks.installation import Check, State, check_installation
from search.checks.machine import check_machine
from search.command_line.options import default_cache
from search.doctor import main
from storage import examination
from storage.opening import open_storage, outbox_for
from tests.search_tests.conftest import ROOT, Workplace


def _checks(folder: Path, storage: str = "", data: str = "pocket") -> dict[str, Check]:
    """By name; of several of one name the worst, as they come."""
    storage = storage or f"sqlite:///{folder}/s.sqlite"
    found: dict[str, Check] = {}
    for check in check_machine(storage, default_cache(storage), data):
        if check.name not in found or check.state is not State.OK:
            found[check.name] = check
    return found


def test_a_machine_without_a_study_yet_has_no_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--storage", f"sqlite:///{tmp_path}/s.sqlite", "--data", "pocket"])
    lines = capsys.readouterr().out.splitlines()
    assert code == 0, lines
    assert [line.split()[1] for line in lines] == [
        *("installation", "device", "storage", "outbox", "cache", "data")
    ]
    assert all(line.startswith(("ok ", "warning ")) for line in lines)
    assert not (tmp_path / "s.sqlite").exists(), "looking makes nothing"


def test_a_study_s_storage_is_written_read_and_left_as_it_was(searched: Workplace) -> None:
    file = searched.folder / "transfer-search.sqlite"
    before = _tables(file)
    found = _checks(searched.folder, searched.storage)
    assert found["storage"].state is State.OK
    assert "SQLite 3." in found["storage"].found
    assert found["clock"].state is State.OK
    assert found["cache"].state is State.OK, "the cache beside the file is looked at"
    assert "entries" in found["cache"].found
    assert _tables(file) == before


def _tables(file: Path) -> set[str]:
    import sqlite3

    connection = sqlite3.connect(file)
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    return found


def test_a_damaged_checkpoint_is_counted(searched: Workplace) -> None:
    manifest = next((searched.folder / "transfer-search.cache").glob("??/*.json"))
    manifest.write_bytes(manifest.read_bytes()[:40])
    found = _checks(searched.folder, searched.storage)["cache"]
    assert found.state is State.WARNING
    assert "1 damaged entries" in found.found


def test_a_database_that_does_not_answer_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/none"
    assert main(["--storage", url, "--data", "pocket"]) == 1
    output = capsys.readouterr().out
    assert "problem  storage" in output
    assert "secret" not in output


def test_a_file_that_is_no_database_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_text("no database, but some text\n" * 100, encoding="utf-8")
    found = _checks(tmp_path)["storage"]
    assert found.state is State.PROBLEM
    assert "file is not a database" in found.found


def test_sqlite_on_a_network_file_system_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "file_system_of", lambda path: "nfs4")
    found = _checks(tmp_path)["storage"]
    assert found.state is State.WARNING
    assert "network file system (nfs4)" in found.found


def test_a_clock_that_is_off_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/s.sqlite"
    open_storage(url).close()
    monkeypatch.setattr(examination, "clock", lambda connection: 0.0)
    found = _checks(tmp_path, url)["clock"]
    assert found.state is State.WARNING
    assert "behind this one" in found.found


def test_results_that_wait_and_an_open_outbox_are_seen(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.sqlite"
    code = (
        "import os, sys; from storage.opening import outbox_for; o = outbox_for(sys.argv[1])\n"
        "with o.keeping('results', {}): os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, url], check=True, cwd=ROOT)
    found = _checks(tmp_path, url)["outbox"]
    assert found.state is State.WARNING
    assert "1 result(s) of workers that died wait" in found.found
    folder = outbox_for(url).folder
    next(folder.glob("*.json")).unlink()
    folder.chmod(0o755)
    found = _checks(tmp_path, url)["outbox"]
    assert (found.state, found.advice) == (State.PROBLEM, f"chmod 700 {folder}")


def test_a_package_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = installation.importlib.metadata
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda x: "4.5.0" if x == "optuna" else real(x))
    found = check_installation()
    assert found.state is State.PROBLEM
    assert "optuna 4.5.0 is not <6,>=5.0" in found.found


def test_data_is_counted_where_it_lies_and_missed_where_it_does_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = _checks(tmp_path, data=str(tmp_path / "empty"))["data"]
    assert found.state is State.PROBLEM
    assert ": 0 of the catalogue's" in found.found
    found = _checks(tmp_path, data=str(tmp_path / "nowhere"))["data"]
    assert found.state is State.PROBLEM


def _chaos(*words: str) -> dict[str, Any]:
    """What `tests.benchmarks.chaos` ends with."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.chaos", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert summary["invariants_held"]
    return summary


@pytest.mark.slow
@pytest.mark.timeout(2000)  # a chaos run gives up by itself after 1,800 s
@pytest.mark.parametrize("storage", ["sqlite", "embedded", "pooler"])
def test_a_study_whose_workers_are_killed_again_and_again_loses_nothing(storage: str) -> None:
    if storage == "pooler" and shutil.which("pgbouncer") is None:
        pytest.skip("no pgbouncer here")
    summary = _chaos("--kills", "4", "--storage", storage)
    assert (summary["lost"], summary["doubled"], summary["overshoot"]) == (0, 0, 0)
    assert sum(summary["by_kind"].values()) == summary["faults"] > 0


@pytest.mark.slow
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("storage", ["postgresql", "sqlite"])
def test_quick_chaos_holds_all_invariants(storage: str, tmp_path: Path) -> None:
    summary = _chaos("--quick", "--storage", storage, "--keep", str(tmp_path / "kept"))
    assert (summary["lost"], summary["doubled"], summary["overshoot"]) == (0, 0, 0)
    assert summary["trials"] == 24
    for kind, count in summary["by_kind"].items():
        assert count or kind in summary["not_injected"], f"{kind} was left out in silence"
