"""What stands before optuna-dashboard, which itself lets every visitor delete every study.

On the loopback address the browser of this machine's user is let in, and no page of another site
through it; elsewhere a password is asked for.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import json
import math
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from search.reporting.password_guesses import Guesses
from spaces.errors import SpecError
from spaces.records import expanded

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# optuna-dashboard reads with these alone; what it posts, puts and deletes changes a study.
READS = frozenset({"GET", "HEAD"})
READ_ONLY = ": start search.dashboard with --allow-changes, or with --auth USER:FILE"
FILES = "/artifacts/"
_HEADERS = (
    ("Content-Security-Policy", "frame-ancestors 'none'"),
    ("X-Frame-Options", "DENY"),  # the same, for browsers that do not know it
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
# What a browser shows of files, none of which can hold a script.
_SHOWN = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "text/csv", "text/plain"}
)
# optuna-dashboard lets pages of all sites read files.
_NOT_OF_FILES = ("access-control-", "content-type ", "content-disposition ")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Credentials:
    """Who may come in.

    Attributes:
        user: Name of the user.
        password: In clear, as HTTP's basic authentication sends it.
    """

    user: str
    password: str

    def match(self, header: str) -> bool:
        """Whether an Authorization header has them (RFC 7617)."""
        scheme, _, coded = header.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            decoded = base64.b64decode(coded.strip(), validate=True)
        except ValueError:  # not ASCII, or no base64
            return False
        return hmac.compare_digest(decoded, f"{self.user}:{self.password}".encode())


def credentials_for(host: str, auth: str | None) -> Credentials | None:
    """The credentials that visitors of an address need; None where nobody is asked.

    Args:
        host: Address to listen on.
        auth: `USER:FILE`, or None.

    Raises:
        SpecError: Other machines reach the address and no password is asked for, or the file is
            no file of a password.
    """
    credentials = read_credentials(auth) if auth else None
    if credentials is None and not is_loopback(host):
        raise SpecError(
            "--host",
            found=f"{host} is reached from other machines, and optuna-dashboard asks nobody for "
            f"a password",
            advice="add --auth USER:FILE",
        )
    return credentials


def read_credentials(text: str) -> Credentials:
    """The credentials of `--auth USER:FILE`.

    Raises:
        SpecError: There is no such file, others may read it, or it holds no password.
    """
    user, _, name = text.partition(":")
    if not user or not name:
        raise SpecError("--auth", "USER:FILE", repr(text))
    file = expanded(name)
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            raise SpecError(
                "--auth",
                f"that only you can read {file} (mode 600)",
                f"mode {mode:o}",
                f"run chmod 600 {file}",
            )
        password = file.read_text(encoding="utf-8-sig").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError("--auth", "a file with a password", str(error)) from error
    if not password or "\n" in password:
        found = "several" if password else "none"
        raise SpecError("--auth", f"one line, the password, in {file}", found)
    return Credentials(user, password)


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine, for programs that run on it alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def public_place(public_url: str | None) -> str | None:
    """Host and port of the URL that visitors see, behind a proxy.

    Raises:
        SpecError: It is no http or https URL, or leads below the root of its site.
    """
    if public_url is None:
        return None
    try:
        parts = urlsplit(public_url)
        is_site = parts.scheme in _PORTS and _place(parts.netloc, parts.scheme) is not None
    except ValueError:
        is_site = False
    if not is_site or parts.path not in {"", "/"} or parts.query or parts.username:
        raise SpecError("--public-url", "https://HOST", repr(public_url[:80]))
    return parts.netloc


@dataclass(frozen=True)
class Guard:
    """A WSGI application that lets some requests through to another.

    Attributes:
        app: The application that answers the requests let through.
        credentials: Name and password that visitors must give; None lets in whoever reaches the
            loopback address.
        read_only: Whether requests that could change a study are refused.
        public: Host and port that visitors see, behind a proxy that is trusted to say who they
            are; None: the one that is asked for.
        guesses: What was guessed of the password, and from where.
    """

    app: WSGIApplication
    credentials: Credentials | None = None
    read_only: bool = False
    public: str | None = None
    guesses: Guesses = field(default_factory=Guesses)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or pass it on."""
        is_file = environ.get("PATH_INFO", "").startswith(FILES)

        def hardened(
            status: str, headers: list[tuple[str, str]], *more: Any
        ) -> Callable[[bytes], object]:
            return start_response(status, harden(headers, is_file=is_file), *more)

        if (refusal := self._refusal(environ)) is None:
            return self.app(environ, hardened)
        # What optuna-dashboard's page shows of an error.
        body = json.dumps({"reason": refusal.reason}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        hardened(refusal.status, [*headers, *refusal.headers])
        return [body]

    def _refusal(self, environ: WSGIEnvironment) -> Refusal | None:
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        place = _place(host, "http")
        if self.credentials is None:
            if host and place is None:
                return Refusal("400 Bad Request", "Host is no host")
            # A site whose name is made to mean 127.0.0.1 (DNS rebinding) asks under that name.
            if place is None or not is_loopback(place[0]):
                return Refusal("403 Forbidden", f"expected 127.0.0.1, not {host}")
        else:
            if place is None:
                return Refusal("400 Bad Request", "Host is no host")
            if (refusal := self._unknown(environ, self.credentials)) is not None:
                return refusal
        # Browsers say which page a request comes from, and send the password for any of them.
        if origin is not None and not self._is_own(origin, environ):
            return Refusal(
                "403 Forbidden",
                f"asked by a page of {origin}, and this is {host}; behind a proxy, start with "
                f"--public-url {origin}, or have it send the header X-Forwarded-Host",
            )
        if self.read_only and environ["REQUEST_METHOD"] not in READS:
            how = READ_ONLY if self.credentials is None else ""
            return Refusal("403 Forbidden", f"read-only{how}")
        return None

    def _unknown(self, environ: WSGIEnvironment, credentials: Credentials) -> Refusal | None:
        """Why a visitor is not let in; None where the password is right."""
        header = environ.get("HTTP_AUTHORIZATION", "")
        asked = ("WWW-Authenticate", 'Basic realm="transfer-search", charset="UTF-8"')
        if not header:
            return Refusal("401 Unauthorized", "password needed", (asked,))
        address = environ.get("REMOTE_ADDR", "")
        if self.public is not None:
            # The proxy's own word, which is the last.
            forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
            address = forwarded.rpartition(",")[2].strip() or address
        if (seconds := self.guesses.wait(address)) > 0:
            after = ("Retry-After", str(math.ceil(seconds)))
            return Refusal("429 Too Many Requests", "too many wrong passwords; wait", (after,))
        if credentials.match(header):
            return None
        self.guesses.count(address)
        return Refusal("401 Unauthorized", "password needed", (asked,))

    def _is_own(self, origin: str, environ: WSGIEnvironment) -> bool:
        """Whether a page is of this site, under whichever of its names."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        names = [environ.get("HTTP_HOST", ""), self.public or ""]
        if self.credentials is not None:
            # No page of another site can send it: browsers ask first whether they may.
            names.append(environ.get("HTTP_X_FORWARDED_HOST", "").partition(",")[0].strip())
        asking = _place(parts.netloc, parts.scheme)
        known = [_place(name, parts.scheme) for name in names if name]
        return asking is not None and asking in known


@dataclass(frozen=True)
class Refusal:
    """An answer to a request that is not let through.

    Attributes:
        status: Status line of HTTP.
        reason: Reason for people.
        headers: Further headers.
    """

    status: str
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


def harden(headers: Iterable[tuple[str, str]], *, is_file: bool) -> list[tuple[str, str]]:
    """Headers of an answer, with those by which a browser keeps other sites and files out.

    Args:
        headers: As the application has them.
        is_file: Whether it is a file that somebody has attached to a trial: whatever it says that
            it is, a browser is not to run it as a page of this site.
    """
    kept = dict[str, tuple[str, str]]()
    more = [*_HEADERS]
    for name, value in headers:
        # A list: optuna-dashboard's own policy stays beside ours.
        kept[f"{name.lower()} {len(kept)}"] = (name, value)
    if is_file:
        kept = {x: pair for x, pair in kept.items() if not x.startswith(_NOT_OF_FILES)}
        said = next((value for name, value in headers if name.lower() == "content-type"), "")
        kind = said.partition(";")[0].strip().lower()
        is_shown = kind in _SHOWN or kind.startswith(("audio/", "video/"))
        more.append(("Content-Type", said if is_shown else "application/octet-stream"))
        more.append(("Content-Security-Policy", "sandbox; default-src 'none'"))
        if not is_shown:
            more.append(("Content-Disposition", "attachment"))
    return [*kept.values(), *more]


def _place(netloc: str, scheme: str) -> tuple[str, int] | None:
    """Host and port, as in `opt.example.org:8080`; None where it is none."""
    try:
        parts = urlsplit(f"//{netloc}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.path or parts.query or parts.fragment or parts.username is not None:
        return None
    # A proxy says the port of its own side, or leaves it out.
    return host, _PORTS.get(scheme, 80) if port in {None, 80, 443} else int(port or 0)
