"""What stands before optuna-dashboard, which itself lets every visitor delete every study.

On the loopback address the browser of this machine's user is let in, and no page of another site
through it; elsewhere a password is asked for.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from spaces.errors import SpecError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# optuna-dashboard reads with these alone; what it posts, puts and deletes changes a study.
READS = frozenset({"GET", "HEAD"})


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
    file = Path(name).expanduser()
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            raise SpecError(
                "--auth",
                f"that only you can read {file} (mode 600)",
                f"mode {mode:o}",
                f"run chmod 600 {file}",
            )
        password = file.read_text(encoding="utf-8").strip("\r\n")
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


@dataclass(frozen=True)
class Guard:
    """A WSGI application that lets some requests through to another.

    Attributes:
        app: The application that answers the requests let through.
        credentials: Name and password that visitors must give; None lets in whoever reaches the
            loopback address.
        read_only: Whether requests that could change a study are refused.
    """

    app: WSGIApplication
    credentials: Credentials | None = None
    read_only: bool = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or pass it on."""
        host = environ.get("HTTP_HOST", "")
        if self.credentials is None:
            # A site whose name is made to mean 127.0.0.1 (DNS rebinding) asks under that name.
            if not is_loopback(urlsplit(f"//{host}").hostname or ""):
                return _refuse(start_response, "403 Forbidden", f"expected 127.0.0.1, not {host}")
        elif not self.credentials.match(environ.get("HTTP_AUTHORIZATION", "")):
            asked = ("WWW-Authenticate", 'Basic realm="transfer-search", charset="UTF-8"')
            return _refuse(start_response, "401 Unauthorized", "password needed", asked)
        # Browsers say which page a request comes from, and send the password for any of them.
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and urlsplit(origin).netloc != host:
            return _refuse(start_response, "403 Forbidden", f"asked by a page of {origin}")
        if self.read_only and environ["REQUEST_METHOD"] not in READS:
            return _refuse(start_response, "403 Forbidden", "read-only")
        return self.app(environ, start_response)


def _refuse(
    start_response: StartResponse, status: str, reason: str, *headers: tuple[str, str]
) -> list[bytes]:
    # What optuna-dashboard's page shows of an error.
    body = f'{{"reason": "{reason}"}}'.encode()
    kind = ("Content-Type", "application/json")
    start_response(status, [kind, ("Content-Length", str(len(body))), *headers])
    return [body]
