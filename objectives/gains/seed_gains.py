"""Gains per seed, as they are and on resampled examples: of cells, and of means over cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from objectives.gains.small_samples import Floats
from objectives.scores.outcomes import Groups, Outcomes, score_of
from spaces.errors import DataError
from spaces.task import Metric

Name = TypeVar("Name")
RESAMPLES = 2000
WEIGHTS_AT_ONCE = 1_000_000  # 4 MB, which stays in the processor's cache


@dataclass(frozen=True)
class PairedOutcomes:
    """One cell, a target task in one language, with an intermediate stage and without.

    Attributes:
        metric: Metric of the task.
        seeds: Random seeds of the trainings, each once on either side.
        outcomes: Contribution of each example to the score, [examples, k] per seed
            (`objectives.scores.outcomes.example_outcomes`), with the intermediate stage.
        baselines: Contribution of each example to the score without the intermediate stage.
        sample: Name of the sample of examples. Cells with the same examples, or with
            translations of them, name the same sample and are resampled alike.
        groups: Group of each example; those of one group, as questions of one passage, are
            resampled together. None: each is a group of its own.

    Raises:
        DataError: Seeds, sides or examples that are not as many as they must be.
    """

    metric: Metric
    seeds: tuple[int, ...]
    outcomes: tuple[Outcomes, ...]
    baselines: tuple[Outcomes, ...]
    sample: str
    groups: Groups | None = None

    def __post_init__(self) -> None:
        _check_seeds(self.sample, self.seeds, len(self.outcomes), len(self.baselines))
        lengths = {len(outcomes) for outcomes in (*self.outcomes, *self.baselines)}
        if self.groups is not None:
            lengths.add(len(self.groups))
        if len(lengths) != 1 or lengths == {0}:
            raise DataError(
                str(self.sample),
                "the same examples for every seed and on both sides",
                f"{_listed(sorted(lengths))} of them",
            )


@dataclass(frozen=True)
class SeedGains:
    """The gain per seed, of a cell or of a mean over cells, and what other examples would say.

    Attributes:
        seeds: Random seeds of the trainings.
        gains: Gain with each seed, percentage points, [seeds].
        examples: Number of examples scored, over all cells; 0 if only scores are known.
        resampled: The gains on resampled examples, percentage points, [resamples, seeds]; None if
            only scores are known.
        groups: Sample -> number of groups of equal size that would tell as much of other examples
            (Kish's effective number); infinite where none belong together.
    """

    seeds: tuple[int, ...]
    gains: Floats = field(repr=False)
    examples: int = 0
    resampled: Floats | None = field(default=None, repr=False)
    groups: Mapping[str, float] = field(default_factory=dict)

    @property
    def examples_freedom(self) -> float:
        """Degrees of freedom of what resampled examples say of a variance.

        Samples are independent, and translations are one sample.
        """
        return sum(max(groups - 1, 1.0) for groups in self.groups.values()) or inf


def gains_of_outcomes(
    cells: Mapping[Name, PairedOutcomes], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[Name, SeedGains]:
    """The gains of cells per seed, and on resampled examples.

    Which examples are drawn depends on `seed` and on the name of a cell's sample, not on the
    order of cells.

    Args:
        cells: Name of a cell -> outcomes of the cell.
        resamples: Number of times that examples are drawn.
        seed: Random seed of the drawing; not negative.

    Raises:
        DataError: Cells name the same sample, and have not as many examples; or all examples of
            a sample belong together.
    """
    samples: dict[str, list[Name]] = defaultdict(list)
    for name, cell in cells.items():
        samples[cell.sample].append(name)
    of_cells: dict[Name, SeedGains] = {}
    for sample, names in samples.items():
        sizes = {len(cells[name].outcomes[0]) for name in names}
        if len(sizes) != 1:
            raise DataError(
                sample, "as many examples in all cells of this sample", _listed(sorted(sizes))
            )
        examples = sizes.pop()
        group = _joined_groups([cells[name].groups for name in names], examples)
        many = int(group.max()) + 1
        alike = {sample: _groups_of_equal_size(sample, group)}
        drawn: dict[Name, list[Floats]] = {name: [] for name in names}
        rng = np.random.default_rng([seed, *sample.encode()])
        for start in range(0, resamples, step := max(1, WEIGHTS_AT_ONCE // examples)):
            weights = _draw(many, min(step, resamples - start), rng)
            if many < examples:
                weights = weights[:, group]
            for name in names:
                drawn[name].append(_gains(cells[name], weights))
        for name in names:
            gains, resampled = _gains(cells[name], None), np.concatenate(drawn[name])
            # Drawing n of n groups gives (n - 1) / n of the variance.
            centre = resampled.mean(axis=0)
            wider = (resampled - centre) * np.sqrt(many / max(many - 1, 1))
            of_cells[name] = SeedGains(
                cells[name].seeds, gains, examples, np.round(centre + wider, 6), alike
            )
    return {name: of_cells[name] for name in cells}


def gains_of_scores(
    seeds: Sequence[int], scores: Sequence[float], baselines: Sequence[float]
) -> SeedGains:
    """The gains per seed where no outcomes were kept.

    What is said of them is about other seeds on these very examples: about other examples of the
    language, scores alone say nothing.

    Args:
        seeds: Random seeds of the trainings.
        scores: Score per seed with the intermediate stage, in [0, 1].
        baselines: Score per seed without the intermediate stage, in [0, 1].

    Raises:
        DataError: Not as many scores as seeds.
    """
    _check_seeds("scores", tuple(seeds), len(scores), len(baselines))
    return SeedGains(tuple(seeds), _points(np.asarray(scores), np.asarray(baselines)))


def mean_gains(parts: Sequence[SeedGains]) -> SeedGains:
    """The mean over cells: of an arm over its languages, or of these over target tasks.

    Seeds are met by number, as one seed's checkpoint serves all languages. Examples of different
    samples are independent; those of the same sample were resampled alike.

    Raises:
        DataError: Cells of different seeds, or some with outcomes and some without.
    """
    if not parts:
        raise DataError("mean gain", "at least one cell", "none")
    seeds = tuple(sorted(parts[0].seeds))
    for part in parts:
        if tuple(sorted(part.seeds)) != seeds:
            raise DataError(
                "mean gain",
                f"seeds {_listed(seeds)} in every cell",
                f"{_listed(sorted(part.seeds))} in one",
            )
    kinds = {None if part.resampled is None else len(part.resampled) for part in parts}
    if len(kinds) != 1:
        raise DataError(
            "mean gain",
            "outcomes of all cells, as often resampled, or of none",
            "outcomes of some",
        )
    orders = [np.argsort(part.seeds) for part in parts]
    pairs = list(zip(parts, orders, strict=True))
    resampled = [part.resampled[:, order] for part, order in pairs if part.resampled is not None]
    return SeedGains(
        seeds,
        np.mean([part.gains[order] for part, order in pairs], axis=0),
        sum(part.examples for part in parts),
        np.mean(resampled, axis=0) if resampled else None,
        {sample: groups for part in parts for sample, groups in part.groups.items()},
    )


def _check_seeds(where: str, seeds: tuple[int, ...], own: int, baselines: int) -> None:
    if not seeds or len(set(seeds)) != len(seeds) or not len(seeds) == own == baselines:
        raise DataError(
            where,
            "one result per seed on both sides",
            f"{own} and {baselines} for seeds {_listed(seeds) or 'none'}",
        )


def _listed(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)


def _joined_groups(partitions: Sequence[Groups | None], examples: int) -> NDArray[np.int32]:
    """Number of each example's group, from 0, [examples].

    Translations of a sample may differ in which texts are equal: what belongs together in one of
    them does in all.
    """
    rows = np.arange(examples, dtype=np.int32)
    known = [groups for groups in partitions if groups is not None]
    if not known:
        return rows
    firsts = []
    for groups in known:
        _, first, of_row = np.unique(groups, return_index=True, return_inverse=True)
        firsts.append(first[of_row])
    ends = np.tile(rows, len(known)), np.concatenate(firsts)
    graph = sparse.coo_array((np.ones(len(ends[0])), ends), (examples, examples))
    _, numbers = connected_components(graph, directed=False)
    return np.asarray(numbers, np.int32)


def _groups_of_equal_size(sample: str, group: NDArray[np.int32]) -> float:
    """Number of groups of equal size that would tell as much; infinite where each has one."""
    sizes = np.bincount(group)
    if len(sizes) == len(group):
        return inf
    if len(sizes) == 1:
        raise DataError(
            sample, "examples of two passages or premises", f"{len(group)} examples of one"
        )
    return len(group) ** 2 / float((sizes**2).sum())


def _draw(groups: int, times: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How often each group is drawn, [times, groups]."""
    drawn = rng.integers(groups, size=(times, groups)) + np.arange(times)[:, None] * groups
    counts = np.bincount(drawn.ravel(), minlength=times * groups)
    return counts.reshape(times, groups).astype(np.float32)


def _gains(cell: PairedOutcomes, weights: NDArray[np.float32] | None) -> Floats:
    """Percentage points, [seeds], or [resamples, seeds] with weights."""
    return np.stack(
        [
            _points(score_of(cell.metric, own, weights), score_of(cell.metric, base, weights))
            for own, base in zip(cell.outcomes, cell.baselines, strict=True)
        ],
        axis=-1,
    )


def _points(scores: Floats, baselines: Floats) -> Floats:
    # Rounding in binary is no variance: 0.53 - 0.51 is not 0.52 - 0.50.
    return np.round(100 * (scores - baselines), 6)
