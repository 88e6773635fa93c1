"""What a chaos run came to, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.checks.invariants import Invariant

NOT_TRIED = (
    "a cut network, clocks that jump, a full disk under the database, faults of a GPU, and "
    "workers on several machines: one machine has none of them to break"
)


@dataclass(frozen=True)
class ChaosResult:
    """What happened, and what is true afterwards.

    Attributes:
        trials: Trials that the study was to have.
        faults: Kind of fault -> how many were injected.
        skipped: Kinds that could not be injected here -> why.
        invariants: All that were checked.
        lost: Results that are not there.
        doubled: Results that are there twice.
        overshoot: Trials too many.
        retries: Attempts beyond each slot's first one.
        seconds: From the first worker's start to the last one's end.
        folder: Where all of it lies still; None where it was cleared away.
    """

    trials: int
    faults: dict[str, int]
    skipped: dict[str, str]
    invariants: tuple[Invariant, ...]
    lost: int
    doubled: int
    overshoot: int
    retries: int
    seconds: float
    folder: Path | None

    @property
    def is_held(self) -> bool:
        """Whether all invariants hold."""
        return all(x.is_held for x in self.invariants)


def chaos_lines(result: ChaosResult) -> Sequence[str]:
    """A result for people."""
    injected = ", ".join(f"{count} x {kind}" for kind, count in result.faults.items() if count)
    missing = [
        f"not injected: {kind}: {result.skipped.get(kind, 'the study was done before')}"
        for kind, count in result.faults.items()
        if not count
    ]
    missing.append(f"not tried: {NOT_TRIED}")
    kept = [f"all of it is kept in {result.folder}"] if result.folder else []
    return [
        f"{result.trials} trials, {result.retries} retries, {result.seconds:.0f} s",
        f"injected: {sum(result.faults.values())} faults: {injected}",
        *missing,
        *map(str, result.invariants),
        *kept,
    ]
