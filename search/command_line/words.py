"""Sizes and times as people read them."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")


def in_bytes(size: int) -> str:
    """A size for people, as in `1.2 GB`."""
    value = float(size)
    for unit in _UNITS[:-1]:
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} {_UNITS[-1]}"


def in_hours(seconds: float) -> str:
    """A duration for people, as in `1.5 h`, `12 min` or `30 s`."""
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.0f} s"
