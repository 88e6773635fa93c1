"""A study whose arms met different target settings: the means of its runs tell the wrong story."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.studies import NONE, TASK, Plan, write_study

PLANTED = {
    "pocket_ner_calendar": ("general", -2.0),
    "pocket_pos_layout": ("general", -4.0),
    "pocket_ner_parties": ("legal", 6.0),
    "pocket_ner_statutes": ("legal", 4.0),
}
"""Intermediate task -> its arm, and what it adds at every setting, points."""
UNTRIED = "pocket_ner_dosage"
TARGET_RATES = {1e-4: -14.0, 3e-4: 0.0, 1e-3: -1.0}
"""Rate of the target stage -> what it is worth."""
LANGUAGES = {"qaa": (52, 1.0), "qab": (42, -1.0)}
"""Language -> score of the best direct training, and what the arm legal adds there beside."""


def write_confounded(url: str) -> str:
    """Write the study; its name."""
    rates = list(TARGET_RATES)
    return write_study(
        url,
        [*_direct(), *_trials()],
        arms=["none", "general", "biomedical", "legal"],
        intermediate={
            "tasks": [*PLANTED, UNTRIED],
            "epochs": [1, 2],
            "learning_rate": [1e-4, 1e-3],
        },
        target={"tasks": [TASK], "languages": list(LANGUAGES), "learning_rate": rates},
    )


def _direct() -> Iterator[Plan]:
    rng = np.random.default_rng(1)
    for rate in TARGET_RATES:
        for seed in range(3):
            yield _plan({**NONE, "target.learning_rate": rate}, seed, rng)


def _trials() -> Iterator[Plan]:
    """Legal tasks at a bad rate of the target stage but for every fifth run, general ones not.

    One of the tasks is never run at the higher rate of its own stage.
    """
    rng = np.random.default_rng(2)
    for seed in range(15):
        for task, (arm, _) in PLANTED.items():
            is_bad = (seed % 5 > 0) == (arm == "legal")
            rates = (1e-4,) if task == "pocket_ner_statutes" else (1e-4, 1e-3)
            params = {
                "intermediate.domain": arm,
                "intermediate.task": task,
                "intermediate.epochs": 1 + seed % 2,
                "intermediate.learning_rate": rates[seed // 2 % len(rates)],
                "target.learning_rate": 1e-4 if is_bad else (3e-4, 1e-3)[seed // 3 % 2],
            }
            yield _plan(params, seed, rng)


def _plan(params: dict[str, Any], seed: int, rng: np.random.Generator) -> Plan:
    arm = params["intermediate.domain"]
    task = params.get("intermediate.task", "")
    gain = PLANTED[task][1] if task else 0.0
    luck = rng.normal(0, 0.7)
    right = {
        (TASK, language): round(
            base
            + TARGET_RATES[params["target.learning_rate"]]
            + gain
            + luck
            + of_legal * (arm == "legal")
        )
        for language, (base, of_legal) in LANGUAGES.items()
    }
    return Plan(params, right, seed=seed)
