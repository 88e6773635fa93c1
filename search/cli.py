"""`transfer-search`: the commands of this package under one name."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version

from search.command_line.options import fail_in_one_line
from search.command_line.stop_signal import end_at_once_from_now
from spaces.errors import one_line, unknown_name
from spaces.studies import study_files

COMMANDS = {
    "init": "write a study file, by a few questions",
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
    end_at_once_from_now()
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["help"]
    if command == "help" and rest:
        command, rest = rest[0], ["--help"]
    if command in {"-h", "--help", "help"}:
        with fail_in_one_line():
            _print_help()
        return 0
    if command in {"-V", "--version", "version"}:
        print(f"transfer-search {version('transfer-search')}")
        return 0
    if command not in COMMANDS:
        print(f"error: {_unknown(command)}", file=sys.stderr)
        return 2
    code: int = import_module(f"search.{command}").main(rest)
    return code


def _print_help() -> None:
    print("usage: transfer-search COMMAND [OPTION ...]\n")
    for name, does in COMMANDS.items():
        print(f"  {name:<10} {does}")
    print("\n`transfer-search help COMMAND` shows the options of a command.")


def _unknown(command: str) -> str:
    """What is said of a word that is no command; it may be a study to run."""
    if command.endswith(".toml") or command in study_files():
        return f"{command!r} is a study and no command; run it by `transfer-search run {command}`"
    if command.startswith("-"):
        return f"expected a command before the option {command}; `transfer-search help` shows them"
    return one_line(str(unknown_name("Command", command, COMMANDS, "one of transfer-search")))


if __name__ == "__main__":
    sys.exit(main())
