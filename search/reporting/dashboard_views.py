"""What our dashboard shows beyond what optuna-dashboard keeps: notes of trials, and a look.

It stands between optuna-dashboard and the visitor, and adds to two of its answers. Notes of
trials: kept with the study they would make optuna-dashboard slow, which looks through all notes
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

from search.reporting.trial_words import Notes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_STUDY = re.compile(r"/api/studies/(\d+)")
LEAST_HEIGHT = 450
"""Pixels of optuna-dashboard's own panels."""
_LOOK = Path(__file__).with_name("dashboard_look.html").read_bytes()
_SCRIPT = Path(__file__).with_name("dashboard_look.js").read_bytes()
_SCRIPT_PATH = "/static/transfer-search.js"
"""Where `dashboard_look.html` has it: optuna-dashboard's policy lets no script stand in a page."""


@dataclass
class Additions:
    """What is added at the moment; replaced as trials come in.

    Attributes:
        notes: Of trials.
        heights: Name of a figure -> pixels that it takes, in the order in which they are shown.
    """

    notes: Notes = field(default_factory=dict)
    heights: Mapping[str, int] = field(default_factory=dict)


def with_additions(app: WSGIApplication, additions: Additions) -> WSGIApplication:
    """optuna-dashboard's application, its answers completed."""

    def completed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        study = _STUDY.fullmatch(path)
        if path == _SCRIPT_PATH:
            kind = ("Content-Type", "text/javascript; charset=utf-8")
            start_response("200 OK", [kind, ("Content-Length", str(len(_SCRIPT)))])
            return [_SCRIPT]
        if environ["REQUEST_METHOD"] != "GET" or not (study or path.startswith("/dashboard")):
            return app(environ, start_response)
        # Whole and in clear, so that it can be added to.
        asked = {"HTTP_ACCEPT_ENCODING", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH"}
        plain = {name: value for name, value in environ.items() if name not in asked}
        status, headers, body = _answer(app, plain)
        if status.startswith("200"):
            body = _with_notes(body, int(study[1]), additions) if study else _with_look(body)
            kept = [x for x in headers if x[0].lower() != "content-length"]
            headers = [*kept, ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    return completed


def _answer(
    app: WSGIApplication, environ: WSGIEnvironment
) -> tuple[str, list[tuple[str, str]], bytes]:
    said: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        said[:] = [status, headers]
        return lambda _: None

    parts = app(environ, start)
    try:
        body = b"".join(parts)
    finally:
        if close := getattr(parts, "close", None):
            close()
    return said[0], said[1], body


def _with_notes(body: bytes, study_id: int, additions: Additions) -> bytes:
    study = json.loads(body)
    notes = additions.notes.get(study_id, {})
    for trial in (*study["trials"], *study["best_trials"]):
        # A version above 0 is somebody's own; whoever edits ours makes version 1.
        if not trial["note"]["version"] and trial["number"] in notes:
            trial["note"]["body"] = notes[trial["number"]]
    if notes:
        study["plotly_graph_objects"] = _in_order(study["plotly_graph_objects"], additions.heights)
    return json.dumps(study).encode()


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
