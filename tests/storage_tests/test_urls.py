"""Storage URLs: what cannot be told apart is refused, and no part of a password is shown."""

from __future__ import annotations

import pytest

from spaces.errors import StorageError
from storage.urls import parse_url, redacted
from tests.raising import raises


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ann:Tr0ub@dor3@127.0.0.1:1/db",
        "postgresql://ann:p@dor3/w@h/db",
        "postgresql://ann:p@dor3:x@h/db",
        "postgresql://ann:p@dor3?x@h/db",
        "postgresql://ann:@dor3@h",
    ],
)
def test_an_at_sign_within_a_password_is_told_and_nothing_of_it_shown(url: str) -> None:
    for use in (parse_url, redacted):
        with raises(StorageError, advice="%40") as caught:
            use(url)
        assert "dor3" not in str(caught.value)
    assert parse_url("postgresql://a:Tr0ub%40dor3@h/db").password == "Tr0ub@dor3"


@pytest.mark.parametrize("mark", ["\n", "\0", "\x1b", " "])
def test_no_url_has_characters_that_cannot_be_printed(mark: str) -> None:
    with raises(StorageError, found="cannot be printed"):
        parse_url(f"sqlite:///a.db{mark}")
    assert parse_url("sqlite:///a b.db").database == "a b.db"
