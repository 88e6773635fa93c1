"""`python -m search.confirm`: the leaders of a search, with fresh seeds, on the test splits."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from search.command_line.options import (
    CONFIRMED_RECIPES,
    CONFIRMED_SEEDS,
    fail_in_one_line,
    loading_torch,
    quiet_optuna,
)
from search.command_line.output import plain_console
from search.command_line.parser import MOST_THREADS, CommandParser, count, count_to
from search.command_line.requests import ReopenRequest, add_reopening, request_from
from search.command_line.stop_signal import StopSignal

if TYPE_CHECKING:
    from objectives.stages.stage import StageProgress

EPILOG = """\
What is to be confirmed is written down before anything is scored on a test split: the best recipe
of each arm, then the next best, the best direct training, and seeds that the search did not have.
Asked again, the command shows what came of it. After an interruption it goes on.
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
        "--seeds", type=count, metavar="N", help=f"fresh seeds of each; default: {CONFIRMED_SEEDS}"
    )
    options.add_argument(
        "--again",
        action="store_true",
        help="look at the test splits once more, which every later report will say",
    )
    options.add_argument(
        "--threads", type=count_to(MOST_THREADS), help="CPU threads; default: all cores"
    )
    add_reopening(options, "default: the study's own")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line(works=True):
        quiet_optuna()
        from search.studies.asked_again import check_reopening

        reopen = request_from(vars(options), ReopenRequest)
        check_reopening(reopen)
        with loading_torch(options.threads):
            import torch

            from objectives.hardware import usable_cores
            from search.findings.confirming import ConfirmRequest, confirm_study
            from search.reporting.terminal import show_confirmation
            from search.workers.progress import RunProgress
            from spaces.errors import Interrupted

        if options.threads is None:
            torch.set_num_threads(usable_cores())
        request = request_from(vars(options), ConfirmRequest, study=reopen)
        stop = StopSignal()
        progress = RunProgress(plain_console(stderr=True, soft_wrap=True), frozenset())

        def on_stage(stage: StageProgress) -> None:
            stop.check()
            progress.on_stage(stage)

        try:
            with stop.listening(), progress.showing():
                study, look = confirm_study(request, on_stage, progress.say)
        except Interrupted as error:
            print(error, file=sys.stderr)
            return 128 + stop.number
        show_confirmation(study, look)
    return 0


if __name__ == "__main__":
    sys.exit(main())
