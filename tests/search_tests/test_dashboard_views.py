"""What our dashboard adds to optuna-dashboard's answers: notes of trials, order, and a look."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import create_trial
from optuna_dashboard import get_note, save_note, wsgi

from search.findings.landscape import read_landscape
from search.reporting.dashboard_gains import dashboard_gains
from search.reporting.dashboard_server import Pages
from search.reporting.dashboard_views import Additions, with_additions
from search.reporting.terminal import write_note
from search.reporting.trial_words import trial_notes
from search.studies.opening import set_metric_names
from search.studies.stored_study import StoredStudy, open_stored_study
from tests.studies import PLANS, verdict_row, write_confirmation, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StoredStudy:
    url = f"sqlite:///{tmp_path_factory.mktemp('views') / 'study.db'}"
    write_study(url, PLANS)
    return open_stored_study(url, "synthetic")


def _written(folder: Path) -> StoredStudy:
    """A study of one's own, to be changed."""
    url = f"sqlite:///{folder / 'study.db'}"
    write_study(url, PLANS)
    return open_stored_study(url, "synthetic")


def _shown(app: Any, query: str = "") -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(_get(app, "/api/studies/2", query)[1])
    return shown


def _get(app: Any, path: str, query: str = "") -> tuple[str, bytes]:
    said = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query}
    environ |= {"SCRIPT_NAME": ""}
    environ |= {"SERVER_NAME": "x", "SERVER_PORT": "1", "wsgi.url_scheme": "http"}
    body = b"".join(app(environ, lambda status, headers: said.append((status, dict(headers)))))
    ((status, headers),) = said
    assert int(headers["Content-Length"]) == len(body)
    return status, body


def test_every_trial_has_a_note_with_recipe_gain_seed_and_why_it_ended(study: StoredStudy) -> None:
    trials, direct = trial_notes(study, read_landscape(study)).values()
    assert set(trials) == set(range(6))
    assert trials[2].startswith(
        "## +5.0 points in this run\n\nOver the best direct training; score 51.0."
    )
    assert "trained first on `pocket_ner_calendar` (general), with seed 1" in trials[2]
    assert "| `intermediate.epochs` | 2 |" in trials[2].replace("`2`", "2")
    assert "Runs of this recipe: 1, 2; their mean is +4.0; the search model expects +" in trials[2]
    assert trials[5].startswith("**No result**: diverged.")
    assert all("Pocket corpora" in note for note in (*direct.values(), *trials.values()))
    assert direct[0].startswith("## score 45.0")


def test_notes_and_figures_are_added_and_nobody_s_own_note_is_replaced(study: StoredStudy) -> None:
    additions = Additions()
    Pages(study, additions).write()
    trial = optuna.trial.Trial(study.optuna_study, study.optuna_study.trials[1]._trial_id)
    save_note(trial, "my own")
    app = with_additions(wsgi(study.storage), additions)
    status, body = _get(app, "/api/studies/2")
    shown = json.loads(body)
    assert status.startswith("200")
    notes = {x["number"]: x["note"]["body"] for x in shown["trials"]}
    assert notes[1] == "my own"
    assert notes[2].startswith("## +5.0 points")
    names = [x["id"] for x in shown["plotly_graph_objects"]]
    assert names == list(additions.heights)
    assert names[0] == "answer"


def test_optuna_s_panels_show_the_gains_of_the_answer(study: StoredStudy) -> None:
    additions = Additions(dashboard_gains(study))
    app = with_additions(wsgi(study.storage), additions)
    before = _shown(app)
    # Nothing of a run is shown before the search model knows it.
    assert before["best_trials"] == []
    assert "Complete" not in {x["state"] for x in before["trials"]}
    assert not any("values" in x for x in before["trials"])
    Pages(study, additions).write()
    shown, landscape = _shown(app), read_landscape(study)
    assert landscape.answer is not None
    arm = landscape.answer.arms[landscape.answer.recommended]
    assert arm.recipe is not None
    assert arm.known is not None
    (best,) = shown["best_trials"]
    assert best["number"] == arm.recipe.first.number
    assert best["values"] == [round(arm.known.gain, 1)]
    complete = {x["number"]: x["values"][0] for x in shown["trials"] if x["state"] == "Complete"}
    assert max(complete.values()) == best["values"][0]
    # Runs of one recipe have one gain, and the run's own is in its note.
    assert complete[1] == complete[2] != study.optuna_study.trials[2].value
    assert shown["trials"][5]["state"] == "Fail"
    assert shown["objective_names"] == ["gain expected of the recipe, points (pocket corpora)"]


@pytest.mark.parametrize(("after", "count"), [(5, 1), (6, 0), (1000, 0)])
def test_the_best_trial_is_the_same_whichever_trials_a_page_asks_for(
    study: StoredStudy, after: int, count: int
) -> None:
    additions = Additions()
    Pages(study, additions).write()
    app = with_additions(wsgi(study.storage), additions)
    # The first answer of these gains is to a page that has most trials already.
    later = _shown(app, f"after={after}")
    assert len(later["trials"]) == count
    assert later["best_trials"] == _shown(app)["best_trials"]
    assert later["best_trials"][0]["number"] == 1


@pytest.mark.parametrize("best", [6, 7])
def test_no_trial_is_the_best_one_before_optuna_dashboard_has_it_as_complete(
    tmp_path: Path, best: int
) -> None:
    study = _written(tmp_path)
    study.optuna_study.ask()
    additions = Additions()
    Pages(study, additions).write()
    assert additions.gains is not None
    gains = replace(additions.gains, best=best, by_trial={**additions.gains.by_trial, best: 9.0})
    additions.gains = gains
    app = with_additions(wsgi(study.storage), additions)
    assert _shown(app)["best_trials"] == []
    assert _shown(app, "after=6")["best_trials"] == []
    study.storage.close()


def test_trials_whose_scores_nobody_has_are_complete_without_a_value(tmp_path: Path) -> None:
    study = _written(tmp_path)
    study.optuna_study.add_trial(create_trial(value=99.0))
    study.optuna_study.ask()
    additions = Additions()
    pages = Pages(study, additions)
    pages.write()
    # It completes after the search model was asked: a page is to ask for it again.
    study.optuna_study.tell(7, 98.0)
    shown = _shown(with_additions(wsgi(study.storage), additions))["trials"]
    assert [(x["state"], "values" in x) for x in shown[6:]] == [
        ("Complete", False),
        ("Running", False),
    ]
    study.storage.close()


def test_a_slash_at_the_end_changes_nothing(study: StoredStudy) -> None:
    additions = Additions()
    Pages(study, additions).write()
    app = with_additions(wsgi(study.storage), additions)
    for path in ("/api/studies/2", "/api/studies/2/param_importances"):
        assert _get(app, f"{path}/") == _get(app, path)


def test_plots_that_the_server_draws_say_that_they_are_of_runs(tmp_path: Path) -> None:
    study = _written(tmp_path)
    set_metric_names(study.optuna_study, ["gain of one run"])
    additions = Additions()
    Pages(study, additions).write()
    app = with_additions(wsgi(study.storage), additions)
    for kind in ("slice", "contour", "rank", "edf", "parallel_coordinate"):
        plot = _get(app, f"/api/studies/2/plot/{kind}")[1].decode()
        assert "gain of one run" in plot, kind
        assert "Objective Value" not in plot, kind
    study.storage.close()


def test_of_a_deleted_study_nothing_is_shown_any_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = _written(tmp_path)
    additions = Additions()
    pages = Pages(study, additions)
    pages.write()
    assert additions.gains is not None
    optuna.delete_study(study_name="synthetic", storage=study.storage)
    pages.renew()
    assert additions.gains is None
    assert "deleted or renamed" in caplog.text
    study.storage.close()


def test_optuna_s_importance_is_that_of_the_search_model(study: StoredStudy) -> None:
    additions = Additions()
    Pages(study, additions).write()
    app = with_additions(wsgi(study.storage), additions)
    (shares,) = json.loads(_get(app, "/api/studies/2/param_importances")[1])["param_importances"]
    landscape = read_landscape(study)
    assert {x["name"]: x["importance"] for x in shares} == {
        x.choice: x.share for x in landscape.importance
    }


def test_direct_trainings_and_other_studies_keep_optuna_s_values(study: StoredStudy) -> None:
    additions = Additions()
    Pages(study, additions).write()
    app = with_additions(wsgi(study.storage), additions)
    direct = json.loads(_get(app, "/api/studies/1")[1])
    trials = study.direct_study.trials
    assert [x["values"] for x in direct["trials"]] == [x.values for x in trials]


def test_the_note_of_a_confirmed_study_begins_with_the_answer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, PLANS)
    study = open_stored_study(url, "synthetic")
    chosen = {1: ("general", "pocket_ner_calendar")}
    rows = [verdict_row(1, "", "", "helps", 2.5), verdict_row(1, "pocket_nli", "qaa", "helps", 2)]
    write_confirmation(study.ledger, "synthetic", chosen, rows)
    write_note(study)
    _, _, answer, *rest = get_note(study.optuna_study).splitlines()
    assert answer.startswith("**Train on trial 1 (pocket_ner_calendar) first: it helps, +2.5 [")
    assert "  - by the intermediate task itself +2.5" in "\n".join(rest)
    study.storage.close()


def test_the_page_has_our_look_and_its_script(study: StoredStudy) -> None:
    app = with_additions(wsgi(study.storage), Additions())
    page = _get(app, "/dashboard/studies/2")[1].decode()
    assert page.index("user-defined-plot") < page.index("</head>")
    status, script = _get(app, "/static/transfer-search.js")
    assert status == "200 OK"
    assert b"MutationObserver" in script
