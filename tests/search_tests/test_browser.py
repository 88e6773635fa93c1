"""The dashboard in a real Chromium: each page opens, shows what is ours, and reports no error.

The browser is the machine's own, driven by Playwright. Without one the tests are skipped, unless
TRANSFER_SEARCH_BROWSER=required. With TRANSFER_SEARCH_SCREENSHOTS=DIR they leave pictures there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, sync_playwright

from search.report import main as report
from search.run import main as run
from storage.ledger import Ledger
from storage.opening import open_storage
from tests.processes import started
from tests.search_tests.conftest import STUDY
from tests.studies import PLANS, verdict_row, write_confirmation, write_study

pytestmark = pytest.mark.slow
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        assert os.environ.get("TRANSFER_SEARCH_BROWSER") != "required", f"found none of {NAMES}"
        pytest.skip(f"found no browser: none of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments, timeout=0)
        yield browser
        browser.close()


@pytest.fixture
def errors() -> list[str]:
    """Uncaught exceptions, what the console shows as an error, and requests that failed."""
    return []


@pytest.fixture
def tab(browser: Browser, errors: list[str]) -> Iterator[Page]:
    """A window of its own."""
    context = browser.new_context(viewport={"width": 1300, "height": 1250})
    context.set_default_timeout(0)  # none; the test has one
    tab = context.new_page()
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda line: line.type in {"error", "assert"} and errors.append(line.text))
    tab.on("response", lambda got: got.status >= 400 and errors.append(f"{got.status} {got.url}"))
    yield tab
    context.close()


def show(tab: Page, url: str, text: str) -> None:
    """Open a page and wait until it shows a text."""
    tab.goto(url)
    tab.wait_for_function("text => document.body?.innerText.includes(text)", arg=text)


def keep_picture(tab: Page, name: str) -> None:
    """Leave a picture of the page, where somebody asked for pictures."""
    if folder := os.environ.get("TRANSFER_SEARCH_SCREENSHOTS"):
        tab.screenshot(path=Path(folder, f"{name}.png"), full_page=True)


@pytest.fixture(scope="module")
def page(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a study's page in a running dashboard."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.toml").write_text(STUDY, encoding="utf-8")
    storage = f"sqlite:///{folder / 'study.sqlite'}"
    words = ["--study", str(folder / "tiny.toml"), "--storage", storage, "--data", "pocket"]
    words += ["--backbone", str(encoder), "--threads", "1", "--trials", "3", "--quiet"]
    assert run(words) == 0
    server = started(
        [
            *(sys.executable, "-m", "search.dashboard", "--study", "tiny"),
            *("--storage", storage, "--port", "0"),
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
    )
    with server as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0]


@pytest.mark.parametrize(
    ("place", "shows"),
    [
        ("", "Best Trial"),
        ("/analytics", "Slice"),
        ("/trials", "Complete"),
        ("/smartSelection", "pocket_ner_parties"),  # the table of trials
        ("/note", "tiny (pocket corpora): Does anything help?"),
    ],
)
def test_a_page_opens_without_an_error(
    tab: Page, errors: list[str], page: str, place: str, shows: str
) -> None:
    show(tab, page + place, shows)
    keep_picture(tab, f"page{place.replace('/', '-')}")
    assert errors == []


def test_the_study_page_draws_our_figures(tab: Page, errors: list[str], page: str) -> None:
    show(tab, page, "Gain over the best direct training")
    for name in ("arms", "matrix", "tasks"):
        plot = tab.locator(f"[id='user-defined-plot:{name}']")
        plot.locator(".points path, .hm image").first.wait_for(state="attached")
        room = plot.evaluate("plot => plot.clientHeight")
        taken = plot.locator("svg").first.evaluate("drawing => drawing.clientHeight")
        assert taken <= room, name
    assert "pocket corpora" in tab.inner_text("body")
    own = tab.get_by_role("heading", name="Hyperparameter Importance").bounding_box()
    ours = tab.locator("[id='user-defined-plot:answer']").bounding_box()
    assert own is not None
    assert ours is not None
    assert ours["y"] < own["y"], "the landscape comes first"
    assert errors == []


def test_a_page_that_nobody_touches_is_loaded_again_when_more_is_known(
    tab: Page, page: str
) -> None:
    known, asked, status = "3", [], 200

    def answer(route: Route) -> None:
        asked.append(known)
        route.fulfill(body=known, status=status)

    asking = "**/transfer-search.known"
    tab.route(asking, answer)
    tab.clock.install()
    with tab.expect_response(asking):
        show(tab, page + "/note", "Does anything help?")
    # From here on its clock stands still, however long the machine takes.
    tab.clock.pause_at(tab.evaluate("Date.now()") / 1000 + 1)
    tab.evaluate("window.isTheFirst = true")
    tab.clock.run_for(40_000)
    assert asked == ["3"], "somebody looked at it just now"
    with tab.expect_response(asking):
        tab.clock.run_for(25_000)
    known, status = "a proxy's page: the dashboard is away", 502
    with tab.expect_response(asking):
        tab.clock.run_for(30_000)
    known, status = "4", 200
    tab.get_by_test_id("EditIcon").click()
    assert tab.locator("textarea").count(), "a note is being written"
    before = len(asked)
    tab.clock.run_for(120_000)
    assert len(asked) == before
    assert tab.evaluate("window.isTheFirst")
    tab.get_by_role("button", name="Close").click()
    with tab.expect_event("framenavigated", timeout=0):  # of several the last: it asks on
        tab.clock.run_for(120_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_our_figures_are_dark_where_the_dashboard_is(
    browser: Browser, page: str, scheme: Literal["light", "dark"]
) -> None:
    tab = browser.new_page(color_scheme=scheme)
    tab.set_default_timeout(0)
    show(tab, page, "Gain over the best direct training")
    tab.wait_for_function("look => document.documentElement.dataset.look === look", arg=scheme)
    plot = tab.locator("[id='user-defined-plot:answer']")
    shown = plot.evaluate("plot => getComputedStyle(plot).filter")
    assert shown.startswith("invert(1)" if scheme == "dark" else "none")
    tab.close()


def test_the_note_has_tables_and_commands(tab: Page, page: str) -> None:
    show(tab, f"{page}/note", "Not confirmed yet")
    cells = tab.locator("td").all_inner_texts()
    for cell in ("legal", "pocket_ner_parties", "pocket_ner"):
        assert cell in cells
    assert "python -m search.confirm --study tiny" in tab.inner_text("body")


def test_a_trial_offers_its_scores(tab: Page, errors: list[str], page: str) -> None:
    show(tab, f"{page}/trials?numbers=0", "scores.csv")
    assert "training.csv" in tab.inner_text("body")
    assert "Recipe: trained first on" in tab.inner_text("body")
    keep_picture(tab, "trial")
    assert errors == []


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report of a study that was confirmed."""
    folder = tmp_path_factory.mktemp("report")
    storage = f"sqlite:///{folder / 'study.db'}"
    write_study(storage, PLANS)
    opened = open_storage(storage)
    rows = [verdict_row(1, task, language, "helps", 2.5) for task, language in (
        ("", ""), ("pocket_nli", "qaa"), ("pocket_nli", "qab"),
    )]  # fmt: skip
    recipe = {1: ("general", "pocket_ner_calendar")}
    write_confirmation(Ledger(opened.engine), "synthetic", recipe, rows)
    opened.engine.dispose()
    words = ["--study", "synthetic", "--storage", storage, "--to", str(folder / "out")]
    assert report([*words, "--no-png"]) == 0
    return (folder / "out" / "index.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_has_no_barrier(
    browser: Browser, written: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    context.set_default_timeout(0)
    tab = context.new_page()
    show(tab, written, "Provenance")
    for figure in tab.locator(".figure").all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg").first.wait_for(state="attached")
    for folded in tab.locator("summary").all():
        folded.click()
    keep_picture(tab, f"report-{width}-{scheme}")
    found = Axe().run(tab)
    assert [(x["id"], x["impact"]) for x in found.response["violations"]] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_figures_tables_and_texts_of_the_report_can_be_taken_along(
    tab: Page, errors: list[str], written: str
) -> None:
    show(tab, written, "Provenance")
    tab.locator(".js-plotly-plot").first.wait_for(state="attached")
    for format, begins in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with tab.expect_download() as kept:
            tab.get_by_label(f"Save the figure answer as {format}").click()
        assert kept.value.suggested_filename == f"answer.{format.lower()}"
        assert Path(kept.value.path()).read_bytes().startswith(begins)
    with tab.expect_download() as kept:
        tab.get_by_label("Save the table recipes as CSV").click()
    head, first, *_ = Path(kept.value.path()).read_text().splitlines()
    assert head.startswith("trial,arm,task,gain")
    assert "pocket_ner_calendar" in first
    tab.get_by_label("Copy: BibTeX").click()
    tab.get_by_text("Copied", exact=True).wait_for()
    assert errors == []


def test_the_report_prints_what_fits_on_paper(
    tab: Page, errors: list[str], tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(storage, PLANS)
    words = ["--study", "synthetic", "--storage", storage, "--to", str(tmp_path / "out")]
    assert report([*words, "--no-png"]) == 0
    show(tab, (tmp_path / "out" / "index.html").as_uri(), "Provenance")
    tab.locator(".js-plotly-plot").first.wait_for(state="attached")
    tab.pdf()
    # What the printing did is undone after it; what it does first is looked at here.
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    places = "[...document.querySelectorAll('.figure')]"
    assert tab.evaluate(f"{places}.every(x => x.querySelector('svg'))"), "drawn though unseen"
    widths = "[...document.querySelectorAll('.wide')].map(x => x.scrollWidth - x.clientWidth)"
    assert max(tab.evaluate(widths)) <= 1
    zooms = "[...document.querySelectorAll('.wide')].map(x => x.firstElementChild.style.zoom)"
    assert all(float(zoom) <= 1 for zoom in tab.evaluate(zooms))
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert set(tab.evaluate(zooms)) == {""}
    assert errors == []
