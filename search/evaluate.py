"""`python -m search.evaluate`: score predictions that are in XTREME's submission format."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from search.command_line.options import add_data, fail_in_one_line, loading_torch
from search.command_line.parser import CommandParser
from search.command_line.requests import request_from
from search.command_line.words import console_for
from search.handover.requests import EvaluationRequest

EPILOG = """\
PATH is the file of one language (test-sw.tsv), the folder of a task, or a folder with one per task
(panx/test-sw.tsv). The files are those of an XTREME submission, for other tasks too; `predict`
writes them. A task's score is the mean over its languages, English included, and XTREME's is the
mean over its nine tasks; neither is given where some are missing.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.evaluate", description=__doc__, epilog=EPILOG)
    options.add_argument("--predictions", required=True, type=Path, metavar="PATH")
    options.add_argument("--task", help="a task of the catalogue; default: one per folder in PATH")
    options.add_argument(
        "--language", metavar="CODE", help="ISO 639-3; default: by the names of the files"
    )
    options.add_argument(
        "--split",
        choices=("test", "validation"),
        help="which examples were predicted; default: by the name of the file, else test",
    )
    options.add_argument(
        "--study", help="a study file or the name of a shipped one, for tasks of its own"
    )
    add_data(options)
    options.add_argument("--json", action="store_true", help="print JSON, scores in [0, 1]")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        request = request_from(vars(options), EvaluationRequest)
        from objectives.data.data_source import check_named

        check_named(request.data)
        with loading_torch(None):
            from search.handover.evaluation import evaluate, scores_tables

        evaluation = evaluate(request)
        for note in evaluation.notes:
            print(f"note: {note}", file=sys.stderr)
        if options.json:
            print(json.dumps(evaluation.as_json(), ensure_ascii=False, indent=2))
        else:
            console_for(140).print(*scores_tables(evaluation, options.task))
    return 0


if __name__ == "__main__":
    sys.exit(main())
