"""The server under the dashboard: strangers' connections hold nobody up, and a signal ends it."""

from __future__ import annotations

import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from threading import Thread
from typing import Any

import pytest

from search.reporting import web_server
from search.reporting.web_server import WebServer, ended_by_signals
from spaces.errors import SpecError
from tests.raising import raises


def app(environ: Any, start_response: Any) -> list[bytes]:
    """Answers with the length of what was sent."""
    body = str(len(environ["wsgi.input"].read())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def server() -> Iterator[WebServer]:
    """At work in a thread."""
    with closing(WebServer("127.0.0.1", 0, app)) as server:
        thread = Thread(target=server.run, daemon=True)
        thread.start()
        yield server
        server.end()
        thread.join()


def asked(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        return bytes(answer.read())


def test_idle_connections_and_slow_bodies_hold_nobody_up(server: WebServer) -> None:
    place = "127.0.0.1", server.port
    with ExitStack() as strangers:
        for n in range(3 * web_server.THREADS):
            stranger = strangers.enter_context(closing(socket.create_connection(place)))
            if n % 2:
                stranger.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert asked(server.port) == b"0"


def test_where_there_are_too_many_the_oldest_that_say_nothing_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web_server, "MOST_CONNECTIONS", 0)  # the least that there may be is left
    with closing(WebServer("127.0.0.1", 0, app)) as server, ExitStack() as strangers:
        thread = Thread(target=server.run, daemon=True)
        thread.start()
        for _ in range(300):
            place = "127.0.0.1", server.port
            strangers.enter_context(closing(socket.create_connection(place)))
        assert asked(server.port) == b"0"
        server.end()
        thread.join()


def test_a_signal_ends_it_also_where_ctrl_c_was_ignored() -> None:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), ended_by_signals():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


def test_an_address_that_cannot_be_used_is_said(server: WebServer) -> None:
    with raises(SpecError, subject="--port", found=f"{server.port} cannot be used here"):
        WebServer("127.0.0.1", server.port, app)
