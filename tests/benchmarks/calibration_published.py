"""Verdicts on a published table of scores: how many of its gains can be told from nothing."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from objectives.gains.intervals import GainEstimate, Judgement, estimate_gains, judge
from objectives.gains.rules import Verdict
from objectives.gains.seed_gains import SeedGains, gains_of_scores
from spaces.errors import DataError

ALPHA = 0.05


@dataclass(frozen=True)
class Landscape:
    """Verdicts on a published table.

    Attributes:
        judged: (intermediate, target) -> verdict, taking the published baseline as exact.
        cautious: The same as if the baseline had scattered as the cell does.
        negative: How many mean gains are below 0.
        median_range: Of the runs of cells with several, percentage points.
    """

    judged: dict[tuple[str, str], Judgement]
    cautious: dict[tuple[str, str], Judgement]
    negative: int
    median_range: float

    def chosen(self) -> dict[str, str]:
        """Target -> the intermediate task that helps most, or none."""
        best: dict[str, tuple[float, str]] = {}
        for (arm, target), judged in self.judged.items():
            best.setdefault(target, (0.0, "none"))
            if judged.verdict is Verdict.HELPS:
                best[target] = max(best[target], (judged.estimate.gain, arm))
        return {target: arm for target, (_, arm) in best.items()}


def judge_landscape(path: Path) -> Landscape:
    """Verdicts on a table with columns intermediate, target, run and score in [0, 1].

    The baseline `none` is one published mean per target, without runs. That allows no pairing by
    seed, and says nothing of the baseline's own noise: taken as exact, the verdicts are on whether
    an arm differs from the published figure. Nor are there examples. The variances of a target's
    cells are moderated together, and Holm's family is all cells.

    Raises:
        DataError: The file is no such table.
    """
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    if not rows or not {"intermediate", "target", "run", "score"} <= rows[0].keys():
        raise DataError(str(path), "columns intermediate, target, run and score")
    none = {r["target"]: float(r["score"]) for r in rows if r["intermediate"] == "none"}
    runs: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in rows:
        if row["intermediate"] != "none":
            runs[row["intermediate"], row["target"]][int(row["run"])] = float(row["score"])
    if strange := {target for _, target in runs} - none.keys():
        raise DataError(str(path), "a row 'none' for every target", f"none for {min(strange)}")
    families: list[dict[tuple[str, str], GainEstimate]] = [{}, {}]
    for scatter, family in zip((1.0, 2**0.5), families, strict=True):
        family |= estimate_gains(
            {
                cell: _against_constant(of_runs, none[cell[1]], scatter)
                for cell, of_runs in runs.items()
            },
            group=lambda cell: cell[1],
        )
    ranges = [
        100 * (max(of_runs.values()) - min(of_runs.values()))
        for of_runs in runs.values()
        if len(of_runs) > 1
    ]
    return Landscape(
        judge(families[0]),
        judge(families[1]),
        sum(estimate.gain < 0 for estimate in families[0].values()),
        median(ranges),
    )


def _against_constant(of_runs: dict[int, float], baseline: float, scatter: float) -> SeedGains:
    centre = fmean(of_runs.values())
    scores = [centre + scatter * (score - centre) for score in of_runs.values()]
    return gains_of_scores(list(of_runs), scores, [baseline] * len(of_runs))


def show_landscape(landscape: Landscape) -> None:
    """Print the table with its verdicts."""
    signs = {Verdict.HELPS: "+", Verdict.HURTS: "-", Verdict.UNDECIDED: " "}
    arms, targets = (list(dict.fromkeys(cell[i] for cell in landscape.judged)) for i in (0, 1))
    print("\ngain in points, up to three runs; [+] helps, [-] hurts, [ ] undecided")
    print(f"{'':>14}" + "".join(f"{target[:11]:>12}" for target in targets))
    for arm in arms:
        line = f"{arm:>14}"
        for target in targets:
            judged = landscape.judged[arm, target]
            line += f"{judged.estimate.gain:>+8.1f} [{signs[judged.verdict]}]"
        print(line)
    chosen = landscape.chosen()
    print(f"{'chosen':>14}" + "".join(f"{chosen[target][:11]:>12}" for target in targets))


def landscape_summary(landscape: Landscape) -> dict[str, Any]:
    """What it comes to, for the JSON line."""
    return {
        "cells": len(landscape.judged),
        "runs": sum(judged.estimate.seeds for judged in landscape.judged.values()),
        "negative_means": landscape.negative,
        "median_range": round(landscape.median_range, 2),
        "verdicts": _verdicts(landscape.judged),
        "without_correction": sum(
            judged.estimate.p_value is not None and judged.estimate.p_value <= ALPHA
            for judged in landscape.judged.values()
        ),
        "median_detectable": round(
            median(j.detectable for j in landscape.judged.values() if j.detectable), 1
        ),
        "verdicts_baseline_as_noisy": _verdicts(landscape.cautious),
        "chosen": landscape.chosen(),
    }


def _verdicts(judged: dict[tuple[str, str], Judgement]) -> dict[str, int]:
    return {
        verdict.value: sum(judgement.verdict is verdict for judgement in judged.values())
        for verdict in Verdict
    }
