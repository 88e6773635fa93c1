"""`python -m search.compare`: two studies of one storage side by side."""

from __future__ import annotations

import argparse
import json
import sys

from search.command_line.options import add_storage, fail_in_one_line, quiet_optuna
from search.command_line.parser import CommandParser

EPILOG = """\
Gains are percentage points over each study's own best direct training. They are those of
test splits where both studies are confirmed, else those that the searches saw.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.compare", description=__doc__, epilog=EPILOG)
    options.add_argument("studies", nargs=2, metavar="STUDY", help="a study's name")
    options.add_argument("--json", action="store_true", help="print it for machines")
    add_storage(options)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line(storage=options.storage):
        quiet_optuna()
        from search.studies.stored_study import check_stored_study

        first, second = options.studies
        for study in (first, second):
            check_stored_study(options.storage, study)
        from search.findings.comparison import compare_stored
        from search.reporting.terminal import show_comparison

        comparison = compare_stored(options.storage, (first, second))
        if options.json:
            print(json.dumps(comparison.as_json(), indent=2, ensure_ascii=False))
        else:
            show_comparison(comparison)
    return 0


if __name__ == "__main__":
    sys.exit(main())
