"""`transfer-search`: the commands of this package under one name."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "run": "create, resume or extend a study, and run its trials",
    "data": "list corpora and where they come from, get them, check a folder of them",
    "predict": "write a model's predictions in XTREME's submission format",
    "evaluate": "score predictions in XTREME's submission format",
    "status": "show who works at a study, how far it is, and what went wrong",
    "extend": "go on with a study whose space has grown, with the trials it has",
    "copy": "carry a study, with all that is known of it, to another storage",
    "dashboard": "browse a study in optuna-dashboard",
    "confirm": "retrain the leaders with fresh seeds, and judge them on the test splits",
    "report": "write what a study found as a page, tables and figures",
    "export": "write the best recipe's model, with its card, for from_pretrained and the Hub",
    "compare": "show two studies of one storage side by side",
    "cost": "show what a study asked for, trained and saved",
    "doctor": "check machine, storage, cache and data, or a study; run one through faults",
    "cache": "list, measure, verify or clean the checkpoint cache",
}


def main(arguments: list[str] | None = None) -> int:
    """Hand over to `search.COMMAND`; returns its exit code."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in {"-h", "--help"}:
        print("usage: transfer-search COMMAND [OPTION ...]\n")
        for name, does in COMMANDS.items():
            print(f"  {name:<10} {does}")
        print("\n`transfer-search COMMAND --help` shows the options of a command.")
        return 0
    if command not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"error: expected a command ({known}), found {command!r}", file=sys.stderr)
        return 2
    code: int = import_module(f"search.{command}").main(rest)
    return code


if __name__ == "__main__":
    sys.exit(main())
