"""The dashboard in a real Chromium: each page opens, shows what is ours, and reports no error.

The browser is spoken to by the DevTools protocol over a pipe
(https://chromedevtools.github.io/devtools-protocol/). Without one the tests are skipped, unless
TRANSFER_SEARCH_BROWSER=required. With TRANSFER_SEARCH_SCREENSHOTS=DIR they leave pictures there.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.report import main as report
from search.run import main as run
from tests.search_tests.conftest import STUDY
from tests.studies import PLANS, write_study

pytestmark = pytest.mark.slow
NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 30.0
# Chromium reads commands from descriptor 3 and writes answers to 4, each ended by a NUL.
START = """
import fcntl, os, sys
commands, answers = (fcntl.fcntl(int(x), fcntl.F_DUPFD, 10) for x in sys.argv[1:3])
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """A headless Chromium with one tab."""

    def __init__(self, program: str, folder: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", START, str(commands), str(answers), program),
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
                *(f"--user-data-dir={folder}", "--window-size=1300,1250", "about:blank"),
            ],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._read, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        (tab,) = [x for x in self.send("Target.getTargets")["targetInfos"] if x["type"] == "page"]
        attached = self.send("Target.attachToTarget", targetId=tab["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a command of the protocol answers."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            assert select.select([self._answers], [], [], SECONDS)[0], "Chromium is silent"
            part = os.read(self._answers, 1 << 20)
            assert part, "Chromium has ended"
            self._read += part
        message, _, self._read = self._read.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Wait until an expression is true in the page."""
        until = time.monotonic() + SECONDS
        while not self.evaluate(script):
            assert time.monotonic() < until, f"never true: {script}\n{self.text()}"
            time.sleep(0.1)

    def open(self, url: str, shows: str) -> None:
        """Open a page and wait until it shows a text."""
        self.events.clear()
        self.send("Page.navigate", url=url)
        self.wait_for(f"document.body?.innerText.includes({json.dumps(shows)})")

    def text(self) -> str:
        """What a reader sees of the page."""
        return str(self.evaluate("document.body?.innerText"))

    def errors(self) -> list[Any]:
        """Uncaught exceptions, what the console shows as an error, and requests that failed."""
        found = []
        for event in self.events:
            method, about = event["method"], event["params"]
            if (
                method == "Runtime.exceptionThrown"
                or (method == "Runtime.consoleAPICalled" and about["type"] in {"error", "assert"})
                or (method == "Log.entryAdded" and about["entry"]["level"] == "error")
                or (method == "Network.responseReceived" and about["response"]["status"] >= 400)
            ):
                found.append(about)
        return found

    def screenshot(self, name: str) -> None:
        """Leave a picture of the page, where somebody asked for pictures."""
        folder = os.environ.get("TRANSFER_SEARCH_SCREENSHOTS")
        if folder:
            height = self.evaluate("document.documentElement.scrollHeight")
            clip = {"x": 0, "y": 0, "width": 1300, "height": height, "scale": 1}
            made = self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
            Path(folder, f"{name}.png").write_bytes(base64.b64decode(made["data"]))

    def close(self) -> None:
        """End it."""
        self._session = ""
        self.send("Browser.close")
        self._process.wait(SECONDS)
        os.close(self._commands)
        os.close(self._answers)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        assert os.environ.get("TRANSFER_SEARCH_BROWSER") != "required", f"found none of {NAMES}"
        pytest.skip(f"found no browser: none of {', '.join(NAMES)}")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a study's page in a running dashboard."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.toml").write_text(STUDY, encoding="utf-8")
    storage = f"sqlite:///{folder / 'study.sqlite'}"
    words = ["--study", str(folder / "tiny.toml"), "--storage", storage, "--data", "pocket"]
    assert (
        run([*words, *("--backbone", str(encoder), "--threads", "1", "--trials", "3", "--quiet")])
        == 0
    )
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "search.dashboard", "--study", "tiny"),
            *("--storage", storage, "--port", "0"),
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[0]
    finally:
        server.kill()
        server.communicate(timeout=20)


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
    browser: Browser, page: str, place: str, shows: str
) -> None:
    browser.open(page + place, shows)
    browser.screenshot(f"page{place.replace('/', '-')}")
    assert not browser.errors()


def test_the_study_page_draws_our_figures(browser: Browser, page: str) -> None:
    browser.open(page, "Gain over the tuned baseline")
    for name in ("arms", "matrix", "pareto"):
        drawn = f"document.getElementById('user-defined-plot:{name}')"
        browser.wait_for(f"{drawn}?.querySelectorAll('.points path, .hm image').length > 0")
        sizes = f"[{drawn}.clientHeight, {drawn}.querySelector('svg').clientHeight]"
        room, taken = browser.evaluate(sizes)
        assert taken <= room, name
    assert "pocket corpora" in browser.text()
    assert not browser.errors()


def test_the_note_has_tables_and_commands(browser: Browser, page: str) -> None:
    browser.open(f"{page}/note", "Not confirmed yet")
    cells = browser.evaluate("[...document.querySelectorAll('td')].map(x => x.innerText)")
    for cell in ("legal", "pocket_ner_parties", "qab"):
        assert cell in cells
    assert "python -m search.confirm --study tiny" in browser.text()


def test_a_trial_offers_its_scores(browser: Browser, page: str) -> None:
    browser.open(f"{page}/trials?numbers=0", "scores.csv")
    assert "training.csv" in browser.text()
    browser.screenshot("trial")
    assert not browser.errors()


def test_the_report_prints_what_fits_on_paper(browser: Browser, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(storage, PLANS)
    words = ["--study", "synthetic", "--storage", storage, "--to", str(tmp_path / "out")]
    assert report([*words, "--no-png"]) == 0
    browser.open((tmp_path / "out" / "index.html").as_uri(), "Provenance")
    browser.wait_for("document.querySelectorAll('.js-plotly-plot').length > 0")
    browser.send("Page.printToPDF")
    # What the printing did is undone after it; what it does first is looked at here.
    browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    places = "[...document.querySelectorAll('.figure')]"
    assert browser.evaluate(f"{places}.every(x => x.querySelector('svg'))"), "drawn though unseen"
    widths = "[...document.querySelectorAll('.wide')].map(x => x.scrollWidth - x.clientWidth)"
    assert max(browser.evaluate(widths)) <= 1
    zooms = "[...document.querySelectorAll('.wide')].map(x => x.firstElementChild.style.zoom)"
    assert all(float(zoom) <= 1 for zoom in browser.evaluate(zooms))
    browser.evaluate("dispatchEvent(new Event('afterprint'))")
    assert set(browser.evaluate(zooms)) == {""}
    assert not browser.errors()


def test_a_broken_page_would_be_noticed(browser: Browser, page: str) -> None:
    browser.open(f"{page}/note", "Not confirmed yet")
    browser.evaluate("setTimeout(() => missing_function(), 0)")
    browser.wait_for("new Promise(done => setTimeout(done, 50, true))")
    assert "missing_function" in str(browser.errors())
    browser.events.clear()
    browser.evaluate("fetch('/api/no-such-thing')")
    until = time.monotonic() + SECONDS
    while not browser.errors():
        assert time.monotonic() < until
        browser.evaluate("1")
