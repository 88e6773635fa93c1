"""Two studies side by side: what differs, what either found, and when that cannot be compared."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import chdir, closing
from dataclasses import replace
from pathlib import Path

import pytest

from search import compare, run
from search.findings.answer import answer_of
from search.findings.comparison import compare_stored, compare_studies
from search.findings.standings import standings_of
from search.studies.stored_study import StoredStudy, open_stored_study
from spaces.task import Metric
from tests.search_tests.conftest import STUDY
from tests.studies import (
    PLANS,
    TASK,
    verdict_row,
    write_confirmation,
    write_study,
    write_test_scores,
)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Iterator[str]:
    """A database with the studies `first` and `second`, which differ in their languages."""
    folder = tmp_path_factory.mktemp("compare")
    (folder / "tiny.toml").write_text(STUDY, encoding="utf-8")
    words = ["--study", "tiny.toml", "--data", "pocket", "--backbone", str(encoder), "--quiet"]
    words += ["--threads", "1", "--precision", "float32", "--trials", "2"]
    words += ["--set", 'target.tasks=["pocket_pos"]']
    other = ["--set", 'target.languages=["qab", "qac"]', "--set", 'arms=["none", "legal"]']
    other += ["--set", 'intermediate.tasks=["pocket_ner_parties"]']
    with chdir(folder):
        assert run.main([*words, "--name", "first"]) == 0
        assert run.main([*words, "--name", "second", *other]) == 0
        yield f"sqlite:///{folder / 'transfer-search.sqlite'}"


@pytest.fixture
def both(storage: str) -> tuple[StoredStudy, StoredStudy]:
    """The two studies."""
    first, second = (open_stored_study(storage, name) for name in ("first", "second"))
    return first, second


def test_what_differs_is_told_and_nothing_else(both: tuple[StoredStudy, StoredStudy]) -> None:
    record = compare_studies(*both)
    assert record.differences == {
        "arms": (["none", "general", "legal"], ["none", "legal"]),
        "intermediate.tasks": (
            ["pocket_ner_calendar", "pocket_ner_parties"],
            ["pocket_ner_parties"],
        ),
        "target.languages": (["qaa", "qab"], ["qab", "qac"]),
    }
    assert record.warnings == ()
    assert compare_studies(both[0], both[0]).differences == {}


def test_gains_are_the_answers_of_each_study_over_its_own_direct_training(
    both: tuple[StoredStudy, StoredStudy],
) -> None:
    record = compare_studies(*both)
    (row,) = record.languages
    assert (row.task, row.language) == ("pocket_pos", "qab")
    for place, (study, best) in enumerate(zip(both, record.best, strict=True)):
        answer, leader = answer_of(study), standings_of(study).leader
        assert answer is not None
        assert leader is not None
        assert best.trial == leader.first.number
        assert not best.confirmed
        assert best.gain.verdict is None
        for arm, finding in answer.arms.items():
            compared = record.arms[arm][place]
            assert compared is not None
            if finding.known is None:
                assert compared.gain is None
                continue
            assert (compared.gain, compared.low) == (finding.known.gain, finding.known.interval[0])
            if arm == leader.arm:
                assert best.gain.gain == compared.gain
                assert (best.gain.low, best.gain.high) == (compared.low, compared.high)
    first, second = (gain.gain for gain in row.gains)
    assert row.difference == second - first
    assert record.arms["general"][1] is None
    assert [cost.complete_trials for cost in record.cost] == [3, 3], "a direct training and two"


def test_what_cannot_be_compared_is_told(both: tuple[StoredStudy, StoredStudy]) -> None:
    first, second = both

    def warnings(other: StoredStudy) -> str:
        return "; ".join(compare_studies(first, other).warnings)

    definition = second.definition
    real = replace(second, definition=replace(definition, source="hub"))
    assert warnings(real) == "one is of the pocket corpora, the other of real ones"

    corpora = {**definition.corpora, "pocket_pos qab validation": "0" * 64}
    changed = replace(second, definition=replace(definition, corpora=corpora))
    assert warnings(changed) == "1 split has other content (pocket_pos qab validation)"

    task = second.catalogue["pocket_pos"].model_copy(update={"metric": Metric.MACRO_F1})
    other = replace(second)
    tasks = {**second.catalogue.tasks, "pocket_pos": task}
    vars(other)["catalogue"] = replace(second.catalogue, tasks=tasks)
    assert warnings(other) == ("pocket_pos is scored by span_f1 and by macro_f1")


def test_studies_of_other_target_tasks_are_compared_in_those_that_both_have(
    tmp_path: Path,
) -> None:
    url, other = f"sqlite:///{tmp_path / 'study.db'}", "pocket_topic"
    both = [replace(x, right={**x.right, (other, "qaa"): 60} if x.right else {}) for x in PLANS]
    write_study(url, PLANS)
    write_study(
        url, both, name="more", target={"tasks": [TASK, other], "languages": ["qaa", "qab"]}
    )
    record = compare_stored(url, ("synthetic", "more"))
    assert f"their target tasks differ ({TASK}; {TASK}, {other})" in "; ".join(record.warnings)
    assert {cell.task for cell in record.languages} == {TASK}


def test_of_two_confirmed_studies_the_gains_on_test_splits_are_shown(
    storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.sqlite"
    with (
        closing(sqlite3.connect(storage.removeprefix("sqlite:///"))) as old,
        closing(sqlite3.connect(copy)) as new,
    ):
        old.backup(new)
    url = f"sqlite:///{copy}"
    first, second = (open_stored_study(url, name) for name in ("first", "second"))
    confirm(first, 2.0, "helps")
    warning = "only one of them is confirmed, so both gains are those of the search"
    assert compare_studies(first, second).warnings == (warning,)
    confirm(second, -1.0, "undecided")
    record = compare_studies(first, second)
    assert record.warnings == ()
    assert [best.confirmed for best in record.best] == [True, True]
    (row,) = record.languages
    assert [gain.gain for gain in row.gains] == [2.0, -1.0]
    assert [gain.verdict for gain in row.gains] == ["helps", "undecided"]
    assert row.difference == -3.0
    assert compare.main(["first", "second", "--storage", url]) == 0
    shown = capsys.readouterr().out
    assert (
        "A best: +2.0 [+1.0, +3.0] helps (confirmed on test splits, 5 seeds; +2.0 of it by"
        in shown
    )
    assert "-1.0 [-2.0, +0.0]" in shown


def confirm(results: StoredStudy, gain: float, verdict: str) -> None:
    """A confirmation of the leader with this outcome in every language."""
    leader = standings_of(results).leader
    assert leader is not None
    trial = leader.first.number
    pairs = write_test_scores(results, trial)
    cells = dict.fromkeys((pair.score.task, pair.score.language) for pair in pairs)
    rows = [verdict_row(trial, *cell, verdict, gain) for cell in [("", ""), *cells]]
    seeds = sorted({pair.seed for pair in pairs})
    chosen = {trial: (leader.arm, leader.task)}
    write_confirmation(results.ledger, results.name, chosen, rows, seeds=seeds)


def test_people_and_machines_are_told_the_same(
    storage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["first", "second", "--storage", storage]
    assert compare.main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert compare.main(words) == 0
    shown = capsys.readouterr().out
    assert "A: first (pocket corpora): Does anything help?" in shown
    assert all(len(line) <= 110 for line in shown.splitlines() if line[:1] in "┃│┏┡└")
    assert "warning" not in shown
    rows = [[cell.strip() for cell in x.split("│")[1:-1]] for x in shown.splitlines()]
    assert ["target.languages", "qaa, qab", "qab, qac"] in rows
    (row,) = [row for row in rows if row[:2] == ["pocket_pos", "qab"]]
    (found,) = record["languages"]
    for cell, gain in zip((row[3], row[5]), found["gains"], strict=True):
        assert cell.startswith(f"{round(gain['gain'], 1) + 0.0:+.1f}")
        known = (
            "(no interval)" if gain["low"] is None else f"[{round(gain['low'], 1) + 0.0:+.1f}, "
        )
        assert known in cell
    assert ["general", "B", "not an arm of it", "", ""] in rows


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("first", "secnd"), "Study 'secnd' is not in .* Did you mean 'second'?"),
        (("first", "first"), "compare: expected two studies, found 'first' twice"),
        (("first", "second", "--storage", "sqlite:///no.sqlite"), "no.sqlite"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    storage: str,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    expected: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        compare.main(["--storage", storage, *words])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    for part in expected.split(" .* "):
        assert part in line
