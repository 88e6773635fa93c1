"""The search model: exact, calibrated in what it says, and fair to what it has not seen."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from search.surrogate import gaussian
from search.surrogate.answer import Answer, answer, recommend
from search.surrogate.choosing import Chooser, Evidence
from search.surrogate.gains import Zero
from search.surrogate.gaussian import (
    SEED_SHARE,
    TRUNK_SHARE,
    Posterior,
    Runs,
    Scales,
    fit_scales,
    fitted_runs,
)
from search.surrogate.recipe_table import (
    INTERACTIONS,
    OWN,
    Floats,
    RecipeTable,
    build_table,
    with_tried,
)
from spaces.dimensions import SearchSpace
from spaces.recipe import Method
from tests.studies import small_space

SCALES = Scales(2.0, 1.0, 0.8, 1.3)
ARMS = {"none": (), "general": ("a", "b"), "legal": ("c", "d")}


@cache
def _space() -> SearchSpace:
    return small_space(ARMS, epochs=(1, 2, 4), learning_rate=(1e-5, 3e-5, 1e-4))


@cache
def _table() -> RecipeTable:
    return build_table(_space())


def _runs(count: int, seeds: int, rng: np.random.Generator) -> Runs:
    """Runs of recipes, each (recipe, seed) once, some of which share a seed or a trunk."""
    pairs = [(r, s) for r in range(len(_table())) for s in range(seeds)]
    drawn = np.array([pairs[i] for i in rng.permutation(len(pairs))[:count]])
    return Runs(drawn[:, 0].copy(), drawn[:, 1].copy(), rng.normal(50, 3, count))


def _dense(table: RecipeTable, runs: Runs, scales: Scales) -> tuple[Floats, Floats]:
    """Posterior mean and covariance of all recipes, from the covariance of everything."""
    features = table.features * scales.by_group()[table.group]
    prior = features @ features.T + (OWN * scales.interactions) ** 2 * np.eye(len(table))
    same_seed = runs.seed[:, None] == runs.seed
    trunk = table.trunk[runs.recipe]
    same_trunk = same_seed & (trunk[:, None] == trunk)
    own = 1 - SEED_SHARE - TRUNK_SHARE
    noise = SEED_SHARE * same_seed + TRUNK_SHARE * same_trunk + own * np.eye(len(runs))
    cross = prior[:, runs.recipe]
    covariance = prior[np.ix_(runs.recipe, runs.recipe)] + scales.noise**2 * noise
    gain = cross @ np.linalg.inv(covariance)
    centre = runs.score.mean()
    return centre + gain @ (runs.score - centre), prior - gain @ cross.T


# --- the posterior


@pytest.mark.parametrize("seeds", [1, 3, 200], ids=["one seed", "shared seeds", "fresh seeds"])
@pytest.mark.parametrize("dense_runs", [1000, 0], ids=["by runs", "by weights"])
def test_the_posterior_is_that_of_the_whole_covariance(
    seeds: int, dense_runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaussian, "DENSE_RUNS", dense_runs)
    runs = _runs(90, seeds, np.random.default_rng(seeds))
    mean, covariance = _dense(_table(), runs, SCALES)
    posterior = Posterior(_table(), runs, SCALES)
    rows = np.arange(len(_table()))
    assert posterior.mean == pytest.approx(mean, abs=1e-7)
    assert posterior.covariance(rows, rows) == pytest.approx(covariance, abs=1e-7)


def test_both_forms_of_the_inverse_have_the_same_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = _runs(90, 3, np.random.default_rng(0))
    by_runs = Posterior(_table(), runs, SCALES).log_evidence
    monkeypatch.setattr(gaussian, "DENSE_RUNS", 0)
    assert Posterior(_table(), runs, SCALES).log_evidence == pytest.approx(by_runs)


def test_samples_have_the_moments_of_the_posterior() -> None:
    runs = _runs(40, 3, np.random.default_rng(1))
    mean, covariance = _dense(_table(), runs, SCALES)
    samples = Posterior(_table(), runs, SCALES).samples(np.random.default_rng(2), 20_000)
    deviation = np.sqrt(np.diag(covariance))
    # Standard errors of 20,000 samples are 0.7 %; the largest of some hundreds is within 4 %.
    assert np.abs((samples.mean(axis=1) - mean) / deviation).max() < 0.04
    assert np.abs(np.cov(samples) - covariance).max() < 0.05 * deviation.max() ** 2


def test_a_run_believed_leaves_the_mean_and_takes_doubt() -> None:
    runs = _runs(40, 100, np.random.default_rng(3))
    before = Posterior(_table(), runs, SCALES)
    row = np.array([7])
    after = Posterior(_table(), runs.with_believed(row, np.array([999]), before.mean), SCALES)
    assert after.mean == pytest.approx(before.mean, abs=0.01)
    assert after.covariance(row, row)[0, 0] < 0.8 * before.covariance(row, row)[0, 0]


def test_what_a_task_does_at_one_rate_is_told_of_the_others() -> None:
    table = _table()
    of_c = [i for i, x in enumerate(table.params) if x.get("intermediate.task") == "c"]
    rows = np.array([i for i in range(len(table)) if i not in of_c[1:]])
    score = np.where(np.isin(rows, of_c), 55.0, 50.0)
    posterior = Posterior(table, Runs(rows, np.arange(len(rows)), score), SCALES)
    untried = posterior.mean[of_c[1:]]
    others = np.delete(posterior.mean, of_c)
    assert untried.mean() > others.max()


# --- scales


def test_scales_are_found_from_runs() -> None:
    table, rng = _table(), np.random.default_rng(5)
    planted = Scales(target=5.0, intermediate=2.5, interactions=0.4, noise=0.8)
    truth = Posterior(table, _nothing(), planted).samples(rng, 1)[:, 0]
    recipe = np.tile(np.arange(0, len(table), 2), 2)
    runs = Runs(recipe, np.arange(len(recipe)), truth[recipe] + rng.normal(0, 0.8, len(recipe)))
    found = fit_scales(table, runs)
    assert 0.7 < found.noise < 0.9
    assert found.target > 3.0
    assert found.intermediate > found.interactions


def test_a_study_refits_as_it_grows_and_not_at_each_run() -> None:
    counts = [fitted_runs(n) for n in range(2000)]
    assert counts == sorted(counts)
    assert counts[7] == 0
    assert len(set(counts)) < 25
    assert all(n <= 1.3 * count for n, count in enumerate(counts) if 8 <= n <= 500)
    assert counts[-1] == 400


# --- choosing


def _nothing() -> Runs:
    none = np.zeros(0, dtype=np.int64)
    return Runs(none, none, np.zeros(0))


def _search(truth: Floats, runs: int, seed: int = 0, noise: float = 1.0) -> Chooser:
    """The model after so many runs of its own choice."""
    recipe, score = list[int](), list[float]()
    rng = np.random.default_rng((seed, 99))
    for number in range(runs + 1):
        chooser = Chooser(_table(), Evidence(_as_runs(recipe, score)))
        if number < runs:
            recipe.append(chooser.choose(np.random.default_rng((seed, number))))
            score.append(truth[recipe[-1]] + rng.normal(0, noise))
    return chooser


def _as_runs(recipe: list[int], score: list[float]) -> Runs:
    count = len(recipe)
    return Runs(np.array(recipe, np.int64), np.arange(count), np.array(score, float))


def _planted(task: str, gain: float) -> Floats:
    """More target rate pays for all; one task pays beside it, at more epochs the more."""
    rates = _space().target.learning_rate
    return np.array(
        [
            50
            + 2 * rates.index(params["target.learning_rate"])
            + (task in params.values()) * gain * (0.5 + params.get("intermediate.epochs", 0) / 8)
            for params in _table().params
        ]
    )


def _said(chooser: Chooser) -> Answer:
    """The answer, with the direct training that is expected to be best for its zero."""
    table = chooser.table
    direct = table.arm == table.arms.index("none")
    zero = Zero(int(np.where(direct, chooser.posterior.mean, -np.inf).argmax()))
    return answer(chooser, zero, np.random.default_rng(0))


def test_the_same_history_proposes_the_same() -> None:
    runs = _runs(30, 100, np.random.default_rng(4))

    def chosen() -> list[int]:
        chooser = Chooser(build_table(_space()), Evidence(runs))
        return [chooser.choose(np.random.default_rng(slot)) for slot in range(20)]

    assert chosen() == chosen()
    assert len(set(chosen())) > 4


def test_a_planted_task_is_found_and_said_to_help() -> None:
    truth = _planted("c", 5.0)
    said = [_said(_search(truth, 60, seed)) for seed in range(6)]
    intervals = [one.arms["legal"].interval for one in said]
    # Of 95 % intervals one in twenty misses.
    assert sum(low < 5.0 < high for low, high in intervals) >= 5
    for one in said:
        assert one.arm == "legal"
        assert truth.max() - truth[one.recipe] <= 1.0
        legal = one.arms["legal"]
        assert legal.is_gain
        assert legal.probability_best > 0.9
        assert one.regret <= one.regret_90 < 3.0
        assert not one.arms["none"].is_gain


def test_no_gain_is_claimed_where_no_task_does_anything() -> None:
    truth = _planted("nothing", 0.0)
    for seed in range(3):
        said = _said(_search(truth, 60, seed))
        assert not any(arm.is_gain for arm in said.arms.values())
        assert said.probability_of_effect < 0.9


def test_each_task_first_runs_where_direct_training_is_best_and_its_own_stage_is_middling() -> (
    None
):
    table = _table()
    is_direct = table.arm == table.arms.index("none")
    direct = np.flatnonzero(is_direct)
    truth = _planted("d", 9.0)
    recipe, score = list(map(int, direct)), list(truth[direct])
    in_flight = list[int]()
    for slot in range(4):  # two runs come, two others are still on their way
        waiting = np.array(in_flight, np.int64), np.full(len(in_flight), 500)
        chooser = Chooser(table, Evidence(_as_runs(recipe, score), *waiting))
        chosen = chooser.choose(np.random.default_rng(slot), ~is_direct)
        if slot < 2:
            recipe.append(chosen)
            score.append(truth[chosen])
        else:
            in_flight.append(chosen)
    first = [table.params[x] for x in (*recipe[len(direct) :], *in_flight)]
    assert [x["intermediate.domain"] for x in first[:2]] in (
        ["general", "legal"],
        ["legal", "general"],
    )
    assert {x["intermediate.task"] for x in first} == set("abcd")
    best = max(_space().target.learning_rate)
    assert {x["target.learning_rate"] for x in first} == {best}
    assert {(x["intermediate.epochs"], x["intermediate.learning_rate"]) for x in first} == {
        (2, 3e-5)
    }


def test_every_arm_is_tried_though_another_leads() -> None:
    chooser = _search(_planted("a", 8.0), 60)
    table = chooser.table
    tried = np.bincount(table.arm[chooser.evidence.runs.recipe], minlength=len(table.arms))
    assert tried.min() >= 3


def test_runs_in_flight_are_not_proposed_again() -> None:
    aware, blind = 0, 0
    for history in range(3):
        runs = _search(_planted("c", 5.0), 30, history).evidence.runs
        recipe, alone = list[int](), list[int]()
        for slot in range(32):
            waiting = np.array(recipe, np.int64), np.arange(1000, 1000 + slot)
            chooser = Chooser(_table(), Evidence(runs, *waiting))
            recipe.append(chooser.choose(np.random.default_rng(slot)))
            alone.append(Chooser(_table(), Evidence(runs)).choose(np.random.default_rng(slot)))
        aware += len(set(recipe))
        blind += len(set(alone))
    assert aware >= 1.25 * blind, "32 workers run more recipes than if they knew of no other"


def test_recipes_like_those_that_diverged_are_avoided() -> None:
    table = _table()
    rate = np.array([x.get("intermediate.learning_rate", 0.0) for x in table.params])
    highest = np.flatnonzero(rate == 1e-4)
    runs = _runs(20, 100, np.random.default_rng(6))
    kept = ~np.isin(runs.recipe, highest)
    runs = Runs(runs.recipe[kept], runs.seed[kept], runs.score[kept])
    chooser = Chooser(table, Evidence(runs, infeasible=highest[::7]))
    assert not chooser.feasible[highest[::7]].any()
    assert chooser.feasible[highest].mean() < 0.5
    assert chooser.feasible[rate == 1e-5].all()
    chosen = [chooser.choose(np.random.default_rng(slot)) for slot in range(40)]
    assert chooser.feasible[chosen].all()
    assert chooser.feasible[recommend(chooser)]


def test_what_is_given_is_kept_to() -> None:
    chooser = Chooser(_table(), Evidence(_runs(30, 100, np.random.default_rng(7))))
    allowed = _table().matching({"intermediate.domain": "legal", "intermediate.epochs": 4})
    chosen = {chooser.choose(np.random.default_rng(slot), allowed) for slot in range(30)}
    assert {_table().params[x]["intermediate.domain"] for x in chosen} == {"legal"}
    assert {_table().params[x]["intermediate.epochs"] for x in chosen} == {4}


# --- tables


def test_a_table_holds_every_recipe_once() -> None:
    table = _table()
    # Each of 4 tasks with 3 epochs and 3 rates, and none; 3 epochs and 3 rates of the target.
    assert len(table) == (4 * 9 + 1) * 9
    assert [table.place(x) for x in table.params] == list(range(len(table)))
    assert table.is_whole
    none = table.arm == table.arms.index("none")
    assert len(np.unique(table.trunk)) == 4 * 9 + 1
    assert table.updates[none].max() < table.updates[~none].max()


def test_what_a_recipe_has_not_is_no_feature_of_it() -> None:
    table = _table()
    none = table.arm == table.arms.index("none")
    assert not table.features[none][:, table.group == INTERACTIONS].any()


def test_conditional_choices_names_and_sizes_are_features() -> None:
    choices = replace(
        _space().target,
        method=(Method.FULL, Method.LORA),
        lora_rank=(4, 8),
        batch_size=(8, 16, 32),
        epochs=(1,),
    )
    table = build_table(replace(_space(), backbones=("x", "y"), target=choices))
    assert len(table) == 2 * 37 * 3 * 3 * 3
    posterior = Posterior(table, _as_runs([0], [50.0]), SCALES)
    assert np.isfinite(posterior.mean).all()
    assert np.linalg.norm(table.features, axis=1).min() > 0


def test_of_a_large_space_a_sample_and_what_was_tried() -> None:
    whole = _table()
    table = build_table(_space(), limit=100)
    assert len(table) <= 100
    assert not table.is_whole
    assert set(np.unique(table.arm)) == {0, 1, 2}
    assert table.params == build_table(_space(), limit=100).params
    tried = [x for x in whole.params if table.place(x) is None][:3]
    elsewhere = {**tried[0], "target.epochs": 17}
    more = with_tried(table, [*tried, elsewhere, table.params[0]])
    assert len(more) == len(table) + 3
    assert all(more.place(x) is not None for x in tried)
    assert with_tried(table, [*tried, elsewhere]) is with_tried(table, [*tried, elsewhere])


def test_the_covariance_of_many_runs_is_never_factorised(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a proposal costs at 5,000 runs: the largest matrix is of features and groups."""
    sizes: list[int] = []
    factorise = gaussian.linalg.cholesky

    def counted(matrix: Floats, **options: bool) -> Floats:
        sizes.append(len(matrix))
        return factorise(matrix, **options)

    rng = np.random.default_rng(8)
    recipe = rng.integers(0, len(_table()), 5000)
    runs = Runs(recipe, np.arange(5000), rng.normal(50, 3, 5000))
    chooser = Chooser(_table(), Evidence(runs))
    assert chooser.scales.noise > 1
    monkeypatch.setattr(gaussian.linalg, "cholesky", counted)
    chooser.choose(np.random.default_rng(0))
    assert len(sizes) == 1
    assert sizes[0] <= _table().features.shape[1] + len(_table())
