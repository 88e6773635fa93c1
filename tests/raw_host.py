"""A loopback server that answers as the host of raw files does, and as one that fails."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class RawHost:
    """A server that runs.

    Attributes:
        address: Value of the variable that names it.
        files: Content by path of the address.
        asked: Path, and first byte that was asked for, of each request.
        breaks_after: Bytes of an answer after which the connection is cut; None for never.
        failures: Statuses that the next requests are answered with.
        most_at_once: Most requests that were under way at the same moment.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    breaks_after: int | None = None
    failures: list[int] = field(default_factory=list)
    most_at_once: int = 0
    under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    pause: float = 0.0


def blob(content: bytes) -> str:
    """Git's id of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def raw_host() -> Iterator[RawHost]:
    """Serve on a port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    host = RawHost(f"http://127.0.0.1:{server.server_port}")
    server.host = host  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        host: RawHost = self.server.host  # type: ignore[attr-defined]
        with host.lock:
            host.under_way += 1
            host.most_at_once = max(host.most_at_once, host.under_way)
        try:
            threading.Event().wait(host.pause)
            self._answer(host)
        finally:
            with host.lock:
                host.under_way -= 1

    def _answer(self, host: RawHost) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        host.asked.append((self.path, start))
        content = host.files.get(self.path)
        if host.failures or content is None:
            self._head(host.failures.pop(0) if host.failures else 404, 0)
            return
        if start >= len(content) and start:
            self._head(416, 0)
            return
        rest = content[start:]
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._head(206 if found else 200, len(rest), {"Content-Range": span} if found else {})
        if host.breaks_after is not None:
            rest = rest[: host.breaks_after]
        self.wfile.write(rest)

    def do_HEAD(self) -> None:
        self._head(301, 0)

    def _head(self, status: int, length: int, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Say nothing."""
