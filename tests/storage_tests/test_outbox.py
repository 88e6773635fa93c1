"""The outbox: what was finished while the database was away comes there, once."""

from __future__ import annotations

import json
import logging
import os
import resource
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from spaces.errors import StorageError
from storage.leases import LeaseLost, Leases
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.outbox import Outbox, outbox_of
from storage.patient_storage import SharedStorage
from storage.processes import process_identity
from storage.slots import Slots
from tests.conftest import Server
from tests.processes import wait_until
from tests.scripts import Script
from tests.storage_tests.conftest import expire_leases
from tests.storage_tests.test_ledger import BASELINE, BASELINE_STAGE, SCORE, STAGE

on_postgresql = pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
# Has a trial's scores and results, which it is told to keep once the database is away.
FINISHED = f"""
ledger = Ledger(storage.engine, storage.outbox)
slots = Slots(storage.engine, Leases(storage.engine, 3600), "s")
score, baseline = {SCORE!r}, {BASELINE!r}
slot = slots.take(1)
with slot.lease:
    slots.begin(slot, None)
    ledger.record_stage({BASELINE_STAGE!r}, [baseline])
    if sys.argv[2] == "results":
        ledger.record_stage({STAGE!r}, [score])
    print("training", flush=True)
    sys.stdin.readline()
    if sys.argv[2] == "scores":
        ledger.record_stage({STAGE!r}, [score], None, [0.5, 0.25])
    ledger.record_trial("s", 0, [PairedScore(0, score, baseline, baseline)], slot.lease)
"""


@pytest.fixture
def storage(storage_url: str) -> Iterator[SharedStorage]:
    storage = open_storage(storage_url)
    yield storage
    storage.close()


@pytest.fixture
def killed_with(
    storage_url: str,
    storage: SharedStorage,
    server: Server,
    start: Callable[..., Script],
) -> Callable[[str], None]:
    """Kill a worker that waits for the database to keep what is named; then bring it back."""

    def kill(what: str) -> None:
        process = start(FINISHED, storage_url, what)
        server.stop()
        process.tell("go")
        wait_until(lambda: list(storage.outbox.folder.glob("*.json")), process)
        assert storage.outbox.left() == [], "whoever lives brings it itself"
        process.kill()
        server.start()

    return kill


@on_postgresql
@pytest.mark.parametrize("what", ["results", "scores"])
def test_what_a_worker_had_that_was_killed_in_an_outage_is_brought_by_the_next_one_once(
    storage: SharedStorage, killed_with: Callable[[str], None], what: str
) -> None:
    killed_with(what)
    ledger = Ledger(storage.engine, storage.outbox)
    assert ledger.recorded_trials("s") == set()
    assert [ledger.deliver(), ledger.deliver()] == [1, 0]
    assert list(ledger.scores(SCORE.checkpoint_key, "validation").values()) == [SCORE]
    if what == "results":
        ((pair,),) = ledger.pairs("s", "validation").values()
        assert (pair.score, pair.baseline) == (SCORE, BASELINE)
    else:
        assert ledger.losses([SCORE.checkpoint_key]) == {SCORE.checkpoint_key: [0.5, 0.25]}
    assert list(storage.outbox.folder.iterdir()) == []


@on_postgresql
def test_a_result_whose_slot_another_worker_has_taken_since_is_let_go(
    storage: SharedStorage, killed_with: Callable[[str], None]
) -> None:
    killed_with("results")
    expire_leases(storage.engine)
    assert Slots(storage.engine, Leases(storage.engine), "s").take(1) is not None
    ledger = Ledger(storage.engine, storage.outbox)
    assert ledger.deliver() == 1
    assert ledger.recorded_trials("s") == set()
    assert storage.outbox.left() == []


@on_postgresql
def test_delivering_is_cut_off_and_done_again(
    storage: SharedStorage, killed_with: Callable[[str], None]
) -> None:
    """Between the database and the removal of the file: the second time changes nothing."""
    killed_with("results")
    (file,) = storage.outbox.left()
    ledger = Ledger(storage.engine, storage.outbox)
    content = file.read_text()
    ledger.deliver()
    before = ledger.pairs("s", "validation")
    file.write_text(content)
    assert ledger.deliver() == 1
    assert ledger.pairs("s", "validation") == before


def test_an_entry_is_on_disk_while_it_is_delivered_and_only_for_its_user(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a" / "outbox")
    with outbox.keeping("results", {"x": [1, "ü"]}):
        (file,) = outbox.folder.iterdir()
        assert outbox.read(file) == ("results", {"x": [1, "ü"]})
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(outbox.folder.stat().st_mode) == 0o700
    assert list(outbox.folder.iterdir()) == []


def test_an_entry_goes_where_nobody_wants_it_any_more(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    with pytest.raises(LeaseLost), outbox.keeping("results", {}, LeaseLost):
        raise LeaseLost("taken over")
    assert list(outbox.folder.iterdir()) == []
    for count, problem in enumerate((StorageError("away"), KeyboardInterrupt()), start=1):
        with pytest.raises(type(problem)), outbox.keeping("results", {}, LeaseLost):
            raise problem
        assert len(list(outbox.folder.iterdir())) == count
    assert outbox.left() == [], "their process lives"


@pytest.mark.parametrize("problem", ["a full disk", "a file in its place"])
def test_a_disk_that_cannot_be_written_is_said_and_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, problem: str
) -> None:
    outbox = Outbox(tmp_path / "outbox")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if problem == "a full disk":
        outbox.folder.mkdir()
        resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))
    else:
        outbox.folder.write_text("")
    delivered = []
    try:
        with caplog.at_level(logging.WARNING), outbox.keeping("results", {"x": "y" * 99}):
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            delivered.append(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert delivered == [1]
    (record,) = caplog.records
    assert f"outbox {outbox.folder}: cannot be written: " in record.getMessage()
    assert outbox.left() == []
    assert outbox.deliver(lambda kind, content: None) == 0
    if problem == "a full disk":
        assert list(outbox.folder.iterdir()) == [], "nothing half written"


def test_each_database_has_an_outbox_of_its_own_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRANSFER_SEARCH_STATE", str(tmp_path))
    folders = {outbox_of(name).folder for name in ("sqlite:///a.db", "sqlite:///b.db")}
    assert len(folders) == 2
    assert {folder.parent for folder in folders} == {tmp_path / "transfer-search" / "outbox"}
    monkeypatch.delenv("TRANSFER_SEARCH_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert outbox_of("x").folder.is_relative_to(tmp_path / "xdg")


DEAD = f"{quote('/'.join(process_identity().split('/')[:-2]), safe='')}%2F4194303%2F1.00"


def _signed(outbox: Outbox, kind: str, content: Mapping[str, object]) -> Path:
    """An entry of this folder's, of a process that is gone."""
    before = set(outbox.folder.glob("*.json"))
    with pytest.raises(LeaseLost), outbox.keeping(kind, content):
        raise LeaseLost
    (file,) = set(outbox.folder.glob("*.json")) - before
    return file.rename(outbox.folder / f"{DEAD}-{uuid.uuid4().hex}.json")


def _strange(outbox: Outbox, what: str) -> None:
    """Put something into the folder that is no entry of ours."""
    file = _signed(outbox, "results", {"results": []})
    signed = json.loads(file.read_text())
    text = file.read_text()
    file.unlink()
    match what:
        case "a fifo":
            os.mkfifo(file)
        case "a folder":
            file.mkdir()
        case "a link":
            (outbox.folder / "other").write_text(text)
            file.symlink_to(outbox.folder / "other")
        case "an odd name":
            (outbox.folder / "x.json").write_text(text)
        case "a name with an odd process":
            (outbox.folder / f"a%2Fb%2Fc%2Fd-{'0' * 32}.json").write_text(text)
        case "another's signature":
            file.write_text(json.dumps({**signed, "signature": "0" * 64}))
        case "a forged score":
            forged = signed["entry"].replace("[]", '[{"score": 1.0}]')
            file.write_text(json.dumps({**signed, "entry": forged}))
        case "another version":
            file.write_text(json.dumps({**signed, "format": 99}))
        case _:
            file.write_bytes(what.encode("latin-1"))


STRANGE = [
    *("", "{", "[]", "null", "{}", '{"kind": "results", "results": []}', "[" * 100_000, "\xff"),
    *('{"format": 1, "entry": 5, "signature": "x"}', '{"format": 1, "entry": "{}"}', "9" * 5000),
    *("a fifo", "a folder", "a link", "an odd name", "a name with an odd process"),
    *("another's signature", "a forged score", "another version"),
]


@pytest.mark.parametrize("what", STRANGE, ids=lambda x: ascii(x[:20]))
def test_what_is_no_entry_is_set_aside_said_once_and_work_goes_on(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(tmp_path / "outbox")
    _strange(outbox, what)
    ours = _signed(outbox, "results", {"x": 1})
    taken: list[tuple[str, object]] = []
    assert outbox.left() == [ours]
    assert [outbox.deliver(lambda *entry: taken.append(entry)) for _ in range(2)] == [1, 0]
    assert taken == [("results", {"x": 1})]
    assert len(outbox.set_aside()) == 1
    (record,) = caplog.records
    assert "is no result of this program's" in record.getMessage()


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("scores", {}),
        ("scores", {"stage": {"x": 1}, "scores": [], "losses": []}),
        ("results", {"results": [{"study_name": "s"}], "fence": None}),
        ("results", {"fence": 3, "results": []}),
        ("results", {"results": [{"study_name": "s", "trial_number": 0, "no": 1}]}),
        ("results", {"results": 7}),
        ("unknown", {}),
    ],
)
def test_an_entry_without_what_its_kind_has_is_set_aside(
    storage: SharedStorage, kind: str, content: dict[str, object]
) -> None:
    _signed(storage.outbox, kind, content)
    ledger = Ledger(storage.engine, storage.outbox)
    assert [ledger.deliver(), ledger.deliver()] == [0, 0]
    assert len(storage.outbox.set_aside()) == 1


def test_a_key_that_others_can_read_or_wrote_signs_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox")
    _signed(outbox, "results", {})
    (key,) = tmp_path.glob("*.key")
    key.chmod(0o644)
    assert outbox.left() == []
    assert outbox.deliver(lambda kind, content: None) == 0
    (entry,) = outbox.set_aside()
    assert "4194303" in entry.name
