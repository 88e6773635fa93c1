"""optuna-dashboard on a study: a guarded server, and its note and figures as trials come in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

import optuna
from optuna_dashboard import save_plotly_graph_object, wsgi

from search.findings.confirmation import confirmed_recipes
from search.findings.landscape import read_landscape
from search.reporting.dashboard_access import Guard, credentials_for, public_place
from search.reporting.figures import build_figures
from search.reporting.terminal import write_note
from search.reporting.web_server import WebServer, ended_by_signals
from search.studies.stored_study import StoredStudy, open_stored_study
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
    app = wsgi(optuna.storages.get_storage(study.storage), artifacts)
    writing, ended = Lock(), Event()

    def between(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with writing:  # nobody sees half a figure
            pages: Iterable[bytes] = app(environ, start_response)
            return pages

    is_fixed = study.storage.is_read_only
    guard = Guard(between, credentials, is_read_only or is_fixed, public)
    renewal = Thread(target=renew_pages, args=(study, writing, ended), daemon=True)
    with closing(study.storage), closing(WebServer(request.host, request.port, guard)) as server:
        try:
            with ended_by_signals():
                if is_fixed:
                    _log.warning("the storage can only be read: note and figures stay as they are")
                else:
                    write_pages(study, writing)
                    renewal.start()
                host = f"[{request.host}]" if ":" in request.host else request.host
                site = f"http://{host}:{server.port}"
                on_ready(f"{site}/dashboard/studies/{study_id_of(study.optuna_study)}")
                server.run()
        except KeyboardInterrupt:
            return
        finally:
            ended.set()
            if renewal.is_alive():
                renewal.join(END_SECONDS)


END_SECONDS = 3.0
"""What is half written by then is written anew by whoever shows the study next."""

# Seconds between looks for new trials; and, as a share of all time, how much goes into figures.
LOOK_EVERY, LARGEST_SHARE = 20.0, 0.1

BUTTONS = ["zoom", "pan", "select", "lasso", "zoomIn", "zoomOut", "autoScale"]


def write_pages(study: StoredStudy, writing: Lock) -> None:
    """Write a study's note and figures to where optuna-dashboard has them; holds `writing`."""
    study = replace(study)  # which forgets what it has read
    confirmed = confirmed_recipes(study)
    figures = build_figures(read_landscape(study), confirmed, study.is_pocket)
    with writing:
        write_note(study)
        for name, figure in figures.items():
            # Its cards are 450 pixels high and half a page wide; dragging zooms all the same.
            figure.update_layout(height=None, modebar={"remove": BUTTONS})
            save_plotly_graph_object(study.optuna_study, figure, graph_object_id=name)


def renew_pages(
    study: StoredStudy, writing: Lock, ended: Event, look_every: float = LOOK_EVERY
) -> None:
    """Write the pages again as trials and confirmations come in, until `ended` is set.

    Args:
        study: The study.
        writing: Lock that is held while something is half written.
        ended: Event that ends it.
        look_every: Seconds between looks for new trials, at least.
    """

    def finished() -> tuple[int, object]:
        trials = study.optuna_study.get_trials(deepcopy=False)
        done = sum(trial.state.is_finished() for trial in trials)
        return done, [look.result for look in study.confirmations]

    shown, pause = finished(), look_every
    while not ended.wait(pause):
        state, started = finished(), time.monotonic()
        if state != shown:
            write_pages(study, writing)
            shown = state
        pause = max(look_every, (time.monotonic() - started) / LARGEST_SHARE)
