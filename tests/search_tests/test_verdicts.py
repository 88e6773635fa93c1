"""Verdicts of gains whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.gains.rules import Rules, Verdict
from objectives.gains.transfer_gain import TransferGain, in_points
from objectives.scores.outcomes import packed
from search.findings.confirmation import (
    ConfirmationPlan,
    ConfirmationResult,
    Look,
    Outlook,
    PlannedRecipe,
)
from search.findings.judging import estimate_recipes, judge_estimates
from search.findings.verdict_words import (
    aggregate_note,
    confirmation_lines,
    gain_line,
    needed_line,
    parts_line,
    points_with_interval,
    verdict_line,
)
from search.findings.verdicts import NO_VERDICTS, Verdicts
from spaces.catalogue import load_catalogue
from spaces.stage_specs import Aggregate
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.tables import Confirmation, PairedScore, Score, TrainedStage

EXAMPLES, SEEDS = 400, 5
LANGUAGES = ("swa", "yor")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_storage(f"sqlite:///{tmp_path / 's.sqlite'}").engine)


def judged(ledger: Ledger, *effects: float) -> Verdicts:
    """Recipes whose accuracy is by so much above or below a baseline of 0.5."""
    rng = np.random.default_rng(0)
    gains = {}
    for trial, effect in enumerate(effects):
        pairs = []
        for seed in range(SEEDS):
            for language in LANGUAGES:
                difficulty = np.random.default_rng([seed, len(language)]).random(EXAMPLES)
                found = []
                for side, level in (("own", 0.5 + effect), ("base", 0.5)):
                    right = (difficulty + rng.normal(0, 0.05, EXAMPLES)) < level
                    outcomes = np.stack([right, np.ones(EXAMPLES)], axis=1).astype(np.float32)
                    key = f"{side} {trial} {seed}"
                    score = Score(
                        *(key, "corpus", "afrisenti", language, "test", "accuracy"),
                        *(float(right.mean()), EXAMPLES, 0, 0, "1 epoch", packed(outcomes)),
                    )
                    stage = TrainedStage(key, "", "afrisenti", 5, 1.0, 0.0, "", "", {})
                    ledger.record_stage(stage, [score])
                    found.append(score)
                own, base = found
                pairs.append(PairedScore(seed, own, base, base))
        gains[trial] = TransferGain(tuple(pairs))
    estimates = estimate_recipes(gains, ledger, load_catalogue(), LANGUAGES)
    return judge_estimates(estimates, Rules((SEEDS,), margin=1.0))


def test_what_helps_helps_what_hurts_hurts_and_nothing_is_nothing(ledger: Ledger) -> None:
    verdicts = judged(ledger, 0.1, -0.1, 0.0)
    gains = [verdict.gain for verdict in verdicts.recipes]
    assert [gain.verdict for gain in gains] == ["helps", "hurts", "undecided"]
    for gain, effect in zip(gains, (10, -10, 0), strict=True):
        assert gain.low is not None
        assert gain.high is not None
        assert gain.low < gain.points < gain.high
        assert gain.points == pytest.approx(effect, abs=4)
        assert (gain.seeds, gain.examples, gain.family) == (SEEDS, 2 * EXAMPLES, 3)
    assert [cell.gain.family for cell in verdicts.cells] == [6] * 6


def test_verdicts_kept_as_json_come_back_the_same(ledger: Ledger) -> None:
    verdicts = judged(ledger, 0.1, 0.0)
    rows = verdicts.as_json()
    assert [(row["task"], row["language"]) for row in rows[:3]] == [
        ("", ""),
        ("", ""),
        ("afrisenti", "swa"),
    ]
    assert list(rows[0]) == [
        *("trial", "task", "language", "verdict", "gain", "low", "high", "p_value"),
        *("detectable", "seeds", "examples", "score", "against", "family", "scope", "needed"),
    ]
    assert Verdicts.from_json(json.loads(json.dumps(rows))) == verdicts


def test_a_confirmation_kept_as_json_comes_back_the_same() -> None:
    plan = ConfirmationPlan(
        *((PlannedRecipe(3, "legal", "c", "c, epochs 2"),), {"t": 1}, (5, 6, 7, 8, 9), (3, 5)),
        *(1.5, 9, Aggregate.MINIMUM, 0.04, Outlook((9.0, 3.0), 2.0, 4.0, (60.0, 100.0))),
    )
    result = ConfirmationResult(NO_VERDICTS, NO_VERDICTS, 2.5)
    plain = json.loads(json.dumps(plan.as_json()))
    kept = Confirmation(2, "2026-11-26", plain, result.as_json(), is_final=True)
    assert Look.from_stored(kept) == Look(2, "2026-11-26", plan, result)


def test_a_sentence_says_how_much_over_how_many_and_what_could_have_been_found(
    ledger: Ledger,
) -> None:
    helps, nothing = judged(ledger, 0.1, 0.0).recipes
    assert verdict_line(helps, "legal", 1.0).startswith("legal helps: +")
    assert "5 seeds, 800 examples" in verdict_line(helps, "legal", 1.0)
    line = verdict_line(nothing, "general", 1.0)
    assert line.startswith("general is undecided: ")
    assert f"minimum detectable gain {nothing.gain.detectable:.1f} points at 80 % power" in line


def test_verdicts_say_that_they_are_on_the_mean_where_the_study_goes_by_something_else(
    ledger: Ledger,
) -> None:
    assert aggregate_note(Aggregate.MEAN, 3) == aggregate_note(Aggregate.MINIMUM, 1) == ""
    verdicts = judged(ledger, 0.1)
    other = tuple(replace(cell, task="masakhanews") for cell in verdicts.cells)
    recipe = PlannedRecipe(0, "general", "sst2", "sst2")
    seeds = tuple(range(SEEDS))
    plan = ConfirmationPlan((recipe,), {"t": 0}, seeds, (SEEDS,), 1.0, 1, Aggregate.MINIMUM)
    looks = [
        Look(1, "2026-11-26", plan, ConfirmationResult(found, NO_VERDICTS, 1.0))
        for found in (verdicts, replace(verdicts, cells=(*verdicts.cells, *other)))
    ]
    of_one, of_two = map(confirmation_lines, looks)
    assert of_one == of_two[:-1], "of one target task the mean is the minimum"
    assert of_two[-1].strip().startswith("verdicts are on the mean gain over the 2 target tasks")
    assert "by the minimum" in of_two[-1]


@given(
    points=st.floats(-50, 50),
    low=st.floats(-60, 60),
    high=st.floats(-60, 60),
    margin=st.sampled_from([0.5, 1.0, 1.5]),
)
@settings(max_examples=200, deadline=None)
def test_an_interval_is_shown_on_the_side_of_nothing_and_of_the_margin_where_it_lies(
    points: float, low: float, high: float, margin: float
) -> None:
    low, high = sorted((low, high))
    shown = points_with_interval(points, low, high, margin)
    ends = [float(x) for x in shown[shown.index("[") + 1 : -1].split(", ")]
    for end, value in zip(ends, (low, high), strict=True):
        for mark in (0.0, margin, -margin):
            if abs(value - mark) > 1e-3:
                assert (end > mark) == (value > mark), (shown, low, high)
                assert (end < mark) == (value < mark), (shown, low, high)


def test_how_much_of_a_gain_is_the_intermediate_task_itself_is_said(ledger: Ledger) -> None:
    verdicts = judged(ledger, 0.1)
    itself = judged(ledger, 0.06)
    line = parts_line(verdicts, itself, 0, 1.0)
    assert line.startswith("by the intermediate task itself +")
    assert ", which helps; by its target stage +" in line
    parts = [x.recipes[0].gain.points for x in (verdicts, itself)]
    assert line.endswith(f"by its target stage {in_points(parts[0] - parts[1])}")
    assert parts_line(verdicts, NO_VERDICTS, 0, 1.0) == ""


def test_an_undecided_gain_says_what_it_would_take(ledger: Ledger) -> None:
    (gain,) = (x.gain for x in judged(ledger, 0.0).recipes)
    undecided = replace(gain, verdict=Verdict.UNDECIDED, needed=14)
    assert needed_line(undecided, 60.0) == (
        "a gain of this size would take about 14 fresh seeds, about 14 min"
    )
    assert "no number of seeds" in needed_line(replace(undecided, needed=None), None)
    assert needed_line(replace(gain, verdict=Verdict.HELPS), 60.0) == ""
    few = replace(undecided, detectable=None, seeds=2)
    assert "unknown: 2 seeds cannot tell any gain" in gain_line(few, "it", 1.0)
