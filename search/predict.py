"""`python -m search.predict`: a model's predictions in XTREME's submission format."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from search.command_line.options import (
    add_cache,
    add_data,
    add_storage,
    add_threads,
    fail_in_one_line,
    start_torch,
)

if TYPE_CHECKING:
    from objectives.data.sources import DataSource
    from objectives.stages.stage import StageProgress
    from objectives.xtreme.trained_folder import Predictor
    from spaces.catalogue import Task

EPILOG = """\
The model is a folder with a head, as transformers writes it (for retrieval any encoder), or the
one that a trial of a study trains: its target stage is trained again, as only scores are kept of
it. The files are DIR/TASK/test-LG.tsv; `evaluate` scores them. A search never reads a test split;
this command does, as predictions for it are what is submitted: with --checkpoint by default, with
--study for --split test only. Choose the trial before: whoever compares the test scores of several
trials has searched on test.
"""
OF_CHECKPOINT = ("max_length", "pooled_layer", "similarity")
OF_STUDY = ("trial", "seed", "backbone")
# XTREME's scripts: scripts/train.sh and scripts/train_qa.sh.
MAX_LENGTH, MAX_LENGTH_QA = 128, 384


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.predict", description=__doc__, epilog=EPILOG
    )
    model = options.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, metavar="DIR", help="a trained model's folder")
    model.add_argument("--study", help="a study's name in the storage, with --trial")
    options.add_argument("--task", required=True, help="a task of the catalogue")
    options.add_argument("--to", required=True, type=Path, metavar="DIR", help="is made")
    options.add_argument(
        "--languages",
        nargs="+",
        default=["all"],
        metavar="CODE",
        help="ISO 639-3 codes, named sets, or all that the data has; default: all",
    )
    options.add_argument(
        "--split",
        choices=("test", "validation"),
        help="default: test; with --study validation, which the search chose on",
    )
    add_data(options)
    options.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options.add_argument(
        "--precision", default="auto", help="auto, float32 or bfloat16; of a study: its own"
    )
    add_threads(options, "a trial has its very scores again")
    checkpoint = options.add_argument_group("with --checkpoint")
    checkpoint.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help=f"sub-words; default: {MAX_LENGTH}, in question answering {MAX_LENGTH_QA}, or fewer "
        f"where the encoder has no more",
    )
    checkpoint.add_argument(
        "--pooled-layer", type=int, metavar="N", help="for retrieval; default: -1, the last"
    )
    checkpoint.add_argument(
        "--similarity", choices=("cosine", "margin"), help="for retrieval; default: cosine"
    )
    study = options.add_argument_group("with --study")
    study.add_argument("--trial", type=int, metavar="N")
    study.add_argument("--seed", type=int, metavar="N", help="default: the trial's first")
    study.add_argument(
        "--backbone", metavar="NAME", help="where the encoder lies now, if it was moved"
    )
    add_storage(options)
    add_cache(options, limit=False)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        _check(options)

        from spaces.catalogue import load_catalogue

        start_torch(options.threads)
        files = _of_trial(options) if options.study else _of_checkpoint(options)
    print(f"{len(files)} files in {files[0].parent}: {' '.join(file.name for file in files)}")
    split = files[0].name.partition("-")[0]
    words = ["--task", options.task, "--predictions", str(options.to), "--split", split]
    if options.data != "auto":
        words += ["--data", options.data]
    if options.task not in load_catalogue().tasks:  # a task of the study's own
        words += ["--study", options.study]
    print(f"score:  {shlex.join(['python', '-m', 'search.evaluate', *words])}")
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raise where options do not go together.

    Raises:
        SpecError: With the option.
    """
    from spaces.errors import SpecError

    given, others = ("--study", OF_CHECKPOINT) if options.study else ("--checkpoint", OF_STUDY)
    for name in others:
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise SpecError(f"{option}: expected no such option with {given}, drop it")
    if options.study and options.trial is None:
        raise SpecError("--trial: expected the number of a trial with --study, found none")


def _of_checkpoint(options: argparse.Namespace) -> list[Path]:
    from objectives.data.sources import choose_source
    from objectives.hardware import choose_hardware
    from objectives.xtreme.trained_folder import Predictor, load_trained, longest_input
    from spaces.catalogue import TaskKind, load_catalogue
    from spaces.errors import SpecError
    from spaces.recipe import Schedule, Similarity, Stage

    task = load_catalogue()[options.task]
    hardware = choose_hardware(options.device, options.precision)
    model, tokenizer = load_trained(options.checkpoint, task)
    longest = longest_input(model, tokenizer)
    usual = MAX_LENGTH_QA if task.kind is TaskKind.QA else MAX_LENGTH
    max_length = min(usual, longest) if options.max_length is None else options.max_length
    if not 3 <= max_length <= longest:
        raise SpecError(
            f"--max-length: expected 3 to {longest} for this encoder, found {max_length}"
        )
    stage = Stage(
        task=task.name,
        epochs=0,
        learning_rate=0.0,
        batch_size=1,
        examples=0,
        warmup_ratio=0.0,
        max_length=max_length,
        schedule=Schedule.LINEAR,
        pooled_layer=-1 if options.pooled_layer is None else options.pooled_layer,
        similarity=Similarity(options.similarity or "cosine"),
    )
    source = choose_source(options.data, [(task, language) for language in task.languages])
    split = options.split or "test"
    return _write(options, split, task, source, Predictor(model, tokenizer, stage, hardware))


def _of_trial(options: argparse.Namespace) -> list[Path]:
    import optuna

    from objectives.xtreme.trained_folder import Predictor
    from search.studies.reopened import reopen_study
    from spaces.errors import unknown_name

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    reopened = reopen_study(options, _say_what_is_trained)
    recipe, objective = reopened.recipe(options.trial), reopened.objective
    seed = recipe.seeds[0] if options.seed is None else options.seed
    if seed not in recipe.seeds:
        raise unknown_name("Seed", str(seed), list(map(str, recipe.seeds)), "one of the trial's")
    stage, model = objective.trained_model(recipe, options.task, seed)
    tokenizer = objective.backbone(recipe.backbone).tokenizer
    predictor = Predictor(model, tokenizer, stage, objective.hardware)
    task, source = objective.catalogue[options.task], objective.corpora.source
    split = options.split or "validation"
    if task.halved and split == "test":
        print(
            f"note: {task.name} has one evaluation split, which the benchmark scores whole; half "
            f"of it is the validation split that the search chose on",
            file=sys.stderr,
        )
    return _write(options, split, task, source, predictor)


def _say_what_is_trained(stage: StageProgress) -> None:
    if stage.done == 1:
        print(f"{stage.position} {stage.task}: {stage.total} updates", file=sys.stderr)


def _write(
    options: argparse.Namespace, split: str, task: Task, source: DataSource, predictor: Predictor
) -> list[Path]:
    from objectives.xtreme.benchmark import benchmark_split
    from objectives.xtreme.submission import write_predictions
    from objectives.xtreme.trained_folder import predict_splits
    from spaces.catalogue import Metric

    languages = _languages(options, split, task, source)
    splits = {x: benchmark_split(task, x, split, source) for x in languages}
    tuning = splits
    if task.metric is Metric.BUCC_F1 and split == "test":
        tuning = {x: benchmark_split(task, x, "validation", source) for x in languages}
    predictions = predict_splits(predictor, splits, task, tuning)
    return [
        write_predictions(options.to, task, language, split, splits[language], found)
        for language, found in predictions.items()
    ]


def _languages(
    options: argparse.Namespace, split: str, task: Task, source: DataSource
) -> list[str]:
    """Those asked for; of a named set those that the data has."""
    from objectives.data.sources import has_split
    from spaces.errors import DataError
    from spaces.languages import expand_languages

    languages = []
    for name in options.languages:
        expanded = expand_languages([name], task.languages)
        if expanded == (name,):
            languages.append(name)
        else:
            known = [x for x in expanded if x in task.languages]
            languages += [x for x in known if has_split(task, x, split, source)]
    if not languages:
        raise DataError(
            f"--languages: expected languages of {task.name} with a {split} split in {source}, "
            f"found none ({source.reason})"
        )
    return list(dict.fromkeys(languages))


if __name__ == "__main__":
    sys.exit(main())
