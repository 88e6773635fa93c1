"""Files that a trial leaves for those who look at it: its scores, and how its training went.

They lie beside the checkpoint cache, in a folder or behind any URL of fsspec, and say nothing
that the ledger has not.
"""

from __future__ import annotations

import csv
import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from optuna.artifacts import upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from search.command_line.markdown import for_spreadsheets
from storage.tables import PairedScore, StageRun

SCORES, TRAINING = "scores.csv", "training.csv"
_log = logging.getLogger(__name__)


class ArtifactFolder:
    """An artifact store of Optuna's protocol, beside a checkpoint cache.

    Args:
        cache: Location of the cache; a cache `x` or `x.cache` has its artifacts in `x.artifacts`.
    """

    def __init__(self, cache: str) -> None:
        self.location = f"{cache.rstrip('/').removesuffix('.cache')}.artifacts"
        self._files, self._root = fsspec.core.url_to_fs(self.location)

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open one artifact.

        Raises:
            ArtifactNotFound: There is none of that id.
        """
        try:
            return cast(BinaryIO, self._files.open(self._path(artifact_id), "rb"))
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"{self.location}: no artifact {artifact_id}") from error

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keep one artifact."""
        if isinstance(self._files, LocalFileSystem):
            # Others of this machine must not read what a study found, nor put files beside it.
            Path(self._root).mkdir(parents=True, exist_ok=True, mode=0o700)
        else:
            self._files.makedirs(self._root, exist_ok=True)
        self._files.pipe_file(self._path(artifact_id), content_body.read())

    def remove(self, artifact_id: str) -> None:
        """Delete one artifact.

        Raises:
            ArtifactNotFound: There is none of that id.
        """
        try:
            self._files.rm_file(self._path(artifact_id))
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"{self.location}: no artifact {artifact_id}") from error

    def _path(self, artifact_id: str) -> str:
        return f"{self._root}/{artifact_id}"


def upload_trial(
    trial: FrozenTrial,
    storage: BaseStorage,
    pairs: Sequence[PairedScore],
    runs: Iterable[StageRun],
    losses: Mapping[str, Sequence[float]],
    folder: ArtifactFolder,
) -> None:
    """Attach a trial's files to it, which Optuna allows until the trial is finished.

    Where the folder cannot be written, that is logged and costs no trial: the ledger has it all.
    """
    made = {SCORES: _scores(pairs), TRAINING: _training(runs, losses)}
    try:
        with tempfile.TemporaryDirectory() as place:
            for name, rows in made.items():
                if rows:
                    _upload(trial, storage, _written(Path(place, name), rows), folder)
    except OSError as error:
        _log.warning("trial %d: %s are not kept: %s", trial.number, " and ".join(made), error)


def _written(file: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {key: for_spreadsheets(value) for key, value in row.items()} for row in rows
        )
    return file


def _upload(trial: FrozenTrial, storage: BaseStorage, file: Path, folder: ArtifactFolder) -> None:
    upload_artifact(
        artifact_store=folder, file_path=str(file), study_or_trial=trial, storage=storage
    )


def _scores(pairs: Sequence[PairedScore]) -> list[dict[str, object]]:
    """Scores are shares, as in the ledger; gains are percentage points."""
    return [
        {
            "task": pair.score.task,
            "language": pair.score.language,
            "seed": pair.seed,
            "metric": pair.score.metric,
            "score": f"{pair.score.score:.4f}",
            **_held_against(pair),
            "examples": pair.score.examples,
        }
        for pair in sorted(pairs, key=lambda x: (x.score.task, x.score.language, x.seed))
    ]


def _held_against(pair: PairedScore) -> dict[str, object]:
    if pair.reference is None:
        return {}
    return {"baseline": f"{pair.reference.score:.4f}", "gain": f"{pair.gain:+.2f}"}


def _training(
    runs: Iterable[StageRun], losses: Mapping[str, Sequence[float]]
) -> list[dict[str, object]]:
    # A shorter stage that was trained on the way has its epochs in the longer one's.
    asked = (run for run in runs if run.updates_asked)
    stages = dict.fromkeys((run.checkpoint_key, run.position, run.task, run.seed) for run in asked)
    return [
        {"stage": position, "task": task, "seed": seed, "epoch": epoch, "loss": f"{loss:.4f}"}
        for key, position, task, seed in stages
        for epoch, loss in enumerate(losses.get(key, ()), start=1)
    ]
