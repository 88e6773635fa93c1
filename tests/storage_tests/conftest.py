"""What tests of the storage share: an engine, and processes that are stopped and killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
import sqlalchemy as sa

from storage.leases import Holder
from storage.opening import SQLITE_TIMEOUT
from storage.schema import make_tables
from tests.scripts import IMPORTS, Script

# The database was opened as the program opens it; argument 1 is its URL.
_OPEN = f"{IMPORTS}\nstorage = open_storage(sys.argv[1])\n"


def never(holder: Holder) -> None:
    """Nobody is to be waited for."""
    raise AssertionError(f"expected nobody to wait for, found {holder}")


def expire_leases(engine: sa.Engine) -> None:
    """Have all leases run out, as another machine would see it."""
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE transfer_leases SET expires_at = 1"))


@pytest.fixture
def engine(storage_url: str) -> Iterator[sa.Engine]:
    """A connection like that of `open_storage`, with our tables and without Optuna's."""
    options = {"timeout": SQLITE_TIMEOUT} if storage_url.startswith("sqlite") else {}
    engine = sa.create_engine(storage_url, connect_args=options, pool_pre_ping=True)
    make_tables(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def start() -> Iterator[Callable[..., Script]]:
    """Start a script, and return once it has printed the line "training".

    The script finds `storage` open, and the arguments given here in `sys.argv[1:]`.
    """
    with ExitStack() as started:

        def start(script: str, *arguments: str) -> Script:
            process = started.enter_context(closing(Script(_OPEN + script, *arguments)))
            if process.stdout.readline() != "training\n":
                pytest.fail(process.end()[1])
            return process

        yield start
