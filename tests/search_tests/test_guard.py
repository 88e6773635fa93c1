"""Who gets past the guard of the dashboard, and with what."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from search.reporting.dashboard_access import (
    Credentials,
    Guard,
    harden,
    is_loopback,
    public_place,
    read_credentials,
)
from search.reporting.password_guesses import BURST, SECONDS_EACH, Guesses
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
    environ["REMOTE_ADDR"] = headers.pop("remote", "127.0.0.1")
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
        ("[evil", "400"),
        ("127.0.0.1:port", "400"),
        ("evil@127.0.0.1", "400"),
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


BEHIND = {"host": "127.0.0.1:8080", "origin": "https://opt.example.org"}


@pytest.mark.parametrize(
    ("options", "more", "status"),
    [
        ({"credentials": KNOWN}, {}, "403"),  # nginx's default, and nothing said
        ({"credentials": KNOWN}, {"x_forwarded_host": "opt.example.org"}, "200"),
        ({"credentials": KNOWN}, {"x_forwarded_host": "opt.example.org:443"}, "200"),
        ({"credentials": KNOWN}, {"x_forwarded_host": "[evil"}, "403"),
        ({"credentials": KNOWN, "public": "opt.example.org"}, {}, "200"),
        ({"credentials": KNOWN, "public": "opt.example.org"}, {"origin": "https://[evil"}, "403"),
        ({"credentials": KNOWN, "public": "opt.example.org"}, {"origin": "https://x.org"}, "403"),
        ({}, {"x_forwarded_host": "opt.example.org"}, "403"),  # nobody is asked for a password
    ],
)
def test_behind_a_proxy_the_site_is_known_by_the_name_that_visitors_see(
    options: dict[str, Any], more: dict[str, str], status: str
) -> None:
    header = basic("ann:secret: ü")
    assert answer(options, "PUT", **{**BEHIND, "authorization": header, **more}) == status


def test_a_public_url_is_a_site() -> None:
    assert public_place("https://opt.example.org/") == "opt.example.org"
    assert public_place(None) is None
    for text in ("opt.example.org", "ftp://x", "https://", "https://x/below", "https://[x"):
        with raises(SpecError, subject="--public-url", expected="https://HOST"):
            public_place(text)


def test_a_password_is_guessed_slowly_and_by_one_address_only() -> None:
    now = [0.0]
    options = {"credentials": KNOWN, "guesses": Guesses(lambda: now[0])}

    def status(words: str, address: str) -> str:
        return answer(options, authorization=basic(words), remote=address)

    guesses = [status(f"ann:{n}", "10.0.0.1") for n in range(8)]
    assert guesses == ["401"] * BURST + ["429"] * (8 - BURST)
    # Also the right one, or a guess would show by its answer; others come in.
    assert status("ann:secret: ü", "10.0.0.1") == "429"
    assert status("ann:secret: ü", "10.0.0.2") == "200"
    now[0] += SECONDS_EACH + 0.1
    assert status("ann:wrong", "10.0.0.1") == "401"
    assert status("ann:wrong", "10.0.0.1") == "429"
    now[0] += 100 * SECONDS_EACH
    assert status("ann:secret: ü", "10.0.0.1") == "200"


def test_guesses_are_told_and_an_ipv6_network_counts_as_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guesses = Guesses(lambda: 1.0)
    for n in range(BURST):
        guesses.count(f"2001:db8::{n}")
    assert guesses.wait("2001:db8::77") > 0
    assert guesses.wait("2001:db8:1::77") == 0
    assert "wrong password from 2001:db8::/64" in caplog.text
    assert "too fast" in caplog.text


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("TEXT/HTML; charset=utf-8", "application/octet-stream"),
        ("application/xhtml+xml", "application/octet-stream"),
        ("application/pdf", "application/octet-stream"),
        ("text/csv", "text/csv"),
        ("image/png", "image/png"),
    ],
)
def test_a_file_of_a_trial_is_no_page_of_the_site(kind: str, shown: str) -> None:
    headers = harden([("Content-Type", kind), ("Access-Control-Allow-Origin", "*")], is_file=True)
    named = {name.lower(): value for name, value in headers}
    assert named["content-type"] == shown
    assert ("content-disposition" in named) == (kind != shown)
    assert "access-control-allow-origin" not in named
    assert any("sandbox" in value for _, value in headers)


def test_no_other_site_frames_a_page_and_policies_of_the_application_stay() -> None:
    headers = harden([("Content-Security-Policy", "script-src 'self'")], is_file=False)
    policies = [value for name, value in headers if name == "Content-Security-Policy"]
    assert policies == ["script-src 'self'", "frame-ancestors 'none'"]
    named = dict(headers)
    assert named["X-Content-Type-Options"] == "nosniff"
    assert named["Referrer-Policy"] == "no-referrer"
