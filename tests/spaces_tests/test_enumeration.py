"""Every recipe of a space, once; of a large space a sample."""

from __future__ import annotations

from dataclasses import replace

from spaces.dimensions import SearchSpace
from spaces.enumeration import point_of, points
from spaces.recipe import Method
from tests.studies import small_space


def _space() -> SearchSpace:
    space = small_space({"none": (), "legal": ("c", "d")}, epochs=(1, 2), learning_rate=(1e-4,))
    target = replace(
        space.target, method=(Method.FULL, Method.LORA), frozen_layers=(0, 2), lora_rank=(4, 8, 16)
    )
    return replace(space, target=target)


def test_each_recipe_once_with_what_it_chooses_and_no_more() -> None:
    found, is_whole = points(_space(), 1000)
    # None, or each task with 2 epochs; 2 epochs of the target; 2 depths or 3 ranks.
    assert (len(found), is_whole) == (5 * 2 * 5, True)
    assert len({point.recipe for point in found}) == len(found)
    assert len({frozenset(point.params.items()) for point in found}) == len(found)
    for point in found:
        is_lora = point.params["target.method"] is Method.LORA
        assert ("target.lora_rank" in point.params) == is_lora
        assert ("intermediate.epochs" in point.params) == bool(point.recipe.intermediate)


def test_of_more_recipes_a_sample_that_is_the_same_each_time() -> None:
    found, is_whole = points(_space(), 20)
    assert not is_whole
    assert 10 < len(found) <= 20
    assert found == points(_space(), 20)[0]
    assert {point.params["intermediate.domain"] for point in found} == {"none", "legal"}


def test_a_recipe_by_its_parameters() -> None:
    found, _ = points(_space(), 1000)
    assert all(point_of(_space(), point.params) == point for point in found)
    params = dict(found[0].params)
    assert point_of(_space(), {**params, "target.epochs": 7}) is None
    del params["target.epochs"]
    assert point_of(_space(), params) is None
