"""Gains, their intervals and verdicts: right on hand-worked cases, and as often as they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from objectives.gains.intervals import GainEstimate, estimate_gains, judge
from objectives.gains.rules import Verdict
from objectives.gains.seed_gains import (
    PairedOutcomes,
    SeedGains,
    gains_of_outcomes,
    gains_of_scores,
    mean_gains,
)
from objectives.gains.small_samples import half_widths, moderated, two_sided
from objectives.scores.metrics import compute_score
from objectives.scores.outcomes import example_outcomes, score_of
from spaces.errors import DataError
from spaces.task import AnswerNormalisation, Metric
from tests.raising import raises

ARMS, LANGUAGES = ("biomedical", "general", "legal"), ("swa", "yor", "jav", "eus")


def answered(right: Any) -> Any:
    """Outcomes of accuracy from what is right, [examples]."""
    right = np.asarray(right, np.float32)
    return np.stack([right, np.ones_like(right)], axis=1)


def cell(
    rng: np.random.Generator,
    *,
    gain: float = 0.0,
    seeds: int = 3,
    examples: int = 200,
    seed_sd: float = 0.0,
    sample: str = "swa",
) -> PairedOutcomes:
    """Answers of runs that differ by seed, and by what seed and example do together."""
    easy = rng.normal(size=examples)

    def runs(shift: float) -> tuple[Any, ...]:
        levels = shift + seed_sd * rng.normal(size=seeds)
        return tuple(answered(level + easy + rng.normal(size=examples) > 0) for level in levels)

    return PairedOutcomes(Metric.ACCURACY, tuple(range(seeds)), runs(gain), runs(0.0), sample)


def estimate(cells: dict[Any, PairedOutcomes], **options: Any) -> dict[Any, GainEstimate]:
    return estimate_gains(gains_of_outcomes(cells, **options))


def with_p(*p_values: float | None) -> dict[int, GainEstimate]:
    """Estimates that have these p-values; every other gain is negative."""
    return {
        place: GainEstimate((-1.0) ** place, 1.0, 4.0, 1.0, 5, 100, (0.0, 1.0), p_value)
        for place, p_value in enumerate(p_values)
    }


GOLD: dict[Metric, list[Any]] = {
    Metric.SPAN_F1: [["B-PER", "I-PER"], ["O", "B-LOC"], ["O"], ["B-PER", "O"]] * 5,
    Metric.MACRO_F1: ["a", "b", "c", "a"] * 5,
    Metric.EM_F1: [["the court"], ["a law", "law"], ["seven"], ["of the law"]] * 5,
    Metric.SPEARMAN: [1.0, 2.0, 3.0, 4.0] * 5,
}
WRONG: dict[Metric, Any] = {
    Metric.SPAN_F1: lambda gold: ["O"] * len(gold),
    Metric.MACRO_F1: lambda gold: "b",
    Metric.EM_F1: lambda gold: "the law",
    Metric.SPEARMAN: lambda gold: -gold,
}


@pytest.mark.parametrize("metric", list(GOLD))
def test_the_gain_is_the_difference_of_plain_scores_in_points(metric: Metric) -> None:
    gold = GOLD[metric]
    right = [answer[0] for answer in gold] if metric is Metric.EM_F1 else gold
    rng = np.random.default_rng(0)
    answers = AnswerNormalisation.SQUAD if metric is Metric.EM_F1 else None

    def run(share: float) -> tuple[Any, float]:
        kept = rng.random(len(gold)) < share
        found = [r if k else WRONG[metric](r) for r, k in zip(right, kept, strict=True)]
        return (
            example_outcomes(metric, gold, found, answers, "eng"),
            compute_score(metric, gold, found, answers, "eng"),
        )

    own, base = [run(0.8) for _ in range(3)], [run(0.5) for _ in range(3)]
    for outcomes, score in own:
        ones = np.ones((1, len(gold)), np.float32)
        assert score_of(metric, outcomes, ones)[0] == pytest.approx(score, abs=1e-6)
    paired = PairedOutcomes(
        metric, (0, 1, 2), tuple(o for o, _ in own), tuple(o for o, _ in base), "eng"
    )
    found = gains_of_outcomes({"eng": paired})["eng"]
    expected = [100 * (a - b) for (_, a), (_, b) in zip(own, base, strict=True)]
    assert found.gains == pytest.approx(expected, abs=1e-4)
    judged = estimate_gains({"eng": found})["eng"]
    assert judged.gain == pytest.approx(np.mean(expected), abs=1e-4)
    assert (judged.seeds, judged.examples, judged.scope) == (3, 20, "other seeds and examples")


def test_resampled_examples_vary_as_theory_says() -> None:
    # One run right on 60 of 200 that the other has wrong, the other on 20.
    own, base = np.zeros(200), np.zeros(200)
    own[:60], base[60:80] = 1, 1
    paired = PairedOutcomes(Metric.ACCURACY, (0,), (answered(own),), (answered(base),), "swa")
    found = estimate({"swa": paired}, resamples=20_000)["swa"]
    variance = np.var(own - base, ddof=1) / 200 * 100**2
    assert found.examples_variance == pytest.approx(variance, rel=0.04)


def test_examples_count_once_however_many_seeds_answer_them() -> None:
    # All seeds answer alike: three of them know no more of other examples than one.
    rng = np.random.default_rng(0)
    own, base = answered(rng.random(300) < 0.6), answered(rng.random(300) < 0.5)
    paired = {
        seeds: PairedOutcomes(
            Metric.ACCURACY, tuple(range(seeds)), (own,) * seeds, (base,) * seeds, "swa"
        )
        for seeds in (1, 3)
    }
    found = estimate(paired)
    assert found[3].examples_variance == pytest.approx(found[1].examples_variance)
    assert found[3].seeds_variance == 0


def test_what_seed_and_example_do_together_is_not_counted_twice() -> None:
    # Nothing but noise of seed and example: all of it is in the variance between seeds.
    rng = np.random.default_rng(1)
    runs = [answered(rng.random(1000) < 0.5) for _ in range(20)]
    paired = PairedOutcomes(
        Metric.ACCURACY, tuple(range(10)), tuple(runs[:10]), tuple(runs[10:]), "swa"
    )
    found = estimate({"swa": paired})["swa"]
    assert found.seeds_variance == pytest.approx(0.5 / 1000 / 10 * 100**2, rel=0.6)
    assert found.examples_variance is not None
    assert found.examples_variance < 0.3 * 0.5 / 1000 / 10 * 100**2


def test_a_mean_over_languages_keeps_what_a_seed_does_to_all_of_them() -> None:
    gains = np.array([-3.0, 0.0, 3.0])
    alike = [SeedGains((0, 1, 2), gains, 100, np.tile(gains, (50, 1))) for _ in range(6)]
    single, mean = (estimate_gains({"": part})[""] for part in (alike[0], mean_gains(alike)))
    assert mean.seeds_variance == single.seeds_variance == pytest.approx(9 / 3)
    assert mean.examples == 600


def test_examples_of_several_languages_are_independent_unless_they_are_the_same() -> None:
    rng = np.random.default_rng(0)
    one = cell(rng, seeds=1, examples=400)
    apart = {name: replace(one, sample=f"sib200/{name}") for name in LANGUAGES}
    parallel = {name: replace(one, sample="sib200") for name in LANGUAGES}
    variances = [
        estimate_gains({"": mean_gains(list(gains_of_outcomes(cells).values()))})[""]
        for cells in (apart, parallel)
    ]
    single = estimate({"": one})[""].examples_variance
    assert variances[0].examples_variance == pytest.approx(single / 4, rel=0.15)
    assert variances[1].examples_variance == pytest.approx(single, rel=0.15)


def test_seeds_are_met_by_number() -> None:
    first = gains_of_scores((0, 1, 2), (0.5, 0.6, 0.7), (0.5, 0.5, 0.5))
    second = gains_of_scores((2, 0, 1), (0.7, 0.5, 0.6), (0.5, 0.5, 0.5))
    assert mean_gains([first, second]).gains == pytest.approx(first.gains)


def test_the_order_of_cells_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    cells = {
        (arm, language): cell(rng, seed_sd=0.1, gain=0.2, sample=language)
        for arm in ARMS
        for language in LANGUAGES
    }
    turned = dict(reversed(cells.items()))
    found, again = judge(estimate(cells)), judge(estimate(turned))
    assert list(again) == list(turned)
    for name in cells:
        assert again[name].estimate.interval == pytest.approx(found[name].estimate.interval)
        assert again[name].adjusted_p_value == pytest.approx(found[name].adjusted_p_value)
        assert again[name].verdict is found[name].verdict


def test_the_same_seed_draws_the_same_examples() -> None:
    cells = {"swa": cell(np.random.default_rng(0))}
    first, again, other = (estimate(cells, seed=seed)["swa"] for seed in (0, 0, 1))
    assert first == again
    assert first.interval != other.interval
    assert first.interval == pytest.approx(other.interval, abs=0.3)


@pytest.mark.parametrize(
    ("p_values", "adjusted", "verdicts"),
    [
        # Sorted: 0.005 x 4, 0.011 x 3, 0.02 x 2, 0.04 x 1, none below the one before.
        ((0.02, 0.005, 0.04, 0.011), (0.04, 0.02, 0.04, 0.033), "helps hurts helps hurts"),
        # It stops at the first that is not sure.
        ((0.01, 0.04, 0.03), (0.03, 0.06, 0.06), "helps undecided undecided"),
        # What has no p-value counts in the family.
        ((0.02, None, None), (0.06, None, None), "undecided undecided undecided"),
        ((), (), ""),
    ],
)
def test_holm_as_worked_by_hand(
    p_values: tuple[float | None, ...], adjusted: tuple[float | None, ...], verdicts: str
) -> None:
    judged = judge(with_p(*p_values)).values()
    assert [x.adjusted_p_value for x in judged] == pytest.approx(list(adjusted))
    assert [x.verdict.name.lower() for x in judged] == verdicts.split()
    assert {x.family for x in judged} <= {len(p_values)}


def test_one_seed_knows_of_examples_only() -> None:
    rng = np.random.default_rng(0)
    paired = PairedOutcomes(
        Metric.ACCURACY, (7,), (answered(np.ones(200)),), (answered(rng.random(200) < 0.5),), "swa"
    )
    judged = judge(estimate({"swa": paired}))["swa"]
    assert judged.estimate.interval is not None
    assert judged.estimate.interval[0] > 40
    assert judged.estimate.scope == "other examples, with this seed"
    assert judged.verdict is Verdict.UNDECIDED
    assert (judged.estimate.p_value, judged.adjusted_p_value, judged.detectable) == (None,) * 3
    one = judge(estimate_gains({"swa": gains_of_scores([0], [0.9], [0.1])}))["swa"]
    assert one.estimate.gain == pytest.approx(80)
    assert one.estimate.interval is None
    assert (one.estimate.scope, one.verdict) == ("nothing beyond this run", Verdict.UNDECIDED)


def test_scores_alone_know_of_seeds_only() -> None:
    found = estimate_gains({"swa": gains_of_scores(range(3), (0.52, 0.54, 0.56), (0.5,) * 3)})
    assert found["swa"].scope == "other seeds, on these examples"
    assert found["swa"].examples == 0
    # A plain t interval: 4 +- 4.303 x 2 / sqrt(3).
    assert found["swa"].interval == pytest.approx((4 - 4.9683, 4 + 4.9683), abs=1e-3)
    assert found["swa"].p_value == pytest.approx(stats.ttest_1samp((2, 4, 6), 0).pvalue)


@pytest.mark.parametrize("gain", [0.0, 0.02])
def test_runs_without_any_spread_prove_nothing(gain: float) -> None:
    baselines = (0.50, 0.51, 0.52)  # the differences are not equal in binary
    scores = [baseline + gain for baseline in baselines]
    judged = judge(estimate_gains({"swa": gains_of_scores(range(3), scores, baselines)}))
    assert judged["swa"].estimate.interval is None
    assert judged["swa"].verdict is Verdict.UNDECIDED


def test_equal_predictions_are_no_difference() -> None:
    runs = tuple(answered(np.arange(100) % 2) for _ in range(3))
    same = PairedOutcomes(Metric.ACCURACY, (0, 1, 2), runs, runs, "swa")
    judged = judge(
        estimate({"swa": same, "yor": cell(np.random.default_rng(0), gain=0.3, sample="yor")})
    )
    assert judged["swa"].estimate.gain == 0
    assert judged["swa"].verdict is Verdict.UNDECIDED


def test_more_comparisons_detect_less() -> None:
    found = with_p(0.5, 0.5, 0.5, 0.5)
    alone, among = judge({0: found[0]})[0].detectable, judge(found)[0].detectable
    assert alone is not None
    assert among is not None
    assert alone < among
    # Of known variance: (1.960 + 0.842) standard errors.
    known = replace(found[0], seeds_variance=1e-12, examples_variance=4.0)
    assert judge({0: known})[0].detectable == pytest.approx(2 * (1.95996 + 0.84162), abs=1e-3)


def test_the_detectable_gain_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    gain = 2.5
    rows = gain + rng.normal(0, 1.5, (500, 5))
    found = estimate_gains(
        {number: SeedGains(tuple(range(5)), row) for number, row in enumerate(rows)},
        group=lambda number: number,  # studies of their own
    )
    detectable = [judge({0: found[number]})[0].detectable or 0.0 for number in range(100)]
    assert np.mean(detectable) == pytest.approx(gain, rel=0.1)
    share = np.mean([e.p_value is not None and e.p_value <= 0.05 for e in found.values()])
    assert share == pytest.approx(0.8, abs=3 * (0.8 * 0.2 / 500) ** 0.5)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    # Two cells a study, three seeds, no true gain.
    rng = np.random.default_rng(4)
    held, studies = 0, 300
    for _ in range(studies):
        cells = {name: cell(rng, examples=60, seed_sd=0.1, sample=str(name)) for name in range(2)}
        for found in estimate(cells, resamples=150).values():
            assert found.interval is not None
            held += found.interval[0] <= 0 <= found.interval[1]
    # Somewhat careful is right, since three seeds say little of their own variance.
    assert held >= stats.binom.ppf(0.001, 2 * studies, 0.95)
    assert held <= stats.binom.ppf(0.999, 2 * studies, 0.97)


def test_three_seeds_rarely_find_what_is_not_there() -> None:
    rng = np.random.default_rng(5)
    false, studies, cells = 0, 300, 12
    for _ in range(studies):
        common = rng.normal(0, 1.5, 3)  # of the baseline's seeds, in all cells
        found = estimate_gains(
            {name: SeedGains((0, 1, 2), common + rng.normal(0, 1.5, 3)) for name in range(cells)}
        )
        # Holm finds something where its first step does.
        false += min(e.p_value or 0 for e in found.values()) <= 0.05 / cells
    assert false <= stats.binom.ppf(0.999, studies, 0.05)


@given(
    freedom=st.floats(1, 200),
    seeds=st.floats(0.01, 100),
    alpha=st.sampled_from([0.4, 0.05, 0.05 / 18, 0.05 / 110]),
)
@settings(max_examples=50, deadline=None)
def test_without_examples_the_distribution_is_t_and_without_seeds_normal(
    freedom: float, seeds: float, alpha: float
) -> None:
    variance, none, df = np.array([seeds]), np.zeros(1), np.array([freedom])
    error = seeds**0.5
    of_seeds = half_widths(alpha, variance, none, df)
    assert of_seeds[0] == pytest.approx(error * stats.t.isf(alpha / 2, freedom), rel=1e-6)
    assert two_sided(of_seeds, variance, none, df)[0] == pytest.approx(alpha, rel=1e-6)
    of_examples = half_widths(alpha, none, variance, df)
    assert of_examples[0] == pytest.approx(error * stats.norm.isf(alpha / 2), rel=1e-6)
    both = half_widths(alpha, variance, variance, df)
    assert of_examples[0] < both[0] < 2**0.5 * of_seeds[0] * (1 + 1e-9)


def test_between_both_it_is_what_drawing_says() -> None:
    rng = np.random.default_rng(0)
    drawn = 2 * rng.standard_t(2, 400_000) + 3 * rng.normal(size=400_000)
    share = np.mean(np.abs(drawn) >= 8)
    found = two_sided(np.array([8.0]), np.array([4.0]), np.array([9.0]), np.array([2.0]))
    assert found[0] == pytest.approx(share, rel=0.02)


def test_variances_are_drawn_together_the_more_the_more_alike_they_are() -> None:
    rng = np.random.default_rng(0)
    seeds = [(0, 1, 2)] * 40
    alike = list(rng.normal(0, 1, (40, 3)))
    apart = [
        gains * scale for gains, scale in zip(alike, np.geomspace(0.01, 100, 40), strict=True)
    ]
    freedom = [moderated(gains, seeds, [0] * 40)[1].mean() for gains in (alike, apart)]
    assert freedom[0] > 6
    assert 2 <= freedom[1] < 2.5
    raw = np.array([gains.var(ddof=1) for gains in alike])
    assert moderated(alike, seeds, [0] * 40)[0].std() < 0.5 * raw.std()
    calm, wild = rng.normal(0, 0.1, (20, 3)), rng.normal(0, 10, (20, 3))
    variances, _ = moderated([*calm, *wild], seeds, ["calm"] * 20 + ["wild"] * 20)
    assert variances[:20].max() < 0.1 < 10 < variances[20:].min(), "each group to its own mean"


def test_cells_that_repeat_each_other_know_no_more_than_one() -> None:
    gains = np.array([-1.0, 0.5, 1.0])
    _, freedom = moderated([gains, 2 * gains, 3 * gains], [(0, 1, 2)] * 3, [0] * 3)
    assert freedom == pytest.approx([2, 2, 2])


@pytest.mark.parametrize(
    ("build", "subject", "expected", "found"),
    [
        (
            lambda: PairedOutcomes(
                Metric.ACCURACY, (0,), (answered([1, 0]),), (answered([1, 0, 1]),), "panx/swa"
            ),
            *("panx/swa", "the same examples", "2, 3 of them"),
        ),
        (
            lambda: PairedOutcomes(
                Metric.ACCURACY, (0, 1), (answered([1]),) * 2, (answered([1]),), "panx/swa"
            ),
            *("panx/swa", "one result per seed on both sides", "2 and 1 for seeds 0, 1"),
        ),
        (lambda: gains_of_scores([0, 0], [1, 1], [1, 1]), "", "one result per seed", ""),
        (lambda: gains_of_scores([], [], []), "", "", "for seeds none"),
        (lambda: mean_gains([]), "", "at least one cell", ""),
        (
            lambda: mean_gains(
                [gains_of_scores([0, 1], [1, 1], [0, 0]), gains_of_scores([0], [1], [0])]
            ),
            *("", "seeds 0, 1 in every cell", "0 in one"),
        ),
        (
            lambda: mean_gains(
                [
                    gains_of_scores([0], [1], [0]),
                    SeedGains((0,), np.zeros(1), 9, np.zeros((5, 1))),
                ]
            ),
            *("", "outcomes of all cells", ""),
        ),
        (
            lambda: gains_of_outcomes(
                {
                    size: cell(np.random.default_rng(0), examples=size, sample="sib200")
                    for size in (20, 30)
                }
            ),
            *("sib200", "as many examples in all cells of this sample", "20, 30"),
        ),
    ],
)
def test_what_does_not_belong_together_is_said(
    build: Any, subject: str, expected: str, found: str
) -> None:
    with raises(DataError, subject=subject, expected=expected, found=found):
        build()
