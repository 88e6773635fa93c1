"""Verdicts of gains whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from objectives.gains.transfer_gain import TransferGain
from objectives.scores.outcomes import packed
from search.findings.judging import (
    VerdictRow,
    aggregate_note,
    confirmation_lines,
    judge_gains,
    means,
    verdict_line,
)
from spaces.catalogue import load_catalogue
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.tables import Confirmation, PairedScore, Score, TrainedStage

EXAMPLES, SEEDS = 400, 5
LANGUAGES = ("swa", "yor")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_storage(f"sqlite:///{tmp_path / 's.sqlite'}").engine)


def judged(ledger: Ledger, *effects: float) -> list[VerdictRow]:
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
                        *(float(right.mean()), EXAMPLES, 0, 0, packed(outcomes)),
                    )
                    stage = TrainedStage(key, "", "afrisenti", 5, 1.0, 0.0, "", "", {})
                    ledger.record_stage(stage, [score])
                    found.append(score)
                own, base = found
                pairs.append(PairedScore(seed, own, base, base))
        gains[trial] = TransferGain(tuple(pairs))
    return judge_gains(gains, ledger, load_catalogue(), LANGUAGES)


def test_what_helps_helps_what_hurts_hurts_and_nothing_is_nothing(ledger: Ledger) -> None:
    rows = judged(ledger, 0.1, -0.1, 0.0)
    verdicts = [row["verdict"] for row in means(rows)]
    assert verdicts == ["helps", "hurts", "no reliable difference"]
    for row, effect in zip(means(rows), (10, -10, 0), strict=True):
        assert row["low"] is not None
        assert row["high"] is not None
        assert row["low"] < row["gain"] < row["high"]
        assert row["gain"] == pytest.approx(effect, abs=4)
        assert (row["seeds"], row["examples"], row["family"]) == (SEEDS, 2 * EXAMPLES, 3)
    assert [row["family"] for row in rows if row["language"]] == [6] * 6


def test_a_sentence_says_how_much_over_how_many_and_what_could_have_been_found(
    ledger: Ledger,
) -> None:
    helps, nothing = means(judged(ledger, 0.1, 0.0))
    assert verdict_line(helps, "legal").startswith("legal helps: +")
    assert "5 seeds, 800 examples" in verdict_line(helps, "legal")
    line = verdict_line(nothing, "general")
    assert line.startswith("general makes no reliable difference: ")
    assert "points on it would have been found" in line


def test_verdicts_say_that_they_are_on_the_mean_where_the_study_goes_by_something_else(
    ledger: Ledger,
) -> None:
    assert aggregate_note("mean", 3) == aggregate_note("minimum", 1) == ""
    rows = judged(ledger, 0.1)
    other = [{**row, "task": "masakhanews"} for row in rows if row["task"]]
    plan = {
        "recipes": [{"trial": 0, "name": "sst2"}],
        "seeds": list(range(SEEDS)),
        "baseline_trial": 0,
        "aggregate": "minimum",
    }
    looks = [
        Confirmation(1, "2026-11-26", plan, {"verdicts": verdicts})
        for verdicts in (rows, [*rows, *other])
    ]
    of_one, of_two = map(confirmation_lines, looks)
    assert of_one == of_two[:-1], "of one target task the mean is the minimum"
    assert of_two[-1].strip().startswith("verdicts are on the mean gain over the 2 target tasks")
    assert "by the minimum" in of_two[-1]
