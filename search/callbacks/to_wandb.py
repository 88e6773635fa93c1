"""Runs of a study as runs of Weights & Biases (https://docs.wandb.ai)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from search.callbacks.trackers import OpenRuns, library, loss_name, metrics_of, params_of, run_name

if TYPE_CHECKING:
    from search.workers.callbacks import FinishedRun, FinishedStage


class WandbCallback:
    """Makes a run of each run, all of a study in one group: choices, losses, gains and scores.

    Args:
        project: Name of the project.
        entity: User or team; None for the one that is logged in.
        mode: online, offline (kept here, for `wandb sync`) or disabled; None for what `WANDB_MODE`
            says.
        folder: Folder in which `wandb/` is made; None for the current one.

    Raises:
        SpecError: wandb is not installed.
    """

    def __init__(
        self,
        project: str = "transfer-search",
        entity: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        folder: Path | str | None = None,
    ) -> None:
        self._wandb = library("wandb", "wandb")
        self._project, self._entity, self._mode = project, entity, mode
        self._folder = None if folder is None else str(folder)
        self._runs = OpenRuns(self._begin)

    def on_stage(self, stage: FinishedStage) -> None:
        """Keep the losses of a stage, by epoch."""
        run, name = self._runs.of(stage), loss_name(stage)
        # Stages of a run have epochs of their own, and W&B has one counter of steps.
        run.define_metric(name, step_metric=f"epoch/{stage.position}")
        for epoch, loss in enumerate(stage.losses, start=1):
            run.log({name: loss, f"epoch/{stage.position}": epoch})

    def on_run(self, run: FinishedRun) -> None:
        """Keep what a run came to, and end it."""
        kept = self._runs.of(run)
        kept.config.update(params_of(run))
        kept.summary.update({"state": run.state, "reason": run.reason, **metrics_of(run)})
        kept.finish(exit_code=int(run.state == "fail"))
        self._runs.forget(run)

    def on_end(self) -> None:
        """End the runs that were cut off."""
        for kept in self._runs.cut_off():
            kept.finish(exit_code=1)

    def _begin(self, told: FinishedRun | FinishedStage) -> Any:
        return self._wandb.init(
            project=self._project,
            entity=self._entity,
            group=told.study,
            job_type=told.kind,
            name=run_name(told),
            mode=self._mode,
            dir=self._folder,
            reinit="create_new",  # a program's own run of W&B is left alone
            settings=self._wandb.Settings(silent=True),  # it has lines for each run
        )
