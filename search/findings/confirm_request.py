"""What a confirmation is asked for: made by the command or a notebook, before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from search.command_line.requests import ReopenRequest


@dataclass(frozen=True)
class ConfirmRequest:
    """Which study to confirm, and how thoroughly.

    Attributes:
        study: The study, its data and its encoder.
        recipes: Number of recipes to confirm; None for that of a look that is there, else 3.
        seeds: Number of fresh seeds of each; None for that of a look that is there, else 5.
        again: Whether to look at the test splits once more after a finished look.
    """

    study: ReopenRequest
    recipes: int | None = None
    seeds: int | None = None
    again: bool = False
