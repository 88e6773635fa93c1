"""Waiting for a database that is away: the one place where anything is tried again.

A connection that cannot be made is waited for where it is made; an operation that was cut off in
its middle is done again from its beginning, so whatever is marked `outlasting` must be safe to do
twice. An outage is logged once when it begins and once when it ends.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

from spaces.errors import StorageError, first_line

PATIENCE_SECONDS = 3600.0
"""An outage that lasts longer ends the run; what it has finished waits in the outbox."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
CHECK_SECONDS = 0.5

# SQLite has one kind of error for a file that is busy and for a statement that is wrong.
_SQLITE_AWAY = ("locked", "busy", "full", "disk i/o", "unable to open")

_TABLES, _WRITABLE = "the tables that were made here", "a database that can be written"
_SQLITE_FAULTS = {
    "no such table": _TABLES,
    "no such column": _TABLES,
    "has no column named": _TABLES,
    "readonly": _WRITABLE,
    "malformed": "a whole database",
    "not a database": "a database",
}
# https://www.postgresql.org/docs/18/errcodes-appendix.html
_POSTGRESQL_FAULTS = {
    "42P01": _TABLES,
    "42703": _TABLES,
    "42501": "the right to do so",
    "25006": _WRITABLE,
    "XX001": "a whole database",
    "XX002": "a whole database",
}

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)
_patience: ContextVar[float] = ContextVar("patience", default=PATIENCE_SECONDS)
_check: ContextVar[Callable[[], None]] = ContextVar("check", default=lambda: None)


class _Outage:
    """What this process knows of the outage that it is in, or came through last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: float | None = None
        self._ended: float | None = None

    def began(self, reason: str) -> None:
        with self._lock:
            if self._began is not None:
                return
            self._began = time.monotonic()
        _log.warning("the database is away (%s); waiting for it", reason)

    def ended(self) -> None:
        with self._lock:
            if self._began is None:
                return
            seconds = time.monotonic() - self._began
            self._began, self._ended = None, time.monotonic()
        _log.warning("the database is back after %.0f s", seconds)

    def lasted(self) -> float:
        with self._lock:
            return 0.0 if self._began is None else time.monotonic() - self._began

    def seconds_since(self) -> float:
        with self._lock:
            if self._began is not None:
                return 0.0
            return float("inf") if self._ended is None else time.monotonic() - self._ended


_outage = _Outage()


def seconds_since_outage() -> float:
    """How long ago this process's last outage ended; 0 during one, infinity without any.

    After an outage every lease has expired, and none of their holders need have died.
    """
    return _outage.seconds_since()


@contextmanager
def impatient() -> Iterator[None]:
    """Within it nothing is waited for: an outage raises at once, in this thread."""
    token = _patience.set(0.0)
    try:
        yield
    finally:
        _patience.reset(token)


def reached(operation: Callable[[], object]) -> bool:
    """Do `operation` once, in this thread; False where an outage keeps it from the database."""
    with impatient():
        try:
            operation()
        except StorageError:
            return False  # it will not be back: the work itself is told when it next asks
        except (sa.exc.SQLAlchemyError, StorageInternalError) as error:
            if not is_outage(error):
                raise
            return False
    return True


@contextmanager
def asking(check: Callable[[], None]) -> Iterator[None]:
    """Within it `check` is called while this thread waits; what it raises ends the waiting."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def outlasting(method: Callable[P, T]) -> Callable[P, T]:
    """A method that is done again from its beginning where an outage cut it off.

    Raises:
        StorageError: The outage lasted longer than `PATIENCE_SECONDS`.
    """

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return outlast(lambda: method(*args, **kwargs))

    return call


def outlast(operation: Callable[[], T]) -> T:
    """Do `operation`, again and again while it meets an outage.

    Raises:
        StorageError: The outage lasted longer than `PATIENCE_SECONDS`.
    """
    patience = _patience.get()
    started, pause = time.monotonic(), FIRST_PAUSE
    while True:
        try:
            result = operation()
        except (sa.exc.SQLAlchemyError, StorageInternalError) as error:
            reason = reason_of(error)
            if (wanted := _fault(error)) is not None:
                raise StorageError("storage", wanted, reason) from error
            if not is_outage(error) or patience == 0:
                raise
            # Of the outage, not of this call: whoever cleans up after one that was too long waits
            # no second time.
            if max(time.monotonic() - started, _outage.lasted()) > patience:
                raise StorageError(
                    "storage",
                    expected=f"the database to be back within {patience:.0f} s",
                    found=reason,
                    advice="start the same command again when it is there",
                ) from error
        else:
            _outage.ended()
            return result
        _outage.began(reason)
        _rest(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def wait_at_connect(engine: sa.Engine, revive: Callable[[], None] | None = None) -> None:
    """Let `engine` wait where a connection cannot be made.

    Args:
        engine: Of the database.
        revive: Starts a database that is this program's own.
    """

    def connect(dialect: sa.Dialect, record: object, words: list[Any], names: Any) -> Any:
        def once() -> Any:
            try:
                return dialect.connect(*words, **names)
            except dialect.loaded_dbapi.Error as error:
                if revive is not None:
                    revive()
                # As the engine would say it; it is not reached.
                raise sa.exc.OperationalError("connect", None, error) from error

        return outlast(once)

    sa.event.listen(engine, "do_connect", connect)


def is_outage(error: BaseException) -> bool:
    """Whether the database is away or busy, rather than asked for something wrong."""
    if isinstance(error, StorageInternalError):
        return error.__cause__ is not None and is_outage(error.__cause__)
    if not isinstance(error, sa.exc.DBAPIError):
        return isinstance(error, sa.exc.TimeoutError)  # all connections of the pool in use
    if error.connection_invalidated:
        return True
    module = type(error.orig).__module__.partition(".")[0]
    if module == "sqlite3":
        text = str(error.orig).lower()
        return isinstance(error, sa.exc.OperationalError) and any(x in text for x in _SQLITE_AWAY)
    # psycopg: a statement that is wrong is a ProgrammingError, broken data a DataError.
    return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)


def _fault(error: BaseException) -> str | None:
    """What a database lacks that is there and can be asked; None: it is away, or we are wrong."""
    if isinstance(error, StorageInternalError):
        return None if error.__cause__ is None else _fault(error.__cause__)
    if not isinstance(error, sa.exc.DBAPIError):
        return None
    text = str(error.orig).lower()
    if type(error.orig).__module__.partition(".")[0] == "sqlite3":
        return next((wanted for part, wanted in _SQLITE_FAULTS.items() if part in text), None)
    return _POSTGRESQL_FAULTS.get(getattr(error.orig, "sqlstate", None) or "")


def reason_of(error: BaseException) -> str:
    """An outage in a line, without what was asked of the database."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        return reason_of(error.__cause__)
    return first_line(getattr(error, "orig", None) or error)


def _rest(seconds: float) -> None:
    """Sleep, but not past what `asking` wants to know."""
    check = _check.get()
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check()
        time.sleep(min(left, CHECK_SECONDS))
