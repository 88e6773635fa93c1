"""Confirmations: what was planned before any test split was read, and what came of it.

The ledger keeps both as JSON (`storage.tables.Confirmation`); this is their typed view. How one is
planned and made is in `confirming.py`, which needs torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from search.findings.judging import RecipeVerdict, Verdicts
from search.studies.stored_study import StoredStudy
from spaces.studies import Aggregate
from storage.tables import Confirmation


@dataclass(frozen=True)
class PlannedRecipe:
    """A recipe that was chosen to be confirmed.

    Attributes:
        trial: Number of the recipe's first trial in the search.
        arm: general, biomedical, legal or mixed.
        name: Its intermediate task or mixture.
        in_words: Its choices.
    """

    trial: int
    arm: str
    name: str
    in_words: str


@dataclass(frozen=True)
class ConfirmationPlan:
    """What is to be confirmed, written down before a test split is read.

    Attributes:
        recipes: Recipes to confirm: the leader of each arm, then the next best.
        baseline: Target task -> number of its best direct training, among these.
        seeds: Fresh seeds, which neither the search nor an earlier look has used.
        trials_of_the_search: Number of complete trials that the recipes were chosen from.
        aggregate: How the study makes one figure of its target tasks' gains.
    """

    recipes: tuple[PlannedRecipe, ...]
    baseline: Mapping[str, int]
    seeds: tuple[int, ...]
    trials_of_the_search: int
    aggregate: Aggregate

    @property
    def names(self) -> dict[int, str]:
        """Number of a recipe's first trial -> the recipe's name for people."""
        return {x.trial: f"trial {x.trial} ({x.name})" for x in self.recipes}

    def as_json(self) -> dict[str, Any]:
        """In JSON's types, as the ledger keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, plan: Mapping[str, Any]) -> ConfirmationPlan:
        """A plan as the ledger keeps it."""
        recipes = tuple(PlannedRecipe(**recipe) for recipe in plan["recipes"])
        aggregate = Aggregate(plan["aggregate"])
        further = {"recipes": recipes, "seeds": tuple(plan["seeds"]), "aggregate": aggregate}
        return cls(**{**plan, **further})


@dataclass(frozen=True)
class ConfirmationResult:
    """What a confirmation found on test splits.

    Attributes:
        verdicts: On gains over the best direct training.
        paired: On gains over each recipe's target stage alone.
        seconds: Wall time that training and scoring took.
    """

    verdicts: Verdicts
    paired: Verdicts
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """In JSON's types, as the ledger keeps it."""
        verdicts, paired = self.verdicts.as_json(), self.paired.as_json()
        return {"verdicts": verdicts, "paired": paired, "seconds": self.seconds}

    @classmethod
    def from_json(cls, result: Mapping[str, Any]) -> ConfirmationResult:
        """A result as the ledger keeps it."""
        verdicts, paired = (Verdicts.from_json(result[name]) for name in ("verdicts", "paired"))
        return cls(verdicts, paired, result["seconds"])


@dataclass(frozen=True)
class Look:
    """One look at the test splits of a study: each further one makes verdicts less sure.

    Attributes:
        number: 1 for the first.
        begun_at: UTC, ISO 8601.
        plan: What was to be confirmed.
        result: What was found; None while it is not finished.
    """

    number: int
    begun_at: str
    plan: ConfirmationPlan
    result: ConfirmationResult | None

    @classmethod
    def from_stored(cls, kept: Confirmation) -> Look:
        """The typed view of what the ledger keeps."""
        return cls(
            number=kept.look,
            begun_at=kept.begun_at,
            plan=ConfirmationPlan.from_json(kept.plan),
            result=None if kept.result is None else ConfirmationResult.from_json(kept.result),
        )


def looks_of(study: StoredStudy) -> list[Look]:
    """All looks at the test splits of a study, in order."""
    return [Look.from_stored(kept) for kept in study.confirmations]


def confirmed_recipes(study: StoredStudy) -> tuple[RecipeVerdict, ...]:
    """The verdicts on whole recipes of the last finished confirmation; empty without one."""
    done = finished(looks_of(study))
    return done[-1][1].verdicts.recipes if done else ()


def finished(looks: Iterable[Look]) -> list[tuple[Look, ConfirmationResult]]:
    """The looks that have a result, in order, each with its result."""
    return [(look, look.result) for look in looks if look.result is not None]
