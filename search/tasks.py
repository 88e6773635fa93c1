"""`python -m search.tasks`: the catalogue, and where each task's data would come from now."""

from __future__ import annotations

import argparse
import sys

from objectives.data.sources import choose_source
from search.command_line.catalogue_tables import (
    print_backbones,
    print_grid,
    print_task,
    print_tasks,
)
from search.command_line.options import add_data, fail_in_one_line
from search.command_line.parser import CommandParser
from spaces.catalogue import load_catalogue


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.tasks", description=__doc__)
    options.add_argument("task", nargs="?", help="show one task whole")
    options.add_argument(
        "--grid", action="store_true", help="intermediate tasks by kind and domain"
    )
    options.add_argument(
        "--backbones", action="store_true", help="the encoders that have a short name"
    )
    add_data(options)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        catalogue = load_catalogue()
        if options.task:
            print_task(catalogue[options.task])
        elif options.grid:
            print_grid(catalogue)
        elif options.backbones:
            print_backbones()
        else:
            print_tasks(catalogue, choose_source(options.data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
