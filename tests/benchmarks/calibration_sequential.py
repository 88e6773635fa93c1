"""Simulated studies confirmed as `search.confirm` does it: look by look, until decided.

The studies are those of `calibration_simulated` with up to 12 seeds. Each is judged by the
sequential design, whose recipes are dropped as they are decided, and by fixed designs of 3 to 12
seeds on the very same trainings. Of null studies any helps or hurts is false; in the others also
a gain outside the margin that is called equivalent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np
from scipy import special

from objectives.gains.intervals import GainEstimate, Judgement, estimate_gains, judge
from objectives.gains.rules import Verdict, planned_looks
from objectives.gains.seed_gains import SeedGains, mean_gains
from objectives.gains.sequential import Stage
from tests.benchmarks.calibration_simulated import (
    ALPHA,
    ARMS,
    FAMILIES,
    Floats,
    Truth,
    is_wrong,
    simulated_cells,
)

MARGIN = 1.5
"""Percentage points; gains nearer to 0 are equivalent to none."""
MOST = 12
LOOKS = planned_looks(MOST)
FIXED = tuple(range(3, MOST + 1))
TODAY = 5
"""Seeds of the fixed design that confirmations had before."""
EFFECTS = (0.0, 1.5, 3.0, 4.0)
"""Percentage points, of the arm that helps; at the margin equivalent is the easiest mistake."""
POWERED = 3.0
"""The effect at which seeds are compared: 12 seeds nearly always find it, 5 often do not."""

Cells = dict[tuple[str, str], SeedGains]


@dataclass
class Confirmed:
    """What a number of studies with one effect came to.

    Attributes:
        effect: Percentage points, of the arm that helps; 0 for null studies.
        studies: How many.
        false: Studies with any verdict that is not true, by design.
        acting: Arms, one that helps and one that hurts a study, whose recipe has the full effect;
            the search may have taken one that has less.
        found: Of these those that are said to, by design.
        decided: Studies in which every arm is decided, by design.
        arms_decided: Arms that are decided, by design.
        seeds: Seeds that these took in the sequential design, and the mean of all arms.
    """

    effect: float
    studies: int = 0
    acting: int = 0
    false: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)
    arms_decided: Counter[str] = field(default_factory=Counter)
    seeds: dict[str, list[float]] = field(default_factory=lambda: {"acting": [], "all": []})

    def row(self) -> dict[str, Any]:
        """As it is printed, shares in [0, 1]."""
        designs = ("sequential", f"fixed {TODAY}")
        row: dict[str, Any] = {"effect": self.effect, "n": self.studies}
        for name in ("false", "decided"):
            counts: Counter[str] = getattr(self, name)
            row |= {f"{name} {x}": round(counts[x] / self.studies, 3) for x in designs}
        row |= {f"found {x}": round(self.power(x), 3) for x in designs}
        for x in designs:
            row[f"arms {x}"] = round(self.arms_decided[x] / (len(ARMS) * self.studies), 3)
        return row | {
            f"seeds {name}": round(fmean(x), 2) if x else "" for name, x in self.seeds.items()
        }

    def power(self, design: str) -> float:
        """Share of the acting arms that are found; 0 where there are none."""
        return self.found[design] / self.acting if self.acting else 0.0


def confirm_simulated(effect: float, studies: int, seed: int) -> Confirmed:
    """Confirm so many studies of one effect, by all designs."""
    tally = Confirmed(effect)
    for number in range(studies):
        rng = np.random.default_rng([seed, 17, int(10 * effect), number])
        world = Truth((effect, 0.0, -effect), rng)
        truth, _ = world.choose()
        cells = simulated_cells(world, truth, MOST, number)
        _count(tally, truth, cells)
    return tally


def _count(tally: Confirmed, truth: Floats, cells: Cells) -> None:
    true = dict(zip(ARMS, truth.tolist(), strict=True))
    tally.studies += 1
    judged, of_cells, seeds = _sequentially(cells)
    _add(tally, "sequential", true, judged, of_cells)
    tally.seeds["all"].append(fmean(seeds.values()))
    acting = [arm for arm in ARMS if true[arm] and abs(true[arm]) == tally.effect]
    tally.acting += len(acting)
    tally.seeds["acting"] += [seeds[arm] for arm in acting]
    for fixed in FIXED:
        some = {name: _first(cell, fixed) for name, cell in cells.items()}
        means = judge(estimate_gains(_means(some)), ALPHA / FAMILIES, margin=MARGIN)
        judged_cells = {}
        if fixed == TODAY:
            judged_cells = judge(estimate_gains(some), ALPHA / FAMILIES, margin=MARGIN)
        _add(tally, f"fixed {fixed}", true, means, judged_cells)


def _sequentially(
    cells: Cells,
) -> tuple[dict[str, Judgement], dict[tuple[str, str], Judgement], dict[str, int]]:
    """The verdicts on arms and on cells where each arm ended, and the seeds of each arm."""
    active, seeds = set(ARMS), dict.fromkeys(ARMS, 0)
    arms, parts = dict[str, GainEstimate](), dict[tuple[str, str], GainEstimate]()
    judged: dict[str, Judgement] = {}
    stages: dict[str, Stage] = {}
    for place, look in enumerate(LOOKS):
        seeds |= dict.fromkeys(active, look)
        stages |= dict.fromkeys(active, Stage(LOOKS, place))
        some = {name: _first(cell, seeds[name[0]]) for name, cell in cells.items()}
        found, found_parts = estimate_gains(_means(some)), estimate_gains(some)
        arms = {arm: found[arm] if arm in active else arms[arm] for arm in ARMS}
        parts = {x: found_parts[x] if x[0] in active else parts[x] for x in cells}
        judged = judge(arms, ALPHA / FAMILIES, stages, MARGIN)
        active = {arm for arm in active if judged[arm].verdict is Verdict.UNDECIDED}
        if not active:
            break
    of_cells = judge(parts, ALPHA / FAMILIES, {x: stages[x[0]] for x in parts}, MARGIN)
    return judged, of_cells, seeds


def _first(cell: SeedGains, seeds: int) -> SeedGains:
    assert cell.resampled is not None
    return replace(
        cell,
        seeds=cell.seeds[:seeds],
        gains=cell.gains[:seeds],
        resampled=cell.resampled[:, :seeds],
    )


def _means(cells: Cells) -> dict[str, SeedGains]:
    return {arm: mean_gains([cell for (x, _), cell in cells.items() if x == arm]) for arm in ARMS}


def _add(
    tally: Confirmed,
    design: str,
    true: dict[str, float],
    arms: dict[str, Judgement],
    cells: dict[tuple[str, str], Judgement],
) -> None:
    wrong = any(_is_false(x, true[arm]) for arm, x in arms.items())
    wrong |= any(_is_false(x, true[arm]) for (arm, _), x in cells.items())
    tally.false[design] += wrong
    for arm, gain in true.items():
        if gain and abs(gain) == tally.effect:
            right = Verdict.HELPS if gain > 0 else Verdict.HURTS
            tally.found[design] += arms[arm].verdict is right
    decided = [x.verdict is not Verdict.UNDECIDED for x in arms.values()]
    tally.decided[design] += all(decided)
    tally.arms_decided[design] += sum(decided)


def _is_false(judged: Judgement, truth: float) -> bool:
    return is_wrong(judged, truth) or (
        judged.verdict is Verdict.EQUIVALENT and abs(truth) >= MARGIN
    )


def sequential_summary(tallies: list[Confirmed]) -> dict[str, Any]:
    """All effects together; shares in [0, 1]."""
    (null,) = (tally for tally in tallies if not tally.effect)
    compared = {t.effect: _seeds_used(t) for t in tallies if t.effect}
    studies = sum(tally.studies for tally in tallies)
    designs = ("sequential", f"fixed {TODAY}")
    return {
        "false_positive_rate": round(null.false["sequential"] / null.studies, 3),
        "power": compared[POWERED]["power"],
        "decided_share": {
            x.replace(" ", "_"): round(sum(t.decided[x] for t in tallies) / studies, 3)
            for x in designs
        },
        "decided_share_of_arms": {
            x.replace(" ", "_"): round(
                sum(t.arms_decided[x] for t in tallies) / (len(ARMS) * studies), 3
            )
            for x in designs
        },
        "seeds_used": compared[POWERED],
        "seeds_used_by_effect": {f"{effect:g}": x for effect, x in compared.items()},
        "sequential_design": {
            "looks": LOOKS,
            "margin": MARGIN,
            "effect_points": POWERED,
            "n": studies,
            "null_studies": null.studies,
        },
        "false_verdict_rate": {
            f"{t.effect:g}": round(t.false["sequential"] / t.studies, 3) for t in tallies
        },
    }


def _seeds_used(tally: Confirmed) -> dict[str, float]:
    """Seeds of the sequential design, and of a fixed one that finds the effect as often."""
    power, used = tally.power("sequential"), fmean(tally.seeds["acting"] or [0.0])
    equal = _seeds_of_equal_power(tally, power)
    return {
        "power": round(power, 3),
        "sequential": round(used, 2),
        "fixed_of_equal_power": round(equal, 2),
        "share": round(used / equal, 3),
    }


def _seeds_of_equal_power(tally: Confirmed, power: float) -> float:
    """Seeds of the fixed design that finds as many, by a smooth curve through all of them.

    The quantile of a power is a quadratic of the logarithm of seeds: between the powers of single
    designs, which hardly rise towards 1, chance would decide. At most the largest design.
    """
    half = 0.5 / max(tally.acting, 1)
    found = np.array([tally.power(f"fixed {seeds}") for seeds in FIXED]).clip(half, 1 - half)
    curve = np.polyfit(np.log(FIXED), special.ndtri(found), 2)
    seeds = np.linspace(FIXED[0], FIXED[-1], 1000)
    enough = np.polyval(curve, np.log(seeds)) >= special.ndtri(min(power, 1 - half))
    return float(seeds[enough.argmax()]) if enough.any() else float(FIXED[-1])


def show_sequential(tallies: list[Confirmed]) -> None:
    """Print a column per effect, then the power of each fixed design."""
    rows = [tally.row() for tally in tallies]
    print(f"confirmed look by look ({', '.join(map(str, LOOKS))} seeds), margin {MARGIN} points:")
    for name in rows[0]:
        print(f"{name:>20}" + "".join(f"{row[name]:>9}" for row in rows))
    for seeds in FIXED:
        shares = (t.power(f"fixed {seeds}") for t in tallies)
        print(f"{f'found fixed {seeds}':>20}" + "".join(f"{share:>9.3f}" for share in shares))
