"""`python -m search.report`: a study's results as a page, as Markdown, as tables and as JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from search.command_line.options import add_storage, fail_in_one_line, quiet_optuna
from search.command_line.parser import CommandParser
from search.command_line.requests import request_from

EPILOG = """\
Writes index.html (one page that works offline), report.md with figures/*.png, trials.csv and
trials.parquet (every trial, target task and language) and report.json (all numbers). The
PNGs are drawn by a Chrome or Chromium of this machine; without one report.md goes without.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(
        prog="python -m search.report",
        description="What a study found: a page, Markdown, tables and JSON.",
        epilog=EPILOG,
    )
    options.add_argument(
        "--study",
        action="append",
        required=True,
        help="a study's name in the storage; given several times, a page of all these studies "
        "is written, an atlas, and the report of each beside it",
    )
    add_storage(options)
    options.add_argument(
        "--to", metavar="DIR", type=Path, help="default: STUDY-report; of several studies atlas"
    )
    options.add_argument(
        "--png",
        action=argparse.BooleanOptionalAction,
        help="default: where there is a browser; --png makes it an error that there is none",
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line(storage=options.storage):
        quiet_optuna()
        from search.studies.stored_study import check_stored_study

        studies = list(dict.fromkeys(options.study))
        for study in studies:
            check_stored_study(options.storage, study)
        from search.reporting.page import ReportRequest, write_atlas, write_report

        request = request_from(vars(options), ReportRequest, study=studies[0])
        written = write_report(request) if len(studies) == 1 else write_atlas(studies, request)
        if written.note:
            print(f"note: {written.note}", file=sys.stderr)
        print(written.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
