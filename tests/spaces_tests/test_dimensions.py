"""The search space: what a trial is asked for, and the recipe that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spaces.catalogue import load_catalogue
from spaces.dimensions import SearchSpace, search_space, suggest_recipe
from spaces.recipe import Recipe, Schedule, Stage
from spaces.studies import load_study

CATALOGUE = load_catalogue()


class Chosen:
    """A trial that answers from a table and keeps what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name.replace("__", "."): value for name, value in answers.items()}
        self.asked: dict[str, tuple[Any, ...]] = {}
        self.possible: dict[str, tuple[Any, ...]] = {}

    def suggest_categorical(
        self, name: str, choices: Sequence[Any], possible: Sequence[Any]
    ) -> Any:
        """The answer, else the first that it can be."""
        self.asked[name], self.possible[name] = tuple(choices), tuple(possible)
        return self.answers.get(name, possible[0])


def _space(*overrides: str) -> SearchSpace:
    spec = load_study("xtreme_legal", overrides)
    sizes = {name: 1272 for name in (*spec.intermediate.tasks, *spec.target.tasks)}
    return search_space(spec, CATALOGUE, sizes)


def test_the_arm_none_asks_for_nothing_of_an_intermediate_stage() -> None:
    trial = Chosen(intermediate__domain="none")
    recipe = suggest_recipe(trial, _space())
    assert recipe.intermediate == ""
    assert [route.intermediate for route in recipe.routes] == [(), (), ()]
    assert [name for name in trial.asked if name.startswith("intermediate.")] == [
        "intermediate.domain"
    ]


def test_a_space_without_an_intermediate_task_and_one_of_those_with_one() -> None:
    space = _space()
    assert space.direct().arms == {"none": ()}
    assert space.indirect().arms == {x: y for x, y in space.arms.items() if x != "none"}
    direct = Chosen()
    assert suggest_recipe(direct, space.direct()).intermediate == ""
    assert direct.asked["intermediate.domain"] == ("none",)
    assert suggest_recipe(Chosen(), space.indirect()).intermediate in space.arms["general"]


def test_a_space_takes_other_rates_of_the_target_stage_alone() -> None:
    trial = Chosen(intermediate__domain="legal")
    space = _space().with_target_rates((1e-5, 2e-4))
    suggest_recipe(trial, space)
    assert trial.asked["target.learning_rate"] == (1e-5, 2e-4)
    assert trial.asked["intermediate.learning_rate"] == _space().intermediate.learning_rate


def test_an_arm_asks_for_its_own_tasks_only() -> None:
    trial = Chosen(intermediate__domain="legal", intermediate__task="inlegalner")
    recipe = suggest_recipe(trial, _space())
    assert recipe.intermediate == "inlegalner"
    for route in recipe.routes:
        assert [stage.task for stage in route.intermediate] == ["inlegalner"]
    assert [route.target.task for route in recipe.routes] == ["panx", "xnli", "tatoeba"]
    assert trial.asked["intermediate.domain"] == ("none", "general", "biomedical", "legal")
    offered = trial.possible["intermediate.task"]
    assert offered == load_study("xtreme_legal").arm_choices(CATALOGUE, "legal")
    assert {CATALOGUE[name].domain for name in offered} == {"legal"}
    every = _space().tasks
    assert trial.asked["intermediate.task"] == every, "one axis for the tasks of all arms"
    assert len(every) == len(set(every)) == sum(len(x) for x in _space().arms.values())
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
    space = search_space(open_spec, CATALOGUE, {**sizes, "bc5cdr": 1272})
    assert space.intermediate.examples == (1272,)
    updates = set()
    for arm in ("general", "biomedical", "legal"):
        recipe = suggest_recipe(Chosen(intermediate__domain=arm), space)
        (first,) = recipe.routes[0].intermediate
        updates.add((first.examples, first.updates))
    assert len(updates) == 1


def test_updates_count_the_last_smaller_batch() -> None:
    stage = Stage("panx", 3, 1e-4, 16, 100, 0.1, 128, Schedule.LINEAR)
    assert (stage.updates_per_epoch, stage.updates) == (7, 21)


def _recipe_of(mixture: str, sizes: dict[str, int]) -> Recipe:
    spec = load_study("xtreme_legal", [f"mixtures.both={mixture}", 'intermediate.tasks=["both"]'])
    space = search_space(spec, CATALOGUE, {"panx": 5000, "xnli": 5000, **sizes})
    return suggest_recipe(Chosen(intermediate__domain="legal"), space)


def test_a_mixture_shares_the_examples_of_one_task() -> None:
    recipe = _recipe_of('{tasks=["e_ner", "policyqa"]}', {"e_ner": 9000, "policyqa": 3000})
    assert recipe.intermediate == "both"
    for route in recipe.routes:
        (stage,) = route.intermediate
        assert (stage.task, stage.examples) == ("both", 1200)
        # 75 batches of 16, by size as nearly as whole batches can be: 56.25 and 18.75.
        assert [(part.task, part.examples) for part in stage.parts] == [
            ("e_ner", 896),
            ("policyqa", 304),
        ]
    recipe = _recipe_of(
        '{tasks=["e_ner", "policyqa"], temperature=2}', {"e_ner": 9000, "policyqa": 1000}
    )
    (stage,) = recipe.routes[0].intermediate
    # A higher temperature evens them. Square roots: 3 to 1, where by size it would be 9 to 1.
    assert [part.examples for part in stage.parts] == [56 * 16, 19 * 16]


def test_a_mixture_in_a_row_is_a_stage_for_each_task() -> None:
    recipe = _recipe_of(
        '{tasks=["e_ner", "policyqa"], order="in-a-row"}', {"e_ner": 9000, "policyqa": 500}
    )
    stages = recipe.routes[0].intermediate
    assert [(stage.task, stage.examples) for stage in stages] == [
        ("e_ner", 600),
        ("policyqa", 500),
    ]


def test_a_matched_mixture_leads_to_each_target_by_its_own_task() -> None:
    recipe = _recipe_of(
        '{matched={panx="e_ner", xnli="contractnli", tatoeba="mlm_judgments"}}',
        {"e_ner": 9000, "contractnli": 9000, "mlm_judgments": 9000},
    )
    assert {r.target.task: [stage.task for stage in r.intermediate] for r in recipe.routes} == {
        "panx": ["e_ner"],
        "xnli": ["contractnli"],
        "tatoeba": ["mlm_judgments"],
    }


def test_backbones_and_methods_are_dimensions_and_ask_for_what_is_theirs_only() -> None:
    overrides = [
        'backbone=["xlm-r", "mbert"]',
        'target.tasks=["xnli"]',
        'target.method=["full", "lora", "soft-prompt"]',
        "target.frozen_layers=[0, 6]",
        "target.lora_rank=[4, 16]",
        "target.prompt_length=[10, 20]",
    ]
    own = {"full": "frozen_layers", "lora": "lora_rank", "soft-prompt": "prompt_length"}
    for method, name in own.items():
        trial = Chosen(intermediate__domain="none", target__method=method, backbone="mbert")
        recipe = suggest_recipe(trial, _space(*overrides))
        assert recipe.backbone == "mbert"
        assert recipe.routes[0].target.method == method
        assert {f"target.{x}" for x in own.values()} & trial.asked.keys() == {f"target.{name}"}
        assert trial.asked["backbone"] == ("xlm-r", "mbert")
