"""Reports as files: a page that works offline, Markdown with figures, tables and JSON.

Reads the storage alone: no data, no encoder, no torch.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import kaleido
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from kaleido.errors import ChromeNotFoundError
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from search.command_line.markdown import for_spreadsheets
from search.command_line.next_commands import folder_name
from search.reporting.atlas import Atlas, build_atlas
from search.reporting.figures import TITLE_HEIGHT
from search.reporting.formats import as_json, as_markdown
from search.reporting.report_content import ReportContent, report_content
from search.reporting.study_figures import study_figures
from search.studies.stored_study import StoredStudy, open_stored_study
from spaces.errors import SpecError

FILES = {
    "trials.csv": "every score: trial, target task, language",
    "trials.parquet": "the same, with its types",
    "report.json": "all numbers of this page",
    "report.md": "this page as Markdown",
}
NO_BROWSER = "no Chrome or Chromium was found to draw PNGs (BROWSER_PATH can name one)"


@dataclass(frozen=True)
class ReportRequest:
    """Which study to report, and where to.

    Attributes:
        study: Name of the study in its storage.
        storage: URL of the storage.
        to: Folder of the report; None for `STUDY-report` in the current folder.
        png: Whether figures are drawn as PNG too; None where there is a browser to do it.
    """

    study: str
    storage: str
    to: Path | None = None
    png: bool | None = None


@dataclass(frozen=True)
class WrittenReport:
    """Where a report lies.

    Attributes:
        page: File of the page, in the report's folder.
        note: What it is without, and why; empty where nothing is missing.
    """

    page: Path
    note: str


def write_report(request: ReportRequest) -> WrittenReport:
    """Write all files of a study's report.

    Raises:
        UnknownNameError: The storage has no such study.
        StorageError: The study was not made by this version.
        SpecError: The folder cannot be written, or `png` is true and there is no browser.
    """
    return _write(request)[0]


def write_atlas(studies: Sequence[str], request: ReportRequest) -> WrittenReport:
    """Write the reports of several studies, and a page of all of them.

    Args:
        studies: Names of the studies in the storage.
        request: As of one study, whose `study` is not read; `to` is `atlas` where it is None.

    Raises:
        TransferSearchError: As from `write_report`.
        SpecError: Some studies are of pocket corpora and some are not.
    """
    folder = request.to or Path("atlas")
    places = {name: folder_name(name) for name in studies}
    written = [_write(replace(request, study=x, to=folder / places[x])) for x in studies]
    atlas = build_atlas([report for _, report in written])
    files = {f"{places[name]}/index.html": f"the report of {name}" for name in studies}
    try:
        page = _page(atlas, atlas.figures, files)
        (folder / "index.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise SpecError("--to", found=f"{folder} cannot be written: {error}") from error
    return WrittenReport(folder / "index.html", written[0][0].note)


def _write(request: ReportRequest) -> tuple[WrittenReport, ReportContent]:
    study = open_stored_study(request.storage, request.study)
    with closing(study.storage):
        report = report_content(study)
        figures = study_figures(study, report.landscape)
    folder = request.to or Path(f"{folder_name(study.name)}-report")
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for old in (folder / "figures").glob("*.png"):
            old.unlink()
        drawn = request.png is not False and _draw(figures, folder / "figures")
        if request.png and not drawn:
            raise SpecError("--png", found=NO_BROWSER)
        scores = report.landscape.scores
        texts_of = scores.select_dtypes(exclude="number")
        safe = scores.assign(**{x: texts_of[x].map(for_spreadsheets) for x in texts_of})
        safe.rename(columns=for_spreadsheets).to_csv(folder / "trials.csv", index=False)
        scores.to_parquet(folder / "trials.parquet", index=False)
        texts = {
            "report.json": json.dumps(as_json(report), indent=1, ensure_ascii=False),
            "report.md": as_markdown(report, figures if drawn else ()),
            "index.html": _page(report, figures, FILES),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError("--to", found=f"{folder} cannot be written: {error}") from error
    missing = request.png is None and not drawn
    note = f"{NO_BROWSER}; report.md is without figures" if missing else ""
    return WrittenReport(folder / "index.html", note), report


def first_screen_html(study: StoredStudy) -> str:
    """The first screen of a study's report as a piece of HTML, for a notebook's cell."""
    return _template("notebook.html.jinja").render(report=report_content(study))


def _draw(figures: Mapping[str, go.Figure], folder: Path) -> bool:
    """Draw all figures as PNG; False if there is no browser to do it."""
    plans = [
        {
            "fig": figure.to_dict(),
            "path": str(folder / f"{name}.png"),
            "opts": {"width": max(760, _width(figure)), "scale": 2},
        }
        for name, figure in figures.items()
    ]
    if not plans:
        return True
    # Its reader takes the browser's goodbye for a broken message, and shows a traceback.
    logging.getLogger("choreographer").setLevel(logging.CRITICAL)
    try:
        # Left to itself kaleido fetches MathJax.
        kaleido.write_fig_from_object_sync(plans, kopts={"mathjax": False}, cancel_on_error=True)
    except ChromeNotFoundError:
        return False
    return True


def _width(figure: go.Figure) -> int:
    """Pixels below which a figure cannot be read."""
    return int((figure.layout.meta or {}).get("width", 300))


def _title(figure: go.Figure) -> dict[str, str]:
    """Title and what stands small below it, as plain text."""
    title, _, rest = figure.layout.title.text.partition("<br><sub>")
    return {"title": title, "subtitle": rest.removesuffix("</sub>")}


def _page(
    report: ReportContent | Atlas, figures: Mapping[str, go.Figure], files: Mapping[str, str]
) -> str:
    """The page, with plotly.js in it packed: 2 MB in place of 4.8.

    Args:
        report: What it says.
        figures: Its figures; those of a section by the name of that.
        files: Address of a file beside the page -> what is in it.
    """
    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
    drawn = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    return _template("page.html.jinja").render(
        report=report,
        files=files,
        title_height=TITLE_HEIGHT,
        figures={
            name: {
                "height": figure.layout.height - TITLE_HEIGHT,
                "width": _width(figure),
                **_title(figure),
            }
            for name, figure in figures.items()
        },
        # A script ends at the first "</script", whatever it stands in.
        figures_json=Markup(json.dumps(drawn).replace("<", "\\u003c")),
        plotly=Markup(packed),
    )


def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
