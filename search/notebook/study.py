"""A study as an object: what the commands do, with tables and figures, shown by its answer.

Each method makes the frozen request that a command makes and calls the function that it calls;
nothing is kept here, so that what is shown is the study as it is in its storage now.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd

from search.command_line.next_commands import StudyAddress, file_stem
from search.command_line.options import (
    default_storage,
    loading_torch,
    print_stage,
    quiet_optuna,
)
from search.command_line.requests import ReopenRequest
from search.command_line.run_options import RunOptions
from search.command_line.words import say
from search.findings.arm_table import arm_table
from search.findings.confirm_request import ConfirmRequest
from search.findings.landscape import Landscape, read_landscape
from search.findings.stage_costs import study_cost
from search.handover.requests import ExportRequest
from search.notebook.hosting import hosted
from search.reporting.first_screen import first_screen
from search.reporting.page import ReportRequest, first_screen_html, write_report
from search.reporting.study_figures import study_figures
from search.studies.asked_again import check_reopening
from search.studies.baseline import study_of_baseline
from search.studies.stored_study import StoredStudy, open_stored_study
from search.studies.study_file import read_study_file
from search.studies.versions import version_of
from search.workers.confirmation_run import show_settled, start_confirmation
from search.workers.starting import estimate_run, start_run
from spaces.errors import SpecError, StorageError, unknown_name
from spaces.studies import study_files
from storage.opening import open_storage
from storage.urls import local_place, redacted

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from search.findings.estimate import StudyEstimate
    from search.workers.callbacks import RunCallback

LANDSCAPE = "surfaces"
"""The figure of a report that is the landscape: gains over rate and epochs of each task."""


@dataclass(frozen=True)
class Study:
    """A study of a storage, or one that is still to be run. `Study.open` makes it.

    As the last line of a notebook's cell it is the first screen of its report.

    Attributes:
        address: How its commands are reached: file, name, storage, data, encoder, cache.
    """

    address: StudyAddress

    @classmethod
    def open(
        cls,
        study: Path | str,
        *,
        storage: str | None = None,
        data: str | None = None,
        backbone: str | None = None,
        name: str | None = None,
        overrides: Sequence[str] = (),
        cache: str | None = None,
    ) -> Study:
        """Open a study by its name in the storage, a shipped study's name or its file.

        Nothing is made or trained yet. What is not given here is, of a study that is in the
        storage, as its first run was started.

        Args:
            study: Name in the storage, name of a shipped study, or path of a .toml file.
            storage: URL of the storage; None for that of the commands without `--storage`.
            data: Where corpora come from: auto, hub, pocket or folders, as `--data` says it.
            backbone: Encoder to use instead of the study's: a folder, or a name on the Hub.
            name: Name of the study in the storage; None for that of its file.
            overrides: Changes to the study file, `KEY=VALUE` each.
            cache: Folder or URL of checkpoints; None for the place beside the storage.

        Raises:
            UnknownNameError: There is no such study, in the storage or shipped.
            SpecError: The study's file or an override is wrong.
            StorageError: The storage cannot be read.
        """
        quiet_optuna()
        file, url = str(study), storage or default_storage()
        name = name or file_stem(file)
        kept = _kept_address(url, name)
        is_file = file.endswith(".toml") or file in study_files()
        if kept is None:
            if not is_file:
                where = f"in {redacted(url)} or among the shipped studies"
                raise unknown_name("Study", file, [*study_files(), *_stored(url)], where)
            read_study_file(file, overrides)  # what is wrong with it is said now
            kept = StudyAddress(file, name, url)
        address = StudyAddress(
            file=file if is_file else kept.file,
            name=name,
            storage=url,
            data=data or kept.data,
            backbone=backbone or kept.backbone,
            overrides=tuple(overrides) or kept.overrides,
            cache=cache or kept.cache,
        )
        return cls(address)

    # --- what trains

    def run(
        self,
        trials: int | None = None,
        callbacks: Sequence[RunCallback] = (),
        **options: Any,
    ) -> None:
        """Create, resume or extend the study, and run its trials, as `search.run` does.

        Args:
            trials: Number of trials in all, direct trainings not counted; None for the study
                file's.
            callbacks: Callbacks that are told of each stage and each run of this machine's
                workers (`search.callbacks`); what they raise is said once and fails no trial.
            options: Further fields of `search.command_line.run_options.RunOptions`, as in
                `workers=4`, `gpu_hours=2.5` or `device="cuda"`.

        Raises:
            KeyboardInterrupt: It was interrupted: what is finished is kept, and the same call
                goes on.
            TransferSearchError: As from `search.run`.
        """
        asked = self._asked(trials, options)
        file = read_study_file(asked.study, asked.overrides)
        hosted(lambda stop: start_run(asked, file, stop, callbacks))

    def estimate(self, trials: int | None = None, **options: Any) -> StudyEstimate:
        """What a run will take on this machine, as `search.run --dry-run` says; nothing is kept.

        Args:
            trials: Number of trials in all; None for the study file's.
            options: Further fields of `RunOptions`, as in `run`.

        Returns:
            Time, disk, GPU-hours, stages and the gain that could be found; `print` it.

        Raises:
            TransferSearchError: As from `search.run`.
        """
        asked = self._asked(trials, options)
        file = read_study_file(asked.study, asked.overrides)
        return estimate_run(asked, file)  # Ctrl-C may end it anywhere: it keeps nothing

    def _asked(self, trials: int | None, options: Mapping[str, Any]) -> RunOptions:
        if options.get("launcher", "local") != "local":
            expected = "local; `python -m search.run --launcher ray` starts workers on a cluster"
            raise SpecError("launcher", expected, repr(options["launcher"]))
        address = self.address
        return RunOptions(
            study=address.file,
            name=address.name,
            overrides=address.overrides,
            data=address.data,
            backbone=address.backbone,
            storage=address.storage,
            cache=address.cache,
            trials=trials,
            **options,
        )

    def confirm(
        self, *, dry_run: bool = False, threads: int | None = None, **options: Any
    ) -> None:
        """Retrain the leaders with fresh seeds and judge them on test splits, as `search.confirm`.

        Args:
            dry_run: Whether what it will take is said, and nothing is planned or read.
            threads: CPU threads; None for all cores.
            options: Further fields of `search.findings.confirm_request.ConfirmRequest`, as in
                `recipes=3`, and of `ReopenRequest`: `device` and `precision`.

        Raises:
            KeyboardInterrupt: It was interrupted: the same call goes on.
            TransferSearchError: As from `search.confirm`.
        """
        quiet_optuna()
        request = ConfirmRequest(study=self._reopening(options), **options)
        with self._opened() as study:
            is_shown = show_settled(study, request)
        if not is_shown:
            check_reopening(request.study)
            hosted(lambda stop: start_confirmation(request, threads, stop, is_dry=dry_run))

    def export(self, to: Path | str, *, threads: int | None = None, **options: Any) -> Path:
        """Train the recommended recipe once more and write its model, as `search.export` does.

        Args:
            to: Folder to make, for `from_pretrained`.
            threads: CPU threads; None for all cores.
            options: Further fields of `search.handover.requests.ExportRequest`, as in
                `task="panx"`, and of `ReopenRequest`: `device` and `precision`.

        Returns:
            The folder.

        Raises:
            TransferSearchError: As from `search.export`.
        """
        request = ExportRequest(study=self._reopening(options), to=Path(to), **options)
        check_reopening(request.study)
        with loading_torch(threads):
            from search.handover.exported_model import export_model

        return export_model(request, say, print_stage).folder

    def _reopening(self, options: dict[str, Any]) -> ReopenRequest:
        """The study, its data and its encoder; takes what it needs out of `options`."""
        address = self.address
        where = {name: options.pop(name) for name in ("device", "precision") if name in options}
        return ReopenRequest(
            address.name,
            address.storage,
            address.data,
            address.backbone,
            address.cache,
            **where,
        )

    # --- what reads

    @property
    def answer(self) -> str:
        """The answer to the study's question, a sentence in each line, as its report begins."""
        with self._opened() as study:
            cost = study_cost(study.ledger, study.name)
            return first_screen(study, read_landscape(study), cost).answer

    def arms(self) -> pd.DataFrame:
        """The numbers of the answer: one row per target task and arm (`arm_table`)."""
        return arm_table(self._landscape().answer)

    def recipes(self) -> pd.DataFrame:
        """One row per finished recipe (`trial_tables.recipe_table`)."""
        return self._landscape().recipes

    def scores(self) -> pd.DataFrame:
        """One row per run, target task and language (`trial_tables.score_table`)."""
        return self._landscape().scores

    def figure(self, name: str = "landscape") -> go.Figure:
        """A figure of the report.

        Args:
            name: landscape (gains over rate and epochs of each intermediate task), or a name of
                the report: answer, arms, tasks, matrix, importance; of several target tasks also
                tasks.TASK, and after a confirmation confirmed.TASK.

        Raises:
            UnknownNameError: There is no such figure, or the study has not enough for it yet.
        """
        with self._opened() as study:
            figures = study_figures(study, read_landscape(study))
        known = {"landscape" if x == LANDSCAPE else x: figure for x, figure in figures.items()}
        if name not in known:
            raise unknown_name("Figure", name, known, f"one that {self.address.name!r} has")
        return known[name]

    def report(self, to: Path | str | None = None, *, png: bool | None = None) -> Path:
        """Write the study as a page, Markdown, tables and JSON, as `search.report` does.

        Args:
            to: Folder of the report; None for `STUDY-report` in the current folder.
            png: Whether figures are drawn as PNG too; None where there is a browser to do it.

        Returns:
            The page.
        """
        quiet_optuna()
        folder = None if to is None else Path(to)
        address = self.address
        written = write_report(ReportRequest(address.name, address.storage, folder, png))
        if written.note:
            say(f"note: {written.note}")
        return written.page

    def _repr_html_(self) -> str:
        """What a notebook shows: the first screen of the report, once there is one."""
        if not _is_stored(self.address.storage, self.address.name):
            question = html.escape(read_study_file(self.address.file).spec.question)
            return f"<p>{question}</p><p>Not run yet: <code>.run()</code> does.</p>"
        with self._opened() as study:
            return first_screen_html(study)

    def _landscape(self) -> Landscape:
        with self._opened() as study:
            return read_landscape(study)

    @contextmanager
    def _opened(self) -> Iterator[StoredStudy]:
        quiet_optuna()
        study = open_stored_study(self.address.storage, self.address.name)
        with closing(study.storage):
            yield study


def _kept_address(url: str, name: str) -> StudyAddress | None:
    """How a study's first run was started; None where there was none yet."""
    if not _is_stored(url, name):
        return None
    try:
        study = open_stored_study(url, name)
    except StorageError:  # said where it is read; a run that was cut off at its start goes on
        return None
    with closing(study.storage):
        return study.address


def _is_stored(url: str, name: str) -> bool:
    """Whether a study is in a storage, in any version."""
    return version_of(name)[0] in {version_of(x)[0] for x in _stored(url)}


def _stored(url: str) -> list[str]:
    """Names of the studies in a storage; none where there is no storage yet."""
    place = local_place(url)
    if place is not None and not place.exists():
        return []
    with closing(open_storage(url, create=False)) as storage:
        names = optuna.get_all_study_names(storage)
    return [name for name in names if study_of_baseline(name) is None]
