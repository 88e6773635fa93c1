"""What goes wrong while checkpoints are written: whether it passes, and what a user can do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from spaces.errors import CacheClosedError, CacheError, first_line

# Faults of a disk or a folder that waiting does not mend; and those of one that is full.
_LASTING = frozenset(
    {
        *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOENT, errno.ELOOP),
        *(errno.ENAMETOOLONG, errno.EEXIST, errno.ENODEV),
    }
)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def faults_of_writing(location: str) -> Iterator[None]:
    """Turn what goes wrong while files are written into a `CacheError`.

    Args:
        location: Folder or URL of the cache.

    Raises:
        CacheClosedError: Of what does not pass, as a read-only disk.
        CacheError: Of the rest.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number, reason = getattr(error, "errno", None), getattr(error, "strerror", None)
        is_lasting = number in _LASTING
        advice = "free some space, or bound the cache with --cache-limit"
        if is_lasting:
            advice = "name a folder that can be written with --cache"
        elif number not in _FULL and not isinstance(error, SafetensorError):
            advice = ""
        raise (CacheClosedError if is_lasting else CacheError)(
            f"checkpoint cache {location}",
            expected="a place that can be written",
            found=first_line(error) if reason is None else str(reason),
            advice=advice,
        ) from error
