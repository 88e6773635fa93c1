"""The start of a run: what can be wrong without torch is found before torch is loaded."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search.command_line.corpora import get_corpora, lines_of_missing
from search.command_line.lines import print_lines
from search.command_line.next_commands import next_command
from search.command_line.options import loading_torch, quiet_optuna
from search.command_line.output import plain_console
from search.command_line.run_options import RunOptions
from search.command_line.stop_signal import StopSignal, ending_at_once
from search.command_line.waiting import waiting
from search.command_line.words import console_for
from search.studies.asked_study import AskedStudy, as_asked
from search.studies.study_file import StudyFile
from spaces.errors import DataError

if TYPE_CHECKING:
    from objectives.rehearsal import Clock
    from search.findings.estimate import StudyEstimate
    from search.studies.stored_study import StoredStudy
    from search.workers.callbacks import RunCallback
    from storage.patient_storage import SharedStorage


def start_run(
    options: RunOptions,
    file: StudyFile,
    stop: StopSignal | None = None,
    callbacks: Sequence[RunCallback] = (),
) -> int:
    """Create, resume or extend a study and run its trials.

    Args:
        options: What the run was asked for.
        file: The study, from `read_study_file`.
        stop: Whether somebody else asked the run to end; default: signals of its process.
        callbacks: Callbacks that are told of each stage and each run.

    Returns:
        0 when the study has all its trials, 128 + the signal's number when one ended the run.

    Raises:
        TransferSearchError: Something the user gave is wrong.
    """
    console = plain_console(stderr=True, quiet=options.quiet or options.fellow)
    again = next_command(
        "run", options.study_address(options.name or file.spec.name, options.data)
    )
    with ending_at_once(f"interrupted before the first training; go on with {again}"):
        return _start(options, file, stop or StopSignal(), console, callbacks)


def _start(
    options: RunOptions,
    file: StudyFile,
    stop: StopSignal,
    console: Console,
    callbacks: Sequence[RunCallback],
) -> int:
    with waiting(console, "looking for the data and the encoder"):
        asked = as_asked(file, options.data, options.backbone)
    source = asked.source
    print_lines(console, f"data: {source}, because {source.reason}")
    if options.dry_run:
        lines = _missing(options, asked) or _estimate(options, asked, console).lines()
        print_lines(console_for(), *lines)
        return 0
    get_corpora(
        asked.needed,
        asked.wished,
        source,
        console,
        accepts=options.accept_licences,
        get=asked.get,
    )
    with ExitStack() as stack:
        with waiting(console, "opening the storage"):
            storage = stack.enter_context(_opened(options))
            from search.workers.finished import finished_study

            study = finished_study(options, asked, storage)
        if study is not None:
            _show(study, options, asked, console)
            return 0
        with waiting(console, "loading torch and transformers"), loading_torch(None):
            from search.workers.session import Session
        return Session(options, asked, storage, stop, console, callbacks).run()


def estimate_run(options: RunOptions, file: StudyFile) -> StudyEstimate:
    """What a run will take, counted from now; nothing is fetched or kept.

    Raises:
        DataError: Corpora are not here yet, so that nothing can be measured.
        TransferSearchError: Something the user gave is wrong.
    """
    console, begun = plain_console(stderr=True, quiet=options.quiet), time.perf_counter()
    with waiting(console, "looking for the data and the encoder"):
        asked = as_asked(file, options.data, options.backbone)
    if missing := _missing(options, asked):
        raise DataError("; ".join(missing))
    return _estimate(options, asked, console, lambda: time.perf_counter() - begun)


def _missing(options: RunOptions, asked: AskedStudy) -> list[str]:
    """What is to be fetched before anything can be measured, and how; empty where all is here."""
    if not (missing := lines_of_missing(asked.needed, asked.source)):
        return []
    words = ["python", "-m", "search.data", "get", "--study", options.study]
    return [
        *missing,
        f"what the study will take can be told when these are here: {shlex.join(words)}",
    ]


def _estimate(
    options: RunOptions, asked: AskedStudy, console: Console, clock: Clock | None = None
) -> StudyEstimate:
    quiet_optuna()
    with waiting(console, "loading torch and transformers"), loading_torch(None):
        from search.workers.dry_run import estimate_study
    with waiting(console, "reading the data and the encoder") as step:
        return estimate_study(options, asked, step, clock)


@contextmanager
def _opened(options: RunOptions) -> Iterator[SharedStorage]:
    """The storage of a run. A database that it made and left empty goes again."""
    from storage.opening import open_storage  # loads Optuna, which wrong data need not wait for
    from storage.urls import sqlite_file

    quiet_optuna()
    file = sqlite_file(options.storage)
    is_new = file is not None and not file.exists()
    # The run that started a fellow had the database.
    storage = open_storage(options.storage, patient=options.patient or options.fellow)
    is_empty = False
    try:
        yield storage
    finally:
        if is_new:
            is_empty = not storage.get_all_studies()
        storage.close()
        if file is not None and is_empty:
            _remove(file)


def _remove(file: Path) -> None:
    """Remove an SQLite file, unless another process has it open, which has a log beside it."""
    logs = [file.with_name(f"{file.name}-{end}") for end in ("wal", "shm")]
    if not any(log.exists() for log in logs):
        file.unlink(missing_ok=True)


def _show(study: StoredStudy, options: RunOptions, asked: AskedStudy, console: Console) -> None:
    """Show what came of a study that has all its trials."""
    if options.fellow:
        return
    from search.reporting.terminal import show_results
    from search.workers.finished import next_steps

    trials = options.trials or asked.spec.trials
    print_lines(console, f"{trials} of {trials} trials are done already")
    steps = [] if options.quiet else next_steps(study.address, options, trials)
    show_results(study, steps, keeps_note=False)
