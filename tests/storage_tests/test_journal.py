"""A study in a shared folder: locks of killed processes, half-written lines, several processes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from spaces.errors import StorageError
from storage.journal import FolderLock
from storage.leases import Leases
from storage.opening import open_storage
from storage.processes import process_identity
from storage.slots import Slots
from storage.urls import journal_folder, redacted
from tests.raising import raises
from tests.scripts import Script

_WORKER = """
optuna.logging.disable_default_handler()
storage = open_storage(sys.argv[2])
study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
slots = Slots(storage.engine, Leases(storage.engine), "s")
together()
while (slot := slots.take(12)) is not None:
    with slot.lease:
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", 0, 1))
        slots.close(slot)
    print(slot.number)
storage.close()
"""


def test_processes_share_a_folder_without_a_server(
    tmp_path: Path, run_together: Callable[..., list[str]]
) -> None:
    url = f"journal:{tmp_path / 'study'}"
    taken = run_together(_WORKER, url, processes=3)
    assert sorted(int(line) for out in taken for line in out.split()) == list(range(12))
    storage = open_storage(url, create=False)
    study = optuna.load_study(storage=storage, study_name="s")
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert sorted(trial.number for trial in complete) == list(range(12))
    assert Slots(storage.engine, Leases(storage.engine), "s").are_done(12)
    storage.close()


def test_the_lock_of_a_killed_process_is_free_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain Optuna waits 30 s for it (`JournalFileSymlinkLock`)."""
    monkeypatch.setattr("storage.journal.GRACE_SECONDS", float("inf"))
    place = tmp_path / "lock"
    script = (
        "import sys\nfrom pathlib import Path\nfrom storage.journal import FolderLock\n"
        "FolderLock(Path(sys.argv[1])).acquire()\nprint('held', flush=True)\nsys.stdin.read()\n"
    )
    with closing(Script(script, str(place))) as holder:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    lock = FolderLock(place)
    lock.acquire()
    lock.release()
    assert not place.is_symlink()


def test_the_lock_of_another_machine_is_broken_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.journal.GRACE_SECONDS", 0.5)
    place = tmp_path / "lock"
    _, rest = process_identity().split("/", 1)
    place.symlink_to(f"elsewhere/{rest}#1")
    lock, started = FolderLock(place), time.monotonic()
    lock.acquire()
    assert time.monotonic() - started >= 0.5
    lock.release()


def test_a_lock_that_was_broken_is_not_given_back_for_its_new_holder(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "lock")
    lock.acquire()
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").symlink_to("another's")
    lock.release()
    assert (tmp_path / "lock").is_symlink()


def test_half_a_line_at_the_end_of_the_journal_costs_nothing(tmp_path: Path) -> None:
    """Plain Optuna writes behind it, and the study cannot be read from then on."""
    url = f"journal:{tmp_path}"
    storage = open_storage(url)
    study = optuna.create_study(storage=storage, study_name="s")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    journal = tmp_path / "studies.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"study')

    again = open_storage(url)
    study = optuna.load_study(storage=again, study_name="s")
    study.add_trial(optuna.trial.create_trial(value=2.0))
    assert [json.loads(line)["op_code"] for line in journal.read_text().splitlines()]
    third = optuna.load_study(storage=open_storage(url), study_name="s")
    assert [trial.value for trial in third.trials] == [1.0, 2.0]


def test_a_transaction_of_one_thread_shuts_out_another_process(tmp_path: Path) -> None:
    storage = open_storage(f"journal:{tmp_path}")
    with storage.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))
        assert (tmp_path / "ledger.lock").is_symlink()
    assert not (tmp_path / "ledger.lock").is_symlink()
    with storage.engine.connect() as connection, pytest.raises(sa.exc.OperationalError):
        connection.execute(sa.text("SELECT nothing FROM t"))
    assert not (tmp_path / "ledger.lock").is_symlink(), "an error gives it back, too"


def test_the_url_of_a_folder(tmp_path: Path) -> None:
    assert journal_folder("journal:/a/b") == Path("/a/b")
    assert journal_folder("journal:") is None
    assert journal_folder("sqlite:///x") is None
    assert redacted("journal:/a/b") == "journal:/a/b"
    with raises(StorageError, expected="a database", found="no folder"):
        open_storage(f"journal:{tmp_path}/x", create=False)
    with raises(StorageError, expected="a folder that can be written"):
        open_storage(f"journal:{tmp_path}/no/such")
