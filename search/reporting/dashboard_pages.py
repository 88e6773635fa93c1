"""A study's note and figures in optuna-dashboard, written again as trials come in."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import TYPE_CHECKING

from optuna_dashboard import save_plotly_graph_object

from search.findings.landscape import read_landscape
from search.reporting.figures import build_figures
from search.reporting.terminal import write_note
from search.studies.stored_study import StoredStudy

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Seconds between looks for new trials; and, as a share of all time, how much goes into figures.
LOOK_EVERY, LARGEST_SHARE = 20.0, 0.1

BUTTONS = ["zoom", "pan", "select", "lasso", "zoomIn", "zoomOut", "autoScale"]


@dataclass(frozen=True)
class Between:
    """A WSGI application that is asked between two writings, and never sees half a figure.

    Attributes:
        app: The application.
        writing: Lock that is held while something is half written.
    """

    app: WSGIApplication
    writing: Lock

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        with self.writing:
            return self.app(environ, start_response)


def write_pages(study: StoredStudy, writing: Lock) -> None:
    """Write a study's note and figures as they are now to where optuna-dashboard has them.

    Args:
        study: The study.
        writing: Lock that is held while something is half written.
    """
    study = replace(study)  # which forgets what it has read
    looks = [look.result["verdicts"] for look in study.confirmations if look.result]
    landscape = read_landscape(study)
    figures = build_figures(landscape, looks[-1] if looks else (), study.is_pocket)
    with writing:
        write_note(study)
        for name, figure in figures.items():
            # Its cards are 450 pixels high and half a page wide; dragging zooms all the same.
            figure.update_layout(height=None, modebar={"remove": BUTTONS})
            save_plotly_graph_object(study.study, figure, graph_object_id=name)


def renew_pages(
    study: StoredStudy, writing: Lock, ended: Event, look_every: float = LOOK_EVERY
) -> None:
    """Write the pages again as trials and confirmations come in.

    Args:
        study: The study.
        writing: Lock that is held while something is half written.
        ended: Event that ends it.
        look_every: Seconds between looks for new trials, at least.
    """
    shown, pause = _state(study), look_every
    while not ended.wait(pause):
        state, started = _state(study), time.monotonic()
        if state != shown:
            write_pages(study, writing)
            shown = state
        pause = max(look_every, (time.monotonic() - started) / LARGEST_SHARE)


def _state(study: StoredStudy) -> tuple[int, int]:
    """What changes when there is something new to show."""
    trials = study.study.get_trials(deepcopy=False)
    done = sum(trial.state.is_finished() for trial in trials)
    return done, sum(look.result is not None for look in study.confirmations)
