"""Runs, on toy files with a tiny random BERT: what is trained, found again, kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from objectives.backbone import Backbone
from objectives.gains.transfer_gain import TransferGain
from objectives.hardware import Hardware
from objectives.models.encoders import ENCODER_FILE, TRAINING_FILE
from objectives.scores.outcomes import unpacked
from objectives.stages.stage import StageProgress
from objectives.transfer import TransferObjective
from spaces.errors import Interrupted
from spaces.recipe import Recipe, Route
from storage.leases import Leases
from storage.ledger import Ledger
from storage.opening import open_storage
from tests.objectives_tests.toy_encoders import PLACES
from tests.objectives_tests.toys import (
    RETRIEVAL_STAGE,
    Outcome,
    encoders,
    make_stage,
    run,
    toy_columns,
    toy_record,
    trained,
    with_row,
    with_targets,
    write_split,
)


def test_a_run_scores_every_task_and_language_with_its_seed(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    outcome = run(make_objective(), recipe, seed=3)
    places = [(pair.seed, pair.score.task, pair.score.language) for pair in outcome.pairs]
    assert places == [(3, "names", "swa"), (3, "names", "yor"), (3, "news", "swa")]
    for pair in outcome.pairs:
        assert (pair.reference, pair.baseline) == (None, None), "held against nothing yet"
        assert 0 <= pair.score.score <= 1
    expected = [("intermediate", "deeds"), ("target", "names"), ("target", "news")]
    asked = [run for run in outcome.stage_runs if run.updates_asked]
    assert sorted((run.position, run.task) for run in asked) == expected
    assert sorted(trained(outcome)) == expected
    for found in outcome.stage_runs:
        assert found.seed == 3
        assert found.finished
        assert {found.updates_asked, found.updates_trained} == {0, 2}
        assert (found.training_seconds > 0) == (found.updates_trained > 0)


def test_an_encoder_is_kept_once_on_the_device_that_trains(
    make_objective: Callable[..., TransferObjective], bert: Backbone
) -> None:
    there = Hardware(torch.device("meta"), "float32")
    objective = replace(make_objective(), hardware=there)
    kept = objective.backbone(bert.name)
    assert objective.backbone(bert.name) is kept
    assert kept.weights.keys() == bert.weights.keys()
    assert all(weight.device == there.device for weight in kept.weights.values())


def test_what_each_stage_took_is_kept(
    make_objective: Callable[..., TransferObjective], recipe: Recipe, ledger: Ledger
) -> None:
    objective = make_objective()
    outcome = run(objective, recipe)
    for stage_run in outcome.stage_runs:
        ledger.record_stage_run("toy", 0, stage_run)
    stages = ledger.trained_stages("toy")
    keys = {(x.position, x.task): x.checkpoint_key for x in outcome.stage_runs}
    assert stages.keys() == set(keys.values())
    first = stages[keys["intermediate", "deeds"]]
    assert stages[keys["target", "names"]].parent_key == first.checkpoint_key
    direct = run(objective, with_row(recipe))
    for stage_run in direct.stage_runs:
        ledger.record_stage_run("toy", 1, stage_run)
    names, _ = (x.checkpoint_key for x in direct.stage_runs if x.updates_asked)
    assert ledger.trained_stages("toy")[names].parent_key == first.parent_key
    assert (first.updates, first.precision, first.versions["torch"] > "2") == (2, "float32", True)
    assert first.scoring_seconds == 0 < stages[keys["target", "names"]].scoring_seconds
    for stage in stages.values():
        (spent,) = {
            x.training_seconds
            for x in outcome.stage_runs
            if x.checkpoint_key == stage.checkpoint_key and x.updates_trained
        }
        assert stage.training_seconds == pytest.approx(spent, rel=0.5)


def test_recipes_share_the_stages_that_they_have_in_common(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    first = run(make_objective(), recipe)
    updates: list[StageProgress] = []
    again = run(make_objective(on_progress=updates.append), recipe)
    assert not updates
    assert not trained(again)
    assert again.pairs == first.pairs
    other = with_row(recipe, make_stage("deeds", learning_rate=2e-3))
    outcome = run(make_objective(), other)
    assert trained(outcome) == [("intermediate", "deeds"), ("target", "names"), ("target", "news")]
    direct = run(make_objective(), with_row(recipe))
    assert trained(direct) == [("target", "names"), ("target", "news")]
    assert {run.position for run in direct.stage_runs} == {"target"}
    names, news = (route.target for route in recipe.routes)
    target = with_targets(recipe, replace(names, learning_rate=2e-3), news)
    assert trained(run(make_objective(), target)) == [("target", "names")]
    fresh = run(make_objective(), recipe, seed=1)
    assert trained(fresh) == trained(outcome), "each seed apart"


def test_a_confirmation_trains_both_baselines_with_the_seed_of_the_run(
    make_objective: Callable[..., TransferObjective], recipe: Recipe, data: Path
) -> None:
    for task, kind, ending in (("names", "ner", "conll"), ("news", "classification", "tsv")):
        for number, language in enumerate(("swa", "yor")):
            columns = toy_columns(kind, 8, 40 + number)
            write_split(data / f"{task}/{language}/test.{ending}", columns)
    tuned = with_row(
        with_targets(recipe, *(replace(x.target, learning_rate=2e-3) for x in recipe.routes))
    )
    told: list[tuple[str, str, int]] = []
    objective = make_objective(on_progress=lambda x: told.append((x.position, x.task, x.seed)))
    gain = objective.confirm(recipe, {"names": tuned, "news": tuned}, [5, 6])
    stages = {
        ("intermediate", "deeds"),
        *(
            (position, task)
            for position in ("target", "baseline", "reference")
            for task in ("names", "news")
        ),
    }
    trained_stages = {x for x in told if x[0] != "scoring"}
    assert trained_stages == {(*stage, seed) for stage in stages for seed in (5, 6)}
    assert gain.seeds == (5, 6)
    for pair in gain.pairs:
        assert pair.baseline is not None
        assert pair.reference is not None
        sides = (pair.score, pair.baseline, pair.reference)
        assert len({x.checkpoint_key for x in sides}) == 3
        assert {x.split for x in sides} == {"test"}
        assert len({x.corpus_key for x in sides}) == 1
    direct = objective.confirm(tuned, {"names": tuned, "news": tuned}, [5])
    assert direct.overall_gain({"swa", "yor"}) == 0.0


def test_a_study_that_selects_on_the_source_language_scores_it_too(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    outcome = run(make_objective("selection=source-validation"), recipe)
    assert {pair.score.language for pair in outcome.pairs} == {"eng", "swa", "yor"}


def test_targets_of_three_kinds_are_scored_in_one_run(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    row = recipe.routes[0].intermediate
    routes = (*recipe.routes, Route(row, RETRIEVAL_STAGE))
    objective = make_objective('target.tasks=["names", "news", "sentences"]')
    outcome = run(objective, replace(recipe, routes=routes))
    scores = TransferGain(outcome.pairs).scores_by_task({"swa", "yor"})
    assert list(scores) == ["names", "news", "sentences"]


@pytest.mark.parametrize(
    ("position", "left"),
    [
        ("intermediate", [("intermediate", "deeds"), ("target", "names")]),
        ("target", [("target", "names")]),
        ("scoring", [("target", "names")]),
    ],
)
def test_a_run_that_was_interrupted_leaves_nothing_half_done(
    position: str,
    left: list[tuple[str, str]],
    make_objective: Callable[..., TransferObjective],
    recipe: Recipe,
) -> None:
    """What was whole by then is found again, the rest is trained anew with the same result."""

    def stop(progress: StageProgress) -> None:
        if progress.position == position and progress.done >= 1:
            raise Interrupted("asked to stop")

    short = replace(recipe, routes=recipe.routes[:1])
    with pytest.raises(Interrupted, match="asked to stop"):
        run(make_objective(on_progress=stop), short)
    again = run(make_objective(), short)
    assert trained(again) == left


def test_progress_is_told_update_by_update(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    told: list[StageProgress] = []
    run(make_objective(on_progress=told.append), replace(recipe, routes=recipe.routes[:1]))
    assert all(0 < progress.done <= progress.total for progress in told)
    # Of scoring each batch is told; how many they are is not for the user.
    assert [x for x in told if x.position != "scoring" or x.done == x.total] == [
        *(StageProgress("intermediate", "deeds", 0, done, 2) for done in (1, 2)),
        *(StageProgress("target", "names", 0, done, 2) for done in (1, 2)),
        StageProgress("scoring", "names", 0, 16, 16),
    ]


# --- prefixes


def longer(recipe: Recipe, epochs: int, **changes: Any) -> Recipe:
    """The recipe with another number of intermediate epochs, and one target."""
    (stage,) = recipe.routes[0].intermediate
    stage = replace(stage, epochs=epochs, **changes)
    return with_row(replace(recipe, routes=recipe.routes[:1]), stage)


def intermediate_runs(outcome: Outcome) -> list[tuple[int, int, bool]]:
    """Updates asked for and trained of the intermediate stage; whether finished."""
    return [
        (run.updates_asked, run.updates_trained, run.finished)
        for run in outcome.stage_runs
        if run.position == "intermediate"
    ]


def test_a_longer_stage_goes_on_from_a_shorter_one_to_the_same_bits(
    make_objective: Callable[..., TransferObjective], recipe: Recipe, tmp_path: Path
) -> None:
    """Five epochs after three train two; from scratch they come to the same."""
    choices = "intermediate.epochs=[3, 5]"
    run(make_objective(choices), longer(recipe, 3))
    objective = make_objective(choices)
    outcome = run(objective, longer(recipe, 5))
    assert intermediate_runs(outcome) == [(10, 0, True), (0, 4, True)]
    afresh = make_objective("intermediate.epochs=5", place="afresh")
    scratch = run(afresh, longer(recipe, 5))
    assert intermediate_runs(scratch) == [(10, 0, True), (0, 10, True)]
    assert encoders(objective)[5] == encoders(afresh)[5]
    assert outcome.pairs == scratch.pairs


def test_a_stage_saves_at_each_number_of_epochs_that_the_study_can_ask_for(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    objective = make_objective("intermediate.epochs=[1, 2, 4, 6]")
    outcome = run(objective, longer(recipe, 4))
    assert encoders(objective).keys() == {1, 2, 4}
    assert intermediate_runs(outcome) == [(8, 0, True), (0, 2, True), (0, 2, True), (0, 4, True)]
    shorter = run(make_objective("intermediate.epochs=[1, 2, 4, 6]"), longer(recipe, 2))
    assert intermediate_runs(shorter) == [(4, 0, True)]


def test_a_later_study_that_asks_for_more_epochs_goes_on_from_where_it_can(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    """The longest stage of a study keeps only its encoder, half of the bytes."""
    objective = make_objective("intermediate.epochs=[1, 3]")
    run(objective, longer(recipe, 3))
    files = [
        sorted(path.name for path in checkpoint.folder.iterdir())
        for entry in objective.cache.entries()
        if (checkpoint := objective.cache.find(entry.inputs))
    ]
    assert sorted(files) == [[ENCODER_FILE], [ENCODER_FILE, TRAINING_FILE]]
    later = run(make_objective("intermediate.epochs=[1, 3, 5]"), longer(recipe, 5))
    assert intermediate_runs(later) == [(10, 0, True), (0, 8, True)]


def test_an_interrupted_stage_goes_on_from_its_last_saved_epoch(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    def stop(progress: StageProgress) -> None:
        if progress.position == "intermediate" and progress.done == 7:
            raise Interrupted("asked to stop")

    choices = "intermediate.epochs=[1, 3, 5]"
    told = Outcome()
    with pytest.raises(Interrupted):
        make_objective(choices, on_progress=stop)(longer(recipe, 5), 0, told.stage_runs.append)
    assert intermediate_runs(told) == [(10, 0, True), (0, 2, True), (0, 4, True), (0, 1, False)]
    objective = make_objective(choices)
    again = run(objective, longer(recipe, 5))
    assert intermediate_runs(again) == [(10, 0, True), (0, 4, True)]
    afresh = make_objective("intermediate.epochs=5", place="afresh")
    assert again.pairs == run(afresh, longer(recipe, 5)).pairs
    assert encoders(objective)[5] == encoders(afresh)[5]


def test_what_starts_from_a_stage_and_is_known_needs_its_checkpoint_no_more(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    objective = make_objective()
    first = run(objective, recipe)
    assert objective.cache.collect(0).evicted == 1
    again = run(objective, recipe)
    assert again.pairs == first.pairs
    assert not trained(again)
    other = with_targets(recipe, replace(recipe.routes[0].target, learning_rate=2e-3))
    assert trained(run(objective, other)) == [
        ("intermediate", "deeds"),
        ("target", "names"),
    ]


def test_what_another_databases_workers_trained_is_found_with_what_it_took(
    make_objective: Callable[..., TransferObjective], recipe: Recipe, tmp_path: Path
) -> None:
    run(make_objective(), recipe)
    storage = open_storage(f"sqlite:///{tmp_path / 'other.db'}")
    ledger, leases = Ledger(storage.engine), Leases(storage.engine)
    objective = replace(make_objective(), ledger=ledger, leases=leases)
    outcome = run(objective, recipe)
    assert ("intermediate", "deeds") not in trained(outcome)
    for stage_run in outcome.stage_runs:
        ledger.record_stage_run("toy", 0, stage_run)
    (found,) = (x for x in ledger.trained_stages("toy").values() if x.task == "deeds")
    assert found.training_seconds > 0
    storage.engine.dispose()


def test_the_passage_of_each_question_is_kept_with_its_outcome(
    make_objective: Callable[..., TransferObjective], recipe: Recipe, data: Path, ledger: Ledger
) -> None:
    def write(place: str, passages: int) -> None:
        paragraphs = [
            {"context": f"ni {PLACES[0]} {number // 2}", "qas": [_question(number)]}
            for number in range(2 * passages)
        ]
        (data / "answers" / place).parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"data": [{"title": "", "paragraphs": paragraphs}]})
        (data / "answers" / place).write_text(content, encoding="utf-8")

    write("eng/train.json", 4)
    write("swa/dev.json", 3)
    record = toy_record("answers", "qa", "general", "eng swa", answers="squad")
    objective = make_objective(record.replace(" = ", "=", 1), 'target.tasks=["answers"]')
    asked = with_targets(with_row(recipe), make_stage("answers", max_length=32))
    (pair,) = run(objective, asked).pairs
    outcomes, groups = unpacked(ledger.outcomes([pair.score])[pair.score.place])
    assert groups is not None
    assert len(outcomes) == pair.score.examples == 6
    assert groups.tolist() == [0, 0, 1, 1, 2, 2]


def _question(number: int) -> dict[str, Any]:
    answers = [{"text": PLACES[0], "answer_start": 3}]
    return {"id": f"q{number}", "question": "wapi", "answers": answers}
