"""The start of a run: what can be wrong without torch is found before torch is loaded."""

from __future__ import annotations

from contextlib import closing

from search.command_line.corpora import get_corpora
from search.command_line.options import loading_torch, quiet_optuna
from search.command_line.output import plain_console
from search.command_line.run_options import RunOptions
from search.command_line.stop_signal import StopSignal
from search.studies.asked_study import as_asked
from search.studies.study_file import StudyFile


def start_run(options: RunOptions, file: StudyFile, stop: StopSignal | None = None) -> int:
    """Create, resume or extend a study and run its trials.

    Args:
        options: What the run was asked for.
        file: The study, from `read_study_file`.
        stop: Whether somebody else asked the run to end; default: signals of its process.

    Returns:
        0 when the study has all its trials, 128 + the signal's number when one ended the run.

    Raises:
        TransferSearchError: Something the user gave is wrong.
    """
    console = plain_console(stderr=True, quiet=options.quiet or options.fellow, soft_wrap=True)
    asked = as_asked(file, options.data, options.backbone)
    source = asked.source
    console.print(f"data: {source}, because {source.reason}", markup=False, highlight=False)
    get_corpora(asked.needed, asked.wished, source, console, accepts=options.accept_licences)
    quiet_optuna()

    from storage.opening import open_storage  # loads Optuna, which wrong data need not wait for

    patient = options.patient or options.fellow  # the run that started it had the database
    with closing(open_storage(options.storage, patient=patient)) as storage:
        with loading_torch(None):
            from search.workers.session import Session
        return Session(options, asked, storage, stop or StopSignal(), console).run()
