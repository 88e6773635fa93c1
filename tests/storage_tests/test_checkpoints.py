"""The checkpoint cache: trained once, never half there, never a wrong result."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.checkpoints import MANIFEST, CheckpointCache
from storage.fingerprint import fingerprint

INPUTS = {"task": "panx", "seed": 0, "stage": {"epochs": 2}}
CONTENT = b"weights" * 100

# A process whose training is held up in the middle, after its first file.
HELD_UP = """
from pathlib import Path
from storage.checkpoints import CheckpointCache
def train(folder):
    (folder / "weights.bin").write_bytes(b"weights" * 100)
    together()
    (folder / "second.bin").write_bytes(b"second")
    return {"number": int(sys.argv[1])}
found = CheckpointCache(Path(sys.argv[2])).get_or_create({"task": "panx", "seed": 0}, train)
print(found.key, found.folder, (found.folder / "weights.bin").read_bytes() == b"weights" * 100)
"""


@dataclass
class CountingTrainer:
    """Writes one file; counts how often."""

    calls: int = 0

    def __call__(self, folder: Path) -> Mapping[str, Any]:
        """Train."""
        assert not list(folder.iterdir()), "a training starts in an empty folder"
        self.calls += 1
        (folder / "weights.bin").write_bytes(CONTENT)
        return {"updates": 7}


@pytest.fixture
def cache(tmp_path: Path) -> CheckpointCache:
    return CheckpointCache(tmp_path / "cache" / "stages")


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_first_call_trains_and_says_what_it_made(cache: CheckpointCache) -> None:
    made = cache.get_or_create(INPUTS, CountingTrainer())
    assert not made.reused
    assert made.key == fingerprint(INPUTS)
    assert made.inputs == INPUTS
    assert made.notes["updates"] == 7
    assert (made.folder / "weights.bin").read_bytes() == CONTENT
    assert files_in(cache.folder) == [made.folder / MANIFEST, made.folder / "weights.bin"]


def test_the_second_call_does_not_train(cache: CheckpointCache) -> None:
    train = CountingTrainer()
    made = cache.get_or_create(INPUTS, train)
    found = CheckpointCache(cache.folder).get_or_create(dict(reversed(INPUTS.items())), train)
    assert train.calls == 1
    assert found.reused
    assert (found.key, found.folder) == (made.key, made.folder)
    assert (found.inputs, found.notes) == (made.inputs, made.notes)


@pytest.mark.parametrize(
    "other", [{**INPUTS, "seed": 1}, {**INPUTS, "stage": {"epochs": 3}}, {**INPUTS, "new": None}]
)
def test_any_other_input_is_trained_apart(cache: CheckpointCache, other: dict[str, Any]) -> None:
    train = CountingTrainer()
    made = {cache.get_or_create(inputs, train).folder for inputs in (INPUTS, other)}
    assert train.calls == len(made) == 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_training_that_raises_leaves_nothing_behind(
    cache: CheckpointCache, error: type[BaseException]
) -> None:
    def fail(folder: Path) -> Mapping[str, Any]:
        (folder / "weights.bin").write_bytes(b"half")
        raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        cache.get_or_create(INPUTS, fail)
    assert list(cache.folder.iterdir()) == []
    assert not cache.get_or_create(INPUTS, CountingTrainer()).reused


def write_manifest(**changes: object) -> Callable[[Path], object]:
    """Change a manifest's fields; the value `...` drops a field."""

    def change(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text()) | changes
        kept = {name: value for name, value in manifest.items() if value is not ...}
        (folder / MANIFEST).write_text(json.dumps(kept))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda f: (f / "weights.bin").write_bytes(b"x" * 700), id="file changed"),
        pytest.param(lambda f: (f / "weights.bin").write_bytes(CONTENT[:50]), id="file cut"),
        pytest.param(lambda f: (f / "weights.bin").unlink(), id="file missing"),
        pytest.param(lambda f: (f / MANIFEST).unlink(), id="manifest missing"),
        pytest.param(lambda f: os.truncate(f / MANIFEST, 40), id="manifest cut"),
        pytest.param(lambda f: os.truncate(f / MANIFEST, 0), id="manifest empty"),
        pytest.param(lambda f: (f / MANIFEST).write_bytes(b"\xff\xfe\0"), id="manifest no text"),
        pytest.param(lambda f: (f / MANIFEST).write_text("[]"), id="manifest a list"),
        pytest.param(write_manifest(files=3), id="manifest with files of a wrong type"),
        pytest.param(write_manifest(files=...), id="manifest without files"),
        pytest.param(write_manifest(notes=...), id="manifest without notes"),
        pytest.param(write_manifest(key="0" * 64), id="manifest of another entry"),
    ],
)
def test_a_damaged_entry_is_made_anew_with_a_warning_that_names_it(
    cache: CheckpointCache, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    train = CountingTrainer()
    folder = cache.get_or_create(INPUTS, train).folder
    damage(folder)
    with caplog.at_level(logging.WARNING):
        again = cache.get_or_create(INPUTS, train)
    assert train.calls == 2
    assert not again.reused
    assert (again.folder / "weights.bin").read_bytes() == CONTENT
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert f"Checkpoint {folder} is damaged" in caplog.text
    assert cache.get_or_create(INPUTS, train).reused
    assert train.calls == 2


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        CheckpointCache(tmp_path / "file" / "stages").get_or_create(INPUTS, CountingTrainer())


def test_two_processes_that_make_the_same_entry_at_once_both_get_a_whole_one(
    cache: CheckpointCache, run_together: Callable[..., list[str]]
) -> None:
    inputs = {"task": "panx", "seed": 0}
    first, second = run_together(HELD_UP, str(cache.folder))
    assert first == second
    assert first.split()[0] == fingerprint(inputs)
    assert first.split()[2] == "True"
    train = CountingTrainer()
    found = cache.get_or_create(inputs, train)
    assert train.calls == 0
    assert found.notes["number"] in {0, 1}
    assert {path.parent for path in files_in(cache.folder)} == {found.folder}, "nothing half made"


def test_a_process_killed_in_the_middle_of_training_leaves_no_entry(
    cache: CheckpointCache,
) -> None:
    script = "import sys\ndef together(): print('ready', flush=True); sys.stdin.read()\n" + HELD_UP
    process = subprocess.Popen(
        [sys.executable, "-c", script, "0", str(cache.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert files_in(cache.folder), "it was killed after its first file"
        process.send_signal(signal.SIGKILL)
    train = CountingTrainer()
    made = cache.get_or_create({"task": "panx", "seed": 0}, train)
    assert train.calls == 1
    assert not made.reused
    assert (made.folder / "weights.bin").read_bytes() == CONTENT
    assert not (made.folder / "second.bin").exists()
