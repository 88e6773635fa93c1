"""The landscape of a confounded study: every figure has the planted order of its arms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from objectives.gains.transfer_gain import in_points
from search import report
from search.findings.landscape import Landscape
from search.reporting.figures import build_figures
from search.reporting.landscape_sections import landscape_sections
from tests.search_tests.confounded_study import PLANTED, UNTRIED, write_confounded
from tests.studies import TASK, landscape_of, write_study

ORDER = sorted(PLANTED, key=lambda task: -PLANTED[task][1])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Landscape:
    url = f"sqlite:///{tmp_path_factory.mktemp('confounded') / 'study.db'}"
    write_confounded(url)
    return landscape_of(url)


@pytest.fixture(scope="module")
def figures(found: Landscape) -> dict[str, go.Figure]:
    return build_figures(found, (), pocket=True)


def test_means_of_runs_have_the_arms_the_wrong_way_round(found: Landscape) -> None:
    trials = found.scores[found.scores["kind"] == "trial"]
    means = trials.groupby("arm")["gain"].mean()
    assert means["legal"] < means["general"] < 0


def test_all_figures_are_drawn_and_name_the_pocket_corpora(figures: dict[str, go.Figure]) -> None:
    assert set(figures) == {"arms", "tasks", "surfaces", "matrix", "importance"}
    for figure in figures.values():
        assert "pocket corpora" in figure.layout.title.text


def test_the_arms_stand_as_planted(found: Landscape, figures: dict[str, go.Figure]) -> None:
    (searched,) = figures["arms"].data
    gains = dict(zip(searched.text, searched.x, strict=True))
    assert list(gains) == ["general<br>pocket_ner_calendar", "legal<br>pocket_ner_parties"]
    general, legal = gains.values()
    assert general < 0 < legal
    assert legal == pytest.approx(6, abs=1)
    assert found.answer is not None
    known = found.answer.arms["legal"].known
    assert known is not None
    assert legal == known.gain


def test_every_task_stands_as_planted_and_the_untried_one_is_hollow(
    figures: dict[str, go.Figure],
) -> None:
    points = {
        task: (gain, symbol)
        for trace in figures["tasks"].data
        for task, gain, symbol in zip(trace.y, trace.x, trace.marker.symbol, strict=True)
    }
    tried = [task for task in points if task not in {UNTRIED, "none"}]
    assert sorted(tried, key=lambda task: -points[task][0]) == ORDER
    assert points["none"][0] == 0
    assert points["pocket_ner_calendar"][0] < 0 < points["pocket_ner_statutes"][0]
    assert {task for task, (_, symbol) in points.items() if symbol.endswith("-open")} == {UNTRIED}


def test_maps_stand_as_planted_on_one_scale_and_what_was_not_run_is_hatched(
    figures: dict[str, go.Figure],
) -> None:
    figure = figures["surfaces"]
    maps = [x for x in figure.data if x.type == "heatmap"]
    names = [x.text.split("<br>")[0] for x in figure.layout.annotations]
    highest = {name: np.max(x.z) for name, x in zip(names, maps, strict=True)}
    assert sorted(highest, key=lambda task: -highest[task]) == ORDER
    assert len({(x.zmin, x.zmax) for x in maps}) == 1
    runs = [words for x in maps for line in x.customdata for words in line]
    hatched = [x for x in figure.data if x.type == "bar"]
    assert len(hatched) == runs.count("0 runs") == 2
    assert all(x.marker.pattern.shape == "/" for x in hatched)


def test_the_matrix_stands_as_planted_in_every_language(
    found: Landscape, figures: dict[str, go.Figure]
) -> None:
    matrix = found.matrix.set_index("task")
    for language, shift in (("qaa", 1), ("qab", -1)):
        mine = matrix[matrix["language"] == language]["gain"]
        assert list(mine.sort_values(ascending=False).index) == ORDER
        assert mine["pocket_ner_parties"] == pytest.approx(6 + shift, abs=1.2)
    assert set(matrix["transfer"]["pocket_ner_parties"]) == {"positive"}
    assert set(matrix["transfer"]["pocket_pos_layout"]) == {"negative"}
    assert len(figures["matrix"].data) == 1


def test_cells_of_one_run_stand_in_brackets(found: Landscape) -> None:
    is_one = (found.matrix["task"] == ORDER[0]) & (found.matrix["language"] == "qab")
    matrix = found.matrix.assign(runs=np.where(is_one, 1, found.matrix["runs"]))
    (gains,) = build_figures(replace(found, matrix=matrix), (), pocket=False)["matrix"].data
    row = gains.text[gains.y.index(ORDER[0])]
    assert [x.startswith("(<b>+") for x in row] == [False, True]


def _brightness(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of a colour as in `#6bb8ea`."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_numbers_can_be_read_on_every_colour_of_a_map(figures: dict[str, go.Figure]) -> None:
    for name in ("matrix", "surfaces"):
        for drawn in (x for x in figures[name].data if x.type == "heatmap"):
            ink = _brightness(drawn.textfont.color)
            for _, colour in drawn.colorscale:
                assert (_brightness(colour) + 0.05) / (ink + 0.05) >= 4.5


def test_what_the_gain_depends_on(found: Landscape) -> None:
    shares = {x.choice: x.share for x in found.importance}
    assert next(iter(shares)) == "target.learning_rate"
    assert shares["intermediate task"] > shares["intermediate.epochs"]


def test_tables_figures_and_answer_have_the_same_numbers(found: Landscape) -> None:
    assert found.answer is not None
    overall, of_target = found.tasks_of(), found.tasks_of(TASK)
    assert overall["gain"].tolist() == pytest.approx(of_target["gain"].tolist())
    by_task = overall.set_index("task")
    sections = {x.name: x for x in landscape_sections(found)}
    for arm in ("general", "legal"):
        finding = found.answer.arms[arm]
        assert finding.known is not None
        assert finding.recipe is not None
        row = by_task.loc[finding.recipe.task]
        assert row["gain"] == finding.known.gain
        assert (row["low"], row["high"]) == pytest.approx(finding.known.interval)
        (cells,) = (x for x in sections["tasks"].rows if x[2] == finding.recipe.task)
        assert cells[3].startswith(in_points(finding.known.gain))
        trial = found.recipes.set_index("trial").loc[finding.recipe.first.number]
        assert trial["gain"] == pytest.approx(finding.known.gain)


def test_sections_say_which_tasks_are_clear_and_which_were_not_tried(found: Landscape) -> None:
    sections = {x.name: x for x in landscape_sections(found)}
    lines = " ".join(sections["tasks"].lines)
    assert f"Not tried, so little more than a guess: {UNTRIED}." in lines
    assert "below 0: pocket_pos_layout" in lines
    assert lines.index("above 0: pocket_ner_parties") < lines.index("below 0")
    assert len(sections["tasks"].rows) == 5
    assert "show negative transfer" in " ".join(sections["matrix"].lines)
    assert len(sections["surfaces"].rows) == 4 * 4


def test_before_the_first_recipe_there_is_nothing_to_draw(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    write_study(url, [])
    nothing = landscape_of(url)
    assert build_figures(nothing, (), pocket=False) == {}
    assert not any(_said(x) for x in landscape_sections(nothing))


def _said(section: Any) -> bool:
    return bool(section.lines or section.rows)


def test_the_report_has_all_of_it_in_words_figures_and_numbers(
    found: Landscape, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    name, folder = write_confounded(url), tmp_path / "out"
    words = ["--study", name, "--storage", url, "--to", str(folder), "--no-png"]
    assert report.main(words) == 0
    numbers = json.loads((folder / "report.json").read_text())
    gains = {x["task"]: x["gain"] for x in numbers["tasks"] if not x["target"]}
    assert gains == pytest.approx(found.tasks_of().set_index("task")["gain"].to_dict())
    assert {len(x["gain"]) for x in numbers["surfaces"]} == {2}
    page = (folder / "index.html").read_text()
    for figure in ("arms", "tasks", "surfaces", "matrix", "importance"):
        assert f'data-figure="{figure}"' in page
    assert f"Not tried, so little more than a guess: {UNTRIED}." in page
