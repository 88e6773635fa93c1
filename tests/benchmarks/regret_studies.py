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
the best.
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
from tests.benchmarks.regret_table import Truth, fit_truth
from tests.benchmarks.search_landscapes import Landscape
from tests.benchmarks.simulated_search import SEARCHES, SimulatedStudy

NEAR = 1.0
SHARES = (0.5, 0.75)
RUNS = 60
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

    def is_near(self, updates: float, *, repeats: bool) -> bool:
        """Whether what is recommended by then is within a point of the best."""
        place = int(np.searchsorted(self.updates[not repeats], updates, side="right"))
        return place > 0 and self.regret[place - 1] <= NEAR


@dataclass(frozen=True)
class Regret:
    """Studies of each search on one table.

    Attributes:
        truth: What the table says.
        courses: Search -> its studies.
    """

    truth: Truth
    courses: dict[str, list[Course]]

    def updates_to(self, search: str, share: float, *, repeats: bool = True) -> float | None:
        """Updates after which such a share of studies is near the best; None: not by their end."""
        courses = self.courses[search]
        ends = min(course.updates[not repeats][-1] for course in courses)
        for updates in sorted({x for course in courses for x in course.updates[not repeats]}):
            near = fmean(course.is_near(updates, repeats=repeats) for course in courses)
            if updates <= ends and near >= share:
                return updates
        return None


def run_studies(file: Path, studies: int) -> Regret:
    """So many studies of each search on the table in a file.

    Raises:
        DataError: The table is not whole.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    truth = fit_truth(file)
    courses: dict[str, list[Course]] = {search: [] for search in (OURS, *PEERS)}
    for number in range(studies):
        landscape = Landscape(truth.table, truth.scores, truth.noise, number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            courses[OURS].append(_ours(landscape))
            for search in PEERS:
                courses[search].append(_peer(landscape, search))
    return Regret(truth, courses)


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
        suggest_recipe(trial, table.space)
        row = table.place(trial.params)
        assert row is not None, trial.params
        cost = float(SEEDS * table.updates[row])
        steps.append((cost, 0.0 if row in means else cost))
        means[row] = fmean(landscape.score(row, seed) for seed in range(SEEDS))
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
    near = int((truth.scores >= truth.scores.max() - NEAR).sum())
    print(
        f"{len(truth.table)} recipes, {truth.runs} runs, seeds scatter by {truth.noise:.1f}; "
        f"{near} recipes within {NEAR:g} of the best by shrunken means; {studies} studies each"
    )
    heads = "".join(f"{f'{share:.0%} of studies':>30}" for share in SHARES)
    print(f"{'until near the best':<34}{heads}")
    rows = [(OURS, True, seconds_of_ours)]
    rows += [(x, repeats, seconds_of_peer) for x in PEERS for repeats in (True, False)]
    found: dict[tuple[str, bool, float], float | None] = {}
    for search, repeats, seconds in rows:
        cells = ""
        for share in SHARES:
            updates = regret.updates_to(search, share, repeats=repeats)
            wall = found[search, repeats, share] = None if updates is None else updates * seconds
            cell = "-" if wall is None else f"{updates:.0f} updates, {wall:.0f} s"
            cells += f"{cell:>30}"
        print(f"{search + ('' if repeats else ', repeats left out'):<34}{cells}")

    def ratio(share: float, *, repeats: bool) -> float | None:
        ours = found[OURS, True, share]
        peers = [found[search, repeats, share] for search in PEERS]
        known = [x for x in peers if x is not None]
        return round(min(known) / ours, 3) if known and ours else None

    return {
        "wall_ratio_to_regret": ratio(SHARES[0], repeats=True),
        "wall_ratio_to_regret_without_repeats": ratio(SHARES[0], repeats=False),
        "wall_ratio_to_regret_of_three_quarters": ratio(SHARES[1], repeats=True),
        "updates_to_regret": {
            search: regret.updates_to(search, SHARES[0]) for search in (OURS, *PEERS)
        },
        "regret_studies": studies,
        "regret_table_runs": truth.runs,
        "regret_table_noise": round(truth.noise, 2),
        "recipes_near_the_best": near,
    }
