"""A worker that is stopped within a transaction, as by SIGSTOP or a cut cable, on PostgreSQL."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import backends
from storage.backends import open_storage
from storage.embedded import EmbeddedServer
from storage.outages import is_outage


def test_its_locks_do_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "IDLE_SECONDS", 1)
    tmp_path.chmod(0o711)
    server = EmbeddedServer(tmp_path / "postgresql")
    stopped, other = open_storage(server.url), open_storage(server.url)
    try:
        with stopped.engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE account (taken INTEGER)"))
            connection.execute(sa.text("INSERT INTO account VALUES (1)"))
        take = sa.text("UPDATE account SET taken = taken + 1")
        began = time.monotonic()
        held = stopped.engine.connect()
        held.execute(take)
        with other.engine.begin() as connection:
            connection.execute(take)
        with pytest.raises(sa.exc.DBAPIError) as cut_off:
            held.execute(take)
        held.close()
        assert time.monotonic() - began < 10
        assert is_outage(cut_off.value), "it is done again, as after any lost connection"
        with other.engine.connect() as connection:
            assert connection.execute(sa.text("SELECT taken FROM account")).scalar() == 2
    finally:
        stopped.close()
        other.close()
        server.close()
