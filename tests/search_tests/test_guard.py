"""Who gets past the guard of the dashboard, and with what."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from search.reporting.dashboard_access import Credentials, Guard, is_loopback, read_credentials
from spaces.errors import SpecError
from tests.raising import raises

KNOWN = Credentials("ann", "secret: ü")
LOCAL = "127.0.0.1:8080"


def answer(guard_options: dict[str, Any], method: str = "GET", **headers: str) -> str:
    """The status with which a request is answered; 200 where it gets through."""
    statuses: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    environ = {"REQUEST_METHOD": method, "HTTP_HOST": LOCAL}
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    Guard(app, **guard_options)(environ, lambda status, headers: statuses.append(status))
    return statuses[0][:3]


def basic(words: str) -> str:
    """The header a browser sends."""
    return "Basic " + base64.b64encode(words.encode()).decode()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", "200"),
        ("localhost:9000", "200"),  # forwarded by ssh
        ("[::1]:8080", "200"),
        ("evil.example:8080", "403"),  # a name that was made to mean 127.0.0.1
        ("127.0.0.1.evil.example", "403"),
        ("", "403"),
    ],
)
def test_without_a_password_only_names_of_this_machine_are_answered(
    host: str, status: str
) -> None:
    assert answer({}, host=host) == status


@pytest.mark.parametrize("options", [{}, {"credentials": KNOWN}])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (f"http://{LOCAL}", "200"),
        ("https://evil.example", "403"),
        ("http://127.0.0.1:9999", "403"),
        ("null", "403"),
    ],
)
def test_pages_of_other_sites_are_refused(
    options: dict[str, Any], method: str, origin: str, status: str
) -> None:
    header = basic("ann:secret: ü")
    assert answer(options, method, origin=origin, authorization=header) == status


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (basic("ann:secret: ü"), "200"),
        (basic("ann:secret: ü").replace("Basic", "basic"), "200"),
        (basic("ann:secret"), "401"),
        (basic("bob:secret: ü"), "401"),
        (basic("ann"), "401"),
        ("Basic ???", "401"),
        ("Basic üü", "401"),
        ("Bearer x", "401"),
        ("", "401"),
    ],
)
def test_a_password_is_compared_whole(header: str, status: str) -> None:
    options = {"credentials": KNOWN}
    assert answer(options, authorization=header, host="study.example") == status


def test_read_only_refuses_whatever_is_not_a_read() -> None:
    for method in ("GET", "HEAD"):
        assert answer({"read_only": True}, method) == "200"
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert answer({"read_only": True}, method) == "403"
        assert answer({}, method) == "200"


def test_loopback_addresses_are_known() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "study.example")))


def test_a_password_is_read_from_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret: ü\n", encoding="utf-8")
    file.chmod(0o600)
    assert read_credentials(f"ann:{file}") == KNOWN
    file.chmod(0o640)
    with raises(SpecError, subject="--auth", found="mode 640", advice=f"chmod 600 {file}"):
        read_credentials(f"ann:{file}")
    file.chmod(0o600)
    for text in ("", "\n", "two\nlines"):
        file.write_text(text, encoding="utf-8")
        with raises(SpecError, subject="--auth", expected="one line, the password, in "):
            read_credentials(f"ann:{file}")
    with raises(SpecError, subject="--auth", expected="a file with a password"):
        read_credentials(f"ann:{tmp_path / 'none'}")
    for text in ("ann", "ann:", ":file"):
        with raises(SpecError, subject="--auth", expected="USER:FILE", found=repr(text)):
            read_credentials(text)
