"""Predictions of a trained model in XTREME's submission format.

The model is a folder with a head, or the one that a trial of a study trains. A test split is read
only where it is what is predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from objectives.data.choosing import choose_source
from objectives.data.data_source import DataSource
from objectives.data.sources import has_split
from objectives.hardware import choose_hardware
from objectives.stages.stage import StageProgress
from objectives.xtreme import benchmark
from objectives.xtreme.submission import write_predictions
from objectives.xtreme.trained_folder import Predictor, load_trained, longest_input, predict_splits
from search.command_line.next_commands import scoring_command
from search.handover.origin import PredictionsOrigin
from search.handover.requests import PredictionRequest, StudyTrial, TrainedFolder
from search.studies.reopened import ReopenedStudy, reopen_study
from spaces.catalogue import load_catalogue
from spaces.errors import DataError, SpecError, unknown_name
from spaces.languages import ALL, expand_languages
from spaces.recipe import Similarity, untrained_stage
from spaces.task import Metric, Task, TaskKind

# XTREME's scripts: scripts/train.sh and scripts/train_qa.sh.
MAX_LENGTH, MAX_LENGTH_QA = 128, 384


@dataclass(frozen=True)
class WrittenPredictions:
    """What was predicted.

    Attributes:
        files: One per language, all in the folder of the task.
        note: What is to be known of the split; empty where there is nothing.
        next_command: The command that scores them.
    """

    files: list[Path]
    note: str
    next_command: str


@dataclass(frozen=True)
class _Predictions:
    """What is predicted, and with which model."""

    predictor: Predictor
    task: Task
    source: DataSource
    split: str
    languages: Sequence[str]


def predict(
    request: PredictionRequest, on_progress: Callable[[StageProgress], None]
) -> WrittenPredictions:
    """Predict a task's examples in all languages asked for, and write a file for each.

    Args:
        request: Which model, and what to predict.
        on_progress: Called at every update where a trial is trained again.

    Raises:
        UnknownNameError: There is no such task, language, study or seed.
        StorageError: The study has no complete trial of that number, or was made by something
            else.
        BackboneError: The folder has no model for the task.
        DataError: No language asked for has examples.
        SpecError: An option does not fit the model.
    """
    note, study_file = "", None
    if isinstance(request.model, TrainedFolder):
        asked = _of_folder(request, request.model)
        data = request.model.data
    else:
        reopened = reopen_study(request.model.study, on_progress)
        asked = _of_trial(request, request.model, reopened)
        data = request.model.study.data
        if data == "auto":
            data = reopened.study.address.data
        if asked.task.halved and asked.split == "test":
            note = (
                f"{asked.task.name} has one evaluation split, which the benchmark scores whole; "
                f"half of it is the validation split that the search chose on"
            )
        if asked.task.name not in load_catalogue().tasks:
            study_file = reopened.study.address.file
        if asked.split == "test":
            _count_as_seen(request, request.model, reopened)
    command = scoring_command(
        asked.task.name, str(request.to), asked.split, data=data, study_file=study_file
    )
    return WrittenPredictions(_write(request, asked), note, command)


def _count_as_seen(request: PredictionRequest, trial: StudyTrial, reopened: ReopenedStudy) -> None:
    """Keep that the study's test splits were read, and with the files whose predictions they are.

    `evaluate` counts itself by that.
    """
    study = reopened.study
    what = f"trial {trial.trial} on {request.task}"
    reopened.objective.ledger.record_test_read(study.name, "predict", what)
    origin = PredictionsOrigin(study.name, study.shown_url, what)
    origin.write(request.to / request.task)


def _of_folder(request: PredictionRequest, trained: TrainedFolder) -> _Predictions:
    task = load_catalogue()[request.task]
    hardware = choose_hardware(trained.device, trained.precision)
    model, tokenizer = load_trained(trained.folder, task)
    longest = longest_input(model, tokenizer)
    usual = MAX_LENGTH_QA if task.kind is TaskKind.QA else MAX_LENGTH
    max_length = min(usual, longest) if trained.max_length is None else trained.max_length
    if not 3 <= max_length <= longest:
        raise SpecError("--max-length", f"3 to {longest} for this encoder", str(max_length))
    stage = untrained_stage(
        task.name,
        max_length,
        -1 if trained.pooled_layer is None else trained.pooled_layer,
        Similarity(trained.similarity or "cosine"),
    )
    split = request.split or "test"
    pocket = [(task, language, split) for language in task.languages] if task.pocket else ()
    source = choose_source(trained.data, pocket)
    predictor = Predictor(model, tokenizer, stage, hardware)
    return _Predictions(predictor, task, source, split, request.languages or [ALL])


def _of_trial(
    request: PredictionRequest, trial: StudyTrial, reopened: ReopenedStudy
) -> _Predictions:
    recipe, objective = reopened.recipe(trial.trial), reopened.objective
    seeds = reopened.seeds_of(trial.trial)
    seed = seeds[0] if trial.seed is None else trial.seed
    if seed not in seeds:
        raise unknown_name("Seed", str(seed), list(map(str, seeds)), "one of the trial's recipe")
    stage, model = objective.trained_model(recipe, request.task, seed)
    task = objective.catalogue[request.task]
    tokenizer = objective.backbone(recipe.backbone).tokenizer
    return _Predictions(
        Predictor(model, tokenizer, stage, objective.hardware),
        task,
        objective.corpora.source,
        request.split or "validation",
        request.languages or objective.spec.scored_languages(task),
    )


def _write(request: PredictionRequest, asked: _Predictions) -> list[Path]:
    task, split, source = asked.task, asked.split, asked.source

    languages = _languages(asked.languages, split, task, source)

    def examples(of_split: str) -> dict[str, datasets.Dataset]:
        return {x: benchmark.benchmark_split(task, x, of_split, source) for x in languages}

    splits = examples(split)
    mines = task.metric is Metric.BUCC_F1 and split == "test"
    tuning = examples("validation") if mines else splits
    predictions = predict_splits(asked.predictor, splits, task, tuning)
    return [
        write_predictions(request.to, task, language, split, splits[language], of_language)
        for language, of_language in predictions.items()
    ]


def _languages(asked: Sequence[str], split: str, task: Task, source: DataSource) -> list[str]:
    """Those asked for; of a named set those that the data has."""
    languages = []
    for name in asked:
        expanded = expand_languages([name], task.languages)
        if expanded == (name,):
            languages.append(name)
        else:
            known = [x for x in expanded if x in task.languages]
            languages += [x for x in known if has_split(task, x, split, source)]
    if not languages:
        raise DataError(
            "--languages",
            f"languages of {task.name} with a {split} split in {source}",
            f"none ({source.reason})",
        )
    return list(dict.fromkeys(languages))
