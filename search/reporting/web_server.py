"""The web server under the dashboard: waitress, which reads requests whole before it asks anybody.

Connections that say nothing, or send a request for ever, take no thread and hold no lock; they
are closed after a while, and the oldest of them at once where there are too many.
"""

from __future__ import annotations

import logging
import resource
import signal
import socket
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from spaces.errors import SpecError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

THREADS = 8
IDLE_SECONDS = 30
"""A connection without a word for so long is closed; browsers open another one."""
REQUEST_SECONDS = 120
"""Within them a request must have come whole."""
LARGEST_BODY = 32 * 2**20
"""Bytes of a request: a file that somebody attaches to a trial."""
MOST_CONNECTIONS = 4000
_SPARE_FILES, _WANTED_FILES = 200, 8192
_CLOSED_AT_ONCE = 64


class WebServer:
    """A server that listens; `run` answers until Ctrl-C or SIGTERM.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        app: Application that answers.

    Attributes:
        port: The port that it listens on.

    Raises:
        SpecError: The address cannot be used.
    """

    def __init__(self, host: str, port: int, app: WSGIApplication) -> None:
        listening, address = _listening(host, port)
        self.port: int = listening.getsockname()[1]
        settings = Adjustments(
            sockets=[listening],
            ident=None,
            threads=THREADS,
            connection_limit=_most_connections(),
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=2,
            max_request_body_size=LARGEST_BODY,
            max_request_header_size=64 * 2**10,
            # A number of connections above 1,024 is more than select() takes.
            asyncore_use_poll=True,
            log_socket_errors=False,
            # The guard reads them, and knows which it may believe.
            clear_untrusted_proxy_headers=False,
        )
        # It counts requests that wait for a thread, aloud.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._threads = ThreadedTaskDispatcher()
        self._threads.set_thread_count(THREADS)
        info = (listening.family, listening.type, listening.proto, address)
        self._server = _Server(
            *(app, {}, True, listening),
            dispatcher=self._threads,
            adj=settings,
            bind_socket=False,
            sockinfo=info,
        )

    def run(self) -> None:
        """Answer until `KeyboardInterrupt`, which ends it within a few seconds."""
        self._server.run()

    def end(self) -> None:
        """Have `run`, in another thread, return soon."""
        self._server.is_ended = True
        self._server.pull_trigger()

    def close(self) -> None:
        """Close the socket, and every connection."""
        self._threads.shutdown()
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.close()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it Ctrl-C and SIGTERM raise `KeyboardInterrupt`, once; further ones are not heard.

    Also where the process was started with Ctrl-C ignored, as a shell's script does with `&`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in wanted}

    def ended(number: int, frame: types.FrameType | None) -> None:
        for each in wanted:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in wanted:
        signal.signal(number, ended)
    try:
        yield
    finally:
        for number in wanted:
            signal.signal(number, previous[number])


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection that knows since when it has been sending its request."""

    begun_at = 0.0

    def received(self, data: bytes) -> bool:
        """As waitress's."""
        if self.request is None:
            self.begun_at = time.time()
        return bool(super().received(data))

    def is_at_work(self) -> bool:
        """Whether an answer is being made or sent."""
        return bool(self.requests) or self.total_outbufs_len > 0


class _Server(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """Waitress, for strangers."""

    channel_class = _Channel
    is_ended = False

    def maintenance(self, now: float) -> None:
        """Close connections that are idle, or have been sending one request for too long."""
        for channel in self.active_channels.values():
            is_slow = channel.request is not None and now - channel.begun_at > REQUEST_SECONDS
            is_idle = now - channel.last_activity > IDLE_SECONDS
            if not channel.requests and (is_slow or is_idle):
                channel.will_close = True

    def readable(self) -> bool:
        """As waitress's; where there are too many connections the oldest that wait make room.

        Raises:
            KeyboardInterrupt: It was asked to end: this ends waitress's loop.
        """
        if self.is_ended:
            raise KeyboardInterrupt
        if len(self.active_channels) >= self.adj.connection_limit - _CLOSED_AT_ONCE:
            waiting = [x for x in self.active_channels.values() if not x.is_at_work()]
            waiting.sort(key=lambda channel: channel.creation_time)
            for channel in waiting[:_CLOSED_AT_ONCE]:
                channel.handle_close()
        return bool(super().readable())


def _most_connections() -> int:
    """How many connections this process can have, with as many open files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    spare = MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else soft - _SPARE_FILES
    return max(2 * _CLOSED_AT_ONCE, min(MOST_CONNECTIONS, spare))


def _listening(host: str, port: int) -> tuple[socket.socket, Any]:
    """A socket that listens on the first address that a name has."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except BaseException:  # whatever it is, the socket is closed: passed on
            listening.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        raise SpecError("--port", found=f"{port} cannot be used here: {host}: {error}") from error
    return listening, address
