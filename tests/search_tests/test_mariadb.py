"""A study on MariaDB: what is portable in our tables and statements. Where it is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from optuna.trial import FrozenTrial

from search.report import main as report
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.tables import Score, TrainedStage
from tests.search_tests.conftest import Workplace

pymysql = pytest.importorskip("pymysql")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("mariadbd") is None, reason="no mariadbd on the PATH"),
]


@dataclass
class Server:
    """A server of our own, with a user `ts`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Of its database, with a password."""
        return f"mysql+pymysql://ts:s3cret@127.0.0.1:{self.port}/ts"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = ["mariadbd", "--no-defaults", f"--datadir={self.folder / 'data'}"]
        words += [f"--socket={self.folder / 'sock'}", f"--port={self.port}"]
        words += ["--bind-address=127.0.0.1", f"--pid-file={self.folder / 'pid'}"]
        if os.geteuid() == 0:
            words.append("--user=mysql")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        ping = ["mariadb-admin", f"--socket={self.folder / 'sock'}", "--wait=40", "ping"]
        subprocess.run(ping, check=True, capture_output=True)

    def kill(self) -> None:
        """As if its machine had lost its power."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = Path(f"/tmp/mariadb-{os.getpid()}")  # another user must reach it
    folder.mkdir()
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={folder / 'data'}"]
    install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
    if os.geteuid() == 0:
        shutil.chown(folder, "mysql")
        install.append("--user=mysql")
    subprocess.run(install, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = Server(folder, port)
    started.start()
    statements = (
        "CREATE DATABASE ts CHARACTER SET utf8mb4; CREATE USER ts IDENTIFIED BY 's3cret'; "
        "CREATE USER ts@localhost IDENTIFIED BY 's3cret'; "
        "GRANT ALL ON ts.* TO ts; GRANT ALL ON ts.* TO ts@localhost"
    )
    words = ["mariadb", f"--socket={folder / 'sock'}", "--user=root", "-e", statements]
    subprocess.run(words, check=True, capture_output=True)
    yield started
    started.kill()
    shutil.rmtree(folder)


def test_two_workers_of_which_one_is_killed_and_the_server_too(
    workplace: Workplace,
    server: Server,
    wait_for: Callable[..., None],
    trials_of: Callable[[str], list[FrozenTrial]],
) -> None:
    process = subprocess.Popen(
        [*workplace.command("--trials", "6", "--workers", "2", "--set", "target.epochs=30")],
        cwd=workplace.folder,
        env=workplace.environment(TRANSFER_SEARCH_STORAGE=server.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def complete() -> int:
        return sum(trial.state.name == "COMPLETE" for trial in trials_of(server.url))

    wait_for(lambda: complete() >= 1, lambda: process.poll() is None)
    fellow = next(
        child for child in psutil.Process(process.pid).children() if "--fellow" in child.cmdline()
    )
    fellow.send_signal(signal.SIGKILL)
    wait_for(lambda: complete() >= 3, lambda: process.poll() is None)
    server.kill()
    server.start()
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "s3cret" not in output
    assert "started again" in output
    trials = trials_of(server.url)
    finished = Counter(x.user_attrs["slot"] for x in trials if x.state.name == "COMPLETE")
    assert finished == dict.fromkeys(range(6), 1)
    folder = workplace.folder / "page"
    words = ["--study", "tiny", "--storage", server.url, "--to", str(folder), "--no-png"]
    assert report(words) == 0


def test_outcomes_of_more_than_64_kilobytes_are_kept_whole(server: Server) -> None:
    storage = open_storage(server.url)
    ledger = Ledger(storage.engine)
    outcomes = os.urandom(300_000)
    stage = TrainedStage("k" * 64, "p", "t", 1, 1.0, 1.0, "cpu", "float32", {"torch": "2"})
    place = ("k" * 64, "c" * 64, "t", "swa", "validation")
    score = Score(*place, "accuracy", 0.5, 10, 0, 0, outcomes)
    ledger.record_stage(stage, [score])
    assert ledger.outcomes([score])[place] == outcomes
    storage.close()
