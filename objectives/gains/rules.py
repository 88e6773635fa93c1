"""By what rules gains are judged: what may be said, when is looked, and what error each look has.

A confirmation looks after some numbers of seeds and drops what is decided. Judged at 5 % each
time, four looks would find something in nothing far more often than 5 %. So the error is spent
over the looks by a rule that is fixed beforehand (Lan and DeMets 1983, "Discrete sequential
boundaries for clinical trials", https://doi.org/10.1093/biomet/70.3.659): after a share t of the
seeds alpha x t^1.5 of it may be spent (the power family with rho = 1.5 of Kim and DeMets 1987,
https://doi.org/10.1093/biomet/74.1.149, between Pocock's rule, rho about 1, and O'Brien and
Fleming's, rho about 3). On simulated gains it needs fewer seeds than rho = 1 or 2 at equal power
(`tests.benchmarks.calibration`). A look costs no training, so there is one after every seed.

Commands that show what was judged need nothing else: neither numpy nor scipy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ALPHA = 0.05
RHO = 1.5
FIRST_LOOKS = tuple(range(3, 13))
LARGEST = 100.0
"""Percentage points that no gain of a score in [0, 1] exceeds."""


class Verdict(StrEnum):
    """What may be published of a gain."""

    HELPS = "helps"
    HURTS = "hurts"
    EQUIVALENT = "equivalent"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Rules:
    """How gains are judged, fixed before a test split is read.

    Attributes:
        looks: Numbers of seeds after which is looked.
        alpha: Chance of any false helps or hurts in the whole study, over all looks.
        margin: Gains nearer to 0 are equivalent to none, percentage points; 0 for no such
            verdict.
    """

    looks: tuple[int, ...]
    alpha: float = ALPHA
    margin: float = 0.0


def planned_looks(most: int) -> tuple[int, ...]:
    """Numbers of seeds at which is looked: 3 to 12, then half as many more each, up to `most`."""
    looks = [seeds for seeds in FIRST_LOOKS if seeds < most]
    while looks and looks[-1] >= FIRST_LOOKS[-1] and (further := looks[-1] * 3 // 2) < most:
        looks.append(further)
    return (*looks, most)


def spent_error(level: float, looks: tuple[int, ...]) -> list[float]:
    """Error that may be spent up to each look, [looks]; all of it at the last."""
    return [level * (seeds / looks[-1]) ** RHO for seeds in looks]
