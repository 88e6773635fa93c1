"""Studies for tests: search spaces, scores worked by hand, and finished studies in a database.

Nothing here is trained. What is written into a database is what a search would have left there:
a study of direct trainings, the baseline that they made, and a study of recipes held against it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import TypeAdapter

from objectives.gains.transfer_gain import TransferGain
from objectives.scores.outcomes import packed
from search.findings.landscape import Landscape, read_landscape
from search.studies.baseline import Baseline, baseline_name, choose_baseline
from search.studies.identity import STUDY_ID
from search.studies.recipes import finished_recipes
from search.studies.stored_study import StoredStudy, open_stored_study
from search.studies.trial_notes import TrialNotes
from spaces.catalogue import load_catalogue
from spaces.dimensions import SearchSpace, StageChoices, TargetTask, search_space
from spaces.recipe import Method, Schedule, Stage
from spaces.records import parse
from spaces.studies import SEARCH_SPLIT, StudySpec
from storage import tables as tables
from storage.fingerprint import fingerprint
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.tables import PairedScore, Score, StageRun, TrainedStage

TASK = "pocket_nli"
EXAMPLES = 100
NOT_FROZEN = {"name", "question", "about", "trials", "backbone", "tasks", "claims"}
KEPT = {"question", "about", "backbone", "tasks", "claims"}
RECORD: dict[str, Any] = {
    "name": "synthetic",
    "question": "Does anything help?",
    "arms": ["none", "general", "legal"],
    "backbone": "pocket",
    "source_language": "qas",
    "baseline_seeds": 2,
    "intermediate": {
        "tasks": ["pocket_ner_calendar", "pocket_ner_parties"],
        "epochs": [1, 2],
        "learning_rate": [1e-4, 1e-3],
    },
    "target": {"tasks": [TASK], "languages": ["qaa", "qab"]},
}
NONE = {"intermediate.domain": "none"}
GENERAL = {"intermediate.domain": "general", "intermediate.task": "pocket_ner_calendar"}
LEGAL = {"intermediate.domain": "legal", "intermediate.task": "pocket_ner_parties"}

Right = Mapping[tuple[str, str], int]
"""(target task, language) -> examples of 100 that are right."""


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
    """One run of a study to be written: a direct training, or a trial.

    Attributes:
        params: As Optuna keeps them: all that the study's space leaves open.
        right: Scores; empty for a run that did not complete.
        seed: Random seed.
        seconds: Of (its intermediate stage, each of its target stages).
        attributes: User attributes of the trial, besides what every trial has.
        state: State of the trial.
    """

    params: Mapping[str, Any]
    right: Right = field(default_factory=dict)
    seed: int = 0
    seconds: tuple[float, float] = (2.0, 1.0)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    state: TrialState = TrialState.COMPLETE

    @property
    def is_direct(self) -> bool:
        """Whether it is a direct training."""
        return bool(self.params["intermediate.domain"] == "none")

    def key(self, position: str, task: str = "") -> str:
        """Checkpoint of one of its stages; the same of runs that share the stage."""
        mine = {x: v for x, v in self.params.items() if task or x.startswith("intermediate.")}
        scores = sorted(x for x in self.right.items() if x[0][0] == task)
        return fingerprint([position, task, sorted(mine.items()), self.seed, scores])

    @property
    def pairs(self) -> tuple[PairedScore, ...]:
        """Its scores, held against nothing."""
        return tuple(
            PairedScore(
                self.seed,
                Score(
                    checkpoint_key=self.key("target", task),
                    corpus_key=language,
                    task=task,
                    language=language,
                    split=SEARCH_SPLIT,
                    metric="accuracy",
                    score=right / EXAMPLES,
                    examples=EXAMPLES,
                    lost_words=0,
                    unscored_examples=0,
                    setting="3 epochs",
                    outcomes=_OUTCOMES[right],
                ),
            )
            for (task, language), right in self.right.items()
        )


def write_study(
    url: str,
    plans: Sequence[Plan],
    source: str = "pocket",
    attributes: Mapping[str, Any] | None = None,
    *,
    is_tuned: bool = True,
    **changes: Any,
) -> str:
    """Write a study of these runs, NAME, and that of its direct trainings, NAME.baseline.

    Args:
        url: Of a database; made if need be.
        plans: Its direct trainings and its trials, each numbered in order from 0.
        source: Kind of its data source.
        attributes: User attributes of the study, besides what every study has.
        is_tuned: Whether its direct trainings are done, as far as there are any.
        **changes: Fields of `RECORD` that are to be others.

    Returns:
        Its name.
    """
    spec = parse(StudySpec, RECORD | changes, "synthetic study")
    catalogue = load_catalogue().extended(spec.tasks, "synthetic study")
    space = search_space(spec, catalogue, dict.fromkeys(spec.task_names, EXAMPLES))
    languages, aggregate = spec.selection_languages(catalogue), spec.target.aggregate
    storage = open_storage(url)
    ledger, about = Ledger(storage.engine), dict(attributes or {})
    about = {
        "question": spec.question,
        "data": "pocket corpora" if source == "pocket" else "a folder",
        "study_file": json.dumps(spec.model_dump(mode="json", include=KEPT)),
    } | about
    in_json = TypeAdapter(SearchSpace).dump_python(space, mode="json")
    definition = {
        "spec": spec.model_dump(mode="json", exclude=NOT_FROZEN),
        "space": {name: x for name, x in in_json.items() if name != "backbones"},
        "data": {
            "source": source,
            "corpora": {f"{TASK} {language} validation": "c" * 64 for language in ("qaa", "qab")},
        },
        "backbones": {"backbone": "b" * 64},
        "precision": "float32",
    }
    study_id = fingerprint(spec.name)[:32]
    ledger.freeze_study(spec.name, definition, study_id)
    about[STUDY_ID] = study_id
    direct, trials = ([x for x in plans if x.is_direct == kind] for kind in (True, False))
    trained = _Stages(storage.engine)

    def add(name: str, mine: Sequence[Plan], kept: Mapping[str, Any]) -> optuna.Study:
        study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        for key, value in kept.items():
            study.set_user_attr(key, value)
        values = [_value(x, baseline, languages) if x.right else None for x in mine]
        study.add_trials(_trials(mine, values))
        trained.write(name, mine)
        return study

    baseline: Baseline | None = None
    tuning = add(
        baseline_name(spec.name),
        direct,
        {"baseline_of": spec.name, STUDY_ID: f"{study_id}.baseline"},
    )
    finished = finished_recipes(tuning, ledger, aggregate, None)
    if finished and is_tuned:
        trainings = [(x.first.number, x.first.params, x.gain) for x in finished]
        baseline = choose_baseline(spec, space, trainings, languages, len(direct))
        ledger.freeze_study(baseline_name(spec.name), baseline.as_json())
    add(spec.name, trials, about)
    storage.remove_session()
    storage.engine.dispose()
    return spec.name


def write_test_scores(study: StoredStudy, trial: int) -> list[PairedScore]:
    """Scores of a trial's recipe on test splits, the same as the trial's on validation splits.

    Both baselines score there what the study's has on validation splits.
    """
    ledger, stages, pairs = study.ledger, study.trained_stages, []
    assert study.baseline is not None
    for pair in study.baseline.over(ledger.pairs(study.name, SEARCH_SPLIT)[trial]):
        assert pair.reference is not None
        own = replace(pair.score, split="test")
        key = fingerprint(["direct training", own.task, pair.seed])
        zero = replace(pair.reference, split="test", checkpoint_key=key)
        stage = stages[own.checkpoint_key]
        ledger.record_stage(stage, [own])
        ledger.record_stage(replace(stage, checkpoint_key=key), [zero])
        pairs.append(PairedScore(pair.seed, own, zero, zero))
    ledger.record_trial(study.name, trial, pairs)
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
        "needed": 9 if verdict == "undecided" else None,
    }


def write_confirmation(
    ledger: Ledger,
    study: str,
    recipes: Mapping[int, tuple[str, str]],
    rows: Sequence[Mapping[str, Any]],
    look: int = 1,
    ended: str = "seeds",
    **changes: Any,
) -> None:
    """A confirmation of a study that has a result.

    Args:
        ledger: Of the study's database.
        study: Name of the study.
        recipes: Trial -> (arm, intermediate task) of the recipes that were confirmed.
        rows: Of `verdict_row`.
        look: Number of the look at the test splits.
        ended: Why it ended.
        **changes: Fields of the plan that are to be others.
    """
    plan = {
        "recipes": [
            {"trial": trial, "arm": arm, "name": task, "in_words": f"{task}, ..."}
            for trial, (arm, task) in recipes.items()
        ],
        "baseline": {TASK: 0},
        "seeds": [2, 3, 4, 5, 6],
        "looks": [3, 5],
        "margin": 1.0,
        "trials_of_the_search": 4,
        "aggregate": "mean",
        "alpha": 0.05,
        "outlook": {"detectable": [], "half_width": None, "expected": None, "seconds": []},
    }
    ledger.begin_confirmation(study, look, plan | changes)
    result = {"verdicts": list(rows), "paired": list(rows), "seconds": 600.0, "ended": ended}
    ledger.keep_confirmation(study, look, result, is_final=ended in {"decided", "seeds"})


# --- a study whose gains are worked out by hand, and a larger one with a planted choice


def scored(first: int, second: int) -> Right:
    """Examples that are right in the two languages of `RECORD`; the baseline has 51 and 41."""
    return {(TASK, "qaa"): first, (TASK, "qab"): second}


def choice(arm: Mapping[str, str], epochs: int, rate: float = 1e-4) -> dict[str, Any]:
    """The parameters of a recipe with an intermediate stage."""
    return {**arm, "intermediate.epochs": epochs, "intermediate.learning_rate": rate}


DIRECT = [Plan(NONE, scored(50, 40)), Plan(NONE, scored(52, 42), seed=1)]
FAILED = Plan(choice(LEGAL, 2, 1e-3), attributes={"reason": "diverged"}, state=TrialState.FAIL)
PLANS = [
    *DIRECT,
    Plan(choice(GENERAL, 1), scored(52, 44)),
    Plan(choice(GENERAL, 2), scored(54, 44)),
    Plan(choice(GENERAL, 2), scored(56, 46), seed=1),
    Plan(choice(LEGAL, 1), scored(41, 31)),
    Plan(choice(LEGAL, 2), scored(39, 29), seconds=(4.0, 1.0)),
    FAILED,
]
"""By trial, gains of +2, +3, +5 (the same recipe), -10 and -12; the last one failed."""


def many(effect: float, count: int = 48) -> list[Plan]:
    """Recipes whose gain depends on the learning rate alone, and on luck."""
    rng = np.random.default_rng(1)
    plans = list(DIRECT)
    for number in range(count):
        rate = (1e-4, 1e-3)[number // 4 % 2]
        params = choice((GENERAL, LEGAL)[number % 2], (1, 2)[number // 2 % 2], rate)
        first, second = rng.normal(effect * (rate == 1e-3), 2, 2).round()
        plans.append(Plan(params, scored(51 + int(first), 41 + int(second)), seed=number // 8))
    return plans


def landscape_of(url: str) -> Landscape:
    """The landscape of the study in a database."""
    return read_landscape(open_stored_study(url, RECORD["name"]))


# --- rows


def _value(plan: Plan, baseline: Baseline | None, languages: Collection[str]) -> float:
    """A trial's value in Optuna: its gain; of a direct training its score, percent."""
    if baseline is None or plan.is_direct:
        return 100 * TransferGain(plan.pairs).overall_score(languages)
    return TransferGain(baseline.over(plan.pairs)).overall_gain(languages)


def _trials(plans: Sequence[Plan], values: Sequence[float | None]) -> list[FrozenTrial]:
    choices: dict[str, dict[Any, None]] = {}
    for plan in plans:
        for name, value in plan.params.items():
            choices.setdefault(name, {})[value] = None
    spaces = {name: CategoricalDistribution(tuple(known)) for name, known in choices.items()}
    return [
        create_trial(
            state=plan.state,
            value=value,
            params=dict(plan.params),
            distributions={name: spaces[name] for name in plan.params},
            user_attrs=TrialNotes(slot=slot, seed=plan.seed).attributes | dict(plan.attributes),
        )
        for slot, (plan, value) in enumerate(zip(plans, values, strict=True))
    ]


class _Stages:
    """Writes the stages and scores of runs; who asks for a stage first has trained it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        with engine.connect() as connection:
            stages = connection.execute(sa.select(tables.STAGES.c.checkpoint_key)).scalars()
            self._trained = set(stages)
            places = [tables.SCORES.c[x] for x in ("checkpoint_key", "language", "split")]
            self._scored = {tuple(row) for row in connection.execute(sa.select(*places))}

    def write(self, study: str, plans: Sequence[Plan]) -> None:
        """Write those of the complete runs of a study."""
        rows: dict[sa.Table, list[dict[str, Any]]] = {}
        for number, plan in enumerate(plans):
            of_trial = {"study_name": study, "trial_number": number}
            for position, task, key, seconds in _stages_of(plan):
                stage = (plan.seed, position, task, key)
                runs = [StageRun(*stage, 10, 0, 0.0, 0.0, finished=True)]
                if key not in self._trained:
                    self._trained.add(key)
                    runs.append(StageRun(*stage, 0, 10, seconds, 0.0, finished=True))
                    made = TrainedStage(
                        key, "", task, 10, seconds, 0.0, "cpu", "float32", {"torch": "2"}
                    )
                    rows.setdefault(tables.STAGES, []).append(asdict(made))
                for run in runs:
                    row = {**of_trial, **asdict(run), "token": uuid.uuid4().hex}
                    rows.setdefault(tables.STAGE_RUNS, []).append(row)
            for pair in plan.pairs:
                place = (pair.score.checkpoint_key, pair.score.language, SEARCH_SPLIT)
                if place not in self._scored:
                    self._scored.add(place)
                    rows.setdefault(tables.SCORES, []).append(asdict(pair.score))
                rows.setdefault(tables.RESULTS, []).append(of_trial | pair.as_row())
        with self._engine.begin() as connection:
            for table, found in rows.items():
                connection.execute(sa.insert(table), found)


def _stages_of(plan: Plan) -> Iterator[tuple[str, str, str, float]]:
    """Position, task, checkpoint and seconds of the stages of a complete run."""
    if plan.right and not plan.is_direct:
        task = plan.params["intermediate.task"]
        yield "intermediate", task, plan.key("intermediate"), plan.seconds[0]
    for task in dict.fromkeys(task for task, _ in plan.right):
        yield "target", task, plan.key("target", task), plan.seconds[1]


def _outcomes(right: int) -> bytes:
    columns = np.ones((EXAMPLES, 2), np.float32)
    columns[right:, 0] = 0
    return packed(columns)


_OUTCOMES = [_outcomes(right) for right in range(EXAMPLES + 1)]
