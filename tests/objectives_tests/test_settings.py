"""The settings of a target stage: all scored by one training, one chosen by validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from objectives.transfer import TransferObjective
from spaces.recipe import Method, Recipe, Route, Schedule, Similarity
from tests.objectives_tests.toys import (
    RETRIEVAL_STAGE,
    make_stage,
    run,
    toy_columns,
    trained,
    with_row,
    write_split,
)

EPOCHS = "target.epochs=[1, 2, 4]"
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"method": Method.LORA, "lora_rank": 2},
    "soft prompt": {"method": Method.SOFT_PROMPT, "prompt_length": 2},
}


def with_target(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with one target, whose rate is constant."""
    stage = make_stage(
        changes.pop("task", "names"), schedule=Schedule.CONSTANT, learning_rate=1e-2, **changes
    )
    return replace(recipe, routes=(Route(recipe.routes[0].intermediate, stage),))


@pytest.mark.parametrize("method", METHODS)
def test_one_training_gives_what_a_training_of_each_length_gives(
    method: str, make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    target = with_target(recipe, task="news", epochs=4, **METHODS[method])
    asked = replace(target, intermediate="")
    asked = replace(asked, routes=(replace(asked.routes[0], intermediate=()),))
    whole = make_objective(EPOCHS, place="whole")
    outcome = run(whole, asked)
    assert [x.updates_trained for x in outcome.stage_runs if x.updates_trained] == [8]
    (route,) = asked.routes
    for epochs in (1, 2, 4):
        alone = make_objective(f"target.epochs={epochs}", place=f"alone{epochs}")
        stage = replace(route.target, epochs=epochs)
        short = run(alone, replace(asked, routes=(Route((), stage),)))
        for pair in short.pairs:
            assert pair.score.setting == stage.setting
            known = whole.ledger.scores(pair.score.checkpoint_key, "validation")
            place = (pair.score.task, pair.score.language, pair.score.corpus_key)
            assert known[place] == pair.score


def test_each_training_takes_the_setting_with_the_highest_validation_score(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    """Direct training has the same freedom, and its own choice."""
    objective = make_objective(EPOCHS)
    asked = with_target(recipe, epochs=4)
    chosen: set[str] = set()
    for seed in range(4):
        for tried in (asked, with_row(asked)):
            (setting,) = {pair.score.setting for pair in run(objective, tried, seed).pairs}
            chosen.add(setting)
            means = {}
            for epochs in (1, 2, 4):
                alone = make_objective(f"target.epochs={epochs}")
                (route,) = tried.routes
                one = replace(route, target=replace(route.target, epochs=epochs))
                of_one = run(alone, replace(tried, routes=(one,)), seed)
                assert not trained(of_one), "each is known by its own key"
                means[f"{epochs} epoch{'s' * (epochs > 1)}"] = fmean(
                    pair.score.score for pair in of_one.pairs
                )
            best = max(means.values())
            assert setting == next(name for name, mean in means.items() if mean == best)
    assert len(chosen) > 1, "or nothing is shown"


def test_a_confirmation_reads_the_test_split_at_the_chosen_setting_alone(
    make_objective: Callable[..., TransferObjective], recipe: Recipe, data: Path
) -> None:
    for number, language in enumerate(("swa", "yor")):
        write_split(data / f"names/{language}/test.conll", toy_columns("ner", 8, 70 + number))
    asked = with_target(recipe, epochs=4)
    tuned = with_row(with_target(recipe, epochs=4, warmup_ratio=0.5))
    sides = {"score": asked, "reference": tuned, "baseline": with_row(asked)}
    seeds = range(3)
    confirmed = make_objective(EPOCHS).confirm(asked, {"names": tuned}, seeds)
    assert confirmed.seeds == tuple(seeds)
    for side, tried in sides.items():
        for seed in seeds:
            objective = make_objective(EPOCHS)
            searched = run(objective, tried, seed)
            assert not trained(searched), "validation was scored on the way"
            on_test = [getattr(x, side) for x in confirmed.pairs if x.seed == seed]
            for scored, pair in zip(on_test, searched.pairs, strict=True):
                assert scored.checkpoint_key == pair.score.checkpoint_key
                assert (scored.split, scored.setting) == ("test", pair.score.setting)
    assert make_objective(EPOCHS).confirm(asked, {"names": tuned}, seeds) == confirmed
    # What goes on training after it was chosen must not be what is scored.
    early = next(x for x in confirmed.pairs if x.score.setting != "4 epochs")
    epochs = int(early.score.setting.split()[0])
    stage = replace(asked.routes[0].target, epochs=epochs)
    alone = make_objective(f"target.epochs={epochs}", place="alone")
    short = replace(asked, routes=(replace(asked.routes[0], target=stage),))
    gain = alone.confirm(short, {"names": with_row(short)}, [early.seed])
    of_seed = [x.score for x in confirmed.pairs if x.seed == early.seed]
    assert [x.score for x in gain.pairs] == of_seed


def test_the_trained_model_is_at_the_chosen_setting(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    objective = make_objective(EPOCHS)
    asked = with_target(recipe, epochs=4)
    outcome = run(objective, asked)
    stage, _ = objective.trained_model(asked, "names", 0)
    assert stage.setting == outcome.pairs[0].score.setting
    assert stage == replace(asked.routes[0].target, epochs=stage.epochs)


def test_retrieval_takes_the_best_of_its_layers_and_similarities(
    make_objective: Callable[..., TransferObjective], recipe: Recipe
) -> None:
    study = (
        'target.tasks=["sentences"]',
        "target.pooled_layer=[0, 1, -1]",
        'target.similarity=["cosine", "margin"]',
    )
    stage = replace(RETRIEVAL_STAGE, pooled_layer=0)
    bare = replace(recipe, intermediate="", routes=(Route((), stage),))
    outcome = run(make_objective(*study), bare)
    scores: dict[str, float] = {}
    for layer in (0, 1, -1):
        for similarity in Similarity:
            one = replace(stage, pooled_layer=layer, similarity=similarity)
            told: list[object] = []
            alone = make_objective(
                study[0],
                f"target.pooled_layer={layer}",
                f"target.similarity={similarity}",
                on_progress=told.append,
            )
            found = run(alone, replace(bare, routes=(Route((), one),)))
            assert not told, "all were scored at once"
            scores[one.setting] = fmean(pair.score.score for pair in found.pairs)
    (setting,) = {pair.score.setting for pair in outcome.pairs}
    assert scores[setting] == max(scores.values())
