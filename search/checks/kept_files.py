"""Whether what a study keeps in files is as it must be: its checkpoints and its outbox."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from search.checks.invariants import Invariant
from storage.checkpoints import CheckpointCache


def check_cache(cache: CheckpointCache, torn: Collection[str]) -> Invariant:
    """Whether every checkpoint reads back whole, but those torn that nobody asked for since."""
    damaged = _damaged(cache, None)
    wrong = [f"{key[:12]} is damaged, and nobody tore it" for key in damaged if key not in torn]
    left = sum(key in torn for key in damaged)
    found = f"{len(cache.entries())} whole; {len(torn)} torn"
    if torn:
        found += f", of which {len(torn) - left} made anew and {left} not asked for again"
    return Invariant("cache verifies", tuple(wrong), found)


def check_checkpoints(cache: CheckpointCache, keys: Collection[str]) -> Invariant:
    """Whether what the cache has of a study's stages reads back whole.

    A stage that it has nothing of is not missed: it was evicted, or was never to be kept.

    Args:
        cache: May be shared with other studies, and in use.
        keys: Content addresses of the study's stages.
    """
    wrong = {
        **dict.fromkeys(cache.without_manifest(keys), "has files and no manifest"),
        **dict.fromkeys(_damaged(cache, keys), "is damaged"),
    }
    if wrong:  # a worker that evicts one meanwhile looks like it for a moment
        again = {*cache.without_manifest(wrong), *_damaged(cache, wrong)}
        wrong = {key: what for key, what in wrong.items() if key in again}
    whole = sum(entry.key in keys and entry.key not in wrong for entry in cache.entries())
    return Invariant(
        "checkpoints whole",
        tuple(f"{key[:12]} {what}" for key, what in sorted(wrong.items())),
        f"{whole} of the study's in {cache.location}",
    )


def check_outbox(left: Sequence[Path]) -> Invariant:
    """Whether everything that waited for the database has been brought there."""
    wrong = tuple(f"{file.name} was never delivered" for file in left)
    return Invariant("nothing left undelivered", wrong, f"{len(left)} entries in the outbox")


def _damaged(cache: CheckpointCache, keys: Collection[str] | None) -> list[str]:
    return [Path(place).stem for place in cache.damaged(keys)]
