"""Retrieval: sentence vectors, nearest neighbours, mined pairs, and their scores.

As XTREME does it (Hu et al. 2020, https://github.com/google-research/xtreme, third_party/
evaluate_retrieval.py and utils_retrieve.py), which follows LASER. Similarities are computed
block by block: 100,000 sentences against as many need no more memory than a few blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spaces.errors import DataError
from spaces.recipe import Similarity

NEIGHBOURS = 4
"""How many the margin is taken over, on each side (Artetxe & Schwenk 2019)."""
# Sentences of one side and of the other whose similarities are held at once: 64 MB, twice.
_BLOCK_ROWS, _BLOCK_COLUMNS = 2048, 8192
_CPU = torch.device("cpu")


def pool(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """One vector per sentence: the mean over its real sub-words, [b, d] in float32.

    The special sub-words are in the mean, as in XTREME, whose scripts leave
    `--pool_skip_special_token` off (and mean-pool BUCC too: its `--pool_type` is never read).

    Args:
        hidden: Output of one layer, [b, s, d].
        attention_mask: 1 for real sub-words, 0 for padding, [b, s]. With the special ones 0, they
            are left out. A sentence without any has the vector 0.
    """
    weights = attention_mask.to(torch.float32).unsqueeze(-1)  # makes float32 of bfloat16, too
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def nearest_neighbours(
    source: NDArray[np.float32],
    candidates: NDArray[np.float32],
    similarity: Similarity,
    device: torch.device = _CPU,
) -> NDArray[np.int64]:
    """The row of the nearest candidate, for each source sentence, [n].

    MARGIN chooses among the four candidates with the highest cosine, as LASER and XTREME do. Of
    equally near ones, that with the higher cosine, then the first.

    Args:
        source: Sentence vectors, which need not be of length 1, [n, d].
        candidates: Sentence vectors to choose from, [m, d].
        similarity: Measure of nearness.
        device: Device that the similarities are computed on.

    Raises:
        DataError: No sentences on one side, or vectors that are not finite.
    """
    if similarity is Similarity.COSINE:
        (_, indices), _ = _most_similar(source, candidates, 1, device, both=False)
        return indices[:, 0]
    forward, backward = _most_similar(source, candidates, NEIGHBOURS, device)
    best, _ = _best_candidate(_margins(forward, backward), forward[1])
    return best


def mine_pairs(
    source: NDArray[np.float32],
    candidates: NDArray[np.float32],
    similarity: Similarity,
    device: torch.device = _CPU,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Sentences that may be translations of each other, each in one pair at most, best first.

    XTREME's default, `max` (Artetxe & Schwenk 2019, section 3,
    https://aclanthology.org/P19-1309): the best candidate of each source sentence and the best
    source sentence of each candidate, taken greedily from the highest score down. Pairs that do
    not score above 0 are left out. XTREME mines with MARGIN, and gives this function each
    distinct sentence of a side once: see `distinct_rows`.

    Args:
        source: Sentence vectors, which need not be of length 1, [n, d].
        candidates: Sentence vectors of the other side, [m, d].
        similarity: Measure that is the score of a pair.
        device: Device that the similarities are computed on.

    Returns:
        Rows of the source, rows of the candidates and scores, [p] with p <= min(n, m).

    Raises:
        DataError: No sentences on one side, or vectors that are not finite.
    """
    margin = similarity is Similarity.MARGIN
    forward, backward = _most_similar(source, candidates, NEIGHBOURS if margin else 1, device)
    forward_scores = _margins(forward, backward) if margin else forward[0]
    backward_scores = _margins(backward, forward) if margin else backward[0]
    columns, scores = _best_candidate(forward_scores, forward[1])
    rows, other_scores = _best_candidate(backward_scores, backward[1])
    rows = np.concatenate([np.arange(len(columns)), rows])
    columns = np.concatenate([columns, np.arange(len(other_scores))])
    scores = np.concatenate([scores, other_scores])
    order = np.argsort(-scores, kind="stable")
    kept, rows_seen, columns_seen = [], set(), set()
    for place, row, column in zip(
        order.tolist(), rows[order].tolist(), columns[order].tolist(), strict=True
    ):
        if row not in rows_seen and column not in columns_seen:
            rows_seen.add(row)
            columns_seen.add(column)
            kept.append(place)
    chosen = np.array(kept, dtype=np.int64)
    chosen = chosen[scores[chosen] > 0]
    return rows[chosen], columns[chosen], scores[chosen]


def distinct_rows(sentences: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each distinct sentence stands first, and whether it stands nowhere else, [u] both.

    XTREME mines BUCC over distinct sentences, and then drops the pairs with a sentence that
    stands more than once, as it could be any of several ids.
    """
    first: dict[str, int] = {}
    repeated = set()
    for row, sentence in enumerate(sentences):
        if first.setdefault(sentence.strip(), row) != row:
            repeated.add(sentence.strip())
    rows = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    return rows, np.array([sentence not in repeated for sentence in first], dtype=np.bool_)


def best_threshold(
    scores: NDArray[np.floating], is_gold: NDArray[np.bool_], gold_total: int
) -> float:
    """The score from which on pairs are best taken for translations, by F1.

    Half-way between the last pair taken and the next, as in XTREME, or the last pair's score
    where all are best taken; of equally good thresholds the highest. Pairs of one score are taken
    together or not at all, which XTREME, going through them one by one, overlooks.

    Args:
        scores: Scores of mined pairs, in any order, [p].
        is_gold: Whether each mined pair is right, [p].
        gold_total: Number of right pairs, found or not.

    Returns:
        The threshold; 0 if no mined pair is right, as in XTREME.

    Raises:
        DataError: Lengths that differ, or more right pairs than there are.
    """
    if len(scores) != len(is_gold):
        raise DataError("threshold", f"{len(scores)} gold marks", str(len(is_gold)))
    right = int(np.sum(is_gold))
    if right > gold_total:
        raise DataError("threshold", f"at most {gold_total} right pairs", str(right))
    if not right:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    descending = scores[order].astype(np.float64)
    taken = np.arange(1, len(scores) + 1)
    f1 = 2 * np.cumsum(is_gold[order]) / (taken + gold_total)
    f1[:-1][descending[:-1] == descending[1:]] = -1  # no threshold lies between equal scores
    last = int(np.argmax(f1))
    if last + 1 == len(scores):
        return float(descending[last])
    middle = float(descending[last] + descending[last + 1]) / 2
    return middle if middle > descending[last + 1] else float(descending[last])


def pair_f1(predicted: Collection[tuple[str, str]], gold: Collection[tuple[str, str]]) -> float:
    """F1 of predicted pairs of ids, in [0, 1], each counted once; 0 if none is right.

    BUCC's score, as in XTREME's evaluate.py.
    """
    predicted, gold = set(predicted), set(gold)
    right = len(predicted & gold)
    return 2 * right / (len(predicted) + len(gold)) if right else 0.0


# Similarities [n, k], highest first, and the rows that they are with [n, k].
_Neighbours = tuple[NDArray[np.float64], NDArray[np.int64]]


def _most_similar(
    source: NDArray[np.float32],
    candidates: NDArray[np.float32],
    count: int,
    device: torch.device,
    both: bool = True,
) -> tuple[_Neighbours, _Neighbours]:
    """The `count` candidates with the highest cosine, and if `both`, the other way round.

    Both from the same products, which are what it costs: 100,000 x 100,000 sentences of 768
    numbers take a CPU core four minutes, and each direction by itself would take as many.
    """
    x, y = _unit_vectors(source, device), _unit_vectors(candidates, device)
    forward, backward = _no_neighbours(x, y, count), _no_neighbours(y, x, count)
    for top in range(0, len(x), _BLOCK_ROWS):
        rows = slice(top, top + _BLOCK_ROWS)
        for left in range(0, len(y), _BLOCK_COLUMNS):
            columns = slice(left, left + _BLOCK_COLUMNS)
            block = x[rows] @ y[columns].T
            if both:
                # A copy, which `contiguous()` would not be of a single row.
                turned = block.T.clone(memory_format=torch.contiguous_format)
                _merge(backward, columns, turned, top)
            _merge(forward, rows, block, left)
    (near, where), (near_back, where_back) = forward, backward
    return (
        (near.cpu().double().numpy(), where.cpu().numpy()),
        (near_back.cpu().double().numpy(), where_back.cpu().numpy()),
    )


def _unit_vectors(vectors: NDArray[np.float32], device: torch.device) -> Tensor:
    """The vectors on the device, scaled to length 1; a vector of zeros stays."""
    if not len(vectors):
        raise DataError("retrieval", "sentences on both sides", "none on one")
    if not np.isfinite(vectors).all():
        raise DataError(
            "retrieval", "finite sentence vectors", "others: the training may have diverged"
        )
    return torch.nn.functional.normalize(
        torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).to(device), dim=1
    )


def _no_neighbours(x: Tensor, y: Tensor, count: int) -> tuple[Tensor, Tensor]:
    shape = (len(x), min(count, len(y)))
    return x.new_full(shape, -torch.inf), torch.full(shape, -1, device=x.device)


def _merge(best: tuple[Tensor, Tensor], rows: slice, block: Tensor, offset: int) -> None:
    """Merge a block of similarities, columns from `offset` on, into the best; overwrites it."""
    values, indices = best[0][rows], best[1][rows]
    new_values, new_indices = _largest(block, min(values.shape[1], block.shape[1]))
    # The known ones come first, as they do in the order of the columns.
    both_values = torch.cat([values, new_values], 1)
    both_indices = torch.cat([indices, new_indices + offset], 1)
    kept, places = _largest(both_values, values.shape[1])
    values.copy_(kept)
    indices.copy_(both_indices.gather(1, places))


def _largest(block: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Per row the `count` largest values and their columns, the first of equal ones; uses it up.

    `torch.topk` does not say which of equal ones it takes; `torch.max` says the first.
    """
    values, columns = [], []
    for _ in range(count):
        value, column = block.max(1, keepdim=True)
        values.append(value)
        columns.append(column)
        block.scatter_(1, column, -torch.inf)
    return torch.cat(values, 1), torch.cat(columns, 1)


def _margins(here: _Neighbours, there: _Neighbours) -> NDArray[np.float64]:
    """Ratio margins of the neighbours, [n, k]; 0 where the mean cosine is."""
    (similarities, indices), (of_neighbours, _) = here, there
    level = (similarities.mean(1)[:, None] + of_neighbours.mean(1)[indices]) / 2
    margins = np.zeros_like(similarities)
    np.divide(similarities, level, out=margins, where=level != 0)
    return margins


def _best_candidate(
    scores: NDArray[np.float64], indices: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The candidate of the highest score per row, [n], and that score; of equal ones the first."""
    place = scores.argmax(1)[:, None]
    return (
        np.take_along_axis(indices, place, 1)[:, 0],
        np.take_along_axis(scores, place, 1)[:, 0],
    )
