"""Errors as tests check them: by their fields, so that sentences may be improved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from spaces.errors import TransferSearchError


@contextmanager
def raises(
    kind: type[TransferSearchError], **fields: str
) -> Iterator[pytest.ExceptionInfo[TransferSearchError]]:
    """As `pytest.raises`, of an error whose fields have these parts.

    Args:
        kind: Of the error.
        fields: `subject`, `expected`, `found` or `advice` -> a part of it.
    """
    with pytest.raises(kind) as caught:
        yield caught
    _check(caught.value, fields)


@contextmanager
def ends_with(kind: type[TransferSearchError], **fields: str) -> Iterator[None]:
    """As `raises`, of a command that ends with exit code 2 because of the error.

    Args:
        kind: Type of the error.
        fields: `subject`, `expected`, `found` or `advice` -> a part of it.
    """
    with pytest.raises(SystemExit) as ended:
        yield
    assert ended.value.code == 2
    error = ended.value.__cause__
    assert isinstance(error, kind), repr(error)
    _check(error, fields)


def _check(error: TransferSearchError, fields: Mapping[str, str]) -> None:
    for name, part in fields.items():
        assert part in getattr(error, name), f"{name}: {error}"
