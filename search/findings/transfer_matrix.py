"""Intermediate tasks against target tasks and languages: the transfer matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from search.surrogate.choosing import Chooser
from search.surrogate.effects import Cell, TaskEffect, cell_effects
from search.surrogate.gains import Zero

COLUMNS = ("arm", "task", "target", "language", "gain", "low", "high", "runs", "transfer")


def transfer_matrix(
    choosers: Mapping[Cell, Chooser], zeros: Mapping[Cell, Zero], effects: Sequence[TaskEffect]
) -> pd.DataFrame:
    """Gain of each intermediate task's recommended recipe in each target task and language.

    `gain` (percentage points over the best direct training of the target task in the language),
    `low` and `high` (95 %) are of a model of the cell's own gains. `transfer` is positive or
    negative where the interval excludes 0, else empty. Each interval stands for itself alone: of
    100 about gains of nothing some 5 exclude 0.

    Args:
        choosers: Target task and language -> model of the gains there.
        zeros: Target task and language -> what these gains are over.
        effects: The intermediate tasks, with the recipes that are recommended over all cells.
    """
    rows = [
        (
            *(x.arm, x.task, x.target, x.language, x.gain.points, x.gain.low, x.gain.high),
            *(x.runs, _transfer(x.gain.low, x.gain.high)),
        )
        for x in cell_effects(choosers, zeros, effects)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _transfer(low: float, high: float) -> str:
    if low > 0:
        return "positive"
    return "negative" if high < 0 else ""
