"""Confirmations: what was planned before any test split was read, and what came of it.

The ledger keeps both as JSON (`storage.tables.Confirmation`); this is their typed view. How one is
planned and made is in `confirming.py`, which needs torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from objectives.gains.rules import ALPHA, Rules, Verdict, spent_error
from search.findings.verdicts import RecipeVerdict, Verdicts
from spaces.stage_specs import Aggregate
from storage.tables import Confirmation

if TYPE_CHECKING:
    from search.studies.stored_study import StoredStudy

Ended = Literal["", "decided", "seeds", "hours"]
"""Why a confirmation ended: all is decided, all planned seeds are used, or no time was left for
more, with which it may go on; empty while it runs."""


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
class Outlook:
    """What a confirmation can find and what it will take, told from the search alone.

    Attributes:
        detectable: Minimum detectable gain at each look at 80 % power, percentage points; empty
            where nothing is known of how much seeds scatter.
        half_width: Half of the interval of an idle recipe after all seeds, percentage points;
            None where that is not known.
        expected: Largest gain or loss that the search has not ruled out (95 %), percentage
            points; None where it has no model.
        seconds: Wall seconds up to each look where no recipe is dropped, on the devices of the
            search; empty where its stages' costs are not known.
    """

    detectable: tuple[float, ...] = ()
    half_width: float | None = None
    expected: float | None = None
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class ConfirmationPlan:
    """What is to be confirmed, written down before a test split is read.

    Attributes:
        recipes: Recipes to confirm: the leader of each arm, then the next best.
        baseline: Target task -> number of its best direct training, among these.
        seeds: Fresh seeds, which neither the search nor an earlier look has used.
        looks: Numbers of seeds after which is looked, the last of all seeds.
        margin: Gains nearer to 0 are equivalent to none, percentage points.
        alpha: Error that the looks may spend: the chance of any false helps or hurts.
        outlook: What this can find, and what it will take.
        trials_of_the_search: Number of complete trials that the recipes were chosen from.
        aggregate: How the study makes one figure of its target tasks' gains.
    """

    recipes: tuple[PlannedRecipe, ...]
    baseline: Mapping[str, int]
    seeds: tuple[int, ...]
    looks: tuple[int, ...]
    margin: float
    trials_of_the_search: int
    aggregate: Aggregate
    alpha: float = ALPHA
    outlook: Outlook = Outlook()

    @property
    def rules(self) -> Rules:
        """How its gains are judged."""
        return Rules(self.looks, self.alpha, self.margin)

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
        told = plan["outlook"]
        outlook = Outlook(
            tuple(told["detectable"]), told["half_width"], told["expected"], tuple(told["seconds"])
        )
        further = {
            "recipes": recipes,
            "seeds": tuple(plan["seeds"]),
            "looks": tuple(plan["looks"]),
            "aggregate": Aggregate(plan["aggregate"]),
            "outlook": outlook,
        }
        return cls(**{**plan, **further})


@dataclass(frozen=True)
class ConfirmationResult:
    """What a confirmation found on test splits.

    Attributes:
        verdicts: On gains over the best direct training.
        paired: On gains over each recipe's target stage alone.
        seconds: Wall time that training and scoring took.
        ended: Why it ended; empty while it runs.
    """

    verdicts: Verdicts
    paired: Verdicts
    seconds: float
    ended: Ended = "seeds"

    @property
    def seeds(self) -> int:
        """Number of seeds of the recipes that were followed longest."""
        return max((x.gain.seeds for x in self.verdicts.recipes), default=0)

    @property
    def undecided(self) -> tuple[int, ...]:
        """Recipes that are not decided, by the number of their first trial."""
        rows = self.verdicts.recipes
        return tuple(x.trial for x in rows if x.gain.verdict is Verdict.UNDECIDED)

    def as_json(self) -> dict[str, Any]:
        """In JSON's types, as the ledger keeps it."""
        return {
            "verdicts": self.verdicts.as_json(),
            "paired": self.paired.as_json(),
            "seconds": self.seconds,
            "ended": self.ended,
        }

    @classmethod
    def from_json(cls, result: Mapping[str, Any]) -> ConfirmationResult:
        """A result as the ledger keeps it."""
        verdicts, paired = (Verdicts.from_json(result[name]) for name in ("verdicts", "paired"))
        return cls(verdicts, paired, result["seconds"], result["ended"])


@dataclass(frozen=True)
class Look:
    """One confirmation: each further one has only the error that those before have left.

    Attributes:
        number: 1 for the first.
        begun_at: UTC, ISO 8601.
        plan: What was to be confirmed.
        result: What was found up to now; None before the first of its looks.
    """

    number: int
    begun_at: str
    plan: ConfirmationPlan
    result: ConfirmationResult | None

    @property
    def is_over(self) -> bool:
        """Whether nothing will be added to it."""
        return self.result is not None and self.result.ended in {"decided", "seeds"}

    @property
    def spent(self) -> float:
        """Error that it has spent up to now."""
        if self.result is None or not self.result.seeds:
            return 0.0
        place = self.plan.looks.index(self.result.seeds)
        return spent_error(self.plan.alpha, self.plan.looks)[place]

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
    """All confirmations of a study, in order."""
    return [Look.from_stored(kept) for kept in study.confirmations]


def error_left(looks: Iterable[Look]) -> float:
    """What confirmations have left of the 5 % that all of them may be wrong in."""
    left = ALPHA - sum(look.spent for look in looks)
    return left if left > ALPHA / 1000 else 0.0


def confirmed_recipes(study: StoredStudy) -> tuple[RecipeVerdict, ...]:
    """The verdicts on whole recipes of the last confirmation; empty without one."""
    done = finished(looks_of(study))
    return done[-1][1].verdicts.recipes if done else ()


def finished(looks: Iterable[Look]) -> list[tuple[Look, ConfirmationResult]]:
    """The looks that have a result, in order, each with its result.

    A result is valid wherever the seeds ended: also where time did.
    """
    return [(look, look.result) for look in looks if look.result is not None]
