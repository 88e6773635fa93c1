"""`python -m search.export`: the best recipe's model, as a folder that transformers loads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from search.command_line.options import (
    add_threads,
    fail_in_one_line,
    loading_torch,
    print_stage,
    quiet_optuna,
)
from search.command_line.parser import CommandParser, number_of
from search.command_line.requests import ReopenRequest, add_reopening, request_from
from search.handover.requests import ExportRequest

EPILOG = """\
Which recipe: the one that helps most by the study's confirmation, or direct training where
nothing helps; before a confirmation what the search expects most of in the target task, and the
model card says that it is not confirmed. Only scores are kept of target stages, so it is trained
again. DIR has model.safetensors, config.json, the tokenizer, README.md (the model card) and
recipe.json.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.export", description=__doc__, epilog=EPILOG)
    options.add_argument("--study", required=True, help="a study's name in the storage")
    options.add_argument("--to", required=True, type=Path, metavar="DIR", help="is made")
    options.add_argument("--task", help="which target task, where the study has several")
    options.add_argument(
        "--trial", type=number_of, metavar="N", help="another recipe than the best"
    )
    options.add_argument(
        "--seed",
        type=number_of,
        metavar="N",
        help="one that the recipe was scored with; default: the first, as the best one would be "
        "best by luck",
    )
    options.add_argument(
        "--push-to-hub",
        metavar="REPO",
        help="put DIR on the Hugging Face Hub as well, as in me/my-model; a new one is private",
    )
    add_threads(options, "the model is the very same again")
    add_reopening(options, "default: the study's own")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line(works=True, storage=options.storage):
        study = request_from(vars(options), ReopenRequest)
        request = request_from(vars(options), ExportRequest, study=study)
        quiet_optuna()
        from search.studies.asked_again import check_reopening

        check_reopening(study)
        with loading_torch(options.threads):
            from search.handover.exported_model import export_model

        exported = export_model(
            request, lambda reason: print(reason, file=sys.stderr), print_stage
        )
        print(
            f"{exported.folder}: {exported.steps}, seed {exported.seed}; load it with "
            f"from_pretrained"
        )
        if exported.published:
            print(f"published: {exported.published}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
