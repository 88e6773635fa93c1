"""What our dashboard shows beyond what optuna-dashboard keeps: gains, notes of trials, and a look.

It stands between optuna-dashboard and the visitor, and changes some of its answers. The gains
that the search model expects, in Optuna's own panels (`search.reporting.dashboard_gains`). Notes
of trials: kept with the study they would make optuna-dashboard slow, which looks through all notes
for each trial; somebody's own note is never replaced. And a style: the figures of the study come
before Optuna's own panels, in their own order and height, dark where the page is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.reporting.dashboard_gains import DashboardGains
from search.reporting.trial_words import Notes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_STUDY = re.compile(r"/api/studies/(\d+)(/param_importances|/plot/\w+)?")
LEAST_HEIGHT = 450
"""Pixels of optuna-dashboard's own panels."""
_LOOK = Path(__file__).with_name("dashboard_look.html").read_bytes()
_SCRIPT = Path(__file__).with_name("dashboard_look.js").read_bytes()
_SCRIPT_PATH = "/static/transfer-search.js"
"""Where `dashboard_look.html` has it: optuna-dashboard's policy lets no script stand in a page."""
_KNOWN_PATH = "/static/transfer-search.known"
"""Where the script asks how many trials the gains are of."""
_PLOTTED = b"Objective Value"
"""What plots that the server draws call a study's values, whatever their name."""


@dataclass
class Additions:
    """What is added at the moment; replaced as trials come in.

    Attributes:
        gains: Of the study's trials; None shows Optuna's values.
        notes: Of trials.
        heights: Name of a figure -> pixels that it takes, in the order in which they are shown.
    """

    gains: DashboardGains | None = None
    notes: Notes = field(default_factory=dict)
    heights: Mapping[str, int] = field(default_factory=dict)


def with_additions(app: WSGIApplication, additions: Additions) -> WSGIApplication:
    """optuna-dashboard's application, its answers completed."""
    best = _BestTrial(app)

    def completed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # As optuna-dashboard reads it.
        path = environ.get("PATH_INFO", "").rstrip("/")
        gains = additions.gains

        def answered(body: bytes, kind: str) -> list[bytes]:
            head = [("Content-Type", kind), ("Content-Length", str(len(body)))]
            start_response("200 OK", head)
            return [body]

        if path == _SCRIPT_PATH:
            return answered(_SCRIPT, "text/javascript; charset=utf-8")
        if path == _KNOWN_PATH:
            return answered(str(len(gains.by_trial) if gains else 0).encode(), "text/plain")
        study = _STUDY.fullmatch(path)
        if environ["REQUEST_METHOD"] != "GET" or not (study or path.startswith("/dashboard")):
            return app(environ, start_response)
        shown = gains if study and gains and gains.study_id == int(study[1]) else None
        part = study[2] if study else None
        if part and shown is None:
            return app(environ, start_response)
        if shown and part == "/param_importances":
            return answered(json.dumps(shown.importances()).encode(), "application/json")
        # Whole and in clear, so that it can be added to.
        asked = {"HTTP_ACCEPT_ENCODING", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH"}
        plain = {name: value for name, value in environ.items() if name not in asked}
        status, headers, body = _answer(app, plain)
        if status.startswith("200"):
            if study is None:
                body = _with_look(body)
            elif shown and part:
                body = body.replace(_PLOTTED, shown.name_of_runs.encode() or _PLOTTED)
            else:
                detail = json.loads(body)
                if shown:
                    _show_gains(detail, shown, best.of(shown, detail["trials"], plain))
                _show_notes(detail, int(study[1]), additions)
                body = json.dumps(detail).encode()
            kept = [x for x in headers if x[0].lower() != "content-length"]
            headers = [*kept, ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    return completed


@dataclass
class _BestTrial:
    """The best trial by the gains, as optuna-dashboard answers it.

    Pages ask for the trials that they do not have yet, among which it mostly is not.
    """

    app: WSGIApplication
    found: tuple[DashboardGains, dict[str, Any]] | None = None

    def of(
        self, gains: DashboardGains, trials: Sequence[dict[str, Any]], environ: WSGIEnvironment
    ) -> dict[str, Any] | None:
        """It; None without one, and until optuna-dashboard, which reads seldom, has it too."""
        if gains.best is None:
            return None
        mine = next((x for x in trials if x["number"] == gains.best), None)
        if mine is None and self.found and self.found[0] is gains:
            return self.found[1]
        if mine is None:
            asked = {**environ, "QUERY_STRING": f"after={gains.best}"}
            mine = next(iter(json.loads(_answer(self.app, asked)[2]).get("trials", ())), None)
        if mine is None or mine["state"] != "Complete":
            return None
        self.found = gains, mine
        return mine


def _answer(
    app: WSGIApplication, environ: WSGIEnvironment
) -> tuple[str, list[tuple[str, str]], bytes]:
    said: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        said[:] = [status, headers]
        return lambda _: None

    # Bottle keeps in it what it has read of it, as of the query.
    parts = app({**environ}, start)
    try:
        body = b"".join(parts)
    finally:
        if close := getattr(parts, "close", None):
            close()
    return said[0], said[1], body


def _show_gains(study: dict[str, Any], gains: DashboardGains, best: dict[str, Any] | None) -> None:
    study["objective_names"] = [gains.name]
    study["best_trials"] = [] if best is None else [best]
    for trial in (*study["trials"], *study["best_trials"]):
        gains.put_into(trial)


def _show_notes(study: dict[str, Any], study_id: int, additions: Additions) -> None:
    notes = additions.notes.get(study_id, {})
    for trial in (*study["trials"], *study["best_trials"]):
        # A version above 0 is somebody's own; whoever edits ours makes version 1.
        if not trial["note"]["version"] and trial["number"] in notes:
            trial["note"]["body"] = notes[trial["number"]]
    if notes:
        study["plotly_graph_objects"] = _in_order(study["plotly_graph_objects"], additions.heights)


def _in_order(
    figures: Sequence[dict[str, str]], heights: Mapping[str, int]
) -> list[dict[str, str]]:
    places = {name: place for place, name in enumerate(heights)}
    ordered = sorted(figures, key=lambda x: places.get(x["id"], len(places)))
    return [
        {**x, "graph_object": _as_high(x["graph_object"], heights[x["id"]])}
        if x["id"] in heights
        else x
        for x in ordered
    ]


def _as_high(figure: str, height: int) -> str:
    drawn = json.loads(figure)
    drawn["layout"]["height"] = max(LEAST_HEIGHT, height)
    return json.dumps(drawn)


def _with_look(body: bytes) -> bytes:
    return body.replace(b"</head>", _LOOK + b"</head>", 1)
