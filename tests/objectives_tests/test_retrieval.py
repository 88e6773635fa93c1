"""Retrieval: worked by hand, against scikit-learn, and by going through all pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from objectives.scores import retrieval
from objectives.scores.retrieval import (
    best_threshold,
    distinct_rows,
    mine_pairs,
    nearest_neighbours,
    pair_f1,
    pool,
)
from spaces.errors import DataError
from spaces.recipe import Similarity
from tests.raising import raises

COSINE, MARGIN = Similarity.COSINE, Similarity.MARGIN
Vectors = NDArray[np.float32]


def at_degrees(*angles: float) -> Vectors:
    """Vectors of length 1 in the plane: the cosine of two is that of the angle between them."""
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32)


def random_vectors(count: int, seed: int, size: int = 6) -> Vectors:
    """Positive, so that all cosines are, as those of an encoder's sentences mostly."""
    return np.random.default_rng(seed).random((count, size), dtype=np.float32) + 0.05


def margins(source: Vectors, candidates: Vectors) -> NDArray[np.float64]:
    """All ratio margins, by the definition; -inf outside of the four nearest of the source."""
    cosines = cosine_similarity(source.astype(np.float64), candidates.astype(np.float64))
    forward = np.sort(cosines, 1)[:, -4:].mean(1)[:, None]
    backward = np.sort(cosines, 0)[-4:].mean(0)[None, :]
    fourth = np.sort(cosines, 1)[:, -4:][:, :1]
    return np.where(cosines >= fourth, cosines / ((forward + backward) / 2), -np.inf)


@pytest.fixture(params=[(2048, 8192), (7, 5), (1, 3)], ids=str)
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The similarities all at once, and in blocks that divide nothing."""
    monkeypatch.setattr(retrieval, "_BLOCK_ROWS", request.param[0])
    monkeypatch.setattr(retrieval, "_BLOCK_COLUMNS", request.param[1])


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("n", "m"), [(30, 41), (41, 30), (1, 3), (3, 1), (1, 1), (2, 9)])
def test_neighbours_are_those_of_all_pairs(n: int, m: int) -> None:
    source, candidates = random_vectors(n, 0), random_vectors(m, 1)
    peer = NearestNeighbors(n_neighbors=1, metric="cosine").fit(candidates)
    expected = peer.kneighbors(source, return_distance=False)[:, 0]
    found = nearest_neighbours(source, candidates, COSINE)
    assert found.dtype == np.int64
    assert found.tolist() == expected.tolist()
    assert nearest_neighbours(source, candidates, MARGIN).tolist() == (
        margins(source, candidates).argmax(1).tolist()
    )


def test_the_margin_passes_over_a_candidate_that_is_near_to_all() -> None:
    # The candidate at 10 degrees is nearest to both sources, at 0 and at 25. With two of each the
    # means are over both: cos 10 = .985, cos 15 = .966, cos 32 = .848, cos 57 = .545.
    # Candidate at 10: mean .975; at 57: mean (.545 + .848) / 2 = .696.
    # Source at 25: mean (.966 + .848) / 2 = .907. Margins: .966 / ((.907 + .975) / 2) = 1.026
    # and .848 / ((.907 + .696) / 2) = 1.058.
    # Source at 0: mean (.985 + .545) / 2 = .765. Margins: .985 / .870 = 1.132; .545 / .731 = .746.
    source, candidates = at_degrees(0, 25), at_degrees(10, 57)
    assert nearest_neighbours(source, candidates, COSINE).tolist() == [0, 0]
    assert nearest_neighbours(source, candidates, MARGIN).tolist() == [0, 1]
    # Mined: (0, 0) at 1.132, then (1, 1) at 1.058, as 0 is taken.
    rows, columns, scores = mine_pairs(source, candidates, MARGIN)
    assert list(zip(rows, columns, strict=True)) == [(0, 0), (1, 1)]
    assert scores == pytest.approx([1.132, 1.058], abs=1e-3)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("similarity", Similarity)
def test_of_equal_candidates_the_first_is_nearest(similarity: Similarity) -> None:
    # Powers of two: the products are the same to the last bit wherever they are computed.
    candidates = np.eye(4, dtype=np.float32)[[3, 1, 0, 1, 0, 2, 1, 3, 2, 0]]
    source = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 1]]
    assert nearest_neighbours(source, candidates, similarity).tolist() == [2, 1, 5, 0, 1]


@pytest.mark.parametrize("mine", [nearest_neighbours, mine_pairs])
@pytest.mark.parametrize("similarity", Similarity)
def test_vectors_must_be_there_and_finite(
    mine: Callable[..., object], similarity: Similarity
) -> None:
    some = random_vectors(3, 0)
    for source, candidates in [(some[:0], some), (some, some[:0])]:
        with raises(DataError, expected="sentences on both sides", found="none"):
            mine(source, candidates, similarity)
    broken = some.copy()
    broken[1, 2] = np.nan
    with raises(DataError, expected="finite sentence vectors"):
        mine(some, broken, similarity)


def test_a_vector_of_zeros_is_near_to_nothing() -> None:
    source = np.array([[0, 0], [1, 0]], dtype=np.float32)
    assert nearest_neighbours(source, at_degrees(45, 0), COSINE).tolist() == [0, 1]
    rows, columns, _ = mine_pairs(source, source, MARGIN)
    assert list(zip(rows, columns, strict=True)) == [(1, 1)]


def mined_by_definition(scores: NDArray[np.float64], back: NDArray[np.float64]) -> list[object]:
    """Greedily from the best of each row and of each column."""
    found = [(scores[row].max(), row, int(scores[row].argmax())) for row in range(len(scores))]
    found += [(back[c].max(), int(back[c].argmax()), c) for c in range(len(back))]
    pairs: list[object] = []
    rows, columns = set(), set()
    for score, row, column in sorted(found, key=lambda pair: -pair[0]):
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            pairs.append((row, column, pytest.approx(score, abs=1e-5)))
    return pairs


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("n", "m"), [(25, 40), (40, 25), (1, 6), (6, 1)])
def test_pairs_are_mined_as_defined(n: int, m: int) -> None:
    source, candidates = random_vectors(n, 2), random_vectors(m, 3)
    for similarity, forward, backward in [
        (MARGIN, margins(source, candidates), margins(candidates, source)),
        (COSINE, cosine_similarity(source, candidates), cosine_similarity(candidates, source)),
    ]:
        found = mine_pairs(source, candidates, similarity)
        assert list(zip(*found, strict=True)) == mined_by_definition(forward, backward)


def test_pairs_below_zero_are_left_out() -> None:
    rows, columns, scores = mine_pairs(at_degrees(0, 180), at_degrees(10, 20), COSINE)
    # The source at 180 degrees has no candidate on its side.
    assert (rows.tolist(), columns.tolist()) == ([0], [0])
    assert scores == pytest.approx([0.9848], abs=1e-4)


def test_sentences_that_stand_more_than_once_are_marked() -> None:
    rows, single = distinct_rows(["mji", "nyumba", "mji ", "ጥቁር", "nyumba", "mji"])
    assert (rows.tolist(), single.tolist()) == ([0, 1, 3], [False, False, True])
    rows, single = distinct_rows([])
    assert (len(rows), len(single)) == (0, 0)


@pytest.mark.parametrize(
    ("scores", "is_gold", "gold_total", "expected"),
    [
        # F1 after each, of 2: 2/3, 2/4, 4/5, 4/6; half-way from the third to the fourth.
        ([4, 3, 2, 1], [1, 0, 1, 0], 2, 1.5),
        # In any order.
        ([1, 2, 4, 3], [0, 1, 1, 0], 2, 1.5),
        # All are taken: the last score itself.
        ([3, 2], [1, 1], 2, 2.0),
        ([3], [1], 5, 3.0),
        # F1 2/3 after one pair and after four: the higher threshold.
        ([4, 3, 2, 1], [1, 0, 0, 1], 2, 3.5),
        # A right and a wrong pair of one score go together: half-way to the next, not at 2.
        ([2, 2, 1], [1, 0, 0], 1, 1.5),
        # Between neighbouring floats there is no half-way.
        ([np.nextafter(1, 2), 1], [1, 0], 1, np.nextafter(1, 2)),
        ([3, 2], [0, 0], 2, 0.0),
        ([], [], 2, 0.0),
        ([], [], 0, 0.0),
    ],
)
def test_thresholds_worked_by_hand(
    scores: list[float], is_gold: list[int], gold_total: int, expected: float
) -> None:
    found = best_threshold(
        np.array(scores, dtype=float), np.array(is_gold, dtype=bool), gold_total
    )
    assert found == expected


def test_thresholds_need_marks_for_all_pairs() -> None:
    with raises(DataError, expected="2 gold marks", found="1"):
        best_threshold(np.array([1.0, 2.0]), np.array([True]), 1)
    with raises(DataError, expected="at most 1 right pairs", found="2"):
        best_threshold(np.array([1.0, 2.0]), np.array([True, True]), 1)


@given(
    st.lists(st.tuples(st.floats(-2, 2, width=32), st.booleans()), min_size=1, max_size=20),
    st.integers(0, 5),
)
def test_no_threshold_is_better(pairs: list[tuple[float, bool]], missed: int) -> None:
    """Against scikit-learn's curve, of which every score is a point."""
    scores = np.array([score for score, _ in pairs])
    is_gold = np.array([right for _, right in pairs])
    total = int(is_gold.sum()) + missed
    threshold = best_threshold(scores, is_gold, total)
    if not is_gold.any():
        assert threshold == 0.0
        return
    gold = {(str(row), "") for row in range(len(pairs)) if is_gold[row]}
    gold |= {(str(row), "missed") for row in range(missed)}
    reached = pair_f1({(str(row), "") for row in np.flatnonzero(scores >= threshold)}, gold)
    precision, recall, _ = precision_recall_curve(is_gold, scores)
    recall = recall * is_gold.sum() / total
    with np.errstate(invalid="ignore"):
        best = np.nanmax(2 * precision * recall / (precision + recall))
    assert reached == pytest.approx(best)


@pytest.mark.parametrize(
    ("found", "gold", "expected"),
    [
        # 1 of 2 found is right (precision 1/2), 1 of 3 is found (recall 1/3): 0.4.
        ([("a", "x"), ("b", "z")], [("a", "x"), ("b", "y"), ("c", "w")], 0.4),
        ([("a", "x")], [("a", "x")], 1.0),
        # A pair found twice counts once; the order within a pair counts.
        ([("a", "x"), ("a", "x")], [("a", "x")], 1.0),
        ([("x", "a")], [("a", "x")], 0.0),
        ([], [("a", "x")], 0.0),
        ([("a", "x")], [], 0.0),
        ([], [], 0.0),
    ],
)
def test_pair_f1_worked_by_hand(
    found: list[tuple[str, str]], gold: list[tuple[str, str]], expected: float
) -> None:
    assert pair_f1(found, gold) == pytest.approx(expected)


def test_pooling_is_the_mean_of_the_real_sub_words() -> None:
    hidden = torch.tensor([[[1.0, 2], [3, 4], [99, 99]], [[-99, 99], [5, 6], [7, 10]]])
    # Padding on the right, and on the left (XLNet).
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    assert pool(hidden, mask).tolist() == [[2, 3], [6, 8]]
    assert pool(hidden.bfloat16(), mask).dtype == torch.float32
    assert pool(hidden, torch.zeros_like(mask)).tolist() == [[0, 0], [0, 0]]
