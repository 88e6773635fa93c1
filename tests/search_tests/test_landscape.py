"""The landscape as a whole: its leaders, and a study that has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.findings.landscape import Landscape
from search.reporting.figures import build_figures
from tests.studies import PLANS, landscape_of, write_study


def test_leaders_are_held_against_the_tuned_baseline(landscape: Landscape) -> None:
    means = {x.trial: x.gain.points for x in landscape.leaders.recipes}
    assert means == pytest.approx({2: 4, 3: -29.5})
    assert len(landscape.leaders.cells) == 2 * 2


def test_a_study_without_a_complete_trial_has_an_empty_landscape(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, PLANS[-1:])
    landscape = landscape_of(url)
    assert len(landscape.scores) == 1
    assert landscape.recipes.empty
    assert not build_figures(landscape, (), pocket=False)
