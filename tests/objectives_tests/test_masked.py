"""Masked language modelling predicts hidden sub-words only, and comes to the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from unittest.mock import patch

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModelForMaskedLM, PretrainedConfig

from objectives.backbone import Backbone
from objectives.data.batching import MASK_SHARE, Padding
from objectives.data.encoding import IGNORED, EncodedSplit
from objectives.models.encoders import build_model, share_encoder
from objectives.models.methods import apply_method
from objectives.runner import Runner
from objectives.training import fine_tuning, updates
from objectives.training.fine_tuning import finetune
from objectives.training.hidden_places import hidden_places
from spaces.recipe import Method
from tests.objectives_tests.toy_encoders import SIZES, encoder_parts
from tests.objectives_tests.toys import CPU, make_stage, make_task, runner_for, toy_split

Trained = tuple[dict[str, torch.Tensor], tuple[float, ...]]
VOCABULARY = 60
PADDING = Padding(1, 0, left=False, mask_id=4, special_ids=(0, 1, 2, 4), vocabulary=VOCABULARY)
NAMES = ("bert", "mbert", "roberta", "xlm-roberta", "deberta", "deberta-v2", "modernbert")
OTHERS: Mapping[str, PretrainedConfig] = {
    "albert": transformers.AlbertConfig(embedding_size=16, **SIZES),
    "camembert": transformers.CamembertConfig(**SIZES),
    "distilbert": transformers.DistilBertConfig(n_layers=2, n_heads=2, dim=32, hidden_dim=48),
    "electra": transformers.ElectraConfig(embedding_size=16, **SIZES),
    "mpnet": transformers.MPNetConfig(**SIZES),
}


def texts(examples: int) -> EncodedSplit:
    """Random texts of 6 to 19 sub-words."""
    draw = np.random.default_rng(0)
    ids = [draw.integers(5, VOCABULARY, length) for length in draw.integers(6, 20, examples)]
    return EncodedSplit(ids, None, None, None, [None] * examples)


def model_of(family: str) -> nn.Module:
    """A tiny model with dropout."""
    config = OTHERS.get(family) or encoder_parts(family)[1]
    config.vocab_size, config.pad_token_id = VOCABULARY, PADDING.token_id
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(config)


def all_places(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Every place, as if none were left out."""
    return torch.arange(labels.numel()), labels.flatten()


def logits_of_all(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], places: torch.Tensor
) -> torch.Tensor:
    """What the model itself says."""
    logits: torch.Tensor = model(**inputs).logits
    return logits.flatten(0, 1)


def train_both_ways(train: Callable[[], Trained]) -> tuple[Trained, Trained]:
    """By the logits of the hidden places, and by those of all."""
    found = train()
    with (
        patch.object(updates, "hidden_places", all_places),
        patch.object(updates, "hidden_logits", logits_of_all),
    ):
        return found, train()


def assert_same(found: Trained, expected: Trained) -> None:
    """The same losses and weights within rounding."""
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    assert found[0].keys() == expected[0].keys()
    for name, weight in expected[0].items():
        torch.testing.assert_close(found[0][name], weight, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("budget", "share"), [(updates.TOKEN_BUDGET, MASK_SHARE), (40, 0.04)])
@pytest.mark.parametrize("family", [*NAMES, *OTHERS])
def test_weights_are_those_of_training_on_the_logits_of_all_places(
    family: str, budget: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout; also where a batch is accumulated in pieces, some of which hide nothing."""
    monkeypatch.setattr(updates, "TOKEN_BUDGET", budget)
    monkeypatch.setattr(fine_tuning, "MASK_SHARE", share)

    def train() -> Trained:
        model = model_of(family)
        stage = make_stage(epochs=2, batch_size=8, examples=16)
        training = finetune([(model, texts(16))], stage, 0, Runner(CPU, PADDING))
        return model.state_dict(), training.losses

    assert_same(*train_both_ways(train))


@pytest.mark.parametrize("method", [Method.FULL, Method.LORA])
def test_so_are_those_of_an_adapted_model_and_of_a_mixture(method: Method, bert: Backbone) -> None:
    tasks = [make_task("mlm"), make_task("ner")]
    splits = [toy_split(task.kind, 8, bert) for task in tasks]

    def train() -> Trained:
        models = [build_model(bert, bert.weights, task, 0) for task in tasks]
        owner = share_encoder(models)
        stage = make_stage(method=method, lora_rank=2 if method is Method.LORA else 0)
        adapted = apply_method(owner, bert, stage)
        parts = [
            (adapted if model is owner else model, split)
            for model, split in zip(models, splits, strict=True)
        ]
        training = finetune(parts, stage, 0, runner_for(bert))
        return adapted.state_dict(), training.losses

    assert_same(*train_both_ways(train))


def test_places_are_filled_up_to_a_multiple_of_32_with_some_that_count_nothing() -> None:
    labels = torch.full((8, 9), IGNORED)
    labels[3, 2], labels[7, 8] = 11, 12
    places, there = hidden_places(labels)
    assert places.tolist() == [29, 71, *[0] * 30]
    assert there.tolist() == [11, 12, *[IGNORED] * 30]
    assert [len(part) for part in hidden_places(torch.full((2, 3), IGNORED))] == [0, 0]
    assert [len(part) for part in hidden_places(torch.zeros(4, 8).long())] == [32, 32]
