"""Mixtures in a study file: several intermediate tasks together, in a row, or one per target."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from spaces.errors import SpecError
from spaces.records import Names, StrictRecord


class Order(StrEnum):
    """How the tasks of a mixture are trained."""

    TOGETHER = "together"
    IN_A_ROW = "in-a-row"


class MixtureSpec(StrictRecord):
    """Several intermediate tasks under one name, which `intermediate.tasks` may list.

    Either `tasks`, or `matched`: to each target task its own intermediate task.
    """

    tasks: Names = ()
    order: Annotated[Order, Field(strict=False)] = Order.TOGETHER
    """TOGETHER: one stage with a head per task, batch by batch. IN_A_ROW: one stage each. Either
    way the tasks share the examples of the position, so that a mixture sees no more than one
    task alone."""
    temperature: Annotated[float, Field(ge=1)] = 1.0
    """TOGETHER: a task's share of the examples is proportional to size ** (1 / temperature)."""
    matched: dict[str, str] = Field(default_factory=dict)
    """Target task -> intermediate task."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.tasks) == bool(self.matched):
            raise SpecError("", "either tasks or matched", "both" if self.tasks else "neither")
        if self.tasks and len(self.tasks) < 2:
            raise SpecError("tasks", "at least two", str(list(self.tasks)))
        if len(set(self.tasks)) != len(self.tasks):
            raise SpecError("tasks", "each once", str(list(self.tasks)))
        return self

    def members(self, targets: Names) -> tuple[str, ...]:
        """The mixture's tasks on the way to any of `targets`, each once."""
        matched = (self.matched[target] for target in targets if target in self.matched)
        return tuple(dict.fromkeys(self.tasks or matched))
