"""optuna-dashboard on a study: a guarded server, and its note and figures as trials come in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState
from optuna_dashboard import save_plotly_graph_object, wsgi

from search.findings.landscape import read_landscape
from search.reporting.dashboard_access import Guard, credentials_for, public_place
from search.reporting.dashboard_gains import dashboard_gains
from search.reporting.dashboard_views import Additions, with_additions
from search.reporting.study_figures import study_figures
from search.reporting.terminal import write_note
from search.reporting.trial_words import trial_notes
from search.reporting.web_server import WebServer, ended_by_signals
from search.studies.stored_study import StoredStudy, open_stored_study
from spaces.errors import StorageError
from storage.optuna_internals import study_id_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOOPBACK = "127.0.0.1"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DashboardRequest:
    """Which study to serve, where and to whom.

    Attributes:
        study: Name of the study in its storage.
        storage: URL of the storage.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        auth: `USER:FILE`, the name and the password's file that visitors are asked for; None asks
            nobody, on the loopback address alone.
        read_only: Whether visitors may only look, also those who know the password.
        allow_changes: Whether they may change studies where nobody is asked for a password.
        public_url: URL that visitors see, behind a proxy; None: the address itself.
    """

    study: str
    storage: str
    host: str = LOOPBACK
    port: int = 8080
    auth: str | None = None
    read_only: bool = False
    allow_changes: bool = False
    public_url: str | None = None


def serve_dashboard(
    request: DashboardRequest, artifacts: object, on_ready: Callable[[str], None]
) -> None:
    """Serve a study's dashboard until Ctrl-C.

    Args:
        request: Which study, where and to whom.
        artifacts: Artifact store of Optuna's protocol with the files of the study's trials.
        on_ready: Called with the address of the study's page, once it answers.

    Raises:
        SpecError: The address cannot be used, or other machines reach it and no password is
            asked for.
        UnknownNameError: The storage has no such study.
        StorageError: The study was not made by this version.
    """
    credentials = credentials_for(request.host, request.auth)
    public = public_place(request.public_url)
    is_read_only = request.read_only or (credentials is None and not request.allow_changes)
    study = open_stored_study(request.storage, request.study)
    # get_storage adds the cache without which every poll reads every trial again.
    additions = Additions(dashboard_gains(study))
    app = with_additions(wsgi(optuna.storages.get_storage(study.storage), artifacts), additions)
    pages = Pages(study, additions)

    def between(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with pages.writing:  # nobody sees half a figure
            return app(environ, start_response)

    is_fixed = study.storage.is_read_only
    guard = Guard(between, credentials, is_read_only or is_fixed, public)
    renewal = Thread(target=pages.renew, daemon=True)
    with closing(study.storage), closing(WebServer(request.host, request.port, guard)) as server:
        try:
            with ended_by_signals():
                if is_fixed:
                    _log.warning("the storage can only be read: note and figures stay as they are")
                renewal.start()
                pages.written.wait(FIRST_SECONDS)
                host = f"[{request.host}]" if ":" in request.host else request.host
                site = f"http://{host}:{server.port}"
                on_ready(f"{site}/dashboard/studies/{study_id_of(study.optuna_study)}")
                server.run()
        except KeyboardInterrupt:
            return
        finally:
            pages.ended.set()
            if renewal.is_alive():
                renewal.join(END_SECONDS)


FIRST_SECONDS = 3.0
"""How long visitors wait for a study's first figures; of a large one they come later."""
END_SECONDS = 3.0
"""What is half written by then is written anew by whoever shows the study next."""

# Seconds between looks for new trials; and, as a share of all time, how much goes into figures.
LOOK_EVERY, LARGEST_SHARE = 20.0, 0.1

BUTTONS = ["zoom", "pan", "select", "lasso", "zoomIn", "zoomOut", "autoScale"]


@dataclass(frozen=True)
class Pages:
    """A study's note, figures and notes of trials, where optuna-dashboard and we have them.

    Attributes:
        study: The study; of one whose storage can only be read, note and figures stay as they
            are.
        additions: What the server adds to optuna-dashboard's answers.
        writing: Held while something is half written.
        written: Set once all is written for the first time.
        ended: Set by whoever wants no more of it.
    """

    study: StoredStudy
    additions: Additions
    writing: Lock = field(default_factory=Lock)
    written: Event = field(default_factory=Event)
    ended: Event = field(default_factory=Event)

    def write(self) -> None:
        """Write them as the study is now."""
        study = replace(self.study)  # which forgets what it has read
        trials = study.optuna_study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        landscape = read_landscape(study)
        figures = study_figures(study, landscape)
        self.additions.heights = {name: x.layout.height for name, x in figures.items()}
        self.additions.notes = trial_notes(study, landscape)
        complete = [trial.number for trial in trials]
        self.additions.gains = dashboard_gains(study, landscape, complete)
        if study.storage.is_read_only:
            return
        for figure in figures.values():
            # Its cards are 450 pixels high and half a page wide; dragging zooms all the same.
            figure.update_layout(height=None, modebar={"remove": BUTTONS})
        with self.writing:
            write_note(study)
            for name, figure in figures.items():
                save_plotly_graph_object(study.optuna_study, figure, graph_object_id=name)

    def renew(self, look_every: float = LOOK_EVERY) -> None:
        """Write them at once, and again as trials and confirmations come in, until `ended`.

        Args:
            look_every: Seconds between looks for new trials, at least.
        """
        try:
            self._renew(look_every)
        except StorageError as error:
            _log.warning("figures, notes and gains are renewed no more: %s", error)
        finally:
            # Trials to come would be shown as running for ever.
            self.additions.gains = None

    def _renew(self, look_every: float) -> None:
        shown: object = None
        while True:
            state, started = self._finished(), time.monotonic()
            if state != shown:
                self.write()
                self.written.set()
                shown = state
            pause = max(look_every, (time.monotonic() - started) / LARGEST_SHARE)
            if self.ended.wait(pause):
                return

    def _finished(self) -> object:
        trials = self.study.optuna_study.get_trials(deepcopy=False)
        done = sum(trial.state.is_finished() for trial in trials)
        return done, [look.result for look in self.study.confirmations]
