"""`python -m search.extend`: go on with a study whose space has grown, with the trials it has."""

from __future__ import annotations

import argparse
import sys

from search.command_line.next_commands import StudyAddress, next_command
from search.command_line.options import (
    add_cache,
    add_data,
    add_hardware,
    add_overrides,
    add_storage,
    fail_in_one_line,
    loading_torch,
    quiet_optuna,
)
from search.command_line.parser import CommandParser
from search.command_line.requests import ReopenRequest
from search.studies.study_file import read_study_file

EPILOG = """\
Change the study's file, or name what is new with --set. Everything that the study has tried must
still be what it was: intermediate tasks, arms, epochs, rates and the like may be added, not taken
away. The target stage and the encoders stay, as the baseline was tuned over them. The study goes
on as a new version, NAME@2, which search.run, report and all others mean by NAME from then on; the
old one stays as NAME@1.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.extend", description=__doc__, epilog=EPILOG)
    options.add_argument(
        "--study", required=True, help="a shipped study, or the path of a .toml file, as it is now"
    )
    options.add_argument("--name", help="name in the storage; default: that of the study file")
    add_overrides(options, "intermediate.epochs=[1,2,4]")
    add_data(options)
    options.add_argument("--backbone", metavar="NAME", help="encoder, as of search.run")
    add_hardware(options, "default: the study's own")
    add_storage(options)
    add_cache(options, limit=False)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line(works=True, storage=options.storage):
        file = read_study_file(options.study, options.overrides)
        from search.studies.asked_study import as_asked

        asked = as_asked(file, options.data, options.backbone)
        quiet_optuna()

        from search.studies.asked_again import check_reopening

        name = options.name or file.spec.name
        check_reopening(ReopenRequest(name, options.storage, options.data, options.backbone))
        with loading_torch(None):
            from search.studies.extension import extend_study
            from search.studies.opening import TrainingSite

        address = StudyAddress(
            *(options.study, name, options.storage, options.data),
            *(options.backbone, file.overrides, options.cache),
        )
        site = TrainingSite(options.storage, options.cache, options.device, options.precision)
        made = extend_study(asked, address, site)
    trials = max(file.spec.trials, 2 * made.carried)
    print(
        f"{made.name}: {made.carried} trials of {made.extends} and a larger space; go on with\n"
        f"{next_command('run', made.address, '--trials', str(trials))}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
