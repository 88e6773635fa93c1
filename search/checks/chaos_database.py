"""The databases of a chaos run, each in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.embedded import EmbeddedServer
from storage.pooler import pooler
from storage.urls import EMBEDDED


@dataclass(frozen=True)
class ChaosDatabase:
    """Where a study lives, and what may be done to it.

    Attributes:
        url: URL for its workers.
        server: The server, which may be stopped and killed; None for SQLite, which is a file.
    """

    url: str
    server: EmbeddedServer | None = None


@contextmanager
def chaos_database(kind: str, folder: Path) -> Iterator[ChaosDatabase]:
    """A new database of a kind in a folder; its servers end with the context.

    Args:
        kind: One of `search.checks.chaos_plan.DATABASES`.
        folder: An existing folder.

    Raises:
        StorageError: A server is not installed, or does not start.
    """
    if kind == "sqlite":
        yield ChaosDatabase(f"sqlite:///{folder}/study.sqlite")
        return
    place = folder / "postgresql"
    server = EmbeddedServer(place)
    try:
        if kind == "embedded":
            yield ChaosDatabase(f"{EMBEDDED}:{place}", server)
        elif kind == "pooler":
            with pooler(server, folder / "pgbouncer") as url:
                yield ChaosDatabase(url, server)
        else:
            yield ChaosDatabase(server.url, server)
    finally:
        server.close()
