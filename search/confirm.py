"""`python -m search.confirm`: the leaders of a search, with fresh seeds, on the test splits."""

from __future__ import annotations

import argparse
import sys

from search.command_line.options import (
    CONFIRMED_RECIPES,
    CONFIRMED_SEEDS,
    count,
    fail_in_one_line,
)
from search.command_line.requests import ReopenRequest, add_reopening, request_from
from search.command_line.stop_signal import StopSignal
from search.findings.confirm_request import ConfirmRequest
from spaces.errors import Interrupted

EPILOG = """\
What is to be confirmed is written down before anything is scored on a test split: the best recipe
of each arm, then the next best, the best direct training, and seeds that the search did not have.
Asked again, the command shows what came of it. After an interruption it goes on.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.confirm", description=__doc__, epilog=EPILOG
    )
    options.add_argument("--study", required=True, help="a study's name in the storage")
    options.add_argument(
        "--top",
        dest="recipes",
        type=count,
        metavar="N",
        help=f"recipes; default: {CONFIRMED_RECIPES}",
    )
    options.add_argument(
        "--seeds", type=count, metavar="N", help=f"fresh seeds of each; default: {CONFIRMED_SEEDS}"
    )
    options.add_argument(
        "--again",
        action="store_true",
        help="look at the test splits once more, which every later report will say",
    )
    options.add_argument("--threads", type=count, help="CPU threads; default: all cores")
    add_reopening(options, "default: the study's own")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        reopen = request_from(vars(options), ReopenRequest)
        request = request_from(vars(options), ConfirmRequest, study=reopen)
        stop = StopSignal()
        from search.workers.confirmation_run import start_confirmation

        try:
            study, look = start_confirmation(request, options.threads, stop)
        except Interrupted as error:
            print(error, file=sys.stderr)
            return 128 + stop.number
        from search.reporting.terminal import show_confirmation

        show_confirmation(study, look)
    return 0


if __name__ == "__main__":
    sys.exit(main())
