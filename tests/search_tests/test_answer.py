"""The answer of a search: per target task, in words that are fair, over each task's own zero."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search.findings.answer import StudyAnswer, answer_of
from search.findings.answer_words import NOT_FAIR, answer_lines, regret_line, verdict_word
from search.findings.recommendation import recommended
from search.findings.study_model import StudyModel
from search.findings.trial_tables import recipe_table
from search.reporting.answer_tables import NARROW, WIDE, answer_tables
from search.studies.stored_study import StoredStudy, open_stored_study
from search.surrogate.answer import ArmAnswer
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

OTHER = "pocket_topic"
TWO_TARGETS: dict[str, Any] = {"tasks": [TASK, OTHER], "languages": ["qaa", "qab"]}
RATES = [1e-4, 1e-3]


def answered(folder: Path, plans: list[Plan], **changes: Any) -> tuple[StoredStudy, StudyAnswer]:
    url = f"sqlite:///{folder / 'study.db'}"
    name = write_study(url, plans, **changes)
    study = open_stored_study(url, name)
    found = answer_of(study)
    assert found is not None
    return study, found


def known(finding: ArmAnswer | None) -> ArmAnswer:
    assert finding is not None
    return finding


def both(first: int, second: int) -> Right:
    """Examples that are right in either target task, the same in both languages."""
    scores = {TASK: first, OTHER: second}
    return {(task, language): x for task, x in scores.items() for language in ("qaa", "qab")}


# General helps the one task and harms the other, legal the other way round.
OPPOSED = [
    *(Plan(NONE, both(50, 50), seed) for seed in (0, 1)),
    *(Plan(choice(GENERAL, 1), both(58, 42), seed) for seed in (0, 1, 2)),
    *(Plan(choice(GENERAL, 2), both(56, 44), seed) for seed in (0, 1, 2)),
    *(Plan(choice(LEGAL, 1), both(43, 57), seed) for seed in (0, 1, 2)),
    *(Plan(choice(LEGAL, 2), both(41, 60), seed) for seed in (0, 1, 2)),
]


def test_each_target_task_has_an_answer_of_its_own(tmp_path: Path) -> None:
    study, found = answered(tmp_path, OPPOSED, target=TWO_TARGETS)
    words = {
        (task, arm): verdict_word(finding.known)
        for task, findings in found.by_task.items()
        for arm, finding in findings.items()
    }
    assert words == {
        (TASK, "general"): "helps",
        (TASK, "legal"): "hurts",
        (OTHER, "general"): "hurts",
        (OTHER, "legal"): "helps",
    }
    # Of legal the one task wants one epoch, the other two; their mean says neither.
    trials = {task: x["legal"].recipe for task, x in found.by_task.items()}
    assert {task: x and x.first.number for task, x in trials.items()} == {TASK: 6, OTHER: 9}
    for arm in ("general", "legal"):
        assert verdict_word(found.arms[arm].known) == "no clear difference"
    lines = answer_lines(study, found)
    assert lines[0].startswith(f"general and {TASK}: helps, +")
    assert lines[-1].startswith("legal and all target tasks together: no clear difference, ")
    assert {recommended(study, task).evidence.name for task in (TASK, OTHER)} == {
        "pocket_ner_calendar",
        "pocket_ner_parties",
    }


def rated(arm: dict[str, str], rate: float) -> dict[str, Any]:
    start = dict(arm) if arm == NONE else choice(arm, 1)
    return {**start, "target.learning_rate": rate}


def test_gains_of_each_target_task_are_over_its_own_best_direct_training(tmp_path: Path) -> None:
    """The one task is best at the low rate, the other at the high one."""
    plans = [
        *(Plan(rated(NONE, 1e-4), both(60, 50), seed) for seed in (0, 1)),
        *(Plan(rated(NONE, 1e-3), both(50, 58), seed) for seed in (0, 1)),
        *(Plan(rated(GENERAL, 1e-4), both(60, 50), seed) for seed in (0, 1, 2)),
        *(Plan(rated(GENERAL, 1e-3), both(50, 58), seed) for seed in (0, 1, 2)),
    ]
    study, found = answered(
        tmp_path,
        plans,
        arms=["none", "general", "legal"],
        target=TWO_TARGETS | {"learning_rate": RATES},
    )
    assert study.baseline is not None
    assert {task: x.trial for task, x in study.baseline.tasks.items()} == {TASK: 0, OTHER: 2}
    # A run that does as well as either direct training gains nothing in its task, 8 or 10 points
    # less than nothing in the other; over both that is the value of the trial.
    assert [x.value for x in study.optuna_study.trials] == pytest.approx([-4] * 3 + [-5] * 3)
    model = StudyModel(study)
    zero = model.zero_of_all(study.languages)
    assert zero.offset == pytest.approx(-4), "the direct training that is best over both"
    assert [model.zero_of_task(task).offset for task in (TASK, OTHER)] == [0, 0]
    for task, trial in ((TASK, 0), (OTHER, 3)):
        finding = found.by_task[task]["general"]
        assert finding.recipe is not None
        assert finding.recipe.first.number == trial
        assert known(finding.known).gain == pytest.approx(0, abs=0.5)
    table = recipe_table(study, model).set_index("trial")
    assert table["measured_gain"].to_dict() == pytest.approx({0: -4, 3: -5})
    for task in (TASK, OTHER):
        choice_of_task = recommended(study, task)
        if choice_of_task.evidence.is_baseline:
            assert choice_of_task.evidence.trial == study.baseline.tasks[task].trial


def test_an_arm_is_judged_when_half_of_its_tasks_had_a_fair_try(tmp_path: Path) -> None:
    tasks = ["pocket_ner_calendar", "pocket_nli_reports", "pocket_ner_parties"]
    more = ["pocket_ner_statutes", "pocket_topic_circulars"]
    intermediate = {"tasks": [*tasks, *more], "epochs": [1, 2], "learning_rate": RATES}
    study, found = answered(tmp_path, PLANS, intermediate=intermediate)
    general, legal = found.by_task[TASK]["general"], found.by_task[TASK]["legal"]
    assert (known(general.known).tried, general.tasks) == (1, 2)
    assert verdict_word(general.known) == "helps"
    assert (known(legal.known).tried, legal.tasks) == (1, 3)
    assert verdict_word(legal.known) == NOT_FAIR
    lines = answer_lines(study, found)
    (line,) = (x for x in lines if x.startswith(f"legal and {TASK}"))
    assert line.startswith(f"legal and {TASK}: {NOT_FAIR}, -")
    assert "1 of 3 legal tasks tried" in line
    assert lines[-1].startswith("to try legal fairly: python -m search.run --study synthetic")
    assert "--trials 40" in lines[-1]


def test_tries_at_a_badly_tuned_target_stage_are_not_fair(tmp_path: Path) -> None:
    """Legal was tried where direct training loses ten points: it is not judged by that."""
    plans = [
        *(Plan(rated(NONE, 1e-4), scored(61, 51), seed) for seed in (0, 1)),
        *(Plan(rated(NONE, 1e-3), scored(51, 41), seed) for seed in (0, 1)),
        *(Plan(rated(GENERAL, 1e-4), scored(65, 55), seed) for seed in (0, 1)),
        *(Plan(rated(LEGAL, 1e-3), scored(51, 41), seed) for seed in (0, 1)),
    ]
    target = {"tasks": [TASK], "languages": ["qaa", "qab"], "learning_rate": RATES}
    _, found = answered(tmp_path, plans, target=target)
    general, legal = (known(found.arms[arm].known) for arm in ("general", "legal"))
    assert (general.is_fair, verdict_word(general)) == (True, "helps")
    assert (legal.is_fair, verdict_word(legal)) == (False, NOT_FAIR)
    assert legal.gain == pytest.approx(-10, abs=3)
    assert legal.itself == pytest.approx(0, abs=2), "the target stage lost them, not legal"


def test_an_arm_that_was_not_tried_is_said_to_be_so(tmp_path: Path) -> None:
    study, found = answered(
        tmp_path, [x for x in PLANS if x.params["intermediate.domain"] != "legal"]
    )
    assert found.arms["legal"].recipe is None
    lines = answer_lines(study, found)
    assert f"legal and {TASK}: {NOT_FAIR}, no recipe is finished" in lines


def test_the_arm_that_the_question_is_about_comes_first_and_the_others_are_beside_it(
    tmp_path: Path,
) -> None:
    study, found = answered(tmp_path, PLANS, about="legal")
    first, beside = answer_lines(study, found)
    assert first.startswith(f"legal and {TASK}: hurts, -")
    assert beside.startswith(f"best of the other arms: {TASK} +")
    assert beside.endswith("with pocket_ner_calendar (general)")


def test_what_changes_nothing_neither_helps_nor_hurts(tmp_path: Path) -> None:
    plans = [replace(x, right=scored(51, 41)) if x.right else x for x in PLANS]
    study, found = answered(tmp_path, plans)
    for finding in found.arms.values():
        assert verdict_word(finding.known) == "no clear difference"
    assert recommended(study, TASK).evidence.is_baseline


def test_before_a_recipe_is_finished_there_is_no_answer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, DIRECT)
    study = open_stored_study(url, "synthetic")
    assert answer_of(study) is None
    (line,) = answer_lines(study, None)
    assert line.startswith("no answer yet")


def test_how_far_the_recommendation_is_from_the_best_is_said(tmp_path: Path) -> None:
    _, found = answered(tmp_path, PLANS)
    assert found.recommended == "general"
    assert 0 <= found.regret <= found.regret_90
    assert f"within {found.regret:.1f} points of the best" in regret_line(found)


def test_a_narrow_terminal_has_fewer_columns_and_no_broken_word(tmp_path: Path) -> None:
    _, found = answered(tmp_path, OPPOSED, target=TWO_TARGETS)
    (wide,), (narrow,) = (answer_tables(found, "t", width) for width in (WIDE, 80))
    assert [x.header for x in wide.columns] == [
        *("target task", "arm", "gain [95 %]", "itself", "recommended task", "tried", "so far")
    ]
    assert [x.header for x in narrow.columns] == [
        *("target task", "arm", "gain [95 %]", "tried", "so far")
    ]
    assert len(wide.rows) == len(narrow.rows) == 3 * 2
    for table, width in ((wide, WIDE), (narrow, 80)):
        file = StringIO()
        Console(width=width, file=file).print(table)
        lines = file.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        shown = {word for line in lines for word in line.split()}
        assert {TASK, OTHER, "general", "legal", "helps", "hurts", "difference"} <= shown
    assert "pocket_ner_calendar" not in shown, "which the sentences say"


def test_the_narrowest_terminal_has_a_table_for_each_target_task(tmp_path: Path) -> None:
    _, found = answered(tmp_path, OPPOSED, target=TWO_TARGETS)
    tables, width = answer_tables(found, "What helps?", 60), 60
    assert len(tables) == 3
    assert width < NARROW
    file = StringIO()
    for table in tables:
        Console(width=width, file=file).print(table)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in file.getvalue()
    assert {TASK, OTHER, "all of them"} <= {line.strip() for line in lines}
