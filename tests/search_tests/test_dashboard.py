"""The dashboard as a browser meets it: a real server on a real study."""

from __future__ import annotations

import base64
import csv
import json
import socket
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import optuna
import pytest
from optuna_dashboard import get_note

from search.dashboard import main
from search.findings.standings import standings_of
from search.reporting.dashboard_server import Pages
from search.reporting.dashboard_views import Additions
from search.studies.stored_study import open_stored_study
from spaces.errors import SpecError
from tests.processes import wait_until
from tests.raising import ends_with
from tests.search_tests.conftest import Workplace
from tests.studies import PLANS, verdict_row, write_confirmation, write_study


def test_the_dashboard_serves_the_study_on_loopback(searched: Workplace) -> None:
    server = searched.start(
        sys.executable, *("-m", "search.dashboard", "--study", "tiny.toml", "--port", "0")
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[0]
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url) as page:
            assert "<html" in page.read().decode().lower()
        site = url.partition("/dashboard")[0]
        wait_until(lambda: get_study(site)["plotly_graph_objects"], server)
        study = get_study(site)
        assert study["trials"][0]["state"] == "Complete"
        assert study["objective_names"] == ["gain expected of the recipe, points (pocket corpora)"]
        attributes = {item["key"]: item["value"] for item in study["user_attrs"]}
        assert "pocket corpora" in attributes["data"]
        assert "pocket corpora" in study["note"]["body"]
        figures = {x["id"]: json.loads(x["graph_object"]) for x in study["plotly_graph_objects"]}
        for figure in figures.values():
            assert "pocket corpora" in figure["layout"]["title"]["text"]
        second = study["trials"][1]
        files = {}
        for artifact in second["artifacts"]:
            place = f"{site}/artifacts/1/{second['trial_id']}/{artifact['artifact_id']}"
            with urllib.request.urlopen(place) as answer:
                lines = answer.read().decode().splitlines()
            files[artifact["filename"]] = list(csv.DictReader(lines))
        scores, training = files["scores.csv"], files["training.csv"]
        assert {(row["language"], row["seed"]) for row in scores} >= {("qaa", "0"), ("qab", "0")}
        gains = [float(row["gain"]) for row in scores if row["language"] != "qas"]
        with urllib.request.urlopen(f"{site}/csv/2") as answer:
            _, run, *_ = csv.DictReader(answer.read().decode().splitlines())
        measured = float(run["gain of one run over direct training, points (pocket corpora)"])
        assert sum(gains) / len(gains) == pytest.approx(measured, abs=0.01)
        epochs = second["params"][
            [x["name"] for x in second["params"]].index("intermediate.epochs")
        ]
        stage = [row for row in training if (row["stage"], row["seed"]) == ("intermediate", "0")]
        assert [row["epoch"] for row in stage] == [
            str(x + 1) for x in range(int(epochs["param_external_value"]))
        ]
        assert all(float(row["loss"]) > 0 for row in training)
        assert refused(site + "/api/studies", Host="evil.example") == 403
        assert refused(site + "/api/studies/2", "DELETE", Origin="http://evil.example") == 403
        assert get_study(site)["trials"]
    finally:
        server.kill()
        server.communicate()


def test_other_machines_need_the_password_and_many_can_read_at_once(
    searched: Workplace,
) -> None:
    password = searched.folder / "password"
    password.write_text("secret\n", encoding="utf-8")
    password.chmod(0o600)
    server = searched.start(
        *(sys.executable, "-m", "search.dashboard", "--study", "tiny", "--port", "0"),
        *("--host", "0.0.0.0", "--auth", "ann:password", "--read-only"),
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().split("/")[2].partition(":")[2])
        site = f"http://127.0.0.1:{port}"
        header = {"Authorization": "Basic " + base64.b64encode(b"ann:secret").decode()}
        assert refused(site + "/dashboard") == 401
        assert refused(site + "/api/studies/2", "DELETE", **header) == 403
        # Trials are complete once the search model is asked.
        wait_until(lambda: get_study(site, **header)["best_trials"], server)
        # A browser opens connections before it has anything to ask.
        with socket.create_connection(("127.0.0.1", port)), ThreadPoolExecutor(8) as viewers:
            asked = [viewers.submit(get_study, site, **header) for _ in range(32)]
            for found in asked:
                states = [trial["state"] for trial in found.result()["trials"]]
                assert states.count("Complete") == 4
    finally:
        server.kill()
        server.communicate()


def test_the_pages_follow_the_study_while_they_are_served(
    searched: Workplace,
) -> None:
    results = open_stored_study(searched.storage, "tiny")
    pages = Pages(results, Additions())
    renewal = Thread(target=pages.renew, args=(0.05,))
    renewal.start()
    try:
        assert searched.search("--trials", "5", "--quiet").returncode == 0
        wait_until(lambda: "5 complete" in get_note(results.optuna_study))
    finally:
        pages.ended.set()
        renewal.join()


def test_direct_trainings_are_a_study_of_their_own_with_scores(searched: Workplace) -> None:
    study = open_stored_study(searched.storage, "tiny")
    direct = study.direct_study
    assert direct.metric_names == ["score of a direct training, percent (pocket corpora)"]
    assert direct.user_attrs["baseline_of"] == "tiny"
    assert study.baseline is not None
    scores = study.baseline.tasks["pocket_ner"].scores.values()
    assert direct.best_value == pytest.approx(100 * sum(scores) / len(scores))


def test_the_figure_of_the_arms_shows_a_confirmation(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.sqlite"
    write_study(url, PLANS)
    study = open_stored_study(url, "synthetic")
    leader = standings_of(study).leader
    assert leader is not None
    rows = [verdict_row(leader.first.number, "", "", "helps", 2.0)]
    chosen = {leader.first.number: (leader.arm, leader.task)}
    write_confirmation(study.ledger, "synthetic", chosen, rows)
    Pages(study, Additions()).write()
    assert "confirmed: fresh seeds, test splits" in json.dumps(figures_of(study.optuna_study))


def get_study(site: str, **headers: str) -> Any:
    """What the page of the study polls; its direct trainings are the study before it."""
    asked = urllib.request.Request(site + "/api/studies/2?after=0", headers=headers)
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)


def refused(url: str, method: str = "GET", **headers: str) -> int:
    """The status of an answer that is none."""
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers))
    answer.value.close()
    return answer.value.code


def figures_of(study: optuna.Study) -> dict[str, str]:
    """Figure -> its JSON, as optuna-dashboard keeps them."""
    kept = study._storage.get_study_system_attrs(study._study_id)
    return {k: v for k, v in kept.items() if k.startswith("dashboard:plot_data:arms")}


def test_a_port_in_use_is_named(searched: Workplace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with ends_with(SpecError, subject="--port", found=f"{port} cannot be used here"):
            main(["--study", "tiny", "--storage", searched.storage, "--port", str(port)])
