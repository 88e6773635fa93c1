"""Runs of a study as runs of an MLflow experiment (https://mlflow.org/docs/latest/ml/tracking/)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search.callbacks.trackers import OpenRuns, library, loss_name, metrics_of, params_of, run_name

if TYPE_CHECKING:
    from search.workers.callbacks import FinishedRun, FinishedStage


class MLflowCallback:
    """Makes an MLflow run of each run, with choices, losses of stages, gains and scores.

    Args:
        experiment: Name of the experiment, made where it is not there; None for the study's name.
        tracking_uri: Where MLflow keeps it; None for what `MLFLOW_TRACKING_URI` says.

    Raises:
        SpecError: MLflow is not installed.
    """

    def __init__(self, experiment: str | None = None, tracking_uri: str | None = None) -> None:
        self._mlflow = library("mlflow", "mlflow")
        self._client = self._mlflow.MlflowClient(tracking_uri=tracking_uri)
        self._experiment = experiment
        self._runs = OpenRuns(self._begin)

    def on_stage(self, stage: FinishedStage) -> None:
        """Keep the losses of a stage, by epoch."""
        losses = [(loss_name(stage), loss, n) for n, loss in enumerate(stage.losses, start=1)]
        self._log(self._runs.of(stage), losses)

    def on_run(self, run: FinishedRun) -> None:
        """Keep what a run came to, and end it."""
        run_id = self._runs.of(run)
        params = [self._mlflow.entities.Param(k, str(v)) for k, v in params_of(run).items()]
        self._client.log_batch(run_id, params=params)
        self._log(run_id, [(name, value, 0) for name, value in metrics_of(run).items()])
        self._client.set_tag(run_id, "state", run.state)
        if run.reason:
            self._client.set_tag(run_id, "reason", run.reason)
        self._client.set_terminated(run_id, "FINISHED" if run.state == "complete" else "FAILED")
        self._runs.forget(run)

    def on_end(self) -> None:
        """End the runs that were cut off."""
        for run_id in self._runs.cut_off():
            self._client.set_terminated(run_id, "KILLED")

    def _begin(self, told: FinishedRun | FinishedStage) -> str:
        tags = {"study": told.study, "kind": told.kind, "run": str(told.run)}
        experiment = self._experiment_id(self._experiment or told.study)
        made = self._client.create_run(experiment, run_name=run_name(told), tags=tags)
        return str(made.info.run_id)

    def _experiment_id(self, name: str) -> Any:
        known = self._client.get_experiment_by_name(name)
        return known.experiment_id if known else self._client.create_experiment(name)

    def _log(self, run_id: str, values: Sequence[tuple[str, float, int]]) -> None:
        now = int(1000 * time.time())
        kind = self._mlflow.entities.Metric
        self._client.log_batch(run_id, metrics=[kind(name, x, now, n) for name, x, n in values])
