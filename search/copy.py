"""`python -m search.copy`: carry a study, with all that is known of it, to another storage."""

from __future__ import annotations

import argparse
import sys

from search.command_line.options import add_study, fail_in_one_line, holds_password, quiet_optuna
from search.command_line.parser import CommandParser

EPILOG = """\
Its direct trainings, trials, scores, looks at test splits and costs go along, so that it can be
gone on with there; the old one stays. Checkpoints and files of trials stay where they are: name
them with --cache. To go on where PostgreSQL is, after a search that began in a file:

  python -m search.copy --study NAME --to postgresql+psycopg://USER@HOST/DATABASE
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(
        prog="python -m search.copy",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_study(options)
    options.add_argument("--to", required=True, metavar="URL", help="storage that gets the study")
    options.add_argument("--name", help="name of the study there; default: the one it has")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    if holds_password(options.to):
        print(
            "note: --to shows its password in the process list of this machine; ~/.pgpass keeps "
            "it out",
            file=sys.stderr,
        )
    with fail_in_one_line():
        quiet_optuna()
        from search.studies.copying import copy_stored

        copied = copy_stored(options.storage, options.study, options.to, options.name)
    print(f"{copied.name}: {copied.trials} trials, in {copied.shown_url}; go on with")
    print(copied.command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
