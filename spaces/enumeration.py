"""All points of a search space, or a sample of them where they are too many to list."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from spaces.dimensions import SearchSpace, suggest_recipe
from spaces.recipe import Recipe


@dataclass(frozen=True)
class Point:
    """One point of a search space.

    Attributes:
        params: Parameters as a trial has them, by name.
        recipe: What they stand for.
    """

    params: Mapping[str, Any]
    recipe: Recipe


def points(space: SearchSpace, limit: int) -> tuple[list[Point], bool]:
    """The points of `space`, each once, and whether these are all.

    Of a space with more than `limit` points, at most `limit` are drawn at random, the same each
    time; every choice is drawn evenly, so that every arm has about as many.

    Args:
        space: Search space of a study.
        limit: Largest number of points.
    """
    listed = list(islice(_all_points(space), limit + 1))
    return (listed, True) if len(listed) <= limit else (_sample(space, limit), False)


def point_of(space: SearchSpace, params: Mapping[str, Any]) -> Point | None:
    """The point with these parameters; None where the space has none such."""
    given = _Given(params)
    try:
        recipe = suggest_recipe(given, space)
    except LookupError:
        return None
    return Point(given.chosen, recipe)


def _all_points(space: SearchSpace) -> Iterator[Point]:
    """Each way through the choices, the last choice changing fastest."""
    path: list[list[int]] = []
    while True:
        walk = _Walk(path)
        recipe = suggest_recipe(walk, space)
        yield Point(walk.chosen, recipe)
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return
        path[-1][0] += 1


def _sample(space: SearchSpace, size: int) -> list[Point]:
    dice = random.Random(0)
    drawn: dict[tuple[tuple[str, Any], ...], Point] = {}
    # What is rare (a recipe of a small arm) is drawn again and again; all of it may take long.
    for _ in range(2 * size):
        roll = _Dice(dice)
        recipe = suggest_recipe(roll, space)
        drawn.setdefault(tuple(roll.chosen.items()), Point(roll.chosen, recipe))
        if len(drawn) == size:
            break
    return list(drawn.values())


class _Walk:
    """Takes the choices of a path and the first of those beyond it, which it adds to the path."""

    def __init__(self, path: list[list[int]]) -> None:
        self._path, self._step = path, 0
        self.chosen: dict[str, Any] = {}

    def suggest_categorical(
        self, name: str, choices: Sequence[Any], possible: Sequence[Any]
    ) -> Any:
        """One that it can be."""
        if self._step == len(self._path):
            self._path.append([0, len(possible)])
        place, _ = self._path[self._step]
        self._step += 1
        self.chosen[name] = possible[place]
        return possible[place]


class _Dice:
    """Takes any choice."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.chosen: dict[str, Any] = {}

    def suggest_categorical(
        self, name: str, choices: Sequence[Any], possible: Sequence[Any]
    ) -> Any:
        """One that it can be."""
        self.chosen[name] = self._dice.choice(possible)
        return self.chosen[name]


class _Given:
    """Takes the choices that are given.

    Raises:
        LookupError: One is not given, or given and not among the choices.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self.chosen: dict[str, Any] = {}

    def suggest_categorical(
        self, name: str, choices: Sequence[Any], possible: Sequence[Any]
    ) -> Any:
        """The one that is given."""
        if self._params[name] not in possible:
            raise LookupError(name)
        self.chosen[name] = self._params[name]
        return self.chosen[name]
