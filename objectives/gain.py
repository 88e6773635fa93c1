"""The gain: what an intermediate stage changed, per language and in the mean."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from statistics import fmean, median

from spaces.studies import Aggregate
from storage.ledger import PairedScore

_AGGREGATES: dict[Aggregate, Callable[[Iterable[float]], float]] = {
    Aggregate.MEAN: fmean,
    Aggregate.MEDIAN: median,
    Aggregate.MINIMUM: min,
}


@dataclass(frozen=True)
class TransferGain:
    """Paired scores of one recipe: with its intermediate stage and without.

    Both sides of a pair share the target stage, the seed and the examples scored, so that what
    they share cancels in the difference.

    Attributes:
        pairs: One per seed, target task and language.
        aggregate: How the target tasks' means over languages become one figure.
    """

    pairs: tuple[PairedScore, ...]
    aggregate: Aggregate = Aggregate.MEAN

    def by_language(self) -> dict[tuple[str, str], float]:
        """(task, language) -> gain in percentage points, the mean over seeds."""
        return _means(((p.score.task, p.score.language), p.gain) for p in self.pairs)

    def by_task(self, languages: Collection[str]) -> dict[str, float]:
        """Task -> gain in percentage points, the mean over its languages.

        Args:
            languages: Which count: the targets, or the source language alone.
        """
        return _by_task(self.by_language(), languages)

    def overall_gain(self, languages: Collection[str]) -> float:
        """Percentage points: the tasks' gains of `by_task` as one, by `aggregate`."""
        return _AGGREGATES[self.aggregate](self.by_task(languages).values())

    def overall_score(self, languages: Collection[str]) -> float:
        """Score with the intermediate stage, averaged as in `overall_gain`."""
        return self._overall(languages, baseline=False)

    def overall_baseline(self, languages: Collection[str]) -> float:
        """Score without the intermediate stage, averaged as in `overall_gain`."""
        return self._overall(languages, baseline=True)

    def _overall(self, languages: Collection[str], *, baseline: bool) -> float:
        scores = ((p.baseline if baseline else p.score) for p in self.pairs)
        means = _means(((s.task, s.language), s.score) for s in scores)
        return _AGGREGATES[self.aggregate](_by_task(means, languages).values())


def in_points(gain: float) -> str:
    """A gain as people read it: percentage points with sign and one decimal, never -0.0."""
    return f"{round(gain, 1) + 0.0:+.1f}"


def _means(values: Iterable[tuple[tuple[str, str], float]]) -> dict[tuple[str, str], float]:
    groups: dict[tuple[str, str], list[float]] = {}
    for name, value in values:
        groups.setdefault(name, []).append(value)
    return {name: fmean(group) for name, group in groups.items()}


def _by_task(values: dict[tuple[str, str], float], languages: Collection[str]) -> dict[str, float]:
    chosen = (((task, ""), v) for (task, language), v in values.items() if language in languages)
    return {task: mean for (task, _), mean in _means(chosen).items()}
