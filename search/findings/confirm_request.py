"""What can be asked of a confirmation, and whether it is known already; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from objectives.gains.rules import ALPHA
from search.command_line.requests import ReopenRequest
from search.findings.confirmation import Look, error_left
from spaces.errors import SpecError


@dataclass(frozen=True)
class ConfirmRequest:
    """Which study to confirm, and how thoroughly.

    Attributes:
        study: The study, its data and its encoder.
        recipes: Number of recipes to confirm; None for that of a look that is there, else 3.
        margin: Gains nearer to 0 are equivalent to none, percentage points; None for that of a
            look that is there, else 1.
        max_seeds: Most fresh seeds of each; None for those of a look that is there, else 12.
        gpu_hours: Hours of training and scoring that it may take in all; None for as many as it
            needs.
        again: Whether to confirm once more after one that is over.
        anyway: Whether to go on where it probably decides nothing.
    """

    study: ReopenRequest
    recipes: int | None = None
    margin: float | None = None
    max_seeds: int | None = None
    gpu_hours: float | None = None
    again: bool = False
    anyway: bool = False


def is_settled(looks: Sequence[Look], request: ConfirmRequest) -> bool:
    """Whether what is asked for is known already, and nothing has to be loaded.

    Raises:
        SpecError: It was planned with other sizes, or no error is left for another look.
    """
    if not looks:
        return False
    if not looks[-1].is_over:
        _check_sizes(looks[-1], request)
        return False
    if request.again:
        if not error_left(looks):
            raise SpecError(
                "--again",
                f"some error left of the {100 * ALPHA:g} % that all looks at a study share",
                "all of it spent",
                "what is undecided stays so on these test splits; `confirm` without --again "
                "shows what was found",
            )
        return False
    _check_sizes(looks[-1], request)
    return True


def _check_sizes(look: Look, request: ConfirmRequest) -> None:
    plan = look.plan
    planned = len(plan.recipes), len(plan.seeds), plan.margin
    asked = (
        request.recipes or planned[0],
        request.max_seeds or planned[1],
        planned[2] if request.margin is None else request.margin,
    )
    if asked != planned:
        raise SpecError(
            "--top, --max-seeds or --margin",
            f"{planned[0]} recipes, {planned[1]} seeds and a margin of {planned[2]:g} points, as "
            f"planned on {look.begun_at[:10]}",
            f"{asked[0]}, {asked[1]} and {asked[2]:g}",
            "leave them out to see it; what is chosen after that is confirmed no more, and "
            "--again has only the error that is left",
        )
