"""Published findings held against the trials of a study: for, against or undecided.

A setting is a target task. What counts in it is the best score of a backbone, with an intermediate
task and without one, over all complete trials: a score is the mean over the task's languages and
the seeds. The more trials a side has, the higher its best: read a verdict with the table of arms
beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from search.studies.recipes import FinishedRecipe
from spaces.claims import ClaimKind, ClaimSpec
from spaces.studies import NO_INTERMEDIATE, StudySpec

# Scores nearer than this are equal: what remains of a difference is the order of a sum.
TIE = 1e-9


class Outcome(StrEnum):
    """What the trials say of a claim."""

    FOR = "for"
    AGAINST = "against"
    UNDECIDED = "undecided"


class _Side(StrEnum):
    WITH = "with an intermediate task"
    WITHOUT = "without an intermediate task"


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim and what the trials say of it.

    Attributes:
        claim: A published finding that the study file quotes.
        outcome: Whether the trials speak for it, against it, or leave it undecided.
        because: The counts that the outcome rests on, or what is missing.
    """

    claim: ClaimSpec
    outcome: Outcome
    because: str


_Best = Mapping[tuple[str, str, _Side], float]
"""Target task, backbone, side -> the best score, in [0, 1]."""


def check_claims(
    spec: StudySpec, recipes: Iterable[FinishedRecipe], languages: frozenset[str]
) -> list[ClaimVerdict]:
    """One verdict per claim of a study, in the order of its file.

    Args:
        spec: The study.
        recipes: Its finished recipes, direct trainings among them.
        languages: Languages whose scores count.
    """
    best = _best_scores(spec, recipes, languages)
    return [ClaimVerdict(claim, *_check(claim, spec, best)) for claim in spec.claims]


def claim_lines(verdicts: Iterable[ClaimVerdict]) -> list[str]:
    """One line per verdict, for people."""
    words = {
        Outcome.FOR: "for the claim",
        Outcome.AGAINST: "against the claim",
        Outcome.UNDECIDED: "undecided on the claim",
    }
    return [f"{words[x.outcome]} {x.claim.text!r}: {x.because}" for x in verdicts]


def _best_scores(
    spec: StudySpec, recipes: Iterable[FinishedRecipe], languages: frozenset[str]
) -> _Best:
    best: dict[tuple[str, str, _Side], float] = {}
    for recipe in recipes:
        backbone = str(recipe.first.params.get("backbone", spec.backbone[0]))
        side = _Side.WITHOUT if recipe.arm == NO_INTERMEDIATE else _Side.WITH
        for task, score in recipe.gain.scores_by_task(languages).items():
            place = (task, backbone, side)
            best[place] = max(best.get(place, -1.0), score)
    return best


def _check(claim: ClaimSpec, spec: StudySpec, best: _Best) -> tuple[Outcome, str]:
    targets = claim.targets or spec.target.tasks
    about_backbones = claim.kind in {ClaimKind.BEST_BACKBONE, ClaimKind.LAST_BACKBONE}
    if claim.backbone and claim.backbone not in spec.backbone:
        return Outcome.UNDECIDED, f"{claim.backbone} is not among {', '.join(spec.backbone)}"
    if about_backbones and len(spec.backbone) < 2:
        return Outcome.UNDECIDED, f"{claim.backbone} has no other backbone beside it"
    only = claim.backbone and not about_backbones
    backbones = (claim.backbone,) if only else spec.backbone
    if missing := _missing(best, targets, backbones):
        return Outcome.UNDECIDED, missing
    judge = _about_backbones if about_backbones else _about_sides
    return judge(claim, backbones, targets, best)


def _missing(best: _Best, targets: Sequence[str], backbones: Sequence[str]) -> str:
    """What has no complete trial yet, in words."""
    gaps: dict[tuple[str, _Side], list[str]] = {}
    for backbone in backbones:
        for side in _Side:
            lacking = [x for x in targets if (x, backbone, side) not in best]
            if lacking:
                gaps[backbone, side] = lacking
    words = (
        f"{backbone} {side}" + ("" if len(tasks) == len(targets) else f" in {', '.join(tasks)}")
        for (backbone, side), tasks in gaps.items()
    )
    return f"no complete trial yet of {'; '.join(words)}" if gaps else ""


def _about_backbones(
    claim: ClaimSpec, backbones: Sequence[str], targets: Sequence[str], best: _Best
) -> tuple[Outcome, str]:
    wanted: Callable[[Iterable[float]], float] = max
    if claim.kind is ClaimKind.LAST_BACKBONE:
        wanted = min
    counts: Counter[str] = Counter()
    for target in targets:
        scores = {x: max(best[target, x, side] for side in _Side) for x in backbones}
        counts[_only(scores, wanted)] += 1
    if claim.kind is ClaimKind.LAST_BACKBONE:
        outcome = _most(counts[claim.backbone], counts[""], len(targets))
        what = "the lowest best score"
    else:
        others = max(counts[x] for x in backbones if x != claim.backbone)
        outcome = _more(counts[claim.backbone], others, counts[""])
        what = "the highest score"
    rest = [f"{x} in {counts[x]}" for x in backbones if x != claim.backbone]
    because = (
        f"{claim.backbone} has {what} in {counts[claim.backbone]} of {_number(targets)}; "
        f"{', '.join(rest)}{_ties(counts)}"
    )
    return outcome, because


def _about_sides(
    claim: ClaimSpec, backbones: Sequence[str], targets: Sequence[str], best: _Best
) -> tuple[Outcome, str]:
    side, other = _Side.WITHOUT, _Side.WITH
    if claim.kind is ClaimKind.INTERMEDIATE_IS_BETTER:
        side, other = other, side
    counts: Counter[str] = Counter()
    for target in targets:
        scores = {str(x): max(best[target, y, x] for y in backbones) for x in _Side}
        counts[_only(scores, max)] += 1
    outcome = _most(counts[side], counts[""], len(targets))
    because = (
        f"{side} the best score is higher in {counts[side]} of {_number(targets)}; "
        f"{other} in {counts[other]}{_ties(counts)}"
    )
    return outcome, because


def _only(scores: Mapping[str, float], wanted: Callable[[Iterable[float]], float]) -> str:
    """The name that alone has the highest or lowest score; empty for a tie."""
    value = wanted(scores.values())
    names = [name for name, score in scores.items() if abs(score - value) < TIE]
    return names[0] if len(names) == 1 else ""


def _more(mine: int, others: int, ties: int) -> Outcome:
    """Whether one count is above another however the ties would fall."""
    if mine > others + ties:
        return Outcome.FOR
    return Outcome.AGAINST if others > mine + ties else Outcome.UNDECIDED


def _most(count: int, ties: int, settings: int) -> Outcome:
    """Whether it is more than half however the ties would fall; just half is undecided."""
    if 2 * count > settings:
        return Outcome.FOR
    return Outcome.AGAINST if 2 * (count + ties) < settings else Outcome.UNDECIDED


def _number(targets: Sequence[str]) -> str:
    return f"{len(targets)} target task{'s' * (len(targets) > 1)}"


def _ties(counts: Counter[str]) -> str:
    return f"; {counts['']} tied" if counts[""] else ""
