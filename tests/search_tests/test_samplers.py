"""Proposals: the same for the same history, different from trial to trial."""

from __future__ import annotations

import optuna

from search.samplers import TrialSeededTPE, first_trials
from spaces.dimensions import suggest_recipe
from spaces.recipe import Recipe
from tests.toy_space import small_space

SPACE = small_space(
    {"none": (), "general": ("a", "b"), "legal": ("c", "d")},
    epochs=(1, 2, 4),
    learning_rate=(1e-5, 3e-5, 1e-4),
)


def _study(name: str = "s") -> optuna.Study:
    return optuna.create_study(study_name=name, sampler=TrialSeededTPE(), direction="maximize")


def _proposals(study: optuna.Study, trials: int) -> list[Recipe]:
    recipes = []
    for _ in range(trials):
        trial = study.ask()
        recipe = suggest_recipe(trial, SPACE)
        study.tell(trial, 1.0 if recipe.intermediate == "c" else 0.0)
        recipes.append(recipe)
    return recipes


def test_two_studies_with_one_history_propose_the_same() -> None:
    assert _proposals(_study(), 25) == _proposals(_study(), 25)


def test_another_study_name_proposes_otherwise() -> None:
    assert _proposals(_study("s"), 10) != _proposals(_study("t"), 10)


def test_workers_that_ask_before_anyone_tells_do_not_propose_alike() -> None:
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="s", storage=storage)
    workers = [
        optuna.load_study(study_name="s", storage=storage, sampler=TrialSeededTPE())
        for _ in range(8)
    ]
    recipes = [suggest_recipe(worker.ask(), SPACE) for worker in workers]
    assert len(set(recipes)) >= 6


def test_the_sampler_learns_what_pays() -> None:
    late = _proposals(_study(), 60)[30:]
    assert sum(recipe.intermediate == "c" for recipe in late) > 15


def test_every_arm_is_tried_first() -> None:
    study = _study()
    for parameters in first_trials(SPACE):
        study.enqueue_trial(parameters)
    _proposals(study, 3)
    domains = [trial.params["intermediate.domain"] for trial in study.trials]
    assert domains == ["none", "general", "legal"]
    reference = study.trials[0].params
    assert {k: v for k, v in reference.items() if k.startswith("target.")} == {
        "target.epochs": 2,
        "target.learning_rate": 3e-5,
    }
