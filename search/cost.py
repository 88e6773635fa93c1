"""`python -m search.cost`: what a study asked for, and how much of it was really trained."""

from __future__ import annotations

import argparse
import sys

from search.command_line.options import add_study, fail_in_one_line
from search.command_line.parser import CommandParser
from search.command_line.words import console_for, say


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(
        prog="python -m search.cost", description="What a study asked for, trained and saved."
    )
    add_study(options)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line(storage=options.storage):
        from search.findings.stage_costs import cost_of_stored
        from search.reporting.cost_table import cost_table

        name, cost, missing = cost_of_stored(options.storage, options.study)
        console_for(100).print(cost_table(cost, f"Cost of {name}"))
        for line in missing:
            say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
