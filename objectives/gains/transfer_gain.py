"""The gain: what a recipe adds to the best direct training, per language and in the mean.

A confirmation also knows the *paired gain*, over the same target stage without the intermediate
ones: what the intermediate task itself does. It is high where the target stage is badly tuned, so
nothing is chosen by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean, median

from spaces.stage_specs import Aggregate
from storage.tables import PairedScore

_AGGREGATES: dict[Aggregate, Callable[[Iterable[float]], float]] = {
    Aggregate.MEAN: fmean,
    Aggregate.MEDIAN: median,
    Aggregate.MINIMUM: min,
}


@dataclass(frozen=True)
class TransferGain:
    """Scores of one recipe beside those of the best direct training.

    All of a pair share the examples scored, so that what these do cancels in the difference; in a
    confirmation the seed too, and in the paired gain the target stage.

    Attributes:
        pairs: Scores with what they are held against, one per seed, target task and language.
        aggregate: Rule that makes one figure of the target tasks' means over languages.
    """

    pairs: tuple[PairedScore, ...]
    aggregate: Aggregate = Aggregate.MEAN

    def by_language(self) -> dict[tuple[str, str], float]:
        """(task, language) -> gain in percentage points, the mean over seeds."""
        return _means(((p.score.task, p.score.language), p.gain) for p in self.pairs)

    def scores(self) -> dict[tuple[str, str], float]:
        """(task, language) -> score in [0, 1], the mean over seeds."""
        return _means(((p.score.task, p.score.language), p.score.score) for p in self.pairs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds, in order."""
        return tuple(sorted({pair.seed for pair in self.pairs}))

    def settings(self) -> dict[str, list[str]]:
        """Task -> settings of the target stage that validation chose, of most seeds first."""
        chosen: dict[str, Counter[str]] = {}
        for _seed, task, setting in sorted(
            {(pair.seed, pair.score.task, pair.score.setting) for pair in self.pairs}
        ):
            chosen.setdefault(task, Counter())[setting] += 1
        return {
            task: [setting for setting, _ in counts.most_common()]
            for task, counts in chosen.items()
        }

    def settings_in_words(self) -> str:
        """As in `panx at 4 epochs, xnli at 2 epochs or 4 epochs`."""
        settings = self.settings().items()
        return ", ".join(f"{task} at {' or '.join(chosen)}" for task, chosen in settings)

    def by_seed(self) -> dict[int, TransferGain]:
        """Seed -> the scores of that seed alone."""
        pairs: dict[int, list[PairedScore]] = {}
        for pair in self.pairs:
            pairs.setdefault(pair.seed, []).append(pair)
        return {seed: replace(self, pairs=tuple(of_seed)) for seed, of_seed in pairs.items()}

    def by_task(self, languages: Collection[str]) -> dict[str, float]:
        """Task -> gain in percentage points, the mean over its languages.

        Args:
            languages: Languages that count: the targets, or the source language alone.
        """
        return by_task(self.by_language(), languages)

    def overall_gain(self, languages: Collection[str]) -> float:
        """Percentage points: the tasks' gains of `by_task` as one, by `aggregate`."""
        return _AGGREGATES[self.aggregate](self.by_task(languages).values())

    def overall_score(self, languages: Collection[str]) -> float:
        """Score of the recipe, averaged as in `overall_gain`."""
        return _AGGREGATES[self.aggregate](self.scores_by_task(languages).values())

    def scores_by_task(self, languages: Collection[str]) -> dict[str, float]:
        """Task -> score in [0, 1], the mean over its languages that count."""
        return by_task(self.scores(), languages)


def in_points(gain: float) -> str:
    """A gain as people read it: percentage points with sign and one decimal, never -0.0."""
    return f"{round(gain, 1) + 0.0:+.1f}"


def _means(values: Iterable[tuple[tuple[str, str], float]]) -> dict[tuple[str, str], float]:
    groups: dict[tuple[str, str], list[float]] = {}
    for name, value in values:
        groups.setdefault(name, []).append(value)
    return {name: fmean(group) for name, group in groups.items()}


def by_task(
    values: Mapping[tuple[str, str], float], languages: Collection[str]
) -> dict[str, float]:
    """Task -> mean of the values of those of its languages that count."""
    chosen = (((task, ""), v) for (task, language), v in values.items() if language in languages)
    return {task: mean for (task, _), mean in _means(chosen).items()}
