"""Looks that spend error, and verdicts that say the same as the interval beside them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from objectives.gains.intervals import GainEstimate, estimate_gains, judge
from objectives.gains.rules import LARGEST, Verdict, planned_looks, spent_error
from objectives.gains.seed_gains import SeedGains
from objectives.gains.sequential import (
    Stage,
    detectable_gains,
    interval_half_width,
    seeds_to_decide,
)
from objectives.gains.small_samples import two_sided

LOOKS = (3, 5, 8, 12)
SURE = (Verdict.HELPS, Verdict.HURTS)


@pytest.mark.parametrize(
    ("most", "looks"),
    [
        (1, (1,)),
        (3, (3,)),
        (4, (3, 4)),
        (6, (3, 4, 5, 6)),
        (12, tuple(range(3, 13))),
        (20, (*range(3, 13), 18, 20)),
        (30, (*range(3, 13), 18, 27, 30)),
    ],
)
def test_looks_are_planned_up_to_the_most_seeds(most: int, looks: tuple[int, ...]) -> None:
    assert planned_looks(most) == looks


def test_the_error_is_spent_by_a_power_of_the_seeds() -> None:
    spent = spent_error(0.05, LOOKS)
    assert spent == pytest.approx([0.05 * (seeds / 12) ** 1.5 for seeds in LOOKS])
    assert [Stage(LOOKS, place).spent for place in range(4)] == pytest.approx(
        spent_error(1.0, LOOKS)
    )


@pytest.mark.parametrize("level", [0.05, 0.05 / 6])
@pytest.mark.parametrize("looks", [LOOKS, tuple(range(3, 13))])
def test_all_looks_together_err_as_often_as_they_may(looks: tuple[int, ...], level: float) -> None:
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.normal(size=(200_000, 12)), axis=1)
    alive, left = np.ones(len(walks), bool), []
    for place, seeds in enumerate(looks):
        p_values = 2 * stats.norm.sf(np.abs(walks[:, seeds - 1]) / seeds**0.5)
        alive &= p_values > Stage(looks, place).nominal(level)
        left.append(1 - alive.mean())
    error = (level / len(walks)) ** 0.5
    assert left == pytest.approx(spent_error(level, looks), abs=4 * error)


@given(place=st.integers(0, 3), level=st.floats(1e-9, 0.5))
@settings(max_examples=50, deadline=None)
def test_the_overall_level_is_that_at_which_a_look_decides(place: int, level: float) -> None:
    stage = Stage(LOOKS, place)
    assert stage.overall(stage.nominal(level)) == pytest.approx(level, rel=1e-6)
    assert stage.nominal(level) <= level * (1 + 1e-9)
    once = Stage((7,), 0)
    assert once.nominal(level) == pytest.approx(level, rel=1e-9)
    assert once.overall(level) == pytest.approx(level, rel=1e-9)


def test_a_p_value_that_decides_nothing_at_any_level_is_one() -> None:
    assert Stage(LOOKS, 0).overall(0.9) == 1.0
    assert Stage(LOOKS, 3).overall(0.0) == pytest.approx(1e-12)


def estimate(
    gain: float, of_seeds: float, of_examples: float, freedom: float, seeds: int
) -> GainEstimate:
    columns = (np.array([x]) for x in (gain, of_seeds, of_examples, freedom))
    p_value = float(two_sided(*columns)[0])
    return GainEstimate(
        gain, of_seeds, freedom, of_examples, seeds, 100, (gain - 1, gain + 1), p_value
    )


@given(
    gains=st.lists(
        st.tuples(
            st.floats(-99, 99) | st.floats(-6, 6),
            st.floats(0.001, 2000) | st.floats(0.01, 2),
            st.floats(0, 4),
            st.floats(1, 40),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=6,
    ),
    alpha=st.sampled_from([0.05, 0.025, 0.0125]),
    margin=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)
@settings(max_examples=300, deadline=None)
def test_interval_and_verdict_never_contradict_each_other(
    gains: list[tuple[float, float, float, float, int]], alpha: float, margin: float
) -> None:
    family = {i: estimate(*x[:4], LOOKS[x[4]]) for i, x in enumerate(gains)}
    stages = {i: Stage(LOOKS, x[4]) for i, x in enumerate(gains)}
    judged = judge(family, alpha, stages, margin)
    for name, found in judged.items():
        assert found.interval is not None
        assert found.adjusted_p_value is not None
        low, high = found.interval
        assert -LARGEST <= low <= family[name].gain <= high <= LARGEST
        assert (found.verdict is Verdict.HELPS) == (low > 0)
        assert (found.verdict is Verdict.HURTS) == (high < 0)
        assert (found.verdict in SURE) == (found.adjusted_p_value <= alpha)
        if found.verdict not in SURE:
            within = -margin < low and high < margin
            assert (found.verdict is Verdict.EQUIVALENT) == within
        assert found.detectable is None or 0 < found.detectable <= LARGEST


def test_without_a_p_value_there_is_neither_a_verdict_nor_an_interval_beside_it() -> None:
    only = SeedGains((0,), np.array([3.0]), 50, np.linspace(2.5, 3.5, 40)[:, None])
    (found,) = judge(estimate_gains({"": only}), margin=9.0).values()
    assert found.estimate.interval is not None
    assert (found.verdict, found.interval, found.detectable) == (Verdict.UNDECIDED, None, None)


def test_two_seeds_cannot_detect_a_gain_that_no_score_can_have() -> None:
    gains = {"": SeedGains((0, 1), np.array([30.0, -20.0]))}
    (found,) = judge(estimate_gains(gains), 0.025).values()
    assert found.detectable is None
    assert found.interval == (-LARGEST, LARGEST)


def test_a_gain_of_nothing_is_equivalent_to_none_when_enough_seeds_say_so() -> None:
    rng = np.random.default_rng(0)
    row = rng.normal(0, 0.3, 12)
    (found,) = judge(
        estimate_gains({"": SeedGains(tuple(range(12)), row)}), 0.025, {"": Stage(LOOKS, 3)}, 1.0
    ).values()
    assert found.verdict is Verdict.EQUIVALENT


def test_a_plan_says_what_theory_says_of_known_variances() -> None:
    (found,) = detectable_gains(0.05, (4000,), 4000 * 3.0, 1.0)
    assert found == pytest.approx(2 * (1.95996 + 0.84162), rel=1e-3)
    width = interval_half_width(Stage((4000,), 0), 0.05, 4000 * 3.0, 1.0)
    assert width == pytest.approx(2 * 1.95996, rel=1e-3)
    falling = detectable_gains(0.05, LOOKS, 2.0, 0.2)
    assert falling == sorted(falling, reverse=True)


def test_seeds_that_would_decide_are_counted_unless_the_examples_leave_it_open() -> None:
    many, few = (seeds_to_decide(width, 0.05, 4.0, 0.1) for width in (1.0, 3.0))
    assert many is not None
    assert few is not None
    assert 3 <= few < many <= 200
    columns = np.array([4.0 / many]), np.array([0.1]), np.array([many - 1.0])
    assert two_sided(np.array([1.0]), *columns)[0] < 0.05
    assert seeds_to_decide(1.0, 0.05, 4.0, 0.3) is None


@pytest.mark.slow
def test_few_seeds_seen_again_and_again_rarely_find_what_is_not_there() -> None:
    rng = np.random.default_rng(7)
    false, studies = 0, 400
    for _ in range(studies):
        base, own = rng.normal(0, 1, 12), rng.normal(0, 1, (3, 12))
        for place, seeds in enumerate(LOOKS):
            found = judge(
                estimate_gains(
                    {
                        arm: SeedGains(tuple(range(seeds)), (row - base)[:seeds])
                        for arm, row in enumerate(own)
                    }
                ),
                0.05,
                dict.fromkeys(range(3), Stage(LOOKS, place)),
            )
            if any(x.verdict in SURE for x in found.values()):
                false += 1
                break
    assert false <= stats.binom.ppf(0.999, studies, 0.05)
