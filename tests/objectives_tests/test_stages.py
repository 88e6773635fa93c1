"""Stages: keys that are found again by every later version, and what a known stage costs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from objectives.backbone import Backbone
from objectives.data.study_corpora import StudyCorpora
from objectives.stages.stage import StageJob, StageProgress, Start
from objectives.training.fine_tuning import TRAINING_VERSION
from objectives.transfer import TransferObjective
from spaces.recipe import Method, Part, Recipe, Schedule, Stage
from storage.fingerprint import fingerprint
from storage.tables import PairedScore
from tests.objectives_tests.toys import CPU, RETRIEVAL_STAGE, make_stage, run, with_row

CONSTANT: dict[str, Any] = {"task": "deeds", "epochs": 3, "schedule": Schedule.CONSTANT}
LORA: dict[str, Any] = {"task": "news", "method": Method.LORA, "lora_rank": 4}
SETTINGS: tuple[dict[str, Any], ...] = (
    *({"epochs": 2}, {"learning_rate": 2e-3}, {"batch_size": 2}, {"warmup_ratio": 0.5}),
    *({"max_length": 32}, {"schedule": Schedule.LINEAR}),
)
VERSIONS_THEN = {"torch": "2", "training_version": 3}
MIXTURE: dict[str, Any] = {
    "task": "both",
    "parts": (Part("deeds", 8), Part("acts", 4)),
    "examples": 12,
}


@pytest.fixture
def make_job(
    make_corpora: Callable[..., StudyCorpora], bert: Backbone
) -> Callable[[Stage], StageJob]:
    """Builds the job of a stage, of an encoder that is known by a fixed key."""

    def build(stage: Stage) -> StageJob:
        backbone = replace(bert, key="b" * 64)
        examples = tuple(make_corpora().training(bert, stage)) if stage.epochs else ()
        start = Start("p" * 64, lambda: bert.weights)
        return StageJob(backbone, stage, start, 7, "intermediate", examples, CPU)

    return build


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (CONSTANT, "fe8a7c190c68037d9675b24a57b97594a282f4df43fd3c32a44bfb2f3748995f"),
        (LORA, "5c1acbcdc4a3711c2995ca2276af5365f8ea4569a82b05f3436f0cd7d5e47289"),
        (MIXTURE, "3c255194910f61ac61a7e4d8a2f271d97680fb9367b8f5f8d64f3a4c31d042ea"),
    ],
)
def test_the_key_of_a_stage_stays_what_it_was(
    changes: dict[str, Any], key: str, make_job: Callable[[Stage], StageJob]
) -> None:
    """Computed by the version before `StageJob`, but for the versions that are part of it."""
    job = make_job(make_stage(**changes))
    assert job.inputs["torch"] == torch.__version__
    assert job.inputs["training_version"] == TRAINING_VERSION
    assert fingerprint({**job.inputs, **VERSIONS_THEN}) == key
    assert job.key == fingerprint(job.inputs)


def test_the_key_of_a_stage_that_is_not_trained_stays_what_it_was(
    make_job: Callable[[Stage], StageJob],
) -> None:
    job = make_job(RETRIEVAL_STAGE)
    expected = "a9d4b5dd97bebc6293c4d935d91177761f6f3f05b8649ff499b80a3ecaeccefd"
    assert fingerprint({**job.inputs, **VERSIONS_THEN}) == expected
    assert job.key == replace(job, seed=8).key


def test_all_that_determines_the_weights_changes_the_key_and_nothing_else_does(
    make_job: Callable[[Stage], StageJob],
) -> None:
    job = make_job(make_stage(**CONSTANT))
    others = [
        replace(job, seed=8),
        replace(job, start=replace(job.start, key="q" * 64)),
        replace(job, backbone=replace(job.backbone, key="c" * 64)),
        *(replace(job, stage=replace(job.stage, **change)) for change in SETTINGS),
        replace(job, hardware=replace(CPU, precision="bfloat16")),
        make_job(make_stage(**CONSTANT, examples=7)),
    ]
    assert len({other.key for other in (job, *others)}) == len(others) + 1
    assert replace(job, position="target").key == job.key


def test_the_prefixes_of_a_stage_are_the_shorter_ones_that_the_study_can_ask_for(
    make_job: Callable[[Stage], StageJob],
) -> None:
    job = make_job(make_stage(**CONSTANT))
    assert [x.stage.epochs for x in job.prefixes([1, 2, 3, 5])] == [3, 2, 1]
    assert [x.stage.epochs for x in job.prefixes([3])] == [3]
    for change in ({"schedule": Schedule.LINEAR}, {"method": Method.LORA, "lora_rank": 4}):
        other = replace(job, stage=replace(job.stage, **change))
        assert other.prefixes([1, 2, 3]) == [other]


# --- what a known stage costs


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of texts at each call of any tokenizer."""
    calls: list[int] = []
    tokenise = PreTrainedTokenizerBase.__call__

    def count(self: PreTrainedTokenizerBase, text: Any, *args: Any, **kwargs: Any) -> Any:
        if text not in ("a a", ["a", "a"]):  # what each encoder is asked when it is loaded
            calls.append(len(text))
        return tokenise(self, text, *args, **kwargs)

    monkeypatch.setattr(PreTrainedTokenizerBase, "__call__", count)
    return calls


@pytest.mark.parametrize("confirms", [False, True])
def test_a_recipe_that_is_wholly_known_tokenises_nothing(
    confirms: bool,
    make_objective: Callable[..., TransferObjective],
    recipe: Recipe,
    data: Path,
    tokenised: list[int],
) -> None:
    for file in data.rglob("dev.*"):
        shutil.copy(file, file.with_stem("test"))

    def found(objective: TransferObjective) -> tuple[PairedScore, ...]:
        if confirms:
            direct = {route.target.task: with_row(recipe) for route in recipe.routes}
            return objective.confirm(recipe, direct, [0]).pairs
        return run(objective, recipe).pairs

    first = found(make_objective())
    assert tokenised
    tokenised.clear()
    told: list[StageProgress] = []
    again = found(make_objective(on_progress=told.append))
    assert not tokenised
    assert not told, "nothing is trained nor scored"
    assert again == first


def test_a_stage_that_is_trained_tokenises_only_its_own_examples_and_those_it_is_scored_on(
    make_objective: Callable[..., TransferObjective], recipe: Recipe, tokenised: list[int]
) -> None:
    """Names once more, eight examples and eight of each language; neither deeds nor news."""
    run(make_objective(), recipe)
    names, news = recipe.routes
    more = replace(names.target, learning_rate=2e-3)
    tokenised.clear()
    run(make_objective(), replace(recipe, routes=(replace(names, target=more), news)))
    assert sorted(tokenised) == [8, 8, 8]
