"""The gain: what an intermediate stage changed, per language and in the mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from statistics import fmean

from storage.ledger import PairedScore


@dataclass(frozen=True)
class TransferGain:
    """Paired scores of one recipe: with its intermediate stage and without.

    Both sides of a pair share the target stage, the seed and the examples scored, so that what
    they share cancels in the difference.

    Attributes:
        pairs: One per seed, target task and language.
    """

    pairs: tuple[PairedScore, ...]

    def by_language(self) -> dict[tuple[str, str], float]:
        """(task, language) -> gain in percentage points, the mean over seeds."""
        return _means(((p.score.task, p.score.language), p.gain) for p in self.pairs)

    def mean_gain(self, languages: Collection[str]) -> float:
        """Percentage points: the mean over tasks of the mean over languages.

        Args:
            languages: Which count: the targets, or the source language alone.
        """
        return _mean_of_tasks(self.by_language(), languages)

    def mean_score(self, languages: Collection[str]) -> float:
        """Score with the intermediate stage, averaged as in `mean_gain`."""
        return self._mean_score(languages, baseline=False)

    def mean_baseline(self, languages: Collection[str]) -> float:
        """Score without the intermediate stage, averaged as in `mean_gain`."""
        return self._mean_score(languages, baseline=True)

    def _mean_score(self, languages: Collection[str], *, baseline: bool) -> float:
        scores = ((p.baseline if baseline else p.score) for p in self.pairs)
        return _mean_of_tasks(_means(((s.task, s.language), s.score) for s in scores), languages)


def in_points(gain: float) -> str:
    """A gain as people read it: percentage points with sign and one decimal, never -0.0."""
    return f"{round(gain, 1) + 0.0:+.1f}"


def _means(values: Iterable[tuple[tuple[str, str], float]]) -> dict[tuple[str, str], float]:
    groups: dict[tuple[str, str], list[float]] = {}
    for name, value in values:
        groups.setdefault(name, []).append(value)
    return {name: fmean(group) for name, group in groups.items()}


def _mean_of_tasks(values: dict[tuple[str, str], float], languages: Collection[str]) -> float:
    chosen = (((task, ""), v) for (task, language), v in values.items() if language in languages)
    return fmean(_means(chosen).values())
