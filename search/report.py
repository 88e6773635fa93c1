"""`python -m search.report`: what a study found, as a page, as Markdown, as tables and as JSON.

Reads the storage alone: no data, no encoder, no torch.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from search.command_line.options import DEFAULT_STORAGE, add_storage, fail_in_one_line

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from search.reporting.report_content import Findings

EPILOG = """\
Writes index.html (one page that works offline), report.md with figures/*.png, trials.csv and
trials.parquet (every trial, seed, target task and language) and report.json (all numbers). The
PNGs are drawn by a Chrome or Chromium of this machine; without one report.md goes without.
"""
NO_BROWSER = "no Chrome or Chromium was found to draw PNGs (BROWSER_PATH can name one)"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.report",
        description="What a study found: a page, Markdown, tables and JSON.",
        epilog=EPILOG,
    )
    options.add_argument("--study", required=True, help="a study's name in the storage")
    add_storage(options)
    options.add_argument("--to", metavar="DIR", help="default: STUDY-report")
    options.add_argument(
        "--png",
        action=argparse.BooleanOptionalAction,
        help="default: where there is a browser; --png makes it an error that there is none",
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder, has_png = write_report(options)
        if not has_png and options.png is None:
            print(f"note: {NO_BROWSER}; report.md is without figures", file=sys.stderr)
        print(folder / "index.html")
    return 0


def write_report(options: argparse.Namespace) -> tuple[Path, bool]:
    """Write all files.

    Args:
        options: `study`, `storage`, `to` and `png`.

    Returns:
        The folder, and whether figures were drawn as PNG; so too if there is none to draw.

    Raises:
        UnknownNameError: The storage has no such study.
        StorageError: It was not made by this version.
        SpecError: The folder cannot be written, or `png` is true and there is no browser.
    """
    import json

    from search.reporting.figures import build_figures
    from search.reporting.formats import as_json, as_markdown
    from search.reporting.report_content import find
    from search.studies.stored_study import open_stored_study
    from spaces.errors import SpecError

    results = open_stored_study(options.storage, options.study)
    flags = ("--storage", results.shown_url) if options.storage != DEFAULT_STORAGE else ()
    findings = find(results, shlex.join(("--study", results.name, *flags)))
    figures = build_figures(findings.landscape, findings.confirmed, results.is_pocket)
    folder = Path(options.to or f"{results.name}-report")
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for old in (folder / "figures").glob("*.png"):
            old.unlink()
        drawn = options.png is not False and _draw(figures, folder / "figures")
        if options.png and not drawn:
            raise SpecError(f"--png: {NO_BROWSER}")
        scores = findings.landscape.scores
        scores.to_csv(folder / "trials.csv", index=False)
        scores.to_parquet(folder / "trials.parquet", index=False)
        texts = {
            "report.json": json.dumps(as_json(findings), indent=1, ensure_ascii=False),
            "report.md": as_markdown(findings, figures if drawn else ()),
            "index.html": _page(findings, figures),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"--to: {folder} cannot be written: {error}") from error
    return folder, drawn


def _draw(figures: dict[str, go.Figure], folder: Path) -> bool:
    """Draw all as PNG; False if there is no browser to do it."""
    import kaleido
    from kaleido.errors import ChromeNotFoundError

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
    try:
        # Left to itself kaleido fetches MathJax.
        kaleido.write_fig_from_object_sync(plans, kopts={"mathjax": False}, cancel_on_error=True)
    except ChromeNotFoundError:
        return False
    return True


def _width(figure: go.Figure) -> int:
    """Pixels below which a figure cannot be read."""
    return int((figure.layout.meta or {}).get("width", 300))


def _page(findings: Findings, figures: dict[str, go.Figure]) -> str:
    """The page, with plotly.js in it packed: 2 MB in place of 4.8."""
    import base64
    import gzip
    import json

    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
    drawn = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        findings=findings,
        figures={
            name: {"height": figure.layout.height, "width": _width(figure)}
            for name, figure in figures.items()
        },
        # A script ends at the first "</script", whatever it stands in.
        figures_json=Markup(json.dumps(drawn).replace("<", "\\u003c")),
        plotly=Markup(packed),
    )


if __name__ == "__main__":
    sys.exit(main())
