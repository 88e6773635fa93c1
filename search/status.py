"""`python -m search.status`: who works at a study, how far it is, and what went wrong."""

from __future__ import annotations

import argparse
import json
import sys

from search.command_line.options import add_study, fail_in_one_line, loading
from search.command_line.parser import CommandParser

EPILOG = """\
A worker that has been silent for longer than its lease is dead or cut off: its trial is taken over
by the next one that is free. Failed trials keep their reason; `search.report` lists all of them.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.status", description=__doc__, epilog=EPILOG)
    add_study(options)
    options.add_argument("--json", action="store_true", help="one JSON object, for programs")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line(storage=options.storage):
        with loading("optuna"):
            from search.findings.study_status import study_status
            from search.reporting.status_lines import status_lines
            from search.studies.stored_study import open_stored_study

        study = open_stored_study(options.storage, options.study)
        status = study_status(study)
        if options.json:
            print(json.dumps(status.as_json()))
        else:
            print("\n".join(status_lines(status, study.address)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
