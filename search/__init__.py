"""The service: studies opened, trials run, results shown. Optuna and the command line."""

import sys

if sys.argv[:1] == ["-m"]:  # `python -m search.COMMAND`, which is not imported yet
    from search.command_line.stop_signal import end_at_once_from_now

    end_at_once_from_now()
