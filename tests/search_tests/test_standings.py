"""Which recipe leads, on which languages, and that all who say so say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search import compare, report
from search.command_line.requests import ReopenRequest
from search.findings.confirm_request import ConfirmRequest
from search.findings.confirming import plan_confirmation
from search.findings.recommendation import recommended
from search.findings.standings import standings_of
from search.findings.verdict_words import points_with_interval, with_interval
from search.reporting.terminal import show_results
from search.studies.stored_study import StoredStudy, open_stored_study
from spaces.errors import StorageError
from tests.raising import raises
from tests.studies import (
    DIRECT,
    GENERAL,
    LEGAL,
    NONE,
    PLANS,
    TASK,
    Plan,
    Right,
    choice,
    scored,
    write_study,
)


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def opened(folder: Path, study: str = "synthetic") -> StoredStudy:
    return open_stored_study(url_in(folder), study)


def asked(recipes: int) -> ConfirmRequest:
    """A request to confirm so many recipes."""
    return ConfirmRequest(ReopenRequest("synthetic", ""), recipes)


def page_of(folder: Path, study: str = "synthetic") -> dict[str, Any]:
    """The numbers that a report's page is made of."""
    words = ["--study", study, "--storage", url_in(folder), "--to", str(folder / study)]
    assert report.main([*words, "--no-png"]) == 0
    numbers: dict[str, Any] = json.loads((folder / study / "report.json").read_text())
    return numbers


def compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `search.compare` says of the study beside another one."""
    capsys.readouterr()
    words = ["synthetic", "other", "--storage", url_in(folder), "--json"]
    assert compare.main(words) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def above(source: int, first: int, second: int) -> Right:
    """Scores so far above a direct training's 50 in the source language and both targets."""
    return {(TASK, "qas"): 50 + source, (TASK, "qaa"): 50 + first, (TASK, "qab"): 50 + second}


# Legal leads in the target languages; in the source language its recipe of one epoch does worse.
ENGLISH_SAYS_GENERAL = [
    *(Plan(NONE, above(0, 0, 0), seed) for seed in (0, 1)),
    *(Plan(choice(GENERAL, 1), above(8, 1, 3), seed) for seed in (0, 1)),
    *(Plan(choice(LEGAL, 1), above(1, 8, 8), seed) for seed in (0, 1)),
    *(Plan(choice(LEGAL, 2), above(4, 2, 2), seed) for seed in (0, 1)),
]


def test_selected_on_the_source_language_recipes_are_judged_on_the_targets_by_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Page, model card, `compare` and `confirm` name the same recipe and the same gains."""
    for name in ("synthetic", "other"):
        write_study(
            url_in(tmp_path), ENGLISH_SAYS_GENERAL, selection="source-validation", name=name
        )
    study = opened(tmp_path)
    standings = standings_of(study)
    assert [x.first.number for x in standings.recipes] == [0, 4, 2], "by the source language"
    assert standings.selected_on == {"qas"}
    assert standings.judged_on == {"qaa", "qab"}

    arms = page_of(tmp_path)["found"]["by_target_task"]["all"]
    assert {arm: x["trial"] for arm, x in arms.items()} == {"general": 0, "legal": 4}
    assert arms["general"]["gain"] == pytest.approx(2, abs=1), "not the 8 of the source language"

    card = recommended(study, TASK).evidence
    assert card.trial == 0
    assert {cell.language for cell in card.verdicts.cells} == {"qaa", "qab"}
    assert card.verdict.gain.points == arms["general"]["gain"]

    best = compared(tmp_path, capsys)["best"][0]
    assert (best["trial"], best["gain"]) == (0, arms["general"]["gain"])

    plan = plan_confirmation(study, asked(2), 9)
    assert [recipe.trial for recipe in plan.recipes] == [0, 4]
    assert plan.baseline == {TASK: 0}


def test_a_leader_on_the_source_language_alone_is_handed_over_whatever_the_targets_say(
    tmp_path: Path,
) -> None:
    """Labels of the target languages must not choose where the study says that they do not."""
    plans = [
        *(Plan(NONE, above(0, 0, 0), seed) for seed in (0, 1)),
        *(Plan(choice(GENERAL, 1), above(9, -3, -3), seed) for seed in (0, 1)),
    ]
    write_study(url_in(tmp_path), plans, selection="source-validation")
    card = recommended(opened(tmp_path), TASK).evidence
    assert (card.is_baseline, card.trial) == (False, 0)
    assert card.verdict.gain.points == pytest.approx(-3, abs=1.5)


def test_the_leader_is_what_the_model_expects_most_of_not_the_luckiest_run(
    tmp_path: Path,
) -> None:
    """One run of +6 among many about 0 is luck; four of +4 are none."""
    lucky = [Plan(choice(GENERAL, 1), scored(57, 47))]
    lucky += [Plan(choice(GENERAL, 1), scored(50, 40), seed) for seed in (1, 2, 3)]
    steady = [Plan(choice(LEGAL, 2), scored(55, 45), seed) for seed in (0, 1, 2, 3)]
    write_study(url_in(tmp_path), [*DIRECT, *lucky, *steady])
    leader = standings_of(opened(tmp_path)).leader
    assert leader is not None
    assert (leader.arm, leader.gain.seeds) == ("legal", (0, 1, 2, 3))


def test_without_a_recipe_there_is_nothing_to_lead_and_nothing_to_confirm(tmp_path: Path) -> None:
    write_study(url_in(tmp_path), [])
    write_study(url_in(tmp_path), DIRECT, name="tuned")
    for name in ("synthetic", "tuned"):
        study = opened(tmp_path, name)
        assert standings_of(study).recipes == ()
        with raises(
            StorageError, expected="a complete trial with an intermediate task", found="none"
        ):
            plan_confirmation(study, asked(1), 9)
    with raises(StorageError, expected="a complete trial", advice="python -m search.run"):
        recommended(opened(tmp_path), TASK)
    assert recommended(opened(tmp_path, "tuned"), TASK).evidence.is_baseline


def test_terminal_page_compare_and_card_have_the_same_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("synthetic", "other"):
        write_study(url_in(tmp_path), PLANS, name=name)
    study = opened(tmp_path)
    page = page_of(tmp_path)
    found = page["found"]["by_target_task"]
    beside = compared(tmp_path, capsys)
    card = recommended(study, TASK).evidence
    show_results(study)
    shown = capsys.readouterr().out
    recipes = {row["trial"]: row["gain"] for row in page["recipes"]}
    for arm in ("general", "legal"):
        mine, both = found[TASK][arm], beside["arms"][arm][0]
        # Of one target task the mean is its own; what differs is the order of a sum.
        assert found["all"][arm]["gain"] == pytest.approx(mine["gain"], abs=1e-9)
        assert (both["gain"], both["low"], both["high"]) == pytest.approx(
            (mine["gain"], *mine["interval"]), abs=1e-9
        )
        assert recipes[mine["trial"]] == pytest.approx(mine["gain"], abs=1e-9)
        words = points_with_interval(mine["gain"], *mine["interval"])
        (row,) = (x for x in shown.splitlines() if x.split()[:2] == [TASK, arm])
        assert words in row
        (sentence,) = (x for x in shown.splitlines() if x.startswith(f"{arm} and {TASK}: "))
        assert words in sentence
        assert words in page["answer"]
        assert (tmp_path / "synthetic" / "index.html").read_text().count(words) >= 2
    assert card.trial == found[TASK]["general"]["trial"]
    gain = card.verdict.gain
    leading = found[TASK]["general"]
    assert (gain.points, gain.low, gain.high) == pytest.approx(
        (leading["gain"], *leading["interval"]), abs=1e-9
    )
    assert with_interval(gain) in shown
