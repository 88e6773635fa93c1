"""XLNet as its authors run it: padded on the left, its classifier last, segments of its own.

What we predict of a padded batch is compared with the forward of transformers on each example by
itself, encoded by the tokenizer alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers

from objectives.backbone import Backbone
from objectives.data.batching import Padding, collate
from objectives.data.encoding import EncodedSplit, encode
from objectives.models.encoders import build_model, load_backbone
from objectives.runner import Runner
from objectives.scores.metrics import predict
from tests.objectives_tests.toy_encoders import louder
from tests.objectives_tests.toys import CPU, make_task, toy_columns

Columns = dict[str, list[Any]]
# XLNet's segments: https://github.com/zihangdai/xlnet, classifier_utils.py.
SEGMENT_A, SEGMENT_B, SEGMENT_CLS = 0, 1, 2
REFERENCES = {
    "sentiment": transformers.XLNetForSequenceClassification,
    "nli": transformers.XLNetForSequenceClassification,
    "similarity": transformers.XLNetForSequenceClassification,
    "ner": transformers.XLNetForTokenClassification,
    "pos": transformers.XLNetForTokenClassification,
    "qa": transformers.XLNetForQuestionAnsweringSimple,
}


@pytest.fixture
def xlnet(encoder_folder: Callable[[str], Path]) -> Backbone:
    return load_backbone(str(encoder_folder("xlnet")))


def rows_of(kind: str) -> Columns:
    """Six examples of different lengths; questions whose text fits into one window."""
    columns = toy_columns(kind, 6)
    if kind == "qa":
        columns["question"] = ["wapi " * (number + 1) for number in range(6)]
    return columns


def encoded_alone(
    backbone: Backbone, kind: str, columns: Columns, row: int
) -> transformers.BatchEncoding:
    names = {
        "ner": ("tokens",),
        "pos": ("tokens",),
        "sentiment": ("text",),
        "qa": ("question", "context"),
    }
    texts = [columns[name][row] for name in names.get(kind, ("text_a", "text_b"))]
    words = kind in {"ner", "pos"}
    return backbone.tokenizer(*texts, is_split_into_words=words, return_tensors="pt")


@pytest.mark.parametrize("kind", REFERENCES)
def test_a_padded_batch_says_what_the_reference_says_without_padding(
    kind: str, xlnet: Backbone, tmp_path: Path
) -> None:
    task, columns = make_task(kind), rows_of(kind)
    padding = Padding.of(xlnet.tokenizer)
    split = encode(datasets.Dataset.from_dict(columns), task, xlnet.tokenizer, 128)
    assert len(set(split.row_lengths)) > 1
    assert len(split.input_ids) == 6
    model = build_model(xlnet, louder(xlnet.weights), task, seed=0)
    model.save_pretrained(tmp_path)
    reference = REFERENCES[kind].from_pretrained(tmp_path).eval()
    assert type(reference) is type(model)
    found = predict(model, split, Runner(CPU, padding))
    for row, ours in enumerate(found):
        alone = encoded_alone(xlnet, kind, columns, row)
        assert alone["token_type_ids"][0, -1] == SEGMENT_CLS
        with torch.no_grad():
            outputs = reference(**alone)
        if kind == "qa":
            theirs = torch.stack((outputs.start_logits[0], outputs.end_logits[0]), -1).numpy()
        else:
            theirs = outputs.logits[0].numpy()
        if task.kind.is_tagging:
            words = alone.word_ids(0)
            theirs = theirs[[words.index(word) for word in range(len(columns["tokens"][row]))]]
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("wrong", ["padding", "segments"])
def test_without_them_xlnet_says_something_else(wrong: str, xlnet: Backbone) -> None:
    """So the comparison with the reference can fail."""
    split = _split("nli", xlnet)
    model = build_model(xlnet, louder(xlnet.weights), make_task("nli"), seed=0).eval()
    padding = Padding.of(xlnet.tokenizer)
    shortest = np.argsort(split.row_lengths, kind="stable")
    batch = collate(split, shortest[[0, -1]], padding)
    batch.pop("labels")
    if wrong == "segments":
        other = batch | {"token_type_ids": torch.zeros_like(batch["token_type_ids"])}
    else:
        # On the right the head reads what stands on padding for the classifier.
        lost = int((batch["attention_mask"][0] == 0).sum())
        assert lost
        other = {name: tensor.clone() for name, tensor in batch.items()}
        for tensor in other.values():
            tensor[0] = tensor[0].roll(-lost)
    with torch.no_grad():
        right, otherwise = (model(**inputs).logits[0] for inputs in (batch, other))
    assert (right - otherwise).abs().max() > 5e-5


def _split(kind: str, xlnet: Backbone) -> EncodedSplit:
    rows = datasets.Dataset.from_dict(rows_of(kind))
    return encode(rows, make_task(kind), xlnet.tokenizer, 128)
