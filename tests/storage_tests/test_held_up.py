"""A worker that is stopped within a transaction, as by SIGSTOP or a cut cable, on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from spaces.errors import StorageError
from storage import opening as backends
from storage.embedded import EmbeddedServer
from storage.opening import open_storage
from storage.outages import is_outage
from tests.conftest import server_folder
from tests.raising import raises


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with server_folder() as folder:
        folder.chmod(0o711)  # where we are root, the server's user is another one
        server = EmbeddedServer(folder / "postgresql")
        yield server
        server.close()


def test_its_locks_do_not_hold_up_the_others(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "IDLE_SECONDS", 1)
    stopped, other = open_storage(server.url), open_storage(server.url)
    try:
        with stopped.engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE account (taken INTEGER)"))
            connection.execute(sa.text("INSERT INTO account VALUES (1)"))
        take = sa.text("UPDATE account SET taken = taken + 1")
        held = stopped.engine.connect()
        held.execute(take)
        with other.engine.begin() as connection:
            connection.execute(take)
        with pytest.raises(sa.exc.DBAPIError) as cut_off:
            held.execute(take)
        held.close()
        assert is_outage(cut_off.value), "it is done again, as after any lost connection"
        with other.engine.connect() as connection:
            assert connection.execute(sa.text("SELECT taken FROM account")).scalar() == 2
    finally:
        stopped.close()
        other.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_went_away_is_waited_for_where_that_is_asked(
    server: EmbeddedServer, how: str
) -> None:
    open_storage(server.url).close()
    getattr(server, how)()
    with raises(StorageError, expected="a reachable database"):
        open_storage(server.url)
    later = threading.Timer(1.0, server.start)
    later.start()
    storage = open_storage(server.url, patient=True)
    assert storage.get_all_studies() == []
    storage.close()
    later.join()
