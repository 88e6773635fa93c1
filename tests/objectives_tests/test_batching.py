"""Batches: fixed by (seed, epoch), little padding, and padded where the model wants it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from objectives.data.batching import (
    MASK_SHARE,
    Padding,
    collate,
    epoch_order,
    length_order,
    mask_tokens,
)
from objectives.data.encoding import IGNORED, EncodedSplit
from spaces.errors import BackboneError
from tests.raising import raises

RIGHT = Padding(0, 0, left=False, mask_id=4, special_ids=(0, 1, 2, 3, 4), vocabulary=50)
LEFT = Padding(5, 3, left=True, mask_id=6, special_ids=(3, 4, 5, 6), vocabulary=50)
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=90).map(np.array)


def tagged(lengths: list[int]) -> EncodedSplit:
    """Examples of the given lengths; ids count from 10, labels are 7."""
    return EncodedSplit(
        input_ids=[np.arange(10, 10 + length) for length in lengths],
        token_type_ids=[np.ones(length, np.int64) for length in lengths],
        labels=[np.full(length, 7) for length in lengths],
        word_positions=[np.arange(length) for length in lengths],
        gold=[None] * len(lengths),
    )


def padded_tokens(lengths: NDArray[np.int64], batches: list[NDArray[np.int64]]) -> int:
    return sum(len(rows) * int(lengths[rows].max()) for rows in batches)


@given(LENGTHS, st.integers(1, 20), st.integers(0, 99), st.integers(0, 9))
def test_every_row_stands_in_one_batch(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> None:
    batches = epoch_order(lengths, batch_size, seed, epoch)
    assert len(batches) == -(-len(lengths) // batch_size)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    sizes = sorted(map(len, batches), reverse=True)
    assert all(size == batch_size for size in sizes[:-1])
    assert 1 <= sizes[-1] <= batch_size


def test_seed_and_epoch_fix_the_batches() -> None:
    lengths = np.arange(1, 101)

    def orders() -> list[tuple[int, ...]]:
        places = [(seed, epoch) for seed in range(4) for epoch in range(4)]
        return [tuple(np.concatenate(epoch_order(lengths, 4, *place))) for place in places]

    first = orders()
    np.random.seed(0)  # the global stream has no say
    assert orders() == first
    assert len(set(first)) == 16


def test_batches_of_like_lengths_pad_less_than_random_ones_but_are_not_sorted() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(4, 100, 2000)
    batches = epoch_order(lengths, 16, 0, 0)
    random = np.array_split(generator.permutation(2000), 125)
    extra = [padded_tokens(lengths, order) - lengths.sum() for order in (batches, random)]
    assert extra[0] < 0.3 * extra[1]
    longest = np.array([lengths[rows].max() for rows in batches])
    assert abs(np.corrcoef(longest, np.arange(125))[0, 1]) < 0.3, "short and long ones take turns"


@given(LENGTHS, st.integers(1, 300), st.integers(0, 400))
def test_batches_for_scoring_hold_every_row_once_within_the_budget(
    lengths: NDArray[np.int64], budget: int, cost: int
) -> None:
    batches = length_order(lengths, budget, cost)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert all(len(rows) == 1 or padded_tokens(lengths, [rows]) <= budget for rows in batches)
    falling = lengths[np.concatenate(batches)].tolist()
    assert falling == sorted(falling, reverse=True), "a lack of memory shows at once"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8).map(np.array), st.integers(0, 12))
def test_batches_for_scoring_cost_least_of_all_cuts(lengths: NDArray[np.int64], cost: int) -> None:
    def of(batches: list[NDArray[np.int64]]) -> int:
        return padded_tokens(lengths, batches) + cost * len(batches)

    budget, order = 20, np.argsort(-lengths, kind="stable")
    places = range(1, len(lengths))
    cuts = [x for count in range(len(lengths)) for x in combinations(places, count)]
    every = [np.split(order, cut) for cut in cuts]
    allowed = [of(x) for x in every if all(padded_tokens(lengths, [rows]) <= budget for rows in x)]
    assert of(length_order(lengths, budget, cost)) == min(allowed)


def test_a_few_long_rows_do_not_fill_up_the_short_ones() -> None:
    """Within the budget alone, seven of them would be filled up to 128."""
    lengths = np.array([128, *[8] * 100])
    assert [len(rows) for rows in length_order(lengths, 1024, 20)] == [1, 100]
    assert [len(rows) for rows in length_order(lengths[1:], 1024, 20)] == [100]
    assert [len(rows) for rows in length_order(lengths, 16384, 16384)] == [101]


@pytest.mark.parametrize(
    ("padding", "ids", "mask", "segments", "labels"),
    [
        (RIGHT, [10, 11, 0], [1, 1, 0], [1, 1, 0], [7, 7, IGNORED]),
        (LEFT, [5, 10, 11], [0, 1, 1], [3, 1, 1], [IGNORED, 7, 7]),
    ],
    ids=["right", "left"],
)
def test_examples_are_filled_up_to_the_longest_of_them(
    padding: Padding, ids: list[int], mask: list[int], segments: list[int], labels: list[int]
) -> None:
    batch = collate(tagged([3, 9, 2]), np.array([2, 0]), padding)
    assert batch.keys() == {"input_ids", "attention_mask", "token_type_ids", "labels"}
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
    assert batch["input_ids"].tolist() == [ids, [10, 11, 12]]
    assert batch["attention_mask"].tolist() == [mask, [1, 1, 1]]
    assert batch["token_type_ids"].tolist() == [segments, [1, 1, 1]]
    assert batch["labels"].tolist() == [labels, [7, 7, 7]]


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_labels_of_texts_go_with_their_rows(dtype: type[np.generic]) -> None:
    split = EncodedSplit([np.arange(3)] * 4, None, np.arange(4).astype(dtype), None, [0] * 4)
    batch = collate(split, np.array([3, 1]), RIGHT)
    assert batch.keys() == {"input_ids", "attention_mask", "labels"}
    assert batch["labels"].tolist() == [3, 1]
    assert batch["labels"].numpy().dtype == dtype


# --- masked language modelling


def masked(seed: tuple[int, ...], share: float = MASK_SHARE) -> dict[str, torch.Tensor]:
    """200 examples of 2 special sub-words and 30 others, padded to 40."""
    ids = torch.tensor([[2, *range(10, 40), 3, *[0] * 8]] * 200)
    batch = {"input_ids": ids}
    mask_tokens(batch, RIGHT, share, seed)
    return batch


def test_masking_is_fixed_by_its_seed() -> None:
    first, same, other = masked((0, 1, 2)), masked((0, 1, 2)), masked((0, 1, 3))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["labels"], other["labels"])


@pytest.mark.parametrize("share", [0.15, 0.3])
def test_masking_hides_a_share_as_bert_does(share: float) -> None:
    batch = masked((0,), share)
    original = torch.tensor([2, *range(10, 40), 3, *[0] * 8]).expand(200, -1)
    chosen = batch["labels"] != IGNORED
    ordinary = original >= 10
    assert torch.equal(batch["labels"][chosen], original[chosen])
    assert torch.equal(batch["input_ids"][~chosen], original[~chosen])
    assert not chosen[~ordinary].any(), "special sub-words and padding are never hidden"
    assert chosen[ordinary].float().mean().item() == pytest.approx(share, abs=0.02)
    hidden = batch["input_ids"][chosen]
    assert (hidden == RIGHT.mask_id).float().mean().item() == pytest.approx(0.8, abs=0.04)
    assert (hidden == original[chosen]).float().mean().item() == pytest.approx(0.1, abs=0.04)
    assert hidden.max() < RIGHT.vocabulary


def test_masking_without_a_mask_is_refused() -> None:
    padding = Padding(0, 0, left=False, mask_id=None, special_ids=(0,), vocabulary=9)
    with raises(BackboneError, expected="a tokenizer with a mask"):
        mask_tokens({"input_ids": torch.ones(1, 3).long()}, padding, MASK_SHARE, (0,))
