"""A finished study written straight into a database: scores as wanted, nothing trained."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from objectives.scores.outcomes import packed
from spaces.records import parse
from spaces.studies import StudySpec
from storage import tables as tables
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.tables import Score, StageRun, TrainedStage

TASK = "pocket_nli"
EXAMPLES = 100
NOT_FROZEN = {"name", "question", "trials", "backbone", "tasks", "claims"}
KEPT = {"question", "backbone", "tasks", "claims"}
RECORD: dict[str, Any] = {
    "name": "synthetic",
    "question": "Does anything help?",
    "arms": ["none", "general", "legal"],
    "backbone": "pocket",
    "source_language": "qas",
    "seeds": 2,
    "intermediate": {
        "tasks": ["pocket_ner_calendar", "pocket_ner_parties"],
        "epochs": [1, 2],
        "learning_rate": [1e-4, 1e-3],
    },
    "target": {"tasks": [TASK], "languages": ["qaa", "qab"]},
}


@dataclass(frozen=True)
class Plan:
    """One trial.

    Attributes:
        params: As Optuna keeps them.
        right: (seed, language) -> examples that were right of 100: of the recipe, its baseline and
            the reference. Empty for a trial that did not complete.
        seconds: (intermediate stage, target stage) of each seed, and of its baseline as much as
            of its target.
        attributes: Of the trial.
        state: Of the trial.
    """

    params: Mapping[str, Any]
    right: Mapping[tuple[int, str], tuple[int, int, int]] = field(default_factory=dict)
    seconds: tuple[float, float] = (2.0, 1.0)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    state: TrialState = TrialState.COMPLETE


def write_study(
    url: str,
    plans: Sequence[Plan],
    source: str = "pocket",
    attributes: Mapping[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Write a study of these trials.

    Args:
        url: Of a database; made if need be.
        plans: Its trials.
        source: Of its data.
        attributes: Of the study, besides what every study has.
        **changes: Of `RECORD`.

    Returns:
        Its name.
    """
    spec = parse(StudySpec, RECORD | changes, "synthetic study")
    storage = open_storage(url)
    study = optuna.create_study(study_name=spec.name, storage=storage, direction="maximize")
    kept = {
        "question": spec.question,
        "data": "pocket corpora" if source == "pocket" else "a folder",
        "study_file": json.dumps(spec.model_dump(mode="json", include=KEPT)),
    }
    for name, value in (kept | dict(attributes or {})).items():
        study.set_user_attr(name, value)
    ledger = Ledger(storage.engine)
    frozen = {
        "spec": spec.model_dump(mode="json", exclude=NOT_FROZEN),
        "space": {},
        "data": {"source": source, "corpora": {}},
        "backbones": {"backbone": "b" * 64},
        "precision": "float32",
    }
    ledger.freeze_study(spec.name, frozen)
    choices: dict[str, list[Any]] = {}
    for plan in plans:
        for name, value in plan.params.items():
            if value not in choices.setdefault(name, []):
                choices[name].append(value)
    spaces = {name: CategoricalDistribution(values) for name, values in choices.items()}
    study.add_trials(
        [
            create_trial(
                state=plan.state,
                value=_gain(plan) if plan.right else None,
                params=dict(plan.params),
                distributions={name: spaces[name] for name in plan.params},
                user_attrs=dict(plan.attributes),
            )
            for plan in plans
        ]
    )
    rows = _rows(spec.name, plans)
    with storage.engine.begin() as connection:
        for table, found in rows.items():
            if found:
                connection.execute(sa.insert(table), found)
    storage.remove_session()
    storage.engine.dispose()
    return spec.name


def _gain(plan: Plan) -> float:
    gains = [own - reference for own, _, reference in plan.right.values()]
    return sum(gains) / len(gains)


def _rows(study: str, plans: Sequence[Plan]) -> dict[sa.Table, list[dict[str, Any]]]:
    scores: dict[tuple[str, str], dict[str, Any]] = {}
    stages: dict[str, dict[str, Any]] = {}
    results, runs = [], []
    packs = [_outcomes(right) for right in range(EXAMPLES + 1)]

    def score(key: str, language: str, right: int) -> None:
        row = Score(
            checkpoint_key=key,
            corpus_key=language,
            task=TASK,
            language=language,
            split="validation",
            metric="accuracy",
            score=right / EXAMPLES,
            examples=EXAMPLES,
            lost_words=0,
            unscored_examples=0,
            outcomes=packs[right],
        )
        previous = scores.setdefault((key, language), asdict(row))
        assert previous["score"] == row.score, f"{key} has two scores"

    def stage(number: int, seed: int, position: str, key: str, seconds: float) -> None:
        fresh = key not in stages
        if fresh:
            made = TrainedStage(key, "", TASK, 10, seconds, 0.0, "cpu", "float32", {"torch": "2"})
            stages[key] = asdict(made)
        place = (seed, position, TASK, key)
        asked = StageRun(*place, 10, 0, 0.0, 0.0, finished=True)
        trained = StageRun(*place, 0, 10, seconds, 0.0, finished=True)
        for run in (asked, trained) if fresh else (asked,):
            runs.append({"study_name": study, "trial_number": number, **asdict(run)})

    for number, plan in enumerate(plans):
        target = "".join(f"{v}/" for n, v in plan.params.items() if n.startswith("target."))
        for seed, language in plan.right:
            own, baseline, reference = plan.right[seed, language]
            keys = [f"own {number} {seed}", f"baseline {target} {seed}", f"reference {seed}"]
            if plan.params["intermediate.domain"] == "none":
                keys[0] = keys[1]
            else:
                stage(number, seed, "intermediate", f"first {number} {seed}", plan.seconds[0])
                stage(number, seed, "target", keys[0], plan.seconds[1])
            stage(number, seed, "baseline", keys[1], plan.seconds[1])
            for key, right in zip(keys, (own, baseline, reference), strict=True):
                score(key, language, right)
            results.append(
                {
                    "study_name": study,
                    "trial_number": number,
                    "seed": seed,
                    "task": TASK,
                    "language": language,
                    "split": "validation",
                    "corpus_key": language,
                    "checkpoint_key": keys[0],
                    "baseline_key": keys[1],
                    "reference_key": keys[2],
                }
            )
    return {
        tables.SCORES: list(scores.values()),
        tables.STAGES: list(stages.values()),
        tables.STAGE_RUNS: [run | {"token": uuid.uuid4().hex} for run in _once(runs)],
        tables.RESULTS: results,
    }


def _once(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A stage is asked for once per trial and seed, however many languages are scored."""
    return list({tuple(run.items()): run for run in runs}.values())


def _outcomes(right: int) -> bytes:
    columns = np.ones((EXAMPLES, 2), np.float32)
    columns[right:, 0] = 0
    return packed(columns)
