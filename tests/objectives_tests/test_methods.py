"""Frozen layers, LoRA and soft prompts: which weights change, and which model comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from objectives.backbone import Backbone
from objectives.data.encoding import EncodedSplit, encode
from objectives.models.encoders import build_model, load_backbone, load_encoder, save_stage
from objectives.models.methods import apply_method, merged
from objectives.scores.metrics import predict, predicted_labels
from objectives.training.fine_tuning import Training, finetune
from spaces.errors import SpecError
from spaces.recipe import Method, Stage
from spaces.task import Task
from storage.checkpoints import Checkpoint
from tests.objectives_tests.toy_encoders import FAMILIES, louder
from tests.objectives_tests.toys import make_stage, make_task, runner_for, toy_columns, toy_split
from tests.raising import raises

Weights = dict[str, torch.Tensor]
LAYERS = 2
# Where a family keeps its embeddings and its layers.
EMBEDDINGS = ("embeddings.", "word_embedding.", "mask_emb", "encoder.rel_embeddings")
LORA = {"method": Method.LORA, "lora_rank": 4}
PROMPT = {"method": Method.SOFT_PROMPT, "prompt_length": 5, "max_length": 32}


@pytest.fixture(params=["classification", "ner", "qa"])
def split(request: pytest.FixtureRequest, any_backbone: Backbone) -> tuple[Task, EncodedSplit]:
    """Eight examples of a kind."""
    return make_task(request.param), toy_split(request.param, 8, any_backbone)


def train(model: nn.Module, split: EncodedSplit, stage: Stage, backbone: Backbone) -> Training:
    return finetune([(model, split)], stage, 0, runner_for(backbone))


def copied(model: PreTrainedModel) -> Weights:
    return {name: weight.clone() for name, weight in model.base_model.state_dict().items()}


def changed(model: PreTrainedModel, before: Weights) -> set[str]:
    """The encoder's weights that are not what they were, bit for bit."""
    after = model.base_model.state_dict()
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


def layer_of(name: str) -> int | None:
    """The layer that a weight is in, from 0; None for those in none."""
    parts = name.split(".")
    place = next((parts.index(name) for name in ("layer", "layers") if name in parts), None)
    return None if place is None else int(parts[place + 1])


# --- frozen layers


@pytest.mark.parametrize("frozen", [0, 1, LAYERS])
def test_the_lower_layers_and_the_embeddings_stay_and_all_else_changes(
    frozen: int, any_backbone: Backbone, split: tuple[Task, EncodedSplit]
) -> None:
    task, examples = split
    stage = make_stage(task.name, frozen_layers=frozen)
    model = build_model(any_backbone, any_backbone.weights, task, 0)
    before = copied(model)
    head = {name: w.clone() for name, w in model.state_dict().items()}
    adapted = apply_method(model, any_backbone, stage)
    train(adapted, examples, stage, any_backbone)
    found = changed(model, before)
    for name in found:
        layer = layer_of(name)
        assert layer is None or layer >= frozen, name
    assert any(name.startswith(EMBEDDINGS) for name in found) == (frozen == 0)
    assert {layer_of(name) for name in found} - {None} == set(range(frozen, LAYERS))
    prefix = f"{model.base_model_prefix}."
    after = model.state_dict()
    assert any(
        not torch.equal(w, after[name]) for name, w in head.items() if not name.startswith(prefix)
    )
    assert merged(adapted) is model


def test_more_frozen_layers_than_there_are_is_answered_in_one_line(any_backbone: Backbone) -> None:
    model = build_model(any_backbone, any_backbone.weights, make_task("ner"), 0)
    expected = f"at most the 2 layers of {any_backbone.name!r}"
    with raises(SpecError, subject="frozen_layers", expected=expected, found="3"):
        apply_method(model, any_backbone, make_stage(frozen_layers=LAYERS + 1))


# --- LoRA


# peft does not know where ModernBERT keeps its attention.
@pytest.mark.parametrize(
    "any_backbone", [name for name in FAMILIES if name != "modernbert"], indirect=True
)
def test_lora_comes_back_as_the_model_that_it_was_with_the_changes_in_its_weights(
    any_backbone: Backbone, split: tuple[Task, EncodedSplit], tmp_path: Path
) -> None:
    task, examples = split
    stage = make_stage(task.name, **LORA, learning_rate=1e-2)
    runner = runner_for(any_backbone)
    model = build_model(any_backbone, any_backbone.weights, task, 0)
    shapes = {name: weight.shape for name, weight in model.state_dict().items()}
    before = copied(model)
    adapted = apply_method(model, any_backbone, stage)
    train(adapted, examples, stage, any_backbone)
    with_adapters = predict(adapted, examples, runner)
    back = merged(adapted)
    assert {name: weight.shape for name, weight in back.state_dict().items()} == shapes
    for own, other in zip(predict(back, examples, runner), with_adapters, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)
    found = changed(back, before)
    assert {layer_of(name) for name in found} - {None} == set(range(LAYERS))
    feed_forward = any_backbone.config.model_type == "xlnet"
    for name in found:
        assert "ff.layer_" in name if feed_forward else ("attention" in name or "pooler" in name)
        assert "LayerNorm" not in name
        assert "bias" not in name or "pooler" in name
    save_stage(back, any_backbone.weights, any_backbone.weights, None, tmp_path)
    read = load_encoder(Checkpoint("key", tmp_path, {}, {}, reused=True), any_backbone.weights)
    again = build_model(any_backbone, read, task, 0).base_model.state_dict()
    for name, weight in back.base_model.state_dict().items():
        assert torch.equal(again[name], weight), name


def test_lora_is_the_same_for_the_same_seed(bert: Backbone) -> None:
    task, examples = make_task("ner"), toy_split("ner", 8, bert)
    stage = make_stage(task.name, **LORA)
    trained = []
    for _ in range(2):
        adapted = apply_method(build_model(bert, bert.weights, task, 0), bert, stage)
        train(adapted, examples, stage, bert)
        trained.append(merged(adapted).state_dict())
        torch.rand(3)
    assert all(torch.equal(w, trained[1][name]) for name, w in trained[0].items())


# --- soft prompts


@pytest.fixture(params=["bert", "mbert", "roberta", "xlm-roberta", "xlnet", "deberta-v2"])
def prompted(request: pytest.FixtureRequest, encoder_folder: Callable[[str], Path]) -> Backbone:
    """An encoder of a family."""
    return load_backbone(str(encoder_folder(request.param)))


@pytest.mark.parametrize("kind", ["classification", "nli", "similarity"])
def test_a_soft_prompt_leaves_the_encoder_as_it_is(kind: str, prompted: Backbone) -> None:
    task, examples = make_task(kind), toy_split(kind, 8, prompted, 32)
    stage = make_stage(task.name, **PROMPT)
    model = build_model(prompted, prompted.weights, task, 0)
    before = copied(model)
    adapted = apply_method(model, prompted, stage)
    trained = {
        name: p.detach().clone() for name, p in adapted.named_parameters() if p.requires_grad
    }
    prompts = [p for name, p in trained.items() if "prompt" in name]
    assert [p.shape for p in prompts] == [(5, 32)]
    train(adapted, examples, stage, prompted)
    assert {name for name in changed(model, before) if name in prompted.weights} == set()
    after = dict(adapted.named_parameters())
    assert all(not torch.equal(p, after[name]) for name, p in trained.items())
    heads = [name for name in trained if "prompt" not in name]
    assert heads, "the head is trained too"


def test_a_soft_prompt_learns(prompted: Backbone) -> None:
    task, examples = make_task("sentiment"), toy_split("sentiment", 8, prompted, 32)
    stage = make_stage(task.name, **PROMPT, epochs=40, learning_rate=3e-2)
    adapted = apply_method(build_model(prompted, prompted.weights, task, 0), prompted, stage)
    losses = train(adapted, examples, stage, prompted).losses
    assert np.mean(losses[-4:]) < 0.6 * np.mean(losses[:4])
    logits = predict(merged(adapted), examples, runner_for(prompted))
    assert predicted_labels(logits, examples, task) == examples.gold


def test_padding_does_not_change_what_a_prompted_model_predicts(prompted: Backbone) -> None:
    task, examples = make_task("sentiment"), toy_split("sentiment", 8, prompted, 32)
    assert len(set(examples.lengths)) > 1
    stage = make_stage(task.name, **PROMPT)
    parent = louder(prompted.weights)
    model = apply_method(build_model(prompted, parent, task, 0), prompted, stage)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "prompt" in name:
                parameter.copy_(torch.randn_like(parameter))
    runner = runner_for(prompted)
    together = predict(model, examples, runner)
    assert np.ptp(np.array(together), axis=0).max() > 1e-3, "texts differ by more than rounding"
    rows = datasets.Dataset.from_dict(toy_columns("sentiment", 8))
    for number, logits in enumerate(together):
        alone = encode(rows.select([number]), task, prompted.tokenizer, 32)
        np.testing.assert_allclose(logits, predict(model, alone, runner)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("family", "places"), [("bert", 66), ("roberta", 64), ("xlm-roberta", 64)]
)
def test_a_prompt_that_does_not_fit_beside_the_text_is_answered_in_one_line(
    family: str, places: int, encoder_folder: Callable[[str], Path]
) -> None:
    backbone = load_backbone(str(encoder_folder(family)))
    task = make_task("sentiment")
    longest = {"method": Method.SOFT_PROMPT, "max_length": 40, "prompt_length": places - 40}
    stage = make_stage(task.name, **longest)
    long = {"text": ["juma anasoma " * 20] * 2, "label": ["positive"] * 2}
    examples = encode(datasets.Dataset.from_dict(long), task, backbone.tokenizer, 40)
    assert examples.lengths.tolist() == [40, 40]
    model = apply_method(build_model(backbone, backbone.weights, task, 0), backbone, stage)
    train(model, examples, stage, backbone)
    too_long = make_stage(task.name, **longest | {"prompt_length": places - 39})
    expected = f"at most {places - 40} beside max_length 40 on {backbone.name!r}"
    with raises(
        SpecError, subject="target.prompt_length", expected=expected, found=f"{places - 39}"
    ):
        apply_method(build_model(backbone, backbone.weights, task, 0), backbone, too_long)
