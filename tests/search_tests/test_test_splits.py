"""What was seen of test splits is counted, and stands beside the verdict."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from optuna_dashboard import get_note

from search import confirm
from search.findings import test_splits
from search.handover.origin import PredictionsOrigin
from search.reporting.terminal import show_results
from search.studies.stored_study import open_stored_study
from tests.search_tests.test_report import confirm as write_verdicts
from tests.search_tests.test_report import written
from tests.search_tests.test_standings import url_in
from tests.studies import PLANS, TASK, write_study


def lines_of(url: str, study: str = "synthetic") -> list[str]:
    opened = open_stored_study(url, study)
    with closing(opened.storage):
        return test_splits.test_split_lines(opened)


def test_a_study_that_nobody_looked_at_has_nothing_to_say(tmp_path: Path) -> None:
    write_study(url_in(tmp_path), PLANS)
    assert lines_of(url_in(tmp_path)) == []


def test_scoring_a_studys_own_predictions_counts_and_is_listed_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = url_in(tmp_path)
    write_study(url, PLANS)
    write_verdicts(url, "undecided", 0.5)
    origin = PredictionsOrigin("synthetic", url, f"trial 1 on {TASK}")
    origin.write(tmp_path / "to" / TASK)
    found = PredictionsOrigin.of_folder(tmp_path / "to" / TASK)
    assert found == origin
    assert found.count_as_scored() == ""
    seen, left = lines_of(url)
    assert seen.startswith("these test splits were also seen once: evaluate on 20")
    assert f"(trial 1 on {TASK})" in seen
    assert left == "no error is left for another look at these test splits"
    found.count_as_scored()
    assert "also seen 2 times" in lines_of(url)[0]
    capsys.readouterr()
    assert confirm.main(["--study", "synthetic", "--storage", url]) == 0
    assert "also seen 2 times" in capsys.readouterr().out
    report = written(tmp_path)
    assert "These test splits were also seen 2 times" in report.page.text
    assert report.numbers["test_splits"] == lines_of(url)
    study = open_stored_study(url, "synthetic")
    show_results(study)
    note = get_note(study.optuna_study)
    assert "these test splits were also seen 2 times" in note
    study.storage.close()


def test_predictions_of_no_study_or_of_one_that_is_gone_are_scored_all_the_same(
    tmp_path: Path,
) -> None:
    assert PredictionsOrigin.of_folder(tmp_path) is None
    (tmp_path / "study.json").write_text("[]")
    assert PredictionsOrigin.of_folder(tmp_path) is None
    gone = PredictionsOrigin("synthetic", url_in(tmp_path / "nowhere"), "trial 1")
    assert gone.count_as_scored().startswith("not counted as a look at the test splits of")


def test_studies_that_share_test_splits_are_named(tmp_path: Path) -> None:
    url = url_in(tmp_path)
    write_study(url, PLANS)
    write_study(url, PLANS, name="other")
    write_verdicts(url, "helps", 2.5)
    study = open_stored_study(url, "other")
    with closing(study.storage):
        shared = test_splits.shared_with(study)
    assert list(shared) == ["synthetic"]
    assert set(shared["synthetic"]) == {f"{TASK} qaa", f"{TASK} qab"}
    (line,) = lines_of(url, "other")
    assert line == "studies with the same test splits: synthetic (2 of them, confirmed 1 time)"
    shared_line, _ = lines_of(url)
    assert "other (2 of them, not confirmed)" in shared_line
