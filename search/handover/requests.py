"""What can be asked of the handover: to export a model, to predict with one, to score predictions.

Each request is checked when it is made, before anything heavy is loaded; whoever writes a notebook
makes the same ones as the commands do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from search.command_line.requests import ReopenRequest
from spaces.errors import DataError, SpecError

if TYPE_CHECKING:  # pydantic takes its time, and `--help` needs none of it
    from spaces.catalogue import Catalogue


@dataclass(frozen=True)
class ExportRequest:
    """Which model of a study to write, and where to.

    Attributes:
        study: The study, its data and its encoder, with which the model is trained again.
        to: Folder to make.
        task: Target task; None where the study has one.
        trial: Number of the trial whose recipe is wanted; None for the recommended recipe.
        seed: One that the recipe was scored with; None for the first.
        push_to_hub: Repository on the Hugging Face Hub, as in me/my-model; None for none.

    Raises:
        SpecError: The folder is there already, or the repository's name is none.
    """

    study: ReopenRequest
    to: Path
    task: str | None = None
    trial: int | None = None
    seed: int | None = None
    push_to_hub: str | None = None

    def __post_init__(self) -> None:
        if self.to.exists():
            raise SpecError("--to", "a folder that is not there yet", str(self.to))
        if self.push_to_hub is not None:
            _check_repository(self.push_to_hub)


@dataclass(frozen=True)
class TrainedFolder:
    """A trained model as a folder, and how it is used.

    Attributes:
        folder: What `save_pretrained` wrote.
        data: Where corpora come from, as `--data` says it.
        device: auto, cpu, cuda or cuda:N.
        precision: auto, float32 or bfloat16.
        max_length: Sub-words of an input; None for XTREME's.
        pooled_layer: Hidden layer that retrieval compares; None for the last.
        similarity: cosine or margin, in retrieval; None for cosine.
    """

    folder: Path
    data: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    max_length: int | None = None
    pooled_layer: int | None = None
    similarity: str | None = None


@dataclass(frozen=True)
class StudyTrial:
    """The model that a trial of a study trains.

    Attributes:
        study: The study, its data and its encoder, with which the model is trained again.
        trial: Number of a complete trial.
        seed: One of the trial's; None for the first.
    """

    study: ReopenRequest
    trial: int
    seed: int | None = None


@dataclass(frozen=True)
class PredictionRequest:
    """What to predict, and with which model.

    Attributes:
        model: A trained model's folder, or a trial of a study.
        task: Name of the task.
        to: Folder of the predictions; each task has a folder in it.
        languages: ISO 639-3 codes, named sets, or all that the data has; None for all with a
            folder, for those that the study scores with a trial.
        split: test or validation; None for test with a folder, for validation with a trial.
    """

    model: TrainedFolder | StudyTrial
    task: str
    to: Path
    languages: Sequence[str] | None = None
    split: str | None = None


@dataclass(frozen=True)
class EvaluationRequest:
    """Which predictions to score.

    Attributes:
        predictions: File of one language, folder of a task, or a folder with one per task.
        task: Name of the task; None for one per folder.
        language: ISO 639-3 code; None for those that the files' names say.
        split: test or validation; None for what a single file's name says, else test.
        study: Study file, or name of a shipped one, that has tasks of its own.
        data: Where the gold labels come from, as `--data` says it.

    Raises:
        UnknownNameError: There is no such task or shipped study.
        SpecError: The study file is wrong, or a file of predictions has no task.
        DataError: There are no predictions.
    """

    predictions: Path
    task: str | None = None
    language: str | None = None
    split: str | None = None
    study: str | None = None
    data: str = "auto"

    def __post_init__(self) -> None:
        if self.task is not None:
            self.catalogue[self.task]
        if not self.predictions.exists():
            raise DataError(
                "--predictions", "a file or a folder", f"nothing at {self.predictions}"
            )
        if self.task is None and not self.predictions.is_dir():
            raise SpecError("--task", f"the task of {self.predictions}", "none")

    @cached_property
    def catalogue(self) -> Catalogue:
        """The catalogue, with the tasks of the study's own."""
        from spaces.catalogue import load_catalogue
        from spaces.studies import load_study

        catalogue = load_catalogue()
        if self.study is None:
            return catalogue
        return catalogue.extended(load_study(self.study).tasks, f"study {self.study!r}")


def _check_repository(name: str) -> None:
    from huggingface_hub.errors import HFValidationError

    # Documented there, but not among the names that the package exports to type checkers.
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise SpecError("--push-to-hub", "a name as in me/my-model", repr(name)) from error
