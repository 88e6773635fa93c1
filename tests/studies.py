"""Studies for tests: search spaces, scores worked by hand, and finished studies in a database.

Nothing here is trained. What is written into a database is what a search would have left there.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.scores.outcomes import packed
from search.findings.landscape import Landscape, read_landscape
from search.studies.stored_study import open_stored_study
from spaces.dimensions import SearchSpace, StageChoices, TargetTask
from spaces.recipe import Method, Schedule, Stage
from spaces.records import parse
from spaces.studies import StudySpec
from storage import tables as tables
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.tables import PairedScore, Score, StageRun, TrainedStage

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
NONE = {"intermediate.domain": "none"}
GENERAL = {"intermediate.domain": "general", "intermediate.task.general": "pocket_ner_calendar"}
LEGAL = {"intermediate.domain": "legal", "intermediate.task.legal": "pocket_ner_parties"}

Right = Mapping[tuple[int, str], tuple[int, int, int]]
"""(seed, language) -> examples that were right of 100: of recipe, baseline and reference."""


# --- search spaces


def small_space(
    arms: Mapping[str, tuple[str, ...]], epochs: tuple[int, ...], learning_rate: tuple[float, ...]
) -> SearchSpace:
    """A space of these choices for both stages and one target task, which needs no study file."""
    choices = StageChoices(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=(16,),
        examples=(100,),
        own_examples={},
        shots=(),
        warmup_ratio=(0.1,),
        max_length=64,
        schedule=Schedule.LINEAR,
        method=(Method.FULL,),
        frozen_layers=(0,),
        lora_rank=(8,),
        prompt_length=(),
    )
    return SearchSpace(
        arms=arms,
        mixtures={},
        backbones=("x",),
        intermediate=choices,
        target=choices,
        retrieval=Stage("", 0, 0.0, 1, 0, 0.0, 64, Schedule.CONSTANT, pooled_layer=-1),
        target_tasks=(TargetTask("t", True, 2),),
        train_sizes={},
    )


# --- in memory


def a_score(task: str, language: str, value: float, key: str = "k") -> Score:
    """A validation score of 10 examples."""
    return Score(key, "c", task, language, "validation", "accuracy", value, 10, 0, 0)


def a_trial(params: Mapping[str, Any]) -> FrozenTrial:
    """A complete trial with these parameters."""
    return create_trial(
        params=dict(params),
        distributions={name: CategoricalDistribution((value,)) for name, value in params.items()},
        state=TrialState.COMPLETE,
        value=0.0,
    )


# --- in a database


@dataclass(frozen=True)
class Plan:
    """One trial of a study to be written.

    Attributes:
        params: As Optuna keeps them.
        right: Scores; empty for a trial that did not complete.
        seconds: (intermediate stage, target stage) of each seed, and of its baseline as much as
            of its target.
        attributes: User attributes of the trial.
        state: State of the trial.
    """

    params: Mapping[str, Any]
    right: Right = field(default_factory=dict)
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
        source: Kind of its data source.
        attributes: User attributes of the study, besides what every study has.
        **changes: Fields of `RECORD` that are to be others.

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


def write_test_scores(ledger: Ledger, study: str, trial: int) -> list[PairedScore]:
    """Scores of a trial on test splits, the same as it has on validation splits."""
    stages, pairs = ledger.trained_stages(study), []
    for pair in ledger.pairs(study, "validation")[trial]:
        own, baseline, reference = (
            replace(score, split="test") for score in (pair.score, pair.baseline, pair.reference)
        )
        for score in {own, baseline, reference}:
            ledger.record_stage(stages[score.checkpoint_key], [score])
        pairs.append(PairedScore(pair.seed, own, baseline, reference))
    ledger.record_trial(study, trial, pairs)
    return pairs


def verdict_row(trial: int, task: str, language: str, verdict: str, gain: float) -> dict[str, Any]:
    """A verdict as the ledger keeps it; task and language are empty for a whole recipe."""
    return {
        "trial": trial,
        "task": task,
        "language": language,
        "verdict": verdict,
        "gain": gain,
        "low": gain - 1,
        "high": gain + 1,
        "p_value": 0.01,
        "detectable": 1.5,
        "seeds": 5,
        "examples": EXAMPLES,
        "score": 50.0 + gain,
        "against": 50.0,
        "family": 2,
        "scope": "other seeds and examples",
    }


def write_confirmation(
    ledger: Ledger,
    study: str,
    recipes: Mapping[int, tuple[str, str]],
    rows: Sequence[Mapping[str, Any]],
    look: int = 1,
    **changes: Any,
) -> None:
    """A finished confirmation of a study.

    Args:
        ledger: Of the study's database.
        study: Name of the study.
        recipes: Trial -> (arm, intermediate task) of the recipes that were confirmed.
        rows: Of `verdict_row`.
        look: Number of the look at the test splits.
        **changes: Fields of the plan that are to be others.
    """
    plan = {
        "recipes": [
            {"trial": trial, "arm": arm, "name": task, "in_words": f"{task}, ..."}
            for trial, (arm, task) in recipes.items()
        ],
        "baseline_trial": 0,
        "seeds": [2, 3, 4, 5, 6],
        "trials_of_the_search": 4,
        "aggregate": "mean",
    }
    ledger.begin_confirmation(study, look, plan | changes)
    result = {"verdicts": list(rows), "paired": list(rows), "seconds": 600.0}
    ledger.finish_confirmation(study, look, result)


# --- a study whose landscape is worked out by hand, and a larger one with a planted choice

BASELINE = {(0, "qaa"): 50, (0, "qab"): 40, (1, "qaa"): 52, (1, "qab"): 42}


def scored(*gains: int) -> Right:
    """Paired gains by seed, then language; the reference is two points below the baseline."""
    places = zip(BASELINE.items(), gains, strict=True)
    return {place: (base + gain, base, base - 2) for (place, base), gain in places}


def choice(arm: dict[str, str], epochs: int) -> dict[str, object]:
    """The parameters of a recipe with an intermediate stage."""
    return {**arm, "intermediate.epochs": epochs, "intermediate.learning_rate": 1e-4}


# Two recipes of each task, alike but for their epochs; one trial failed.
PLANS = [
    Plan(NONE, scored(0, 0, 0, 0)),
    Plan(choice(GENERAL, 1), scored(1, 3, 3, 5)),
    Plan(choice(GENERAL, 2), scored(2, 4, 4, 6)),
    Plan(choice(LEGAL, 1), scored(-30, -28, -31, -29)),
    Plan(choice(LEGAL, 2), scored(-32, -30, -33, -31), seconds=(4.0, 1.0)),
    Plan(choice(LEGAL, 2), attributes={"reason": "diverged"}, state=TrialState.FAIL),
]


def many(effect: float, count: int = 48) -> list[Plan]:
    """Recipes whose gain depends on the learning rate alone, and on luck."""
    rng = np.random.default_rng(1)
    plans = [Plan(NONE, scored(0, 0, 0, 0))]
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


def landscape_of(url: str) -> Landscape:
    """The landscape of the study in a database."""
    return read_landscape(open_stored_study(url, RECORD["name"]))


# --- rows


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
            names = (f"own {number}", f"baseline {target}", "reference")
            keys = [f"{study} {name} {seed}" for name in names]
            if plan.params["intermediate.domain"] == "none":
                keys[0] = keys[1]
            else:
                stage(
                    number, seed, "intermediate", f"{study} first {number} {seed}", plan.seconds[0]
                )
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
