"""The tables of a small study against figures worked by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from search.findings.answer import answer_of
from search.findings.study_model import StudyModel
from search.findings.trial_tables import recipe_table, score_table
from search.studies.stored_study import StoredStudy, open_stored_study
from tests.studies import DIRECT, FAILED, PLANS, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StoredStudy:
    """The study worked out by hand."""
    url = f"sqlite:///{tmp_path_factory.mktemp('tables') / 'study.db'}"
    return open_stored_study(url, write_study(url, PLANS))


def test_every_score_is_in_the_long_table_and_so_is_the_trial_that_failed(
    study: StoredStudy,
) -> None:
    scores = score_table(study)
    assert len(scores) == (2 + 5) * 2 + 1
    row = scores.query("kind == 'trial' and trial == 2 and language == 'qab'").iloc[0]
    assert (row["score"], row["baseline"]) == (0.46, pytest.approx(0.41))
    assert (row["gain"], row["seed"]) == (pytest.approx(5), 1)
    assert (row["arm"], row["intermediate"]) == ("general", "pocket_ner_calendar")
    assert (row["intermediate.epochs"], row["examples"]) == (2, 100)
    assert row["seconds"] == pytest.approx(2.0 + 1.0)
    failed = scores[scores["trial"] == 5].iloc[0]
    assert (failed["state"], failed["reason"]) == ("fail", "diverged")
    assert pd.isna(failed["score"])


def test_direct_trainings_come_first_and_their_mean_is_the_zero(study: StoredStudy) -> None:
    direct = score_table(study).query("kind == 'direct'")
    assert list(direct["trial"]) == [0, 0, 1, 1]
    assert set(direct["arm"]) == {"none"}
    assert list(direct["gain"]) == pytest.approx([-1, -1, 1, 1])
    assert direct["intermediate.epochs"].isna().all()


def test_recipes_have_what_was_measured_what_is_expected_and_the_time_they_ask_for(
    study: StoredStudy,
) -> None:
    recipes = recipe_table(study, StudyModel(study)).set_index("trial")
    assert recipes["measured_gain"].to_dict() == pytest.approx({0: 2, 1: 4, 3: -10, 4: -12})
    assert recipes["runs"].to_dict() == {0: 1, 1: 2, 3: 1, 4: 1}
    assert recipes["score"][1] == pytest.approx(0.50)
    assert recipes["seconds"].to_dict() == {0: 3.0, 1: 3.0, 3: 3.0, 4: 5.0}
    gains = recipes["gain"]
    assert gains.idxmax() == 1
    assert 0 < gains[1] < 4, "what few runs show is partly luck"
    assert gains[[3, 4]].max() < -4


def test_an_expected_gain_is_the_answers(study: StoredStudy) -> None:
    recipes, answer = recipe_table(study, StudyModel(study)).set_index("trial"), answer_of(study)
    assert answer is not None
    for finding in answer.arms.values():
        assert finding.recipe is not None
        assert finding.known is not None
        assert recipes["gain"][finding.recipe.first.number] == finding.known.gain


def test_a_run_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = open_stored_study(url, write_study(url, [*PLANS, PLANS[3]]))
    recipes = recipe_table(study, StudyModel(study)).set_index("trial")
    assert list(recipes.index) == [0, 1, 3, 4]
    assert (recipes["runs"][1], recipes["measured_gain"][1]) == (2, pytest.approx(4))
    assert recipes["seconds"][1] == 3.0


def test_without_a_complete_trial_there_is_no_recipe(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = open_stored_study(url, write_study(url, [*DIRECT, FAILED]))
    assert len(score_table(study)) == 2 * 2 + 1
    assert recipe_table(study, StudyModel(study)).empty
