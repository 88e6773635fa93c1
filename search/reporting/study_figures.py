"""All figures of one study, by names that stay: page, dashboard and notebook go by them.

A section shows the figure of its own name, then those named `SECTION.PART`.
"""

from __future__ import annotations

import plotly.graph_objects as go

from search.findings.confirmation import confirmed_recipes, finished, looks_of
from search.findings.landscape import Landscape
from search.reporting.answer_picture import draw_answer
from search.reporting.figures import build_figures, finish
from search.reporting.forest_plots import draw_forests
from search.studies.stored_study import StoredStudy

ANSWER = "answer"
"""The picture on the first screen."""


def study_figures(study: StoredStudy, landscape: Landscape) -> dict[str, go.Figure]:
    """Those that the study has enough for: the answer's picture first, then the landscape."""
    done = finished(looks_of(study))
    last = done[-1] if done else None
    picture = draw_answer(study, landscape, last)
    more = {} if picture is None else {ANSWER: picture}
    more |= draw_forests(last)
    for figure in more.values():
        finish(figure, study.is_pocket)
    return more | build_figures(landscape, confirmed_recipes(study), study.is_pocket)
