"""What every benchmark ends with where its input is at fault: one line and exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from search.command_line.options import fail_in_one_line


def run_as_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a benchmark to its exit code; an error that a user can cause is no traceback."""
    with fail_in_one_line(works=True):
        code = main()
    raise SystemExit(code)
