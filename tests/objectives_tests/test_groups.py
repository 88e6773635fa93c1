"""Examples that belong together: found by their text, kept with outcomes, resampled together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from objectives.data.groups import example_groups
from objectives.gains.intervals import GainEstimate, estimate_gains, judge
from objectives.gains.rules import Verdict
from objectives.gains.seed_gains import PairedOutcomes, gains_of_outcomes, mean_gains
from objectives.gains.small_samples import half_widths, two_sided
from objectives.scores.outcomes import Groups, packed, unpacked
from spaces.errors import DataError
from spaces.task import Metric, TaskKind
from tests.objectives_tests.toys import toy_columns
from tests.raising import raises

# --- which belong together


def of_contexts(*contexts: str) -> list[int]:
    columns = {"context": list(contexts)}
    groups = example_groups(columns, TaskKind.QA)
    assert groups is not None
    return groups.tolist()


def test_questions_of_one_passage_belong_together_wherever_they_stand() -> None:
    assert of_contexts("a", "a", "b", "a", "c") == [0, 0, 1, 0, 3]
    assert of_contexts("a  b", "a b ", "A b") == [0, 0, 1]


def test_translations_have_the_same_groups_also_where_two_passages_are_worded_alike() -> None:
    english, other = of_contexts(*"aabbccdd"), of_contexts(*"xxyyxxzz")
    assert english == [0, 0, 1, 1, 2, 2, 3, 3]
    assert other == [0, 0, 1, 1, 0, 0, 3, 3]


def test_pairs_belong_together_by_their_first_text_and_other_examples_to_nothing() -> None:
    pairs = {"text_a": ["p", "q", "p"], "text_b": ["1", "2", "1"], "label": ["a", "b", "a"]}
    for kind in (TaskKind.NLI, TaskKind.PAIR_CLASSIFICATION, TaskKind.SIMILARITY):
        groups = example_groups(pairs, kind)
        assert groups is not None
        assert groups.tolist() == [0, 1, 0]
    for kind in (TaskKind.NER, TaskKind.SENTIMENT, TaskKind.RETRIEVAL):
        assert example_groups(toy_columns(kind, 4), kind) is None


def test_groups_are_kept_with_the_outcomes() -> None:
    outcomes = np.arange(6, dtype=np.float32).reshape(3, 2)
    for groups in (np.array([4, 0, 4], np.int32), None):
        found, kept = unpacked(packed(outcomes, groups))
        np.testing.assert_array_equal(found, outcomes)
        assert (kept is None) is (groups is None)
        if kept is not None:
            np.testing.assert_array_equal(kept, groups)


# --- what that makes of a gain


def passages(many: int, questions: int = 5) -> Groups:
    return np.repeat(np.arange(many, dtype=np.int32), questions)


def cell(
    rng: np.random.Generator, groups: Groups, *, correlation: float, seeds: int = 3
) -> PairedOutcomes:
    """Answers without a true gain; both sides differ by passage, example, and by seed."""

    def latent(*shape: int) -> Any:
        common = rng.normal(size=(*shape, groups.max() + 1))[..., groups]
        own = rng.normal(size=(*shape, len(groups)))
        return correlation**0.5 * common + (1 - correlation) ** 0.5 * own

    def runs() -> tuple[Any, ...]:
        of_side = latent()
        right = of_side + 0.3 * latent(seeds) + 0.05 * rng.normal(size=(seeds, 1)) > 0
        return tuple(np.stack([x, np.ones_like(x)], axis=1).astype(np.float32) for x in right)

    return PairedOutcomes(Metric.ACCURACY, tuple(range(seeds)), runs(), runs(), "sample", groups)


def estimate(paired: PairedOutcomes, **options: Any) -> GainEstimate:
    return estimate_gains(gains_of_outcomes({"": paired}, **options))[""]


def test_resampled_groups_vary_as_theory_says() -> None:
    # The variance of a mean over clusters: that of their means, over their number.
    groups = passages(60)
    paired = replace(cell(np.random.default_rng(0), groups, correlation=0.5, seeds=1), seeds=(0,))
    found = estimate(paired, resamples=20_000)
    gains = paired.outcomes[0][:, 0] - paired.baselines[0][:, 0]
    means = np.array([gains[groups == group].mean() for group in range(60)])
    expected = np.var(means, ddof=1) / 60 * 100**2
    assert found.examples_variance == pytest.approx(expected, rel=0.04)
    assert found.examples_freedom == 59
    ungrouped = estimate(replace(paired, groups=None), resamples=20_000)
    assert ungrouped.examples_variance == pytest.approx(
        np.var(gains, ddof=1) / 300 * 1e4, rel=0.04
    )
    assert ungrouped.examples_freedom == np.inf


def test_examples_that_are_all_by_themselves_have_the_numbers_of_no_groups() -> None:
    paired = cell(np.random.default_rng(1), passages(80, 1), correlation=0.0)
    for name in (replace(paired, groups=np.arange(80, dtype=np.int32)[::-1].copy()), paired):
        assert estimate(name) == estimate(replace(paired, groups=None))


def test_only_who_belongs_together_matters_and_not_the_numbers() -> None:
    groups = passages(30)
    paired = cell(np.random.default_rng(2), groups, correlation=0.3)
    numbers = np.random.default_rng(0).permutation(100).astype(np.int32)
    assert estimate(replace(paired, groups=numbers[groups])) == estimate(paired)


def test_what_belongs_together_in_one_translation_does_in_all() -> None:
    rng, groups = np.random.default_rng(3), passages(12)
    other = np.where(groups == 7, 2, groups).astype(np.int32)
    cells = {"eng": cell(rng, groups, correlation=0.2), "swa": cell(rng, other, correlation=0.2)}
    found = gains_of_outcomes(cells)
    sizes = [5] * 10 + [10]
    alike = 60**2 / sum(size**2 for size in sizes)
    for gains in found.values():
        assert gains.groups == {"sample": pytest.approx(alike)}
    assert mean_gains([*found.values()]).examples_freedom == pytest.approx(alike - 1)
    apart = gains_of_outcomes({name: replace(x, sample=name) for name, x in cells.items()})
    assert apart["eng"].examples_freedom == 11
    assert mean_gains([*apart.values()]).examples_freedom == pytest.approx(11 + alike - 1)


def test_one_passage_says_nothing_of_others() -> None:
    paired = cell(np.random.default_rng(0), passages(1), correlation=0.2)
    with raises(DataError, subject="sample", expected="two passages", found="5 examples of one"):
        gains_of_outcomes({"": paired})
    with raises(DataError, subject="sample", expected="the same examples", found="4, 5 of them"):
        replace(paired, groups=passages(1, 4))


@pytest.mark.parametrize(
    ("groups", "correlation"),
    [
        pytest.param(passages(120, 1), 0.0, id="not grouped"),
        pytest.param(passages(40), 0.2, id="40 passages, .2", marks=pytest.mark.slow),
        pytest.param(passages(12), 0.4, id="12 passages, .4"),
    ],
)
def test_intervals_are_as_wide_as_gains_scatter(groups: Groups, correlation: float) -> None:
    """Held against Monte Carlo: other seeds and other passages, drawn 200 times."""
    rng, studies = np.random.default_rng(5), 200
    found = [
        estimate(cell(rng, groups, correlation=correlation), resamples=150) for _ in range(studies)
    ]
    gains = np.array([x.gain for x in found])
    assert np.mean(gains) == pytest.approx(0, abs=3.5 * gains.std() / studies**0.5)
    estimated = np.mean([x.standard_error**2 for x in found])
    # A variance of 200 gains has a standard error of 10 %.
    assert estimated == pytest.approx(gains.var(ddof=1), rel=0.25)
    held = sum(low <= 0 <= high for low, high in (x.interval or (0, 0) for x in found))
    assert held >= stats.binom.ppf(0.001, studies, 0.95)
    assert held <= stats.binom.ppf(0.999, studies, 0.975)
    false = sum(judge({0: x})[0].verdict is not Verdict.UNDECIDED for x in found)
    assert false == studies - held


def test_questions_taken_as_independent_would_find_what_is_not_there() -> None:
    rng, studies = np.random.default_rng(6), 100
    cells = [cell(rng, passages(40), correlation=0.6) for _ in range(studies)]
    held = [
        sum(
            low <= 0 <= high
            for low, high in (
                estimate(replace(x, groups=known(x)), resamples=150).interval or (0, 0)
                for x in cells
            )
        )
        for known in (lambda x: x.groups, lambda x: None)
    ]
    assert held[1] < 0.9 * studies < held[0]


def test_with_few_groups_too_it_is_what_drawing_says() -> None:
    rng = np.random.default_rng(0)
    drawn = 2 * rng.standard_t(2, 400_000) + 3 * rng.standard_t(11, 400_000)
    columns = [np.array([x]) for x in (4.0, 9.0, 2.0, 11.0)]
    for gain in (5.0, 8.0, 12.0):
        share = np.mean(np.abs(drawn) >= gain)
        assert two_sided(np.array([gain]), *columns)[0] == pytest.approx(share, rel=0.02)
    width = half_widths(0.05, *columns)
    assert two_sided(width, *columns)[0] == pytest.approx(0.05, rel=1e-6)
    known = [*columns[:3], np.array([np.inf])]
    assert half_widths(0.05, *known)[0] == half_widths(0.05, *columns[:3])[0] < width[0]
    # Without seeds it is a plain t.
    alone = half_widths(0.05, np.zeros(1), columns[1], columns[2], columns[3])
    assert alone[0] == pytest.approx(3 * stats.t.isf(0.025, 11), rel=1e-6)
    # Rows of both kinds beside each other are what they are alone.
    both = [np.concatenate([a, b]) for a, b in zip(columns, known, strict=True)]
    assert half_widths(0.05, *both) == pytest.approx(
        [width[0], half_widths(0.05, *known)[0]], rel=1e-9
    )
