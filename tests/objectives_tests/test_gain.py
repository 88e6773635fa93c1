"""The mean gain: over seeds, then languages, then tasks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from objectives.gains.transfer_gain import TransferGain
from spaces.stage_specs import Aggregate
from storage.tables import PairedScore, Score


def pair(seed: int, task: str, language: str, score: float, reference: float) -> PairedScore:
    """One language of one seed."""
    own, base = (
        Score(key, "corpus", task, language, "validation", "span_f1", value, 100, 0, 0)
        for key, value in (("own", score), ("base", reference))
    )
    return PairedScore(seed, own, base)


GAIN = TransferGain(
    (
        pair(0, "panx", "swa", 0.50, 0.40),  # +10
        pair(1, "panx", "swa", 0.60, 0.54),  # +6: swa +8
        pair(0, "panx", "yor", 0.30, 0.34),  # -4
        pair(1, "panx", "yor", 0.30, 0.30),  # 0: yor -2; panx +3
        pair(0, "udpos", "yor", 0.70, 0.60),  # +10
        pair(1, "udpos", "yor", 0.70, 0.72),  # -2: yor +4; udpos +4
        pair(0, "panx", "eng", 0.90, 0.40),  # +50
        pair(1, "panx", "eng", 0.90, 0.40),
    )
)


def test_gains_of_languages_are_means_over_seeds() -> None:
    assert GAIN.by_language() == pytest.approx(
        {
            ("panx", "swa"): 8.0,
            ("panx", "yor"): -2.0,
            ("udpos", "yor"): 4.0,
            ("panx", "eng"): 50.0,
        }
    )


def test_every_task_weighs_the_same_however_many_of_the_languages_asked_for_it_has() -> None:
    assert GAIN.overall_gain({"swa", "yor"}) == pytest.approx((3.0 + 4.0) / 2)
    assert GAIN.overall_gain({"yor"}) == pytest.approx((-2.0 + 4.0) / 2)
    assert GAIN.overall_gain({"eng", "swa", "nosuch"}) == pytest.approx((50 + 8) / 2)


@pytest.mark.parametrize(
    ("aggregate", "gain", "score"),
    [
        # Gains of tasks: panx +3, udpos +4, xnli -5; scores .425, .70, .60.
        (Aggregate.MEAN, (3 + 4 - 5) / 3, (0.425 + 0.70 + 0.60) / 3),
        (Aggregate.MEDIAN, 3.0, 0.60),
        (Aggregate.MINIMUM, -5.0, 0.425),
    ],
)
def test_tasks_become_one_figure_as_the_study_says_and_each_is_kept(
    aggregate: Aggregate, gain: float, score: float
) -> None:
    third = tuple(pair(seed, "xnli", "swa", 0.60, 0.65) for seed in (0, 1))
    found = TransferGain(GAIN.pairs + third, aggregate)
    languages = {"swa", "yor"}
    assert found.overall_gain(languages) == pytest.approx(gain)
    assert found.overall_score(languages) == pytest.approx(score)
    assert found.by_task(languages) == pytest.approx({"panx": 3.0, "udpos": 4.0, "xnli": -5.0})


def test_scores_are_averaged_as_gains_are() -> None:
    languages = {"swa", "yor"}
    assert GAIN.overall_score(languages) == pytest.approx(((0.55 + 0.30) / 2 + 0.70) / 2)
    reference = ((0.47 + 0.32) / 2 + 0.66) / 2
    difference = GAIN.overall_score(languages) - reference
    assert 100 * difference == pytest.approx(GAIN.overall_gain(languages))


def test_the_gain_is_over_direct_training_and_not_over_the_same_target_stage() -> None:
    one = pair(0, "panx", "swa", 0.50, 0.40)
    assert one.reference is not None
    alone = replace(one.reference, score=0.45)
    gain = TransferGain((replace(one, baseline=alone), replace(one, baseline=alone, seed=1)))
    assert gain.overall_gain({"swa"}) == pytest.approx(10)
    assert gain.seeds == (0, 1)
    assert [list(x.seeds) for x in gain.by_seed().values()] == [[0], [1]]


def test_a_direct_training_that_is_held_against_nothing_has_scores_and_no_gain() -> None:
    direct = TransferGain(tuple(replace(x, reference=None) for x in GAIN.pairs))
    assert direct.scores_by_task({"swa", "yor"}) == GAIN.scores_by_task({"swa", "yor"})
    with pytest.raises(AssertionError, match="over something"):
        direct.overall_gain({"swa", "yor"})
