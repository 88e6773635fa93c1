"""Gains with their intervals, p-values, verdicts and minimum detectable effects.

A gain is measured by few seeds on a sample of examples. Each seed trains both sides, with the
intermediate stage and without, and all are scored on the same examples: seeds and examples are
crossed. The variance of the mean gain over seeds is then a + b, where

- a, of seeds, is the variance of the gains between seeds over their number. It holds what seed
  and example do together too, since every seed answers each example anew.
- b, of examples, is the covariance between the gains of two seeds when examples are resampled, all
  seeds and both sides alike.

This is the hierarchical bootstrap (seeds, then examples; Owen 2007, "The pigeonhole bootstrap",
https://doi.org/10.1214/07-AOAS122) with its two faults for few seeds mended: drawn plainly, n
seeds give (n - 1) / n of their variance, and what seed and example do together counts three times
over. The level of seeds needs no drawing, as its variance is known in closed form.

Three things make few seeds enough. `tests.benchmarks.calibration` measures what comes of it.

- gain / sqrt(a + b) has no t distribution: with Satterthwaite's degrees of freedom, and without
  the next two, three seeds said "helps" or "hurts" of nothing in 7 to 22 % of 2,000 simulated
  families (six settings of noise) instead of 5. So a has a t and b a normal of its own: Behrens
  and Fisher's distribution (Fisher 1935, "The fiducial argument in statistical inference",
  https://doi.org/10.1111/j.1469-1809.1935.tb02120.x).
- Three seeds leave two degrees of freedom. The variance between seeds is moderated: drawn towards
  the mean variance of the cells judged together, the more the more alike they are (Smyth 2004,
  https://doi.org/10.2202/1544-6115.1027).
- Cells share seeds and baselines, so that together they know less than as many independent ones.
  Their correlations say how much less.

Examples that belong together, as the questions of a passage, are resampled together (the cluster
bootstrap; Cameron, Gelbach and Miller 2008, https://doi.org/10.1162/rest.90.3.414). Some dozens of
groups tell no more of b than so many values do of a variance, and b then has a t too; where each
example is by itself, b is as good as known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from objectives.gains.rules import LARGEST, Verdict
from objectives.gains.seed_gains import SeedGains
from objectives.gains.sequential import Stage
from objectives.gains.small_samples import Floats, half_widths, moderated, two_sided

Name = TypeVar("Name")
POWER = 0.8


@dataclass(frozen=True)
class GainEstimate:
    """A gain, and how sure it is.

    Attributes:
        gain: Mean gain over seeds, percentage points.
        seeds_variance: Variance of the gain due to the choice of seeds, moderated; None for one.
        degrees_of_freedom: Degrees of freedom of `seeds_variance`; 0 with one seed.
        examples_variance: Variance of the gain due to the choice of examples; None if unknown.
        seeds: Number of seeds.
        examples: Number of examples; 0 if only scores are known.
        interval: Confidence interval at 95 %, percentage points, for this gain alone (marginal,
            not simultaneous over a family). It is about what `scope` says. None if nothing varies.
        p_value: Two-sided p-value for a gain of 0 over all seeds; None with one seed, or if
            nothing varies.
        examples_freedom: Degrees of freedom of `examples_variance`; infinite where no examples
            belong together, so that it is as good as known.
    """

    gain: float
    seeds_variance: float | None
    degrees_of_freedom: float
    examples_variance: float | None
    seeds: int
    examples: int
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    examples_freedom: float = inf

    @property
    def standard_error(self) -> float:
        """Percentage points, of what `scope` says; 0 where nothing is known to vary."""
        return float(np.sqrt((self.seeds_variance or 0.0) + (self.examples_variance or 0.0)))

    @property
    def scope(self) -> str:
        """To what the interval carries over."""
        if self.seeds_variance is None:
            if self.examples_variance is None:
                return "nothing beyond this run"
            return "other examples, with this seed"
        if self.examples_variance is None:
            return "other seeds, on these examples"
        return "other seeds and examples"


@dataclass(frozen=True)
class Judgement:
    """A gain in the light of all those that were looked at, and of how often.

    Attributes:
        estimate: Estimate of the gain.
        verdict: Verdict by the adjusted p-value; equivalent by the interval. With one seed there
            is nothing to decide by.
        interval: Interval at the level of the verdict, percentage points: 0 is outside where it
            helps or hurts and inside elsewhere. None where there is no p-value.
        level: Two-sided level of that interval.
        adjusted_p_value: P-value over the looks after Holm's adjustment; None where there is none.
        detectable: Minimum detectable gain, in percentage points, with power 80 % at Holm's first
            step and this standard error; None where there is no p-value, or above 100 points.
        family: Number of gains judged together.
    """

    estimate: GainEstimate
    verdict: Verdict
    interval: tuple[float, float] | None
    level: float
    adjusted_p_value: float | None
    detectable: float | None
    family: int


def estimate_gains(
    cells: Mapping[Name, SeedGains], group: Callable[[Name], Hashable] = lambda name: None
) -> dict[Name, GainEstimate]:
    """Gains with interval and p-value.

    Args:
        cells: All of one kind: arms in languages, or the arms' means.
        group: Tells which of them scatter alike between seeds, as those of one target task do;
            their variances are drawn together. By default all.
    """
    repeated = {name: cell for name, cell in cells.items() if len(cell.seeds) > 1}
    variances, freedom = moderated(
        [cell.gains for cell in repeated.values()],
        [cell.seeds for cell in repeated.values()],
        [group(name) for name in repeated],
    )
    of_seeds = dict(zip(repeated, variances, strict=True))
    df = dict(zip(repeated, freedom, strict=True))
    estimates = {
        name: GainEstimate(
            float(cell.gains.mean()),
            float(of_seeds[name]) / len(cell.seeds) if name in repeated else None,
            float(df.get(name, 0.0)),
            None if cell.resampled is None else _examples_variance(cell.resampled),
            len(cell.seeds),
            cell.examples,
            examples_freedom=cell.examples_freedom,
        )
        for name, cell in cells.items()
    }
    columns = _columns(estimates.values())
    p_values = two_sided(np.array([e.gain for e in estimates.values()]), *columns)
    widths = half_widths(0.05, *columns)
    return {
        name: _with_interval(estimate, float(p_value), float(width))
        for (name, estimate), p_value, width in zip(
            estimates.items(), p_values, widths, strict=True
        )
    }


def judge(
    family: Mapping[Name, GainEstimate],
    alpha: float = 0.05,
    stages: Mapping[Name, Stage] | None = None,
    margin: float = 0.0,
) -> dict[Name, Judgement]:
    """The verdicts on a family of gains.

    Holm's correction (1979, https://www.jstor.org/stable/4615733) keeps the chance of any "helps"
    or "hurts" that is not true at `alpha` over the family, however its gains depend on each
    other. One without a p-value counts as one of p = 1. The interval of a gain is at the level of
    Holm's step that judges it, so that interval and verdict are one statement; where it lies
    within the margin, the gain is equivalent to none (Schuirmann 1987,
    https://doi.org/10.1007/BF01068419; at half of the level, as only one end can be wrong).

    Args:
        family: All that are looked at, as every arm in every language.
        alpha: Family-wise error rate. A study that publishes two families, its arms' means and
            its arms in every language, gives each one half.
        stages: At which of several planned looks each gain was seen last; None where there is
            one look.
        margin: Gains nearer to 0 are as good as none, percentage points; 0 for no such verdict.
    """
    if not family:
        return {}
    estimates = list(family.values())
    once = Stage((1,), 0)
    stages_of = [once if stages is None else stages[name] for name in family]
    p_values = [
        1.0 if e.p_value is None else stage.overall(e.p_value)
        for e, stage in zip(estimates, stages_of, strict=True)
    ]
    adjusted, sure, levels = _holm(p_values, alpha)
    nominal = np.array(
        [stage.nominal(x) for stage, x in zip(stages_of, levels, strict=True)], np.float64
    )
    first = np.array([stage.nominal(alpha / len(family)) for stage in stages_of], np.float64)
    columns = _columns(estimates)
    widths = half_widths(nominal, *columns)
    # Bloom 1995, "Minimum detectable effects", https://doi.org/10.1177/0193841X9501900504
    detectable = half_widths(first, *columns) + half_widths(2 - 2 * POWER, *columns)
    judged = {}
    for place, (name, estimate) in enumerate(family.items()):
        if estimate.p_value is None:
            judged[name] = Judgement(
                *(estimate, Verdict.UNDECIDED, None, float(nominal[place]), None, None),
                len(family),
            )
            continue
        low, high = _ends(estimate.gain, float(widths[place]), is_sure=bool(sure[place]))
        smallest = float(detectable[place])
        judged[name] = Judgement(
            estimate,
            _verdict(low, high, margin, is_sure=bool(sure[place])),
            (low, high),
            float(nominal[place]),
            float(adjusted[place]),
            smallest if smallest <= LARGEST else None,
            len(family),
        )
    return judged


def _ends(gain: float, width: float, *, is_sure: bool) -> tuple[float, float]:
    """Ends of an interval; no gain is beyond `LARGEST`, and rounding moves no end over 0."""
    width = min(width, abs(gain) * (1 - 1e-12)) if is_sure else max(width, abs(gain))
    return max(gain - width, min(-LARGEST, gain)), min(gain + width, max(LARGEST, gain))


def _verdict(low: float, high: float, margin: float, *, is_sure: bool) -> Verdict:
    if is_sure:
        return Verdict.HELPS if low > 0 else Verdict.HURTS
    return Verdict.EQUIVALENT if max(-low, high) < margin else Verdict.UNDECIDED


def _examples_variance(resampled: Floats) -> float:
    """Variance of the mean gain over seeds, less what each seed makes of the examples."""
    seeds = resampled.shape[1]
    if seeds == 1:
        return float(resampled.var(ddof=1))
    covariances = np.cov(resampled.T)
    shared = (covariances.sum() - np.trace(covariances)) / (seeds * (seeds - 1))
    return max(float(shared), 0.0)


def _holm(p_values: Sequence[float], alpha: float) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Adjusted p-values, which of them are sure, and the level at which each was judged."""
    # Here rather than from statsmodels, which collects garbage at every call (half a second with
    # torch about) and would be a dependency for these few lines.
    order = np.argsort(p_values, kind="stable")
    remaining = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(np.asarray(p_values)[order] * remaining).clip(max=1.0)
    sure = adjusted <= alpha
    steps = alpha / remaining
    steps[sure.sum() :] = steps[min(sure.sum(), len(order) - 1)]  # where it stopped
    levels = np.empty(len(order))
    levels[order] = steps
    return adjusted, sure, levels


def _columns(estimates: Collection[GainEstimate]) -> tuple[Floats, Floats, Floats, Floats]:
    """Variance of seeds, of examples, degrees of freedom of either; [gains] each."""
    return (
        np.array([e.seeds_variance or 0.0 for e in estimates]),
        np.array([e.examples_variance or 0.0 for e in estimates]),
        np.array([max(e.degrees_of_freedom, 1.0) for e in estimates]),
        np.array([e.examples_freedom for e in estimates]),
    )


def _with_interval(estimate: GainEstimate, p_value: float, width: float) -> GainEstimate:
    if estimate.standard_error == 0:  # runs that agree to the last digit do not measure it
        return estimate
    return replace(
        estimate,
        interval=(estimate.gain - width, estimate.gain + width),
        p_value=None if estimate.seeds_variance is None else p_value,
    )
