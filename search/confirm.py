"""`python -m search.confirm`: the leaders of a search, with fresh seeds, on the test splits."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from search.command_line.lines import print_lines
from search.command_line.options import (
    CONFIRMED_MARGIN,
    CONFIRMED_RECIPES,
    CONFIRMED_SEEDS,
    fail_in_one_line,
    loading,
    quiet_optuna,
)
from search.command_line.output import plain_console
from search.command_line.parser import MOST_THREADS, CommandParser, count, count_to, positive
from search.command_line.requests import ReopenRequest, add_reopening, request_from
from search.command_line.stop_signal import StopSignal
from spaces.errors import Interrupted

EPILOG = """\
What is to be confirmed is written down before anything is scored on a test split: the best recipe
of each arm, then the next best, the best direct training, seeds that the search did not have, and
after how many of them is looked (each of 3 to 12). After each look the recipes that help, hurt or
are equivalent to none are dropped; the 5 % error is spent over the looks. Asked again, the command
shows what came of it. After an interruption it goes on.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.confirm", description=__doc__, epilog=EPILOG)
    options.add_argument("--study", required=True, help="a study's name in the storage")
    options.add_argument(
        "--top",
        dest="recipes",
        type=count,
        metavar="N",
        help=f"recipes; default: {CONFIRMED_RECIPES}",
    )
    options.add_argument(
        "--margin",
        type=positive,
        metavar="POINTS",
        help=f"gains nearer to 0 are equivalent to none; default: {CONFIRMED_MARGIN:g}",
    )
    options.add_argument(
        "--max-seeds",
        type=count,
        metavar="N",
        help=f"fresh seeds of each recipe at most; default: {CONFIRMED_SEEDS}",
    )
    options.add_argument(
        "--gpu-hours",
        type=positive,
        metavar="H",
        help="hours of training and scoring; no look is begun that does not fit. With more hours "
        "the command goes on",
    )
    options.add_argument(
        "--again",
        action="store_true",
        help="confirm once more, with the error that is left, which every later report will say",
    )
    options.add_argument(
        "--anyway", action="store_true", help="also where the plan can decide nothing"
    )
    options.add_argument(
        "--dry-run",
        action="store_true",
        help="say what it will take and could find; no test split is scored, nothing is kept",
    )
    options.add_argument(
        "--threads", type=count_to(MOST_THREADS), help="CPU threads; default: all cores"
    )
    add_reopening(options, "default: the study's own")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line(works=True, storage=options.storage):
        with loading("optuna"):
            quiet_optuna()
            from search.findings.confirm_request import ConfirmRequest
            from search.studies.asked_again import check_reopening
            from search.studies.stored_study import open_stored_study
            from search.workers.confirmation_run import show_settled, start_confirmation

        reopen = request_from(vars(options), ReopenRequest)
        request = request_from(vars(options), ConfirmRequest, study=reopen)
        study = open_stored_study(reopen.storage, reopen.study)
        with closing(study.storage):
            if show_settled(study, request):
                return 0
        check_reopening(reopen)
        stop = StopSignal()
        try:
            start_confirmation(request, options.threads, stop, is_dry=options.dry_run)
        except Interrupted as error:
            print_lines(plain_console(stderr=True), str(error))
            return 128 + stop.number
    return 0


if __name__ == "__main__":
    sys.exit(main())
