"""The URL of a study's storage: which kinds there are, and what one says about its database.

Nothing here connects to anything.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from spaces.errors import StorageError
from storage.url_options import check_options

DIALECTS = ("sqlite", "postgresql")
RETIRED_DIALECTS = ("mysql", "mariadb")
EMBEDDED = "embedded"
DEFAULT_EMBEDDED_FOLDER = "transfer-search.postgresql"
JOURNAL = "journal"
# Options of PostgreSQL that lead to another database.
_WHICH = frozenset({"host", "hostaddr", "port", "dbname", "options", "service"})
_WANTED = "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"


def parse_url(url: str) -> URL:
    """The parts of a storage URL.

    Args:
        url: SQLAlchemy URL of SQLite or PostgreSQL; or `embedded` or `embedded:FOLDER`
            (`storage.embedded`); or `journal:FOLDER` (`storage.journal`).

    Raises:
        StorageError: It is empty, no URL, of a database that a study cannot live in, or has an
            option behind its `?` that is unknown or not of its type.
    """
    if not url.strip():
        raise StorageError(
            "storage",
            expected="a URL",
            found="nothing",
            advice="set TRANSFER_SEARCH_STORAGE, or name one with --storage",
        )
    if embedded_folder(url) is not None:
        return URL.create("postgresql+psycopg", database=EMBEDDED)  # its place is found later
    if (folder := journal_folder(url)) is not None:
        return URL.create("sqlite", database=str(folder / "ledger.sqlite"))
    _check_written(url)
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend not in DIALECTS:
            advice = "use PostgreSQL instead" if backend in RETIRED_DIALECTS else ""
            raise StorageError(
                "storage", expected=_WANTED, found=f"a URL of {backend!r}", advice=advice
            )
        parsed.get_dialect()
        if backend == "sqlite" and (parsed.host or parsed.username or parsed.port):
            raise StorageError("storage", "sqlite:///FILE, with three slashes", "another number")
        if "\0" in (parsed.database or ""):
            raise StorageError("storage", "a path", "one with a NUL character")
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ValueError) as error:
        # The text itself is not shown: it may hold a password that could not be told apart.
        raise StorageError("storage", expected=_WANTED, found="no such URL") from error
    check_options(parsed)
    return parsed


def _check_written(url: str) -> None:
    """Check that a URL's parts can be told apart, so that none of a password is taken for others.

    Raises:
        StorageError: It has a character that must be written as a percent code. It is not shown.
    """
    scheme, _, rest = url.partition("://")
    if not url.isprintable() or url != url.strip():
        found = "one with white space or characters that cannot be printed"
        raise StorageError("storage", expected=_WANTED, found=found)
    if not scheme.startswith("sqlite") and rest.count("@") > 1:
        raise StorageError(
            "storage",
            expected=_WANTED,
            found="a URL with more than one @",
            advice="write an @ of a user's name or password as %40, and : / ? as %3A %2F %3F",
        )


def redacted(url: str) -> str:
    """The URL without its query, its password masked."""
    if embedded_folder(url) is not None or journal_folder(url) is not None:
        return url
    return parse_url(url).set(query={}).render_as_string(hide_password=True)


def database_name(url: str) -> str:
    """What no other server's database is called: the URL with what of its query says which it is.

    Without a password, wherever it stands.
    """
    parsed = parse_url(url)
    which = {name: parsed.query[name] for name in _WHICH & parsed.query.keys()}
    return parsed.set(query=which).render_as_string(hide_password=True)


def embedded_folder(url: str) -> Path | None:
    """The folder of `embedded` or `embedded:FOLDER`; None for any other URL."""
    scheme, colon, folder = url.partition(":")
    if scheme != EMBEDDED or folder.startswith("//"):
        return None
    return Path(folder if colon and folder else DEFAULT_EMBEDDED_FOLDER)


def journal_folder(url: str) -> Path | None:
    """The folder of `journal:FOLDER`; None for any other URL."""
    scheme, _, folder = url.partition(":")
    return Path(folder) if scheme == JOURNAL and folder and not folder.startswith("//") else None


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for other databases and for `:memory:`."""
    parsed = parse_url(url)
    if journal_folder(url) is not None:
        return None
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        return None
    return Path(str(parsed.database))


def local_place(url: str) -> Path | None:
    """The file or folder of this machine that a study lives in; None for a server's database."""
    return sqlite_file(url) or embedded_folder(url) or journal_folder(url)


def is_of_one_machine(url: str) -> bool:
    """Whether only processes of one machine can share the database, as its URL says."""
    return parse_url(url).get_backend_name() == "sqlite" or embedded_folder(url) is not None
