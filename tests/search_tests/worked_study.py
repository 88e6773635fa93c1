"""A small study with its landscape worked out by hand, and a larger one with a planted choice."""

from __future__ import annotations

import numpy as np
from optuna.trial import TrialState

from search.findings.landscape import Landscape, read_landscape
from search.studies.stored_study import open_stored_study
from tests.search_tests.synthetic_study import Plan

BASELINE = {(0, "qaa"): 50, (0, "qab"): 40, (1, "qaa"): 52, (1, "qab"): 42}
GENERAL = {"intermediate.domain": "general", "intermediate.task.general": "pocket_ner_calendar"}
LEGAL = {"intermediate.domain": "legal", "intermediate.task.legal": "pocket_ner_parties"}


def scored(*gains: int) -> dict[tuple[int, str], tuple[int, int, int]]:
    """Paired gains by seed, then language; the reference is two points below the baseline."""
    places = zip(BASELINE.items(), gains, strict=True)
    return {place: (base + gain, base, base - 2) for (place, base), gain in places}


def choice(arm: dict[str, str], epochs: int) -> dict[str, object]:
    return {**arm, "intermediate.epochs": epochs, "intermediate.learning_rate": 1e-4}


# Two recipes of each task, alike but for their epochs; one trial failed.
PLANS = [
    Plan({"intermediate.domain": "none"}, scored(0, 0, 0, 0)),
    Plan(choice(GENERAL, 1), scored(1, 3, 3, 5)),
    Plan(choice(GENERAL, 2), scored(2, 4, 4, 6)),
    Plan(choice(LEGAL, 1), scored(-30, -28, -31, -29)),
    Plan(choice(LEGAL, 2), scored(-32, -30, -33, -31), seconds=(4.0, 1.0)),
    Plan(choice(LEGAL, 2), attributes={"reason": "diverged"}, state=TrialState.FAIL),
]


def read(url: str) -> Landscape:
    return read_landscape(open_stored_study(url, "synthetic"))


def many(effect: float, count: int = 48) -> list[Plan]:
    """Recipes whose gain depends on the learning rate alone, and on luck."""
    rng = np.random.default_rng(1)
    plans = [Plan({"intermediate.domain": "none"}, scored(0, 0, 0, 0))]
    for number in range(count):
        params = {
            **(GENERAL, LEGAL)[number % 2],
            "intermediate.epochs": (1, 2)[number // 2 % 2],
            "intermediate.learning_rate": (1e-4, 1e-3)[number // 4 % 2],
            "intermediate.batch_size": 8 * (number // 8 + 1),
        }
        good = effect * (params["intermediate.learning_rate"] == 1e-3)
        plans.append(Plan(params, scored(*(int(x) for x in rng.normal(good, 2, 4).round()))))
    return plans
