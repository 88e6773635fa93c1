"""What may stand behind the `?` of a storage's URL: options of the driver, each with its type.

SQLAlchemy hands whatever stands there to the driver, as text: an option that it does not know, or
a number that is none, would be an error deep in it. Some (`plugin`, `row_factory`, `mode`) would
change what the program reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from sqlalchemy.engine import URL

from spaces.errors import StorageError

_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_SESSIONS = frozenset({"any", "read-write", "read-only", "primary", "standby", "prefer-standby"})
# https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_TEXTS = frozenset(
    {"host", "hostaddr", "port", "dbname", "user", "password", "passfile", "require_auth"}
    | {"channel_binding", "options", "application_name", "fallback_application_name", "service"}
    | {"sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslcrldir", "sslsni"}
    | {"sslnegotiation", "sslcompression", "sslcertmode", "ssl_min_protocol_version"}
    | {"ssl_max_protocol_version", "requirepeer", "krbsrvname", "gsslib", "gssencmode"}
    | {"gssdelegation", "load_balance_hosts"}
)
_COUNTS = frozenset(
    {"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval"}
    | {"keepalives_count", "tcp_user_timeout"}
)
PREPARE = "prepare_threshold"
"""Of psycopg, in URLs that were written for a pooler; no statement is ever prepared here."""
_WORDS: Mapping[str, frozenset[str]] = {"sslmode": _SSL_MODES, "target_session_attrs": _SESSIONS}
# Others are answered by what they lack; these would be installed, and want a loop of events.
_ASYNCHRONOUS = frozenset({"psycopg_async", "aiosqlite", "asyncpg"})
_SEVERAL = frozenset({"host", "port"})
_OF_BACKEND = {
    "sqlite": frozenset({"timeout"}),
    "postgresql": _TEXTS | _COUNTS | _WORDS.keys() | {PREPARE},
}


def check_options(url: URL) -> None:
    """Check the options of a URL of SQLite or PostgreSQL.

    Raises:
        StorageError: One is unknown, or its value is not of its type; no text is shown that could
            be a secret.
    """
    driver = url.get_driver_name()
    if driver in _ASYNCHRONOUS:
        raise StorageError("storage", "a driver as in postgresql+psycopg://", repr(driver))
    known = _OF_BACKEND[url.get_backend_name()]
    for name, value in url.query.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise StorageError(
                "storage",
                f"an option of {url.get_backend_name()} behind the `?`",
                repr(name[:40]),
                f"did you mean {near[0]!r}?" if near else "leave it out",
            )
        if isinstance(value, tuple):
            if name not in _SEVERAL:
                raise StorageError("storage", f"the option {name!r} once", f"{len(value)} times")
            continue
        if wanted := _wanted(name, value):
            raise StorageError("storage", f"{name}={wanted} behind the `?`", repr(value[:40]))


def _wanted(name: str, value: str) -> str:
    """What an option should be; empty where it is that."""
    if name in _WORDS:
        return "" if value in _WORDS[name] else "|".join(sorted(_WORDS[name]))
    if name in _COUNTS:
        return "" if _is_count(value) else "a whole number"
    if name == PREPARE:
        return "" if _is_count(value) or value.lower() == "none" else "a whole number or none"
    if name == "timeout":
        return "" if _is_seconds(value) else "seconds"
    return "text without a NUL character" if "\0" in value else ""


def _is_count(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 10


def _is_seconds(value: str) -> bool:
    try:
        return 0 <= float(value) < 1e6
    except ValueError:
        return False
