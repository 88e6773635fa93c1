"""A loopback server that answers as the Hugging Face hub does, where HF_ENDPOINT names it.

What it knows of the Hub's answers is what `huggingface_hub` asks for: the headers of a file
(https://huggingface.co/docs/hub/api), the listing of a tree, the codes of errors in X-Error-Code.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Repository:
    """A repository of the Hub.

    Attributes:
        branches: Name of a branch -> its files by path.
        gated: Whether nobody may have its files.
        moved: New OWNER/NAME of a repository that was renamed.
        status: Status that all requests are answered with; 0 for none.
    """

    branches: Mapping[str, Files] = field(default_factory=lambda: {"main": {}})
    gated: bool = False
    moved: str = ""
    status: int = 0

    def commit(self, revision: str) -> str:
        """Hash of the commit at a branch or a commit; empty where there is none."""
        commits = {name: _hash(name, files) for name, files in self.branches.items()}
        return revision if revision in commits.values() else commits.get(revision, "")

    def files(self, commit: str) -> Files:
        """The files of a commit."""
        return next(x for name, x in self.branches.items() if _hash(name, x) == commit)


def _hash(name: str, files: Files) -> str:
    parts = [name, *(f"{path} {_blob(data)}" for path, data in sorted(files.items()))]
    return hashlib.sha1("\n".join(parts).encode()).hexdigest()


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class HubServer:
    """A server that runs.

    Attributes:
        endpoint: Value of HF_ENDPOINT.
        repositories: Repositories by `datasets/OWNER/NAME` or `models/OWNER/NAME`.
        asked: What was asked for, as in `GET /api/datasets/me/names`.
    """

    endpoint: str
    repositories: dict[str, Repository]
    asked: list[str] = field(default_factory=list)


@contextmanager
def hub_server(repositories: dict[str, Repository]) -> Iterator[HubServer]:
    """Serve repositories on a port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = HubServer(f"http://127.0.0.1:{server.server_port}", repositories)
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    @property
    def _hub(self) -> HubServer:
        hub: HubServer = self.server.hub  # type: ignore[attr-defined]
        return hub

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path).strip("/")
        self._hub.asked.append(f"{self.command} /{path}")
        is_api = path.startswith("api/")
        parts = path.removeprefix("api/").split("/")
        kind = parts.pop(0) if parts[0] in {"datasets", "models"} else "models"
        name, rest = "/".join(parts[:2]), parts[2:]
        repository = self._hub.repositories.get(f"{kind}/{name}")
        if repository is None:
            self._error(401, "RepoNotFound", "Repository not found")
        elif repository.moved:
            target = self.path.replace(name, repository.moved)
            self._send(307, b"", Location=target)
        elif repository.status:
            extra = {"Retry-After": "0"} if repository.status == 429 else {}
            self._send(repository.status, b"", **extra)
        elif is_api:
            self._api(f"{kind}/{name}", repository, rest, body)
        elif rest[:1] == ["resolve"]:
            self._file(repository, rest[1:])
        else:
            self._error(404, "EntryNotFound", "Entry not found")

    def _api(self, place: str, repository: Repository, rest: list[str], body: bytes) -> None:
        if rest == ["auth-check"]:
            if repository.gated:
                self._error(403, "GatedRepo", "Access to this repository is restricted")
            else:
                self._json({})
            return
        what = rest.pop(0) if rest else "revision"
        revision, path = _revision(rest or ["main"], repository)
        commit = repository.commit(revision)
        if not commit:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files = repository.files(commit)
        if what == "revision":
            siblings = [{"rfilename": name} for name in files]
            about = {"id": place.split("/", 1)[1], "sha": commit, "siblings": siblings}
            self._json({**about, "private": False, "gated": repository.gated, "tags": []})
        elif what == "tree":
            asked = parse_qs(urlsplit(self.path).query)
            recursive = asked.get("recursive", ["false"])[0].lower() in {"true", "1"}
            entries = _tree(files, path, recursive=recursive)
            if path and not entries:
                self._error(404, "EntryNotFound", "not found")
            else:
                self._json(entries)
        else:  # paths-info
            if self.headers.get("Content-Type", "").startswith("application/json"):
                paths = json.loads(body)["paths"]
            else:
                paths = parse_qs(body.decode())["paths"]
            everything = {x["path"]: x for x in _tree(files, "", recursive=True)}
            self._json([everything[x] for x in paths if x in everything])

    def _file(self, repository: Repository, rest: list[str]) -> None:
        if repository.gated:
            self._error(403, "GatedRepo", "Access to this repository is restricted")
            return
        revision, path = _revision(rest, repository)
        commit = repository.commit(revision)
        if not commit:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif (data := repository.files(commit).get(path)) is None:
            self._error(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit})
        else:
            begin, total = 0, len(data)
            status = 200
            headers = {"X-Repo-Commit": commit, "ETag": f'"{_blob(data)}"'}
            if (asked := self.headers.get("Range", "")).startswith("bytes="):
                first, _, last = asked.removeprefix("bytes=").partition("-")
                begin, end = int(first), min(int(last or total - 1), total - 1)
                data, status = data[begin : end + 1], 206
                headers["Content-Range"] = f"bytes {begin}-{end}/{total}"
            self._send(status, data, **headers)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def _error(self, status: int, code: str, message: str, **headers: str) -> None:
        told = {"X-Error-Code": code, "X-Error-Message": message, **headers}
        self._send(status, json.dumps({"error": message}).encode(), **told)

    def _send(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _revision(rest: list[str], repository: Repository) -> tuple[str, str]:
    """The branch or commit at the beginning of a path, and what follows."""
    for branch in repository.branches:
        parts = branch.split("/")
        if rest[: len(parts)] == parts:
            return branch, "/".join(rest[len(parts) :])
    return rest[0], "/".join(rest[1:])


def _tree(files: Files, below: str, *, recursive: bool) -> list[dict[str, object]]:
    """The listing of a folder."""
    prefix = f"{below}/" if below else ""
    entries: dict[str, dict[str, object]] = {}
    for path, data in files.items():
        if not path.startswith(prefix):
            continue
        *folders, _ = path.removeprefix(prefix).split("/")
        shown = folders if recursive else folders[:1]
        for depth in range(len(shown)):
            folder = prefix + "/".join(shown[: depth + 1])
            oid = hashlib.sha1(folder.encode()).hexdigest()
            entries[folder] = {"type": "directory", "oid": oid, "size": 0, "path": folder}
        if recursive or not folders:
            entries[path] = {"type": "file", "oid": _blob(data), "size": len(data), "path": path}
    return list(entries.values())
