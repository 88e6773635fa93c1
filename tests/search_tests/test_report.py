"""The report: what its files say, also of too little, and that they fetch nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from search import report
from search.findings.confirmation import ConfirmationPlan
from search.reporting.page import ReportRequest, write_atlas, write_report
from spaces.errors import SpecError
from spaces.stage_specs import Aggregate
from storage.ledger import Ledger
from storage.opening import open_storage
from tests.raising import ends_with, raises
from tests.search_tests.conftest import ROOT
from tests.studies import (
    DIRECT,
    FAILED,
    LEGAL,
    NONE,
    PLANS,
    TASK,
    Plan,
    choice,
    many,
    verdict_row,
    write_confirmation,
    write_study,
)

EVIL = "Does <script>alert(1)</script> & `co` help | or *not*?"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
MB = 1_000_000


class Reader(HTMLParser):
    """The words that a reader sees, the scripts, and the addresses that a browser would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.addresses: list[str] = []
        self.hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See `HTMLParser`, as for the others."""
        self.hidden = tag in ("script", "style")
        if tag == "script":
            self.scripts.append("")
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        """Whatever ends, words come next."""
        self.hidden = False

    def handle_data(self, data: str) -> None:
        """Words, or a script."""
        if not self.hidden:
            self.words.append(data)
        elif self.scripts:
            self.scripts[-1] += data

    @property
    def text(self) -> str:
        """All words, with one space between."""
        return " ".join(" ".join(self.words).split())


class Written:
    """A folder with a report in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.html = (folder / "index.html").read_text()
        self.markdown = (folder / "report.md").read_text()
        self.numbers: dict[str, Any] = json.loads((folder / "report.json").read_text())
        self.page = Reader(self.html)


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def written(folder: Path, *options: str) -> Written:
    words = ["--study", "synthetic", "--storage", url_in(folder), "--to", str(folder / "out")]
    assert report.main([*words, *(options or ("--no-png",))]) == 0
    return Written(folder / "out")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("report")
    attributes = {"unlike_arms": "arms compared unlike: nli", "overlap": "uner_ewt <-> udpos"}
    write_study(url_in(folder), PLANS, question=EVIL, attributes=attributes)
    return written(folder)


def test_all_files_are_there_and_the_numbers_are_those_worked_by_hand(plain: Written) -> None:
    table = pd.read_csv(plain.folder / "trials.csv")
    assert len(table) == len(pd.read_parquet(plain.folder / "trials.parquet")) == 7 * 2 + 1
    assert table["gain"].sum() == pytest.approx(2 * (2 + 3 + 5 - 10 - 12))
    numbers = plain.numbers
    assert {row["trial"]: row["measured_gain"] for row in numbers["recipes"]} == pytest.approx(
        {0: 2, 1: 4, 3: -10, 4: -12}
    )
    assert numbers["trials"] == {"complete": 5, "fail": 1}
    zero = numbers["baseline"]["tasks"][TASK]
    assert (zero["seeds"], zero["scores"]) == ([0, 1], pytest.approx({"qaa": 0.51, "qab": 0.41}))
    arms = numbers["found"]["by_target_task"][TASK]
    assert {arm: x["trial"] for arm, x in arms.items()} == {"general": 1, "legal": 3}
    assert {arm: x["verdict"] for arm, x in arms.items()} == {"general": "helps", "legal": "hurts"}
    expected = {row["trial"]: row["gain"] for row in numbers["recipes"]}
    assert all(x["gain"] == pytest.approx(expected[x["trial"]]) for x in arms.values())
    assert "NaN" not in (plain.folder / "report.json").read_text()


def test_the_first_screen_answers_and_says_that_it_is_not_confirmed(plain: Written) -> None:
    text = plain.page.text
    answer = plain.numbers["answer"]
    assert answer.startswith(f"Not confirmed.\nGeneral and {TASK}: helps, +")
    assert "points with pocket_ner_calendar first (1 of 1 general tasks tried;" in answer
    assert f"Legal and {TASK}: hurts, -" in answer
    assert all(line in text for line in answer.splitlines())
    assert "Exploratory: the recipes were chosen by the same target-validation scores" in text
    assert f"Best direct training of {TASK}: score 46.0, 2 seeds." in text
    assert "2 direct trainings, then 4 recipes in 5 complete, 1 failed trials" in text
    (confirm, go_on) = plain.numbers["next"]
    assert confirm[1].startswith("python -m search.confirm --study synthetic --storage sqlite:")
    assert go_on[1].startswith("python -m search.run --study synthetic")
    for words in (confirm[1], go_on[1]):
        assert words in text
        assert words in plain.markdown
    for place in ("arms compared unlike: nli", "uner_ewt <-> udpos", "diverged"):
        assert place in text
    assert text.rindex("Provenance") > max(text.rindex(x) for x in ("The arms", "diverged"))


def test_an_arm_that_was_hardly_tried_is_not_judged_on_the_page(tmp_path: Path) -> None:
    legal = ["pocket_ner_parties", "pocket_ner_statutes", "pocket_nli_clauses"]
    intermediate = {
        "tasks": ["pocket_ner_calendar", *legal],
        "epochs": [1, 2],
        "learning_rate": [1e-4, 1e-3],
    }
    write_study(url_in(tmp_path), PLANS, intermediate=intermediate, about="legal")
    found = written(tmp_path)
    arms = found.numbers["found"]["by_target_task"][TASK]
    assert (arms["legal"]["verdict"], arms["legal"]["tried"], arms["legal"]["tasks"]) == (
        *("not tried fairly yet", 1, 3),
    )
    answer = found.numbers["answer"]
    assert answer.startswith(f"Not confirmed.\nLegal and {TASK}: not tried fairly yet, -")
    assert "Best of the other arms: " in answer
    assert "To try legal fairly: python -m search.run --study synthetic" in answer
    assert all(line in found.page.text for line in answer.splitlines())


def test_pocket_figures_are_named_so(plain: Written, tmp_path: Path) -> None:
    assert "Pocket corpora: generated text" in plain.page.text
    assert "The arms (pocket corpora)" in plain.page.text
    assert plain.markdown.startswith("# synthetic (pocket corpora): ")
    write_study(url_in(tmp_path), PLANS, source="local")
    assert "ocket corpora" not in written(tmp_path).page.text


def test_the_page_fetches_nothing_and_stays_small(plain: Written) -> None:
    beside = [x for x in plain.page.addresses if not x.startswith("#")]
    assert all((plain.folder / name).is_file() for name in beside)
    sections = [x[1:] for x in plain.page.addresses if x.startswith("#")]
    assert {"arms", "tasks", "matrix", "paper", "provenance", "files"} <= set(sections)
    assert all(f'<section id="{name}"' in plain.html for name in sections)
    assert not re.search(r"@import|url\(", plain.html)
    assert "default-src 'none'" in plain.html
    assert len(plain.html) < 5 * MB


def test_a_question_is_text_not_markup(plain: Written) -> None:
    assert EVIL in plain.page.text
    assert not any("alert" in script for script in plain.page.scripts)
    assert "<script>" not in plain.markdown
    assert r"\| or \*not\*" in plain.markdown


def _figures(found: Written) -> dict[str, Any]:
    (text,) = (script for script in found.page.scripts if script.startswith("{"))
    figures: dict[str, Any] = json.loads(text)
    return figures


def test_figures_of_pocket_corpora_are_named_so(plain: Written) -> None:
    figures = _figures(plain)
    assert figures
    for figure in figures.values():
        assert "pocket corpora" in figure["layout"]["title"]["text"]


def test_figures_show_intervals(plain: Written) -> None:
    figures = _figures(plain)
    for bars in (figures["arms"]["data"][0]["error_x"], figures["tasks"]["data"][-1]["error_x"]):
        assert all(half > 0 for half in (*bars["array"], *bars["arrayminus"]))


def test_a_study_without_a_complete_trial_says_so(tmp_path: Path) -> None:
    write_study(url_in(tmp_path), [*DIRECT, FAILED])
    found = written(tmp_path)
    assert found.numbers["answer"] == (
        "No answer yet: no recipe with an intermediate task is finished."
    )
    assert found.numbers["answer"] in found.page.text
    assert "diverged" in found.page.text
    ((words, command),) = found.numbers["next"]
    assert "general, legal has no recipe yet" in words
    assert command.startswith("python -m search.run --study synthetic")
    (tmp_path / "none").mkdir()
    write_study(url_in(tmp_path / "none"), [])
    assert "No answer yet" in written(tmp_path / "none").page.text


def confirm(url: str, said: str, gain: float, look: int = 1) -> None:
    storage = open_storage(url)
    recipes = {1: ("general", "pocket_ner_calendar"), 3: ("legal", "pocket_ner_parties")}
    rows = [verdict_row(1, "", "", said, gain), verdict_row(3, "", "", "hurts", -9)]
    rows += [
        verdict_row(1, "pocket_nli", "qaa", "undecided", gain),
        verdict_row(3, "pocket_nli", "qaa", "hurts", -9),
    ]
    write_confirmation(Ledger(storage.engine), "synthetic", recipes, rows, look)
    storage.engine.dispose()


def test_the_answer_is_the_confirmations_where_there_is_one(tmp_path: Path) -> None:
    write_study(url_in(tmp_path), PLANS)
    confirm(url_in(tmp_path), "helps", 2.5)
    found = written(tmp_path)
    assert found.numbers["answer"] == (
        "Train on trial 1 (pocket_ner_calendar) first: it helps, +2.5 [+1.5, +3.5] points over "
        "training directly, well tuned. Reliably worse: trial 3 (pocket_ner_parties) by -9.0."
    )
    text = found.page.text
    assert found.numbers["answer"] in text
    assert "Not confirmed" not in text
    assert "Exploratory" not in text
    assert "up to 5 fresh seeds, test splits" in text
    assert "Of 2 recipes in single languages 0 help reliably, 1 hurt, 0 are" in text
    assert "The search has gone on since: 1 " in text
    assert "confirming took 10 min" in text
    assert "look 2" not in text
    assert found.numbers["next"][0][1].startswith("python -m search.export --study synthetic")


def test_a_figure_has_search_and_confirmation_side_by_side(tmp_path: Path) -> None:
    write_study(url_in(tmp_path), PLANS)
    confirm(url_in(tmp_path), "helps", 2.5)
    assert len(_figures(written(tmp_path))["arms"]["data"]) == 2


def test_nothing_confirmed_is_an_answer_too_and_a_second_look_is_said(tmp_path: Path) -> None:
    write_study(url_in(tmp_path), PLANS)
    confirm(url_in(tmp_path), "helps", 2.5)
    confirm(url_in(tmp_path), "undecided", 0.5, look=2)
    found = written(tmp_path)
    assert found.numbers["answer"].startswith(
        "Undecided: none of the 2 recipes that were confirmed helps reliably."
    )
    assert "This is look 2 at the same test splits" in found.page.text
    (export,) = found.numbers["next"]
    assert "the model to use is the best direct training" in export[0]
    assert export[1].startswith("python -m search.export --study synthetic")
    assert "No error is left for another look" in found.page.text
    assert "minimum detectable gain 1.5 points at 80 % power" in found.page.text
    assert "A gain of this size would take about 9 fresh seeds" in found.page.text


def test_a_confirmation_that_was_begun_is_to_be_gone_on_with(tmp_path: Path) -> None:
    write_study(url_in(tmp_path), PLANS)
    storage = open_storage(url_in(tmp_path))
    plan = ConfirmationPlan((), {TASK: 0}, (2, 3, 4), (3,), 1.0, 4, Aggregate.MEAN)
    Ledger(storage.engine).begin_confirmation("synthetic", 1, plan.as_json())
    storage.engine.dispose()
    found = written(tmp_path)
    assert found.numbers["answer"].startswith("Not confirmed")
    ((words, command),) = found.numbers["next"]
    assert "begun and not finished" in words
    assert command.startswith("python -m search.confirm ")


def test_of_several_target_tasks_each_has_its_own_answer_picture_and_panel(tmp_path: Path) -> None:
    scores = {("pocket_nli", "qaa"): 50, ("pocket_ner", "qaa"): 50}
    better = {("pocket_nli", "qaa"): 40, ("pocket_ner", "qaa"): 60}
    plans = [Plan(NONE, scores), Plan(NONE, scores, seed=1)]
    plans += [Plan(choice(LEGAL, epochs), better) for epochs in (1, 2)]
    target = {"tasks": ["pocket_nli", "pocket_ner"], "languages": ["qaa"]}
    write_study(url_in(tmp_path), plans, target=target)
    searched = written(tmp_path)
    figures = _figures(searched)
    assert {"answer", "tasks", "tasks.pocket_nli", "tasks.pocket_ner"} <= set(figures)
    titles = [x["text"] for x in figures["answer"]["layout"]["annotations"]]
    assert titles == ["pocket_nli (accuracy)", "pocket_ner (span_f1)"]
    storage = open_storage(url_in(tmp_path))
    rows = [verdict_row(0, "", "", "undecided", 0.5)]
    for task, said, gain in (("pocket_nli", "hurts", -9), ("pocket_ner", "helps", 9)):
        rows += [verdict_row(0, task, x, said, gain) for x in ("", "qaa")]
    recipe = {0: ("legal", "pocket_ner_parties")}
    write_confirmation(Ledger(storage.engine), "synthetic", recipe, rows)
    storage.engine.dispose()
    found = written(tmp_path)
    answer = found.numbers["answer"]
    assert "For pocket_ner: train on trial 0 (pocket_ner_parties) first: it helps, +9.0" in answer
    assert "Reliably worse: trial 0 (pocket_ner_parties) by -9.0.\nFor pocket_ner" in answer
    assert "Over all target tasks: undecided" in answer
    forests = {"confirmed.pocket_nli", "confirmed.pocket_ner", "confirmed-itself.pocket_ner"}
    assert forests <= set(_figures(found))
    with_it = _figures(found)["answer"]["data"][-1]
    assert with_it["x"] == [59]
    assert (with_it["error_x"]["array"], with_it["error_x"]["arrayminus"]) == ([1], [1])


def test_what_goes_into_a_paper_says_what_was_done(plain: Written) -> None:
    text = plain.page.text
    assert "The search made 6 trials with sampler transfer" in text
    assert "No recipe was confirmed on test splits." in text
    assert r"pocket\_nli & general & pocket\_ner\_calendar & +" in text
    assert "@misc{synthetic," in text
    assert r"Does \textless{}script\textgreater{}" in text


def test_several_studies_make_an_atlas_and_keep_their_reports(tmp_path: Path) -> None:
    write_study(url_in(tmp_path), PLANS)
    write_study(url_in(tmp_path), PLANS, name="second")
    words = ["--study", "synthetic", "--study", "second", "--storage", url_in(tmp_path)]
    assert report.main([*words, "--to", str(tmp_path / "out"), "--no-png"]) == 0
    page = Reader((tmp_path / "out" / "index.html").read_text())
    assert "synthetic: Not confirmed." in page.text
    assert "second: General and pocket_nli: helps" in page.text
    (text,) = (script for script in page.scripts if script.startswith("{"))
    atlas = json.loads(text)["atlas"]["data"][0]
    assert atlas["x"] == [["synthetic", "second"], [TASK, TASK]]
    assert set(atlas["y"]) == {"pocket_ner_calendar", "pocket_ner_parties"}
    assert all(row[0] == row[1] for row in atlas["z"])
    for name in ("synthetic", "second"):
        assert f"{name}/index.html" in page.addresses
        assert (tmp_path / "out" / name / "trials.csv").is_file()
    write_study(url_in(tmp_path), PLANS, source="local", name="real")
    found = "synthetic of the pocket corpora, whose figures say nothing of real languages"
    with raises(SpecError, subject="--study", found=found):
        write_atlas(
            ["synthetic", "real"], ReportRequest("", url_in(tmp_path), tmp_path, png=False)
        )


def test_claims_are_held_against_the_trials(tmp_path: Path) -> None:
    claim = {"text": "Direct training wins (Table 3)", "kind": "direct-is-better"}
    write_study(url_in(tmp_path), PLANS, claims=[claim])
    found = written(tmp_path)
    assert "Against the claim 'Direct training wins (Table 3)'" in found.page.text
    assert found.numbers["claims"][0]["outcome"] == "against"


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    write_study(url_in(tmp_path), PLANS)
    (tmp_path / "file").write_text("")
    to = tmp_path / "file" / "x"
    with raises(SpecError, subject="--to", found=f"{to} cannot be written"):
        write_report(ReportRequest("synthetic", url_in(tmp_path), to))


def _as_a_user(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = (
        "import sys; from search import report\n"
        "code = report.main(sys.argv[1:])\n"
        "heavy = {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    return subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            "--study",
            "synthetic",
            "--storage",
            url_in(folder),
            *words,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_needs_neither_torch_nor_a_browser_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(url_in(tmp_path), PLANS)
    done = _as_a_user(tmp_path, PATH="", BROWSER_PATH=str(tmp_path / "none"))
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("note: no Chrome or Chromium was found")
    folder = tmp_path / "synthetic-report"
    assert "![" not in (folder / "report.md").read_text()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with ends_with(SpecError, subject="--png", found="no Chrome or Chromium was found"):
        written(tmp_path, "--png")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chrome or Chromium")
def test_a_browser_draws_every_figure_on_the_page_and_for_markdown(tmp_path: Path) -> None:
    assert BROWSER is not None
    write_study(url_in(tmp_path), many(effect=10))
    done = _as_a_user(tmp_path, "--png")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "synthetic-report"
    names = {"arms", "tasks", "surfaces", "matrix", "importance"}
    for name in names:
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"(figures/{name}.png)" in (folder / "report.md").read_text()
    flags = "--headless=new --no-sandbox --disable-gpu --enable-logging=stderr --dump-dom"
    shown = subprocess.run(
        [
            *(BROWSER, *flags.split(), f"--user-data-dir={tmp_path / 'browser'}"),
            *("--window-size=390,9000", "--virtual-time-budget=20000"),
            f"file://{folder / 'index.html'}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr
    drawn = re.findall(r'class="figure js-plotly-plot" data-figure="(\w+)"', shown.stdout)
    assert set(drawn) == {"answer", *names}
