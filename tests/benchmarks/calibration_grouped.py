"""Simulated studies whose examples belong together: five questions of each passage.

Null studies as in `calibration_simulated`, at several correlations of the questions of a passage.
Intermediate tasks change which questions are answered (half of what decides one), so that examples
rather than seeds make most of a gain's error: there it matters most how they are resampled. The
same studies are judged once more by a rule that takes each question as independent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.benchmarks.calibration_simulated import Passages, Tally, show, simulate, summary

CORRELATIONS = (0.0, 0.1, 0.2, 0.4)
STATED = 0.2
"""The correlation whose figures are those of the benchmark."""
SEEDS = 5
QUESTIONS = 5
PARTS = (0.4, 0.5, 0.1)

Grouped = dict[tuple[float, bool], Tally]
"""(correlation, whether the statistics know the passages) -> studies."""


def simulate_grouped(studies: int, seed: int) -> Grouped:
    """Judge so many null studies at each correlation, with the passages known and ignored."""
    tallies = {}
    for correlation in CORRELATIONS:
        passages = Passages(QUESTIONS, correlation, PARTS)
        for are_known in (True, False):
            given = replace(passages, are_known=are_known)
            tallies[correlation, are_known] = simulate(0.0, SEEDS, studies, seed, given)
    return tallies


def grouped_summary(tallies: Grouped) -> dict[str, Any]:
    """Shares in [0, 1], of null studies with any verdict and of intervals that hold the truth."""
    found = {at: summary([tally]) for at, tally in tallies.items()}
    names = ("false_positive_rate", "coverage")
    by_correlation = [
        {"correlation": correlation, "passages_known": are_known}
        | {name: summed[name] for name in (*names, "coverage_of")}
        for (correlation, are_known), summed in found.items()
    ]
    stated = {f"{name}_grouped": found[STATED, True][name] for name in names}
    return {**stated, "grouped": by_correlation}


def show_grouped(tallies: Grouped) -> None:
    """Print a column per correlation."""
    for are_known in (True, False):
        how = "known" if are_known else "ignored"
        print(f"correlations {', '.join(map(str, CORRELATIONS))}, passages {how}:")
        show([tally for (_, known), tally in tallies.items() if known is are_known])
