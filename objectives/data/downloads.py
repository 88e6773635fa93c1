"""Raw files of public repositories: downloaded, resumed, and checked by git's own ids."""

from __future__ import annotations

RAW_HOST_VARIABLE = "TRANSFER_SEARCH_RAW_HOST"
"""Base address, as in http://127.0.0.1:8000, that stands for the hosts of raw files: a mirror."""


def raw_problem() -> str:
    """Why raw files cannot be had; empty if their host answers."""
    raise NotImplementedError
