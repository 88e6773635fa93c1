"""A part of a report below its first screen, and how its numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from objectives.gains.transfer_gain import in_points


@dataclass(frozen=True)
class Section:
    """A part of the report below the first screen.

    Attributes:
        name: Its figure's, where it has one.
        title: Heading.
        lines: What is to be known of it.
        columns: Heads of its table.
        rows: Its table.
    """

    name: str
    title: str
    lines: list[str]
    columns: Sequence[str] = ()
    rows: list[list[str]] = field(default_factory=list)

    def is_text(self, place: int) -> bool:
        """Whether a column holds words, not numbers."""
        return not all(row[place][:1] in "+-0123456789" for row in self.rows)


def gain_with_interval(gain: float, low: float, high: float) -> str:
    """A gain in points, and its interval where there is one."""
    if math.isnan(low):
        return f"{in_points(gain)} [not known]"
    return f"{in_points(gain)} [{in_points(low)}, {in_points(high)}]"
