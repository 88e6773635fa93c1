"""Sub-words, and where the labels of words go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pytest

from objectives.backbone import Backbone
from objectives.data.encoding import IGNORED, EncodedSplit, encode
from tests.objectives_tests.toys import make_task

# In the tiny BERT `juma`, `ana` and `mpira` are words, `nairobi` falls into letters and `an`.
WORDS = ["juma", "anampira", "nan"]
PIECES = ["[CLS]", "juma", "ana", "##m", "##p", "##i", "##r", "##a", "n", "##an", "[SEP]"]


@pytest.fixture
def encode_columns(bert: Backbone) -> Callable[..., EncodedSplit]:
    """Encode the columns of a kind of task with the tiny BERT."""

    def build(kind: str, max_length: int = 64, **columns: list[Any]) -> EncodedSplit:
        split = datasets.Dataset.from_dict(columns)
        return encode(split, make_task(kind), bert.tokenizer, max_length)

    return build


def test_a_words_label_stands_on_its_first_subword(
    encode_columns: Callable[..., EncodedSplit], bert: Backbone
) -> None:
    split = encode_columns("ner", tokens=[WORDS], tags=[["B-PER", "O", "B-LOC"]])
    assert bert.tokenizer.convert_ids_to_tokens(split.input_ids[0]) == PIECES
    assert split.word_positions is not None
    assert split.word_positions[0].tolist() == [1, 2, 8]
    x = IGNORED  # tags are O, B-PER, I-PER, B-LOC, I-LOC
    assert split.labels is not None
    assert split.labels[0].tolist() == [x, 1, 0, x, x, x, x, x, 3, x, x]
    assert split.token_type_ids is not None
    assert split.token_type_ids[0].tolist() == [0] * 11
    assert split.gold == [["B-PER", "O", "B-LOC"]]
    assert (split.lost_words, split.lengths.tolist()) == (0, [11])


@pytest.mark.parametrize(
    ("max_length", "positions"),
    [(11, [1, 2, 8]), (10, [1, 2, 8]), (9, [1, 2, -1]), (4, [1, 2, -1]), (3, [1, -1, -1])],
)
def test_words_that_are_cut_off_have_no_position_and_are_counted(
    encode_columns: Callable[..., EncodedSplit], max_length: int, positions: list[int]
) -> None:
    split = encode_columns(
        "ner", max_length, tokens=[WORDS, ["juma"]], tags=[["B-PER", "O", "B-LOC"], ["B-PER"]]
    )
    assert split.word_positions is not None
    assert split.labels is not None
    assert [found.tolist() for found in split.word_positions] == [positions, [1]]
    assert split.lost_words == positions.count(-1)
    assert len(split.input_ids[0]) == max_length
    assert (split.labels[0] != IGNORED).sum() == 3 - positions.count(-1)
    assert [len(tags) for tags in split.gold if isinstance(tags, list)] == [3, 1]


def test_words_that_the_tokenizer_drops_have_no_position_and_are_counted(
    encode_columns: Callable[..., EncodedSplit],
) -> None:
    split = encode_columns("pos", tokens=[["\u200b", "juma", "\u200e", "mpira"]], tags=[
        ["NOUN", "PROPN", "VERB", "NOUN"]
    ])  # fmt: skip
    assert split.word_positions is not None
    assert split.labels is not None
    assert split.word_positions[0].tolist() == [-1, 1, -1, 2]
    assert split.labels[0].tolist() == [IGNORED, 2, 0, IGNORED]
    assert split.lost_words == 2


def test_unknown_words_are_not_lost_and_what_has_no_labels_gets_none(
    encode_columns: Callable[..., EncodedSplit],
) -> None:
    assert encode_columns("pos", tokens=[["日本"]], tags=[["NOUN"]]).lost_words == 0
    hidden = encode_columns("ner", tokens=[WORDS], tags=[None])
    assert hidden.labels is not None
    assert hidden.labels[0].tolist() == [IGNORED] * 11
    assert hidden.gold == [None]
    text = encode_columns("mlm", text=["juma mpira", "asha"])
    assert text.labels is None
    assert len(text) == len(text.gold) == 2


def test_classes_become_numbers_in_the_order_of_the_record(
    encode_columns: Callable[..., EncodedSplit],
) -> None:
    labels = ["health", "sport", None, "law"]
    split = encode_columns("classification", text=["juma"] * 4, label=labels)
    assert isinstance(split.labels, np.ndarray)
    assert split.labels.tolist() == [2, 0, IGNORED, 1]
    assert split.labels.dtype == np.int64
    assert (split.gold, split.word_positions) == (labels, None)


def test_pairs_are_one_sequence_of_two_segments(
    encode_columns: Callable[..., EncodedSplit], bert: Backbone
) -> None:
    split = encode_columns(
        "similarity",
        text_a=["juma", "juma mpira"],
        text_b=["mpira sheria", "asha"],
        score=[3.5, 0],
    )
    pieces = [" ".join(bert.tokenizer.convert_ids_to_tokens(ids)) for ids in split.input_ids]
    assert pieces == ["[CLS] juma [SEP] mpira sheria [SEP]", "[CLS] juma mpira [SEP] asha [SEP]"]
    assert split.token_type_ids is not None
    assert [found.tolist() for found in split.token_type_ids] == [
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 0, 1, 1],
    ]
    assert isinstance(split.labels, np.ndarray)
    assert split.labels.dtype == np.float32
    assert split.labels.tolist() == [3.5, 0.0]
