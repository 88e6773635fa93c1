"""`python -m search.predict`: a model's predictions in XTREME's submission format."""

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
from search.command_line.parser import CommandParser, count, number_of, whole
from search.command_line.requests import ReopenRequest, add_reopening, request_from
from search.handover.requests import PredictionRequest, StudyTrial, TrainedFolder
from spaces.errors import SpecError

EPILOG = """\
The model is a folder with a head, as transformers writes it (for retrieval any encoder), or the
one that a trial of a study trains: its target stage is trained again, as only scores are kept of
it. The files are DIR/TASK/test-LG.tsv; `evaluate` scores them. No run of a search is scored on a
test split; this command reads one, as predictions for it are what is submitted: with --checkpoint
by default, with --study for --split test only. Choose the trial before: whoever compares the test
scores of several trials has searched on test.
"""
OF_CHECKPOINT = ("max_length", "pooled_layer", "similarity")
OF_STUDY = ("trial", "seed", "backbone")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.predict", description=__doc__, epilog=EPILOG)
    model = options.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, metavar="DIR", help="a trained model's folder")
    model.add_argument("--study", help="a study's name in the storage, with --trial")
    options.add_argument("--task", required=True, help="a task of the catalogue")
    options.add_argument("--to", required=True, type=Path, metavar="DIR", help="is made")
    options.add_argument(
        "--languages",
        nargs="+",
        metavar="CODE",
        help="ISO 639-3 codes, named sets, or all that the data has; default: all; with --study "
        "those that the study scores",
    )
    options.add_argument(
        "--split",
        choices=("test", "validation"),
        help="default: test; with --study validation, which the search chose on",
    )
    add_threads(options, "a trial has its very scores again")
    checkpoint = options.add_argument_group("with --checkpoint")
    checkpoint.add_argument(
        "--max-length",
        type=count,
        metavar="N",
        help="sub-words; default: 128, in question answering 384, or fewer where the encoder has "
        "no more",
    )
    checkpoint.add_argument(
        "--pooled-layer",
        type=whole(-1000, 1000),
        metavar="N",
        help="for retrieval; default: -1, the last",
    )
    checkpoint.add_argument(
        "--similarity", choices=("cosine", "margin"), help="for retrieval; default: cosine"
    )
    study = options.add_argument_group("with --study")
    study.add_argument("--trial", type=number_of, metavar="N")
    study.add_argument("--seed", type=number_of, metavar="N", help="default: the trial's first")
    add_reopening(options, "auto, float32 or bfloat16; of a study: its own")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line(works=True, storage=options.storage):
        request = request_from(vars(options), PredictionRequest, model=_model(options))
        _check(request.model)
        quiet_optuna()
        with loading_torch(options.threads):
            from search.handover.predictions import predict

        written = predict(request, print_stage)
    if written.note:
        print(f"note: {written.note}", file=sys.stderr)
    names = " ".join(file.name for file in written.files)
    print(f"{len(written.files)} files in {written.files[0].parent}: {names}")
    print(f"score:  {written.next_command}")
    return 0


def _model(options: argparse.Namespace) -> TrainedFolder | StudyTrial:
    """The model that the options name."""
    given, others = ("--study", OF_CHECKPOINT) if options.study else ("--checkpoint", OF_STUDY)
    if wrong := [name for name in others if getattr(options, name) is not None]:
        option = f"--{wrong[0].replace('_', '-')}"
        raise SpecError(option, f"no such option with {given}", advice="drop it")
    if options.checkpoint:
        return request_from(vars(options), TrainedFolder, folder=options.checkpoint)
    if options.trial is None:
        raise SpecError("--trial", "the number of a trial with --study", "none")
    study = request_from(vars(options), ReopenRequest)
    return request_from(vars(options), StudyTrial, study=study)


def _check(model: TrainedFolder | StudyTrial) -> None:
    """Check what can be wrong without torch.

    Raises:
        TransferSearchError: The model, or its data, are not there.
    """
    from objectives.data.data_source import check_named
    from objectives.models.backbone_files import check_trained_folder

    if isinstance(model, TrainedFolder):
        check_named(model.data)
        check_trained_folder(model.folder)
        return
    from search.studies.asked_again import check_reopening

    check_reopening(model.study)


if __name__ == "__main__":
    sys.exit(main())
