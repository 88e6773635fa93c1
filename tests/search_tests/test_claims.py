"""Published findings against trials whose scores are worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import optuna
import pytest
from optuna_dashboard import get_note

from objectives.gains.transfer_gain import TransferGain
from search.findings.claims import ClaimVerdict, Outcome, check_claims
from search.studies.recipes import FinishedRecipe, FinishedTrial
from spaces.claims import ClaimKind
from spaces.stage_specs import Aggregate
from spaces.studies import StudySpec
from storage.tables import PairedScore
from tests.search_tests.conftest import STUDY, Workplace
from tests.studies import a_score, a_trial

LANGUAGES = frozenset({"swa", "yor"})


def study(*claims: dict[str, Any], backbones: Sequence[str] = ("b", "r")) -> StudySpec:
    """A study of three target tasks."""
    return StudySpec.model_validate(
        {
            "name": "s",
            "question": "?",
            "arms": ["none", "general"],
            "backbone": backbones,
            "intermediate": {"tasks": ["i"]},
            "target": {"tasks": ["t1", "t2", "t3"], "languages": sorted(LANGUAGES)},
            "claims": list(claims),
        }
    )


def claim(kind: ClaimKind, **fields: Any) -> dict[str, Any]:
    return {"text": "so it says", "kind": kind, **fields}


def tried(
    backbone: str, direct: Sequence[float], first: Sequence[float] | None = None
) -> list[FinishedRecipe]:
    """A direct training whose tasks t1, t2, ... have these scores, and a recipe beside it."""
    both = [_recipe(backbone, "none", direct)]
    return both if first is None else [*both, _recipe(backbone, "general", first)]


def _recipe(backbone: str, arm: str, scores: Sequence[float]) -> FinishedRecipe:
    """Its scores in English, which the study does not select on, are far off."""
    pairs = [
        PairedScore(seed, a_score(f"t{number}", language, score + shift))
        for number, score in enumerate(scores, start=1)
        for seed in (0, 1)
        for language, shift in (("swa", 0.1), ("yor", -0.1), ("eng", -2 * score))
    ]
    gain = TransferGain(tuple(pairs), Aggregate.MEAN)
    params = {"backbone": backbone, "intermediate.domain": arm}
    return FinishedRecipe((FinishedTrial(a_trial(params), gain),))


def check(
    found: dict[str, Any], *recipes: list[FinishedRecipe], backbones: Sequence[str] = ("b", "r")
) -> ClaimVerdict:
    (verdict,) = check_claims(study(found, backbones=backbones), chain(*recipes), LANGUAGES)
    return verdict


BEST, LAST = ClaimKind.BEST_BACKBONE, ClaimKind.LAST_BACKBONE
DIRECT, FIRST = ClaimKind.DIRECT_IS_BETTER, ClaimKind.INTERMEDIATE_IS_BETTER

# b is ahead in t1 (directly) and t2 (after an intermediate task), r in t3. Of b the direct best
# is higher in t1 and t3, of r in t2; of both together in t1 and t3.
B = tried("b", (0.7, 0.3, 0.5), (0.6, 0.6, 0.4))
R = tried("r", (0.4, 0.5, 0.6), (0.5, 0.4, 0.7))


@pytest.mark.parametrize(
    ("found", "outcome", "because"),
    [
        (
            claim(BEST, backbone="b"),
            Outcome.FOR,
            "b has the highest score in 2 of 3 target tasks; r in 1",
        ),
        (
            claim(BEST, backbone="r"),
            Outcome.AGAINST,
            "r has the highest score in 1 of 3 target tasks; b in 2",
        ),
        (
            claim(BEST, backbone="r", targets=["t3"]),
            Outcome.FOR,
            "r has the highest score in 1 of 1 target task; b in 0",
        ),
        (
            claim(BEST, backbone="b", targets=["t1", "t3"]),
            Outcome.UNDECIDED,
            "b has the highest score in 1 of 2 target tasks; r in 1",
        ),
        (
            claim(LAST, backbone="r"),
            Outcome.FOR,
            "r has the lowest best score in 2 of 3 target tasks; b in 1",
        ),
        (
            claim(LAST, backbone="b"),
            Outcome.AGAINST,
            "b has the lowest best score in 1 of 3 target tasks; r in 2",
        ),
        # Over both backbones: 0.7 against 0.6, 0.5 against 0.6, 0.6 against 0.7.
        (
            claim(DIRECT),
            Outcome.AGAINST,
            "without an intermediate task the best score is higher in 1 of 3 target tasks; with "
            "an intermediate task in 2",
        ),
        (
            claim(FIRST),
            Outcome.FOR,
            "with an intermediate task the best score is higher in 2 of 3 target tasks; without "
            "an intermediate task in 1",
        ),
        # Of b alone: 0.7 against 0.6, 0.3 against 0.6, 0.5 against 0.4.
        (
            claim(DIRECT, backbone="b"),
            Outcome.FOR,
            "without an intermediate task the best score is higher in 2 of 3 target tasks; with "
            "an intermediate task in 1",
        ),
        (
            claim(FIRST, backbone="b", targets=["t1", "t2"]),
            Outcome.UNDECIDED,
            "with an intermediate task the best score is higher in 1 of 2 target tasks; without "
            "an intermediate task in 1",
        ),
        (
            claim(FIRST, backbone="b", targets=["t1", "t3"]),
            Outcome.AGAINST,
            "with an intermediate task the best score is higher in 0 of 2 target tasks; without "
            "an intermediate task in 2",
        ),
    ],
)
def test_two_backbones_and_three_tasks_counted_by_hand(
    found: dict[str, Any], outcome: Outcome, because: str
) -> None:
    verdict = check(found, B, R)
    assert (verdict.outcome, verdict.because) == (outcome, because)


def test_the_best_of_all_recipes_counts() -> None:
    # The direct bests of 0.65 in t1 and 0.8 in t2 are of two direct trainings.
    trials = [
        tried("b", (0.65, 0.2, 0.2)),
        tried("b", (0.3, 0.8, 0.2), (0.6, 0.7, 0.1)),
        tried("b", (0.1, 0.1, 0.1), (0.2, 0.2, 0.9)),
    ]
    verdict = check(claim(DIRECT), *trials, backbones=("b",))
    assert verdict.outcome is Outcome.FOR
    assert "higher in 2 of 3 target tasks; with an intermediate task in 1" in verdict.because


def test_what_has_no_trial_leaves_a_claim_undecided_and_is_named() -> None:
    r_direct = tried("r", (0.4, 0.5, 0.6))
    assert check(claim(DIRECT)).because == (
        "no complete trial yet of b with an intermediate task; b without an intermediate task; "
        "r with an intermediate task; r without an intermediate task"
    )
    lacking = check(claim(BEST, backbone="b"), B, r_direct)
    assert lacking.outcome is Outcome.UNDECIDED
    assert lacking.because == "no complete trial yet of r with an intermediate task"
    # What is missing of r is nothing to a claim about b alone.
    assert check(claim(DIRECT, backbone="b"), B, r_direct).outcome is Outcome.FOR
    fewer = tried("r", (0.4, 0.5), (0.5, 0.4))
    assert check(claim(DIRECT), B, fewer).because == (
        "no complete trial yet of r with an intermediate task in t3; r without an intermediate "
        "task in t3"
    )
    assert check(claim(DIRECT, targets=["t1"]), B, fewer).outcome is Outcome.FOR


def test_ties_leave_a_claim_open_unless_it_holds_however_they_fall() -> None:
    # Equal in t1; the same sum in another order is equal too.
    tied = tried("r", (0.7, 0.1, 0.1), (0.2 + 0.1, 0.1, 0.1))
    other = tried("b", (0.7, 0.3, 0.3), (0.3, 0.3, 0.3))
    verdict = check(claim(BEST, backbone="b"), other, tied)
    assert verdict.outcome is Outcome.FOR
    assert verdict.because.endswith("in 2 of 3 target tasks; r in 0; 1 tied")
    level = check(claim(BEST, backbone="b", targets=["t1", "t2"]), other, tied)
    assert level.outcome is Outcome.UNDECIDED
    assert level.because.endswith("in 1 of 2 target tasks; r in 0; 1 tied")
    assert check(claim(LAST, backbone="r"), other, tied).outcome is Outcome.FOR
    assert check(claim(LAST, backbone="b"), other, tied).outcome is Outcome.AGAINST
    # t2 and t3 are the same with and without, and t1 alone is no half of three.
    sides = check(claim(DIRECT), other, tied)
    assert sides.outcome is Outcome.UNDECIDED
    assert sides.because.endswith("in 1 of 3 target tasks; with an intermediate task in 0; 2 tied")


def test_a_study_without_the_backbone_or_with_no_other_says_nothing_of_it() -> None:
    absent = check(claim(DIRECT, backbone="x"), B, R)
    assert (absent.outcome, absent.because) == (Outcome.UNDECIDED, "x is not among b, r")
    alone = check(claim(BEST, backbone="b"), B, backbones=("b",))
    assert alone.outcome is Outcome.UNDECIDED
    assert alone.because == "b has no other backbone beside it"


def test_a_backbone_that_is_no_choice_is_in_no_parameters_of_a_trial() -> None:
    made = tried("b", (0.7, 0.3, 0.5), (0.6, 0.6, 0.4))
    for recipe in made:
        del recipe.first.params["backbone"]
    assert check(claim(DIRECT), made, backbones=("b",)).outcome is Outcome.FOR


def test_a_run_ends_with_its_claims_and_the_dashboard_keeps_them(workplace: Workplace) -> None:
    claims = '[[claims]]\ntext = "direct (Table 1)"\nkind = "direct-is-better"\n'
    (workplace.folder / "tiny.toml").write_text(STUDY + claims, encoding="utf-8")
    shown = workplace.search("--trials", "1", "--quiet").stdout
    (line,) = [x for x in shown.splitlines() if "the claim 'direct (Table 1)':" in x]
    assert line.startswith(("for the claim", "against the claim", "undecided on the claim"))
    assert "the best score is higher in" in line
    opened = optuna.load_study(study_name="tiny", storage=workplace.storage)
    assert line in get_note(opened)
