"""The baseline of a study in words: what its gains are over."""

from __future__ import annotations

from statistics import fmean

from search.studies.baseline import Baseline
from spaces.dimensions import ARM_PARAM


def baseline_lines(baseline: Baseline) -> list[str]:
    """A line for each target task, and one for each way in which it may not be tuned."""
    lines = []
    for task, best in baseline.tasks.items():
        choices = ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in best.params.items()
            if name != ARM_PARAM
        )
        seeds = f"{len(best.seeds)} seed{'s' * (len(best.seeds) > 1)}"
        score = 100 * fmean(best.scores.values())
        lines.append(
            f"best direct training of {task}: score {score:.1f}, {seeds}"
            + (f" ({choices})" if choices else "")
        )
    return [*lines, *(f"baseline not tuned: {line}" for line in baseline.untuned)]
