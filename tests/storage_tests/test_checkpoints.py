"""The checkpoint cache: trained once, never half there, never a wrong result."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import pytest
import sqlalchemy as sa

from spaces.errors import CacheClosedError, CacheError
from storage.checkpoint_folders import DOWNLOADS, LEFTOVER_SECONDS
from storage.checkpoints import (
    Checkpoint,
    CheckpointCache,
    Collection,
)
from storage.fingerprint import fingerprint
from storage.leases import Lease, Leases
from storage.processes import process_identity
from storage.schema import make_tables
from tests.raising import raises
from tests.scripts import IMPORTS, Script
from tests.storage_tests.conftest import expire_leases, never

INPUTS = {"task": "panx", "seed": 0, "stage": {"epochs": 2}}
KEY = fingerprint(INPUTS)
CONTENT = b"weights" * 100

# Four processes: the trainer goes on only when another one has seen how far it is.
ONE_OF_MANY = """
folder = Path(sys.argv[3])
storage = open_storage(sys.argv[2])
cache = CheckpointCache(folder / "cache", Leases(storage.engine, seconds=2))
def train(scratch, lease):
    with (folder / "trainers").open("a") as file:
        file.write(sys.argv[1])
    lease.progress(3, 10)
    while not (folder / "seen").exists():
        time.sleep(0.05)
    (scratch / "weights.bin").write_bytes(b"weights" * 100)
    return {"by": sys.argv[1]}
def on_wait(holder):
    if (holder.done, holder.total) == (3, 10):
        (folder / "seen").touch()
together()
found = cache.get_or_create({"seed": 0}, train, on_wait)
assert (found.folder / "weights.bin").read_bytes() == b"weights" * 100
print(found.notes["by"], found.folder)
storage.engine.dispose()
"""

# Two processes that do not know of each other: each has a database of its own.
APART = """
storage = open_storage(f"sqlite:///{sys.argv[2]}/{sys.argv[1]}.db")
cache = CheckpointCache(Path(sys.argv[2], "cache"), Leases(storage.engine))
def train(folder, lease):
    (folder / "weights.bin").write_bytes(b"weights" * 100)
    together()
    return {"by": sys.argv[1]}
found = cache.get_or_create({"seed": 0}, train, print)
print((found.folder / "weights.bin").read_bytes() == b"weights" * 100)
storage.engine.dispose()
"""

# A training that comes to its first file and no further.
BEGUN = """
def train(folder, lease):
    (folder / "weights.bin").write_bytes(b"half")
    print("training", flush=True)
    sys.stdin.readline()
CheckpointCache(sys.argv[2], Leases(storage.engine, 3600)).get_or_create({"seed": 0}, train, print)
"""

# A process that may not write beyond so many bytes of a file, as on a disk that is full.
FULL_DISK = """
import resource, signal
from spaces.errors import CacheError
url, location, weights, notes = sys.argv[1:]
engine = sa.create_engine(url)
make_tables(engine)
cache = CheckpointCache(location, Leases(engine))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
def train(folder, lease):
    with cache.writing():
        (folder / "first.bin").write_bytes(b"first")
        (folder / "weights.bin").write_bytes(b"x" * int(weights))
    return {"long": "x" * int(notes)}
try:
    cache.get_or_create({"seed": 0}, train, print)
except CacheError as error:
    print(error.found, error.advice, sep="; ")
engine.dispose()
"""

# Makes entries, and removes the oldest ones after each.
COLLECTOR = """
storage = open_storage(sys.argv[2])
cache = CheckpointCache(sys.argv[3], Leases(storage.engine), limit=2000)
def train(folder, lease):
    (folder / "weights.bin").write_bytes(b"weights" * 100)
    return {}
together()
for seed in range(60):
    cache.get_or_create({"by": sys.argv[1], "seed": seed}, train, print)
storage.engine.dispose()
"""


@dataclass
class CountingTrainer:
    """Writes one file; counts how often."""

    calls: int = 0

    def __call__(self, folder: Path, lease: Lease) -> Mapping[str, Any]:
        """Train."""
        assert not list(folder.iterdir()), "a training starts in an empty folder"
        self.calls += 1
        (folder / "weights.bin").write_bytes(CONTENT)
        return {"updates": 7}


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[Leases]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'leases.db'}")
    make_tables(engine)
    yield Leases(engine)
    engine.dispose()


@pytest.fixture(params=["folder", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a cache that is not there yet, once per kind of place."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/stages"
    return str(tmp_path / "cache" / "stages")


@pytest.fixture
def cache(location: str, leases: Leases) -> CheckpointCache:
    return CheckpointCache(location, leases)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a cache in a folder."""
    return tmp_path / "cache"


def make(
    cache: CheckpointCache,
    inputs: Mapping[str, Any] = INPUTS,
    train: Callable[[Path, Lease], Mapping[str, Any]] | None = None,
) -> Checkpoint:
    return cache.get_or_create(inputs, train or CountingTrainer(), never)


def opened(location: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a cache, and the path of its root there."""
    files, root = fsspec.url_to_fs(location)
    return files, root


def stored(location: str) -> list[str]:
    """All files of a cache, relative to it."""
    files, root = opened(location)
    return sorted(path.removeprefix(f"{root}/") for path in files.find(root))


def manifest_of(location: str, key: str = KEY) -> str:
    return f"{opened(location)[1]}/{key[:2]}/{key}.json"


def weights_of(location: str) -> str:
    files, root = opened(location)
    manifest = json.loads(files.cat_file(manifest_of(location)))
    return f"{root}/{KEY[:2]}/{manifest['folder']}/weights.bin"


# --- made once


def test_the_first_call_trains_and_those_after_find_what_it_made(
    cache: CheckpointCache, location: str, leases: Leases
) -> None:
    assert cache.find(INPUTS) is None
    train = CountingTrainer()
    made = make(cache, train=train)
    assert (made.reused, made.key, made.inputs) == (False, KEY, INPUTS)
    assert made.notes["updates"] == 7
    assert (made.folder / "weights.bin").read_bytes() == CONTENT
    weights, manifest = stored(location)
    assert manifest == f"{KEY[:2]}/{KEY}.json"
    assert weights.startswith(f"{KEY[:2]}/{KEY}-")
    assert weights.endswith("/weights.bin")
    again = CheckpointCache(location, leases)
    for found in (cache.find(INPUTS), make(again, dict(reversed(INPUTS.items())), train)):
        assert found is not None
        assert found.reused
        assert (found.key, found.inputs, found.notes) == (made.key, made.inputs, made.notes)
        assert (found.folder / "weights.bin").read_bytes() == CONTENT
    assert train.calls == 1
    assert cache.find({**INPUTS, "seed": 1}) is None


def test_a_cache_that_is_made_is_its_users_and_one_that_is_there_stays_open(
    folder: Path, tmp_path: Path, leases: Leases
) -> None:
    make(CheckpointCache(folder, leases))
    assert folder.stat().st_mode & 0o777 == 0o700
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o775)
    shared.chmod(0o775)
    make(CheckpointCache(shared, leases))
    assert shared.stat().st_mode & 0o777 == 0o775


@pytest.mark.parametrize(
    "other", [{**INPUTS, "seed": 1}, {**INPUTS, "stage": {"epochs": 3}}, {**INPUTS, "new": None}]
)
def test_any_other_input_is_trained_apart(cache: CheckpointCache, other: dict[str, Any]) -> None:
    train = CountingTrainer()
    made = {make(cache, inputs, train).folder for inputs in (INPUTS, other)}
    assert train.calls == len(made) == 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_training_that_raises_leaves_nothing_behind(
    cache: CheckpointCache, location: str, error: type[BaseException]
) -> None:
    def fail(folder: Path, lease: Lease) -> Mapping[str, Any]:
        (folder / "weights.bin").write_bytes(b"half")
        raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        make(cache, train=fail)
    assert stored(location) == []
    assert cache.leftovers() == {}
    assert not make(cache).reused


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path, leases: Leases) -> None:
    (tmp_path / "file").touch()
    with raises(
        CacheClosedError,
        subject=f"checkpoint cache {tmp_path}/file/stages",
        expected="a place that can be written",
        found="Not a directory",
        advice="name a folder that can be written with --cache",
    ):
        make(CheckpointCache(tmp_path / "file" / "stages", leases))


@pytest.mark.parametrize("place", ["file", "file/stages", "/proc/stages"])
def test_a_cache_that_will_never_be_writable_is_told_before_anything_is_trained(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    with raises(CacheClosedError, expected="a place that can be written", advice="--cache"):
        CheckpointCache(tmp_path / place).check_writable()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_only_of_a_full_disk_space_is_asked_for(tmp_path: Path, number: int) -> None:
    cache = CheckpointCache(tmp_path)
    with raises(CacheError, advice="free some space") as caught, cache.writing():
        raise OSError(number, os.strerror(number))
    assert not isinstance(caught.value, CacheClosedError)


def test_asking_whether_a_cache_can_be_written_leaves_nothing(cache: CheckpointCache) -> None:
    cache.check_writable()
    files, root = fsspec.url_to_fs(cache.location)
    assert files.find(root) == []


@pytest.mark.parametrize("url", ["nosuch://bucket/stages", "gs://bucket/stages"])
def test_a_url_that_cannot_be_opened_is_answered_in_one_line(
    url: str, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if it was not installed
    with raises(
        CacheError,
        subject=f"checkpoint cache {url}",
        expected="a folder or a URL that fsspec opens",
        found="nosuch" if url.startswith("nosuch") else "gcsfs",
    ) as caught:
        CheckpointCache(url, leases)
    assert "\n" not in str(caught.value)


def test_entries_of_a_remote_cache_do_not_fill_this_machine(leases: Leases) -> None:
    cache = CheckpointCache(f"memory://{uuid.uuid4().hex}", leases)
    for seed in range(DOWNLOADS + 2):
        made = make(cache, {"seed": seed})
        assert (made.folder / "weights.bin").read_bytes() == CONTENT
    assert len(list(made.folder.parent.iterdir())) == DOWNLOADS
    place = made.folder.parent
    del cache
    assert not place.exists()


# --- damage


def write_manifest(**changes: object) -> Callable[[str], None]:
    """Change a manifest's fields; the value `...` drops a field."""

    def change(location: str) -> None:
        files, place = opened(location)[0], manifest_of(location)
        manifest = json.loads(files.cat_file(place)) | changes
        kept = {name: value for name, value in manifest.items() if value is not ...}
        files.pipe_file(place, json.dumps(kept).encode())

    return change


def write(place: Callable[[str], str], content: Callable[[bytes], bytes]) -> Callable[[str], None]:
    """Change the bytes of a file."""

    def change(location: str) -> None:
        files, path = opened(location)[0], place(location)
        files.pipe_file(path, content(files.cat_file(path)))

    return change


def remove(place: Callable[[str], str]) -> Callable[[str], None]:
    return lambda location: opened(location)[0].rm(place(location))


DAMAGES = [
    pytest.param(write(weights_of, lambda old: b"x" * len(old)), id="file changed"),
    pytest.param(write(weights_of, lambda old: old[:50]), id="file cut"),
    pytest.param(write(weights_of, lambda _: b""), id="file empty"),
    pytest.param(remove(weights_of), id="file missing"),
    pytest.param(write(manifest_of, lambda old: old[:40]), id="manifest cut"),
    pytest.param(write(manifest_of, lambda _: b""), id="manifest empty"),
    pytest.param(write(manifest_of, lambda _: b"\xff\xfe\0"), id="manifest no text"),
    pytest.param(write(manifest_of, lambda _: b"[]"), id="manifest a list"),
    pytest.param(write_manifest(files=3), id="manifest with files of a wrong type"),
    pytest.param(write_manifest(files={}), id="manifest with no file"),
    pytest.param(write_manifest(files={"weights.bin": 3}), id="manifest with a wrong sum"),
    pytest.param(write_manifest(files=...), id="manifest without files"),
    pytest.param(write_manifest(notes=...), id="manifest without notes"),
    pytest.param(write_manifest(size="12"), id="manifest with a size of a wrong type"),
    pytest.param(write_manifest(folder=...), id="manifest without folder"),
    pytest.param(write_manifest(folder=["x"]), id="manifest with a folder of a wrong type"),
    pytest.param(write_manifest(folder=""), id="manifest with an empty folder"),
    pytest.param(write_manifest(folder=".."), id="manifest with a folder outside"),
    pytest.param(write_manifest(key="0" * 64), id="manifest of another entry"),
    pytest.param(write_manifest(inputs={"seed": 9}), id="manifest of other inputs"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_told_of_made_anew_with_a_warning_and_collected_like_others(
    cache: CheckpointCache,
    location: str,
    damage: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    bystander = {"task": "other"}
    make(cache, bystander)
    train = CountingTrainer()
    make(cache, train=train)
    assert cache.damaged() == []
    damage(location)
    assert cache.damaged() == [manifest_of(location)]
    with caplog.at_level(logging.WARNING):
        again = make(cache, train=train)
    assert train.calls == 2
    assert not again.reused
    assert (again.folder / "weights.bin").read_bytes() == CONTENT
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert f"Checkpoint {manifest_of(location)} is damaged" in caplog.text
    assert make(cache, train=train).reused
    assert train.calls == 2
    assert make(cache, bystander).reused, "the other entry stays as it was"
    damage(location)
    assert fingerprint(bystander) in [entry.key for entry in cache.entries()]
    cache.collect(limit=0)
    assert cache.entries() == []
    assert cache.find(bystander) is None


def test_an_entry_without_its_manifest_is_none(cache: CheckpointCache, location: str) -> None:
    make(cache)
    remove(manifest_of)(location)
    assert cache.find(INPUTS) is None
    assert cache.entries() == []
    assert not make(cache).reused
    assert make(cache).reused


def test_making_a_damaged_entry_anew_leaves_no_old_files(
    cache: CheckpointCache, location: str
) -> None:
    make(cache)
    write(weights_of, lambda old: old[:50])(location)
    make(cache)
    assert len(stored(location)) == 2


# --- many processes


def test_of_four_processes_one_trains_while_the_others_see_how_far_it_is(
    storage_url: str, tmp_path: Path, run_together: Callable[..., list[str]]
) -> None:
    found = run_together(ONE_OF_MANY, storage_url, str(tmp_path), processes=4)
    trainers = (tmp_path / "trainers").read_text()
    assert len(trainers) == 1
    assert len(set(found)) == 1
    assert found[0].split()[0] == trainers
    assert len(stored(str(tmp_path / "cache"))) == 2, "nothing half made"


def test_two_processes_with_databases_of_their_own_both_get_a_whole_entry(
    tmp_path: Path, leases: Leases, run_together: Callable[..., list[str]]
) -> None:
    assert run_together(APART, str(tmp_path)) == ["True\n", "True\n"]
    cache = CheckpointCache(tmp_path / "cache", leases)
    found = cache.find({"seed": 0})
    assert found is not None
    assert found.notes["by"] in {"0", "1"}
    assert cache.damaged() == []


def test_an_entry_that_is_in_use_is_not_replaced_by_an_equal_one(
    cache: CheckpointCache, location: str, tmp_path: Path
) -> None:
    """Whoever trained it for another database meanwhile has it open."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    make_tables(engine)
    other = CheckpointCache(location, Leases(engine))
    first: list[Checkpoint] = []

    def train(folder: Path, lease: Lease) -> Mapping[str, Any]:
        first.append(make(other))
        (folder / "weights.bin").write_bytes(CONTENT)
        return {"updates": 8}

    second = make(cache, train=train)
    for made in (*first, second):
        assert (made.folder / "weights.bin").read_bytes() == CONTENT
    assert second.notes == {"updates": 7}
    assert len(stored(location)) == 2, "nothing half made"
    engine.dispose()


def test_a_process_killed_in_the_middle_of_training_is_followed_at_once(
    storage_url: str,
    engine: sa.Engine,
    folder: Path,
    start: Callable[..., Script],
) -> None:
    process = start(BEGUN, storage_url, str(folder))
    cache = CheckpointCache(folder, Leases(engine))
    assert len(stored(str(folder))) == 1, "it was killed after its first file"
    assert cache.leftovers() == {}, "it may still write"
    process.kill()
    assert cache.find({"seed": 0}) is None
    train = CountingTrainer()
    made = make(cache, {"seed": 0}, train)
    assert train.calls == 1
    assert (made.folder / "weights.bin").read_bytes() == CONTENT
    assert list(cache.leftovers().values()) == [len("half")]
    assert cache.collect(limit=None) == Collection(0, 1, len("half"), len(CONTENT))
    assert len(stored(str(folder))) == 2
    assert cache.leftovers() == {}


def test_a_training_whose_lease_was_lost_publishes_nothing(
    cache: CheckpointCache, location: str, tmp_path: Path
) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'leases.db'}")

    def train(folder: Path, lease: Lease) -> Mapping[str, Any]:
        (folder / "weights.bin").write_bytes(b"late")
        expire_leases(engine)
        make(cache)
        remove(manifest_of)(location)  # not even where the other's was evicted meanwhile
        return {}

    with pytest.raises(AssertionError, match="begins anew"):
        make(cache, train=_second_call_fails(train))
    assert len(stored(location)) == 1
    assert opened(location)[0].cat_file(f"{opened(location)[1]}/{stored(location)[0]}") == CONTENT
    engine.dispose()


def _second_call_fails(
    train: Callable[[Path, Lease], Mapping[str, Any]],
) -> Callable[[Path, Lease], Mapping[str, Any]]:
    trains = iter([train])

    def train_once(folder: Path, lease: Lease) -> Mapping[str, Any]:
        first = next(trains, None)
        assert first is not None, "begins anew"
        return first(folder, lease)

    return train_once


def test_two_processes_may_make_and_remove_entries_at_the_same_time(
    storage_url: str, folder: Path, leases: Leases, run_together: Callable[..., list[str]]
) -> None:
    run_together(COLLECTOR, storage_url, str(folder))
    cache = CheckpointCache(folder, leases)
    assert cache.damaged() == []
    assert cache.leftovers() == {}
    assert 1 <= len(cache.entries()) <= 3


# --- a full disk


@pytest.mark.parametrize(
    ("weights", "notes"),
    [
        pytest.param(2_000_000, 0, id="no space for the weights"),
        pytest.param(100, 2_000_000, id="no space for the manifest"),
    ],
)
def test_a_full_disk_fails_the_training_and_leaves_the_cache_sound(
    leases: Leases, folder: Path, tmp_path: Path, weights: int, notes: int
) -> None:
    kept = make(CheckpointCache(folder, leases))
    before = stored(str(folder))
    words = (f"sqlite:///{tmp_path / 'leases.db'}", str(folder), str(weights), str(notes))
    with closing(Script(IMPORTS + FULL_DISK, *words)) as process:
        out, problem = process.end()
    assert out.startswith("File too large; free some space"), problem
    assert stored(str(folder)) == before
    assert list((folder / "partial").iterdir()) == []
    cache = CheckpointCache(folder, leases)
    assert (cache.damaged(), cache.leftovers()) == ([], {})
    assert make(cache).folder == kept.folder
    assert not make(cache, {"seed": 0}).reused, "the next with space trains it"


# --- a budget


def use_at(folder: Path, times: Mapping[int, float]) -> None:
    """Let the entries of these seeds be used last at these times."""
    for seed, at in times.items():
        os.utime(manifest_of(str(folder), fingerprint({"seed": seed})), (at, at))


def seeds(cache: CheckpointCache) -> list[int]:
    """Of the entries, the least recently used first."""
    return [entry.inputs["seed"] for entry in cache.entries()]


@pytest.fixture
def three(folder: Path, leases: Leases) -> CheckpointCache:
    """A cache of three entries; the one of seed 1 was used least recently, that of 0 most."""
    cache = CheckpointCache(folder, leases)
    for seed in range(3):
        make(cache, {"seed": seed})
    use_at(folder, {0: 300, 1: 100, 2: 200})
    return cache


def test_entries_tell_what_they_are(cache: CheckpointCache) -> None:
    started = time.time()
    made = make(cache)
    (entry,) = cache.entries()
    assert (entry.key, entry.inputs, entry.notes) == (KEY, INPUTS, made.notes)
    assert entry.size == len(CONTENT)
    assert started - 1 <= entry.used_at <= time.time() + 1


def test_a_cache_that_is_not_there_has_no_entries(cache: CheckpointCache) -> None:
    assert (cache.entries(), cache.damaged(), cache.leftovers()) == ([], [], {})
    assert cache.collect(limit=0) == Collection(0, 0, 0, 0)
    cache.touch(INPUTS)
    assert cache.find(INPUTS) is None


def test_the_least_recently_used_go_first(three: CheckpointCache, folder: Path) -> None:
    assert seeds(three) == [1, 2, 0]
    size = len(CONTENT)
    assert three.collect(limit=3 * size) == Collection(0, 0, 0, 3 * size)
    assert three.collect(limit=None) == Collection(0, 0, 0, 3 * size)
    assert three.collect(limit=2 * size + 1) == Collection(1, 0, size, 2 * size)
    assert seeds(three) == [2, 0]
    assert three.collect(limit=1) == Collection(2, 0, 2 * size, 0)
    assert stored(str(folder)) == []
    assert not make(three, {"seed": 1}).reused, "it is trained again"


def test_a_new_entry_makes_room_for_itself(
    three: CheckpointCache, folder: Path, leases: Leases
) -> None:
    bounded = CheckpointCache(folder, leases, limit=2 * len(CONTENT))
    assert make(bounded, {"seed": 0}).reused
    assert len(seeds(bounded)) == 3, "finding takes no room"
    make(bounded, {"seed": 3})
    assert seeds(bounded) == [0, 3]


def test_a_new_entry_is_there_whatever_the_limit(folder: Path, leases: Leases) -> None:
    bounded = CheckpointCache(folder, leases, limit=1)
    for seed in range(2):
        made = make(bounded, {"seed": seed})
        assert (made.folder / "weights.bin").read_bytes() == CONTENT
    assert seeds(bounded) == [1]


def test_reading_counts_as_use(cache: CheckpointCache) -> None:
    for seed in range(2):
        make(cache, {"seed": seed})
    uses = (cache.touch, cache.find, lambda inputs: make(cache, inputs))
    for use, seed in zip(uses, (0, 1, 0), strict=True):
        time.sleep(0.01)
        use({"seed": seed})
        assert seeds(cache) == [1 - seed, seed]
    assert cache.damaged() == []


def test_looking_at_the_entries_is_no_use(three: CheckpointCache) -> None:
    three.damaged()
    three.leftovers()
    three.collect(limit=None)
    assert seeds(three) == [1, 2, 0]


@pytest.mark.parametrize("needed_since", [200, 200.9])
def test_what_running_trials_need_stays_with_a_warning(
    three: CheckpointCache,
    folder: Path,
    leases: Leases,
    caplog: pytest.LogCaptureFixture,
    needed_since: float,
) -> None:
    """Object stores tell whole seconds: what was used in the same second counts as needed."""
    bounded = CheckpointCache(folder, leases, needed_since=lambda: needed_since)
    with caplog.at_level(logging.WARNING):
        bounded.collect(limit=3 * len(CONTENT))
        assert caplog.records == [], "all of it fits"
        collected = bounded.collect(limit=1)
    assert collected == Collection(1, 0, len(CONTENT), 2 * len(CONTENT))
    assert seeds(bounded) == [2, 0]
    assert "running trials need the rest" in caplog.text


@pytest.mark.parametrize("name", ["a[1]b", "a*b", "a?b", "ä b", "a#b", "a%20b"])
def test_a_folder_may_have_any_name(tmp_path: Path, leases: Leases, name: str) -> None:
    (tmp_path / "axb" / "00").mkdir(parents=True)  # what `a*b` would match
    (tmp_path / "axb" / "00" / "0.json").touch()
    cache = CheckpointCache(tmp_path / name, leases)
    make(cache, {"seed": 0})
    assert seeds(cache) == [0]
    assert (cache.damaged(), cache.leftovers()) == ([], {})
    assert cache.collect(limit=0).evicted == 1


# --- leftovers


def write_old(folder: Path, age: float) -> None:
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"half")
    for path in (folder / "weights.bin", folder):
        os.utime(path, (time.time() - age, time.time() - age))


def partial_name(identity: str) -> str:
    return f"partial/{quote(identity, safe='')}-{uuid.uuid4().hex}"


def test_files_without_a_manifest_go_when_nobody_can_be_at_work_on_them(
    three: CheckpointCache, folder: Path
) -> None:
    elsewhere = "elsewhere/pid:[1]/77/1.00"
    kept = {
        f"{KEY[:2]}/{KEY}-{uuid.uuid4().hex}": LEFTOVER_SECONDS - 60,
        partial_name(elsewhere): LEFTOVER_SECONDS - 60,
        partial_name(process_identity()): 0.0,
    }
    gone = {
        f"{KEY[:2]}/{KEY}-{uuid.uuid4().hex}": LEFTOVER_SECONDS + 60,
        partial_name(elsewhere): LEFTOVER_SECONDS + 60,
    }
    for name, age in (kept | gone).items():
        write_old(folder / name, age)
    assert three.leftovers() == {str(folder / name): len("half") for name in gone}
    size = 3 * len(CONTENT)
    assert three.collect(limit=None) == Collection(0, 2, 2 * len("half"), size)
    assert [name for name in kept if (folder / name).exists()] == list(kept)
    assert [name for name in gone if (folder / name).exists()] == []
    assert three.damaged() == []


def test_what_others_keep_in_the_same_folder_is_no_leftover(
    three: CheckpointCache, folder: Path
) -> None:
    for path in folder.rglob("*"):  # nor are the folders of entries, however old
        os.utime(path, (1, 1))
    for name in ("models/bert-base", "ab/model-00001", "partial/own", f"ab/{KEY}"):
        write_old(folder / name, 2 * LEFTOVER_SECONDS)
    (folder / "ab" / "config.json").write_text("{}")
    before = stored(str(folder))
    assert (three.leftovers(), three.damaged()) == ({}, [])
    three.collect(limit=None)
    assert stored(str(folder)) == before
