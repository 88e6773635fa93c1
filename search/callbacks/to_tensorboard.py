"""Runs of a study as TensorBoard's event files (https://www.tensorflow.org/tensorboard)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.callbacks.trackers import OpenRuns, library, loss_name, metrics_of, params_of

if TYPE_CHECKING:
    from search.workers.callbacks import FinishedRun, FinishedStage


class TensorBoardCallback:
    """Writes FOLDER/STUDY/KIND-NUMBER of each run: losses by epoch, choices, gains and scores.

    FOLDER/STUDY itself has the curves of the study: gain and score over the numbers of its trials.

    Args:
        folder: Folder to write into, for `tensorboard --logdir FOLDER`.

    Raises:
        SpecError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path | str = "tensorboard") -> None:
        library("tensorboard", "tensorboard")
        self._folder = Path(folder)
        self._runs = OpenRuns(self._begin)
        self._curves: dict[str, Any] = {}

    def on_stage(self, stage: FinishedStage) -> None:
        """Write the losses of a stage, by epoch."""
        writer = self._runs.of(stage)
        for epoch, loss in enumerate(stage.losses, start=1):
            writer.add_scalar(loss_name(stage), loss, epoch)
        writer.flush()

    def on_run(self, run: FinishedRun) -> None:
        """Write what a run came to, and close its file."""
        writer, metrics = self._runs.of(run), metrics_of(run)
        for name, value in metrics.items():
            writer.add_scalar(name, value, 0)
        params = {
            k: v if isinstance(v, int | float) else str(v) for k, v in params_of(run).items()
        }
        # With run_name "." it goes into the run's own folder, and not into a new one below it.
        writer.add_hparams(
            params, {"gain": metrics["gain"]} if "gain" in metrics else {}, run_name="."
        )
        if run.reason:
            writer.add_text("reason", run.reason)
        writer.close()
        self._runs.forget(run)
        if run.kind == "trial":
            self._add_to_curves(run, metrics)

    def on_end(self) -> None:
        """Close all files."""
        for writer in (*self._runs.cut_off(), *self._curves.values()):
            writer.close()
        self._curves.clear()

    def _begin(self, told: FinishedRun | FinishedStage) -> Any:
        return _writer(self._folder / told.study / f"{told.kind}-{told.run}")

    def _add_to_curves(self, run: FinishedRun, metrics: dict[str, float]) -> None:
        if run.study not in self._curves:
            self._curves[run.study] = _writer(self._folder / run.study)
        for name in ("gain", "score"):
            if name in metrics:
                self._curves[run.study].add_scalar(f"study/{name}", metrics[name], run.run)
        self._curves[run.study].flush()


def _writer(folder: Path) -> Any:
    # torch, whose module it is, is loaded as runs want it: not before their first.
    return library("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(folder))
