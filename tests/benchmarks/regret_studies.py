"""How much a search trains until it recommends a recipe near the best: ours and plain Optuna.

The truth is a table of recipes that were really trained (`regret_table`); a run's score is drawn
about it. Ours is the program's own search (`simulated_search`): its direct trainings first, then
the search model, a run of one seed at a time; stages that were trained with the seed before are
not trained again, but an intermediate stage of another length is, which the program would go on
with. The peer is what a user of Optuna writes: `study.optimize` over the same space, direct
training among its arms, three seeds a trial, the mean score as its value, no baseline, and the
best mean recommended. It is run with TPE as it comes and with `multivariate` and `group`; the
better of the two counts. A trial that TPE repeats is trained again, and a second figure leaves
these out.

How far a search is: updates after which half of the studies recommend a recipe within a point of
the best, or within two or three. The best of many means of three seeds is a lucky one, so that a
peer may not come so near however long it searches; then its whole study counts, and the ratio is
one that ours has at least. How near it would come if it tried everything is said beside.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.trial import Trial

from spaces.dimensions import suggest_recipe
from tests.benchmarks.plain_trial import PlainTrial
from tests.benchmarks.regret_table import Truth, fit_truth
from tests.benchmarks.search_landscapes import Landscape
from tests.benchmarks.simulated_search import SEARCHES, SimulatedStudy

NEAR = (1.0, 2.0, 3.0)
"""Points from the best recipe; the first is what the benchmark is about."""
SHARE = 0.5
"""Of studies that are to be so near."""
RUNS = 100
"""Of ours in a study, direct trainings among them."""
TRIALS, SEEDS = 100, 3
"""Of the peer."""
OURS, PEERS = "ours", ("TPE", "TPE, multivariate")


@dataclass(frozen=True)
class Course:
    """One study: what its recommendation falls short of after so many updates.

    Attributes:
        updates: In rising order; of a peer that trains what it repeats, and of one that does not.
        regret: Points.
    """

    updates: tuple[tuple[float, ...], tuple[float, ...]]
    regret: tuple[float, ...]

    def after(self, updates: float, *, repeats: bool) -> float:
        """Regret of what is recommended by then, points; infinite before the first run."""
        place = int(np.searchsorted(self.updates[not repeats], updates, side="right"))
        return self.regret[place - 1] if place else float("inf")


@dataclass(frozen=True)
class Length:
    """How long a search takes.

    Attributes:
        updates: Until it is near enough; if it never is, those of its shortest study.
        is_reached: Whether it is.
    """

    updates: float
    is_reached: bool

    def words(self, seconds: float) -> str:
        """For the table; seconds are of an update."""
        more = "" if self.is_reached else "> "
        return f"{more}{self.updates:.0f} updates, {more}{self.updates * seconds:.0f} s"


@dataclass(frozen=True)
class Regret:
    """Studies of each search on one table.

    Attributes:
        truth: What the table says.
        courses: Search -> its studies.
        of_all_means: Of each study, the regret of the best mean if all recipes were tried.
    """

    truth: Truth
    courses: dict[str, list[Course]]
    of_all_means: list[float]

    def by_all_means(self, points: float) -> float:
        """Share of studies in which the best of all recipes' means is so near."""
        return fmean(regret <= points for regret in self.of_all_means)

    def length(self, search: str, points: float, *, repeats: bool = True) -> Length:
        """How long a search takes until half of its studies are so many points from the best."""
        courses = self.courses[search]
        end = min(course.updates[not repeats][-1] for course in courses)
        for updates in sorted({x for course in courses for x in course.updates[not repeats]}):
            near = fmean(x.after(updates, repeats=repeats) <= points for x in courses)
            if updates <= end and near >= SHARE:
                return Length(updates, is_reached=True)
        return Length(end, is_reached=False)


def run_studies(file: Path, studies: int) -> Regret:
    """So many studies of each search on the table in a file.

    Raises:
        DataError: The table is not whole.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    truth = fit_truth(file)
    courses: dict[str, list[Course]] = {search: [] for search in (OURS, *PEERS)}
    of_all_means = []
    for number in range(studies):
        landscape = Landscape(truth.table, truth.scores, truth.noise, number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            courses[OURS].append(_ours(landscape))
            for search in PEERS:
                courses[search].append(_peer(landscape, search))
        means = {row: _mean(landscape, row) for row in range(len(truth.table))}
        of_all_means.append(landscape.regret(max(means, key=lambda x: means[x])))
    return Regret(truth, courses, of_all_means)


def _mean(landscape: Landscape, row: int) -> float:
    """Of a recipe's runs with the peer's seeds."""
    return fmean(landscape.score(row, seed) for seed in range(SEEDS))


def _ours(landscape: Landscape) -> Course:
    found = SimulatedStudy(landscape, SEARCHES[0]).run(RUNS)
    updates = tuple(map(float, found["updates"]))
    return Course((updates, updates), tuple(found["regret"]))


def _peer(landscape: Landscape, search: str) -> Course:
    table = landscape.table
    together = search != PEERS[0]
    sampler = TPESampler(seed=landscape.key, multivariate=together, group=together)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    means: dict[int, float] = {}
    steps: list[tuple[float, float]] = []
    regret: list[float] = []

    def objective(trial: Trial) -> float:
        asked = PlainTrial(trial)
        suggest_recipe(asked, table.space)
        row = table.place(asked.params)
        assert row is not None, asked.params
        cost = float(SEEDS * table.updates[row])
        steps.append((cost, 0.0 if row in means else cost))
        means[row] = _mean(landscape, row)
        regret.append(landscape.regret(max(means, key=lambda x: means[x])))
        return means[row]

    study.optimize(objective, n_trials=TRIALS)
    all_updates, new = np.cumsum(steps, axis=0).T.tolist()
    return Course((tuple(all_updates), tuple(new)), tuple(regret))


def show_studies(regret: Regret, seconds_of_ours: float, seconds_of_peer: float) -> dict[str, Any]:
    """Print the table; what it comes to, for the JSON line.

    Args:
        regret: The studies.
        seconds_of_ours: Wall seconds of an update of ours, everything around it included.
        seconds_of_peer: Likewise of the peer.
    """
    truth, studies = regret.truth, len(regret.courses[OURS])
    near = int((truth.scores >= truth.scores.max() - NEAR[0]).sum())
    print(
        f"{len(truth.table)} recipes, {truth.runs} runs, seeds scatter by {truth.noise:.1f}; "
        f"{near} recipes within {NEAR[0]:g} of the best by shrunken means; {studies} studies each"
    )
    heads = "".join(f"{f'within {points:g}':>30}" for points in NEAR)
    print(f"{f'{SHARE:.0%} of studies are':<36}{heads}")
    rows = [(OURS, True, seconds_of_ours)]
    rows += [(x, repeats, seconds_of_peer) for x in PEERS for repeats in (True, False)]
    for search, repeats, seconds in rows:
        lengths = [regret.length(search, points, repeats=repeats) for points in NEAR]
        cells = "".join(f"{length.words(seconds):>30}" for length in lengths)
        print(f"{search + ('' if repeats else ', repeats left out'):<36}{cells}")

    print(
        f"if all recipes were tried with {SEEDS} seeds, the best mean would be within "
        + ", ".join(f"{points:g} in {regret.by_all_means(points):.0%}" for points in NEAR)
        + " of studies"
    )

    def ratio(points: float, *, repeats: bool) -> tuple[float | None, bool]:
        """The better peer's seconds by ours, and whether the peer comes so near."""
        ours = regret.length(OURS, points)
        peers = [regret.length(search, points, repeats=repeats) for search in PEERS]
        best = min(peers, key=lambda x: (not x.is_reached, x.updates))
        if not ours.is_reached:
            return None, best.is_reached
        found = best.updates * seconds_of_peer / (ours.updates * seconds_of_ours)
        return round(found, 2), best.is_reached

    first, is_reached = ratio(NEAR[0], repeats=True)
    return {
        "wall_ratio_to_regret": first,
        "wall_ratio_to_regret_is_at_least": not is_reached,
        "wall_ratios_by_regret": {points: ratio(points, repeats=True) for points in NEAR},
        "wall_ratios_by_regret_without_repeats": {
            points: ratio(points, repeats=False) for points in NEAR
        },
        "near_by_all_means": {points: regret.by_all_means(points) for points in NEAR},
        "regret_at_the_end": {
            search: round(float(np.median([x.regret[-1] for x in courses])), 2)
            for search, courses in regret.courses.items()
        },
        "regret_studies": studies,
        "regret_table_runs": truth.runs,
        "regret_table_noise": round(truth.noise, 2),
        "recipes_near_the_best": near,
    }
