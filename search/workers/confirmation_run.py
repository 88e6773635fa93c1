"""A confirmation from start to end: shown where it is known, else trained first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.command_line.lines import print_lines
from search.command_line.next_commands import StudyAddress, next_command
from search.command_line.options import loading_torch
from search.command_line.output import plain_console
from search.command_line.stop_signal import GRACE_SECONDS, StopSignal
from search.command_line.waiting import waiting
from search.command_line.words import console_for
from search.findings.confirm_request import ConfirmRequest, is_settled
from search.findings.confirmation import looks_of
from search.reporting.confirmation_tables import show_confirmation

if TYPE_CHECKING:
    from objectives.stages.stage import StageProgress
    from search.studies.stored_study import StoredStudy


def show_settled(study: StoredStudy, request: ConfirmRequest) -> bool:
    """Show a confirmation that is over: without its data, its encoder or torch.

    Returns:
        False where there is something to train.
    """
    looks = looks_of(study)
    if not is_settled(looks, request):
        return False
    show_confirmation(study, looks[-1])
    return True


def start_confirmation(
    request: ConfirmRequest, threads: int | None, stop: StopSignal, *, is_dry: bool = False
) -> None:
    """Confirm a study and show what came of it.

    Args:
        request: Which study, and how thoroughly; `check_reopening` found nothing wrong with it.
        threads: CPU threads; None for all cores.
        stop: Whether somebody asked it to end.
        is_dry: Whether what it will take is said, and nothing is planned or read.

    Raises:
        Interrupted: It was asked to end.
        TransferSearchError: As from `search.findings.confirming.confirm_study`.
    """
    console = plain_console(stderr=True)
    with waiting(console, "loading torch and transformers"), loading_torch(threads):
        import torch

        from objectives.hardware import usable_cores
        from search.findings.confirming import confirm_study, foresee_confirmation
        from search.workers.progress import RunProgress

    if threads is None:
        torch.set_num_threads(usable_cores())
    progress = RunProgress(console, frozenset())

    def on_stage(stage: StageProgress) -> None:
        stop.check()
        progress.on_stage(stage)

    if is_dry:
        with waiting(console, "reading the data and the encoder"), stop.listening():
            lines = foresee_confirmation(request, lambda stage: stop.check())
        print_lines(console_for(), *lines)
        return
    address = StudyAddress(request.study.study, request.study.study, request.study.storage)
    again = next_command("confirm", address)
    kept = f"interrupted: every training that is finished is kept; go on with {again}"
    with stop.listening(lambda: kept, GRACE_SECONDS), progress.showing():
        study, look = confirm_study(request, on_stage, progress.say)
    show_confirmation(study, look)
