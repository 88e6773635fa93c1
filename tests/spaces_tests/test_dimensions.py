"""The search space: what a trial is asked for, and the recipe that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from spaces.catalogue import Catalogue, load_catalogue
from spaces.dimensions import SearchSpace, search_space, suggest_recipe
from spaces.recipe import Schedule, Stage
from spaces.studies import StudySpec, check_study, load_study, pocket_twin, study_files

CATALOGUE = load_catalogue()


class Chosen:
    """A trial that answers from a table and keeps what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name.replace("__", "."): value for name, value in answers.items()}
        self.asked: dict[str, tuple[Any, ...]] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The answer, else the first choice."""
        self.asked[name] = tuple(choices)
        return self.answers.get(name, choices[0])


def _space(*overrides: str) -> SearchSpace:
    spec = load_study("xtreme_legal", overrides)
    sizes = {name: 1272 for name in (*spec.intermediate.tasks, *spec.target.tasks)}
    return search_space(spec, CATALOGUE, sizes)


def test_the_arm_none_asks_for_nothing_of_an_intermediate_stage() -> None:
    trial = Chosen(intermediate__domain="none")
    recipe = suggest_recipe(trial, _space())
    assert recipe.intermediate is None
    assert [name for name in trial.asked if name.startswith("intermediate.")] == [
        "intermediate.domain"
    ]


def test_an_arm_asks_for_its_own_tasks_only() -> None:
    trial = Chosen(intermediate__domain="legal", intermediate__task__legal="inlegalner")
    recipe = suggest_recipe(trial, _space())
    assert recipe.intermediate is not None
    assert recipe.intermediate.task == "inlegalner"
    assert trial.asked["intermediate.domain"] == ("none", "general", "biomedical", "legal")
    assert trial.asked["intermediate.task.legal"] == ("e_ner", "inlegalner")
    assert "intermediate.task.general" not in trial.asked
    assert trial.asked["intermediate.learning_rate"] == (1e-5, 2.15e-5, 4.64e-5, 1e-4)


def test_one_value_is_fixed_and_a_list_is_a_dimension() -> None:
    trial = Chosen(intermediate__domain="legal")
    suggest_recipe(trial, _space("intermediate.epochs=3", "target.batch_size=[8, 32]"))
    assert "intermediate.epochs" not in trial.asked
    assert trial.asked["target.batch_size"] == (8, 32)


def test_sizes_are_matched_across_domains_where_the_study_names_none() -> None:
    spec = load_study("xtreme_legal")
    stage = spec.intermediate.model_copy(update={"examples": None})
    open_spec = spec.model_copy(update={"intermediate": stage})
    sizes = {name: 5000 for name in (*spec.intermediate.tasks, *spec.target.tasks)}
    space = search_space(open_spec, CATALOGUE, {**sizes, "wikigold": 1272})
    assert space.intermediate.examples == (1272,)
    updates = set()
    for arm in ("general", "biomedical", "legal"):
        recipe = suggest_recipe(Chosen(intermediate__domain=arm), space)
        assert recipe.intermediate is not None
        updates.add((recipe.intermediate.examples, recipe.intermediate.updates))
    assert len(updates) == 1


def test_updates_count_the_last_smaller_batch() -> None:
    stage = Stage("panx", 3, 1e-4, 16, 100, 0.1, 128, Schedule.LINEAR)
    assert (stage.updates_per_epoch, stage.updates) == (7, 21)


@pytest.mark.parametrize("name", study_files())
def test_every_shipped_study_has_a_pocket_twin(name: str) -> None:
    spec = load_study(name)
    twin = pocket_twin(spec, CATALOGUE)
    check_study(twin, CATALOGUE)
    assert twin.arms == spec.arms
    assert twin.name == spec.name
    named = [CATALOGUE[task] for task in (*twin.intermediate.tasks, *twin.target.tasks)]
    assert all(task.pocket for task in named)
    assert {task.kind for task in twin.target_tasks(CATALOGUE)} == {
        task.kind for task in spec.target_tasks(CATALOGUE)
    }
    assert _kinds(twin, CATALOGUE) <= _kinds(spec, CATALOGUE)
    assert pocket_twin(twin, CATALOGUE) == twin


def _kinds(spec: StudySpec, catalogue: Catalogue) -> set[str]:
    return {catalogue[name].kind for name in spec.intermediate.tasks}
