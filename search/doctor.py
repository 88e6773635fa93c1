"""`python -m search.doctor`: whether this machine, its storage, cache and data will do.

A line per check: ok, warning or problem, what was found, and what to do. With `--study` a study is
checked instead, finished or at work: every trial accounted for, no result lost or doubled, the
budget kept to, ledger and study agree, checkpoints whole. With `--chaos` a small study is run, in
a temporary folder and on a database of its own, while its workers are killed and paused, its
database restarted and killed, its disk filled and its checkpoints torn; then it is checked alike.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from search.checks.chaos_plan import DATABASES, ChaosPlan
from search.command_line.options import (
    add_cache,
    add_data,
    add_storage,
    default_cache,
    fail_in_one_line,
)
from search.command_line.parser import (
    MOST,
    MOST_WORKERS,
    CommandParser,
    count,
    count_to,
    number_of,
    whole,
)

EPILOG = """\
Exit code 0; 1 where there is a problem or an invariant does not hold.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.doctor", description=__doc__, epilog=EPILOG)
    add_storage(options)
    add_cache(options, limit=False)
    add_data(options)
    what = options.add_mutually_exclusive_group()
    what.add_argument("--study", help="check this study of the storage instead of the machine")
    what.add_argument(
        "--chaos",
        nargs="?",
        const=ChaosPlan.storage,
        choices=DATABASES,
        help="run a study through faults, on a PostgreSQL of its own (which workers may start "
        "themselves, or reach through pgbouncer) or on SQLite",
    )
    for name, least, what_for in (
        ("trials", count, "trials of the chaos"),
        ("workers", count_to(MOST_WORKERS), "workers of the chaos at a time"),
        ("faults", whole(0, MOST), "faults of the chaos"),
        ("seed", number_of, "random seed of the chaos"),
    ):
        default = getattr(ChaosPlan, name)
        options.add_argument(
            f"--{name}", type=least, default=default, help=f"{what_for}; default: {default}"
        )
    options.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where all that the chaos leaves is kept"
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        if options.study:
            from search.checks.study import check_stored_study
            from search.studies.stored_study import open_stored_study

            cache = options.cache or default_cache(options.storage)
            checked = check_stored_study(open_stored_study(options.storage, options.study), cache)
            print("\n".join((checked.standing, *map(str, checked.invariants))))
            return 0 if checked.is_held else 1
        held = _check_machine(options.storage, options.cache, options.data)
        if options.chaos:
            plan = ChaosPlan(
                options.trials,
                options.workers,
                options.faults,
                storage=options.chaos,
                seed=options.seed,
            )
            held = _run_chaos(plan, options.keep) and held
    return 0 if held else 1


def _check_machine(storage: str, cache: str | None, data: str) -> bool:
    """Print how the machine is; False where there is a problem."""
    from search.checks.installation import State, check_installation

    installed = check_installation()
    print(installed, flush=True)  # before anything is loaded that may be missing
    from search.checks.machine import check_machine

    states = {installed.state}
    for check in check_machine(storage, cache or default_cache(storage), data):
        print(check, flush=True)
        states.add(check.state)
    return State.PROBLEM not in states


def _run_chaos(plan: ChaosPlan, keep: Path | None) -> bool:
    """Run a study through faults and print it; False where an invariant does not hold."""
    from search.checks.chaos import chaos_lines, run_chaos

    print(f"chaos: {plan.trials} trials, {plan.workers} workers, {plan.faults} faults", flush=True)
    result = run_chaos(plan, lambda line: print(line, flush=True), keep)
    print("\n".join(chaos_lines(result)))
    return result.is_held


if __name__ == "__main__":
    sys.exit(main())
