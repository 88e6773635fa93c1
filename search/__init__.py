"""The service: studies opened, trials run, results shown. Optuna, the command line, notebooks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.notebook.study import Study

__all__ = ["Study"]

if sys.argv[:1] == ["-m"]:  # `python -m search.COMMAND`, which is not imported yet
    from search.command_line.stop_signal import end_at_once_from_now

    end_at_once_from_now()


def __getattr__(name: str) -> Any:
    # Commands load this package too, and most of them need none of what a study needs.
    if name == "Study":
        from search.notebook.study import Study

        return Study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
