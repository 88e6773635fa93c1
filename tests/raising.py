"""Errors as tests check them: by their fields, so that sentences may be improved."""

from __future__ import annotations

from collections.abc import Iterator
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
    for name, part in fields.items():
        assert part in getattr(caught.value, name), f"{name}: {caught.value}"
