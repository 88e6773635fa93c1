"""The start of a confirmation: what can be wrong without torch is found before torch is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from search.command_line.options import loading_torch, quiet_optuna
from search.command_line.stop_signal import StopSignal
from search.findings.confirm_request import ConfirmRequest
from search.studies.asked_again import check_reopening

if TYPE_CHECKING:
    from objectives.stages.stage import StageProgress
    from search.findings.confirmation import Look
    from search.studies.stored_study import StoredStudy


def start_confirmation(
    request: ConfirmRequest, threads: int | None, stop: StopSignal
) -> tuple[StoredStudy, Look]:
    """Confirm a study, and show on standard error how far it is.

    Args:
        request: Which study, and how thoroughly.
        threads: CPU threads; None for all cores.
        stop: Whether somebody asked it to end.

    Returns:
        The study, and the look at its test splits, which has its result.

    Raises:
        Interrupted: It was asked to end.
        TransferSearchError: As from `search.findings.confirming.confirm_study`.
    """
    quiet_optuna()
    check_reopening(request.study)
    with loading_torch(threads):
        import torch

        from objectives.hardware import usable_cores
        from search.findings.confirming import confirm_study
        from search.workers.progress import RunProgress

    if threads is None:
        torch.set_num_threads(usable_cores())
    progress = RunProgress(Console(stderr=True, soft_wrap=True), frozenset())

    def on_stage(stage: StageProgress) -> None:
        stop.check()
        progress.on_stage(stage)

    with stop.listening(), progress.showing():
        return confirm_study(request, on_stage, progress.say)
