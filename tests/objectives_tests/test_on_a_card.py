"""What only a CUDA device can show: graphs, their random numbers, and that nothing waits for it.

python -m pytest -m gpu tests/objectives_tests/test_on_a_card.py
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from objectives.backbone import Backbone
from objectives.data.batching import Padding
from objectives.hardware import Hardware
from objectives.models.encoders import ENCODER_FILE, build_model, load_encoder, save_stage
from objectives.runner import Runner, ignore_batches
from objectives.scores.metrics import predict
from objectives.training.device_path import path_of
from objectives.training.fine_tuning import Training, finetune, finetune_with_pauses
from objectives.training.graphs import say_once
from spaces.recipe import Schedule
from storage.checkpoints import Checkpoint
from tests.objectives_tests.toys import CPU, make_stage, make_task, toy_split

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
Weights = dict[str, torch.Tensor]
CARD = torch.device("cuda")


def card(precision: str = "float32", graphs: str = "on") -> Hardware:
    return Hardware(CARD, precision, graphs)


@pytest.fixture
def train(bert: Backbone) -> Callable[..., tuple[Training, Weights]]:
    """Train a tiny BERT with its dropout: 12 updates of few shapes."""

    def run(hardware: Hardware, **changes: Any) -> tuple[Training, Weights]:
        path, on_batch = changes.pop("path", None), changes.pop("on_batch", ignore_batches)
        prepare, backbone = changes.pop("prepare", None), changes.pop("backbone", bert)
        state = changes.pop("state", None)
        task, split = make_task("ner"), toy_split("ner", 14, backbone)
        model = build_model(backbone, changes.pop("weights", backbone.weights), task, 3)
        if prepare is not None:
            prepare(model)
        runner = Runner(hardware, Padding.of(backbone.tokenizer), on_batch)
        stage = make_stage(schedule=Schedule.CONSTANT, **{"epochs": 3} | changes)
        training = finetune([(model, split)], stage, 3, runner, state=state, path=path)
        return training, {name: x.cpu() for name, x in model.state_dict().items()}

    return run


@pytest.fixture
def restored_debug_mode() -> Iterator[None]:
    """Whatever a test sets."""
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_graphs_learn_what_eager_updates_do_with_the_same_random_numbers(
    precision: str, train: Callable[..., tuple[Training, Weights]]
) -> None:
    eager, _ = train(card(precision, "off"))
    graphs, _ = train(card(precision))
    again, _ = train(card(precision))
    tolerance = 1e-4 if precision == "float32" else 1e-2
    np.testing.assert_allclose(graphs.losses, eager.losses, rtol=tolerance)
    np.testing.assert_allclose(graphs.losses, again.losses, rtol=tolerance)


def test_masters_on_the_card_are_what_autocast_trains(
    train: Callable[..., tuple[Training, Weights]],
) -> None:
    hardware = card("bfloat16", "off")
    with_masters, _ = train(hardware)
    without, _ = train(hardware, path=replace(path_of(hardware), masters=False))
    np.testing.assert_allclose(with_masters.losses, without.losses, rtol=1e-2)


@pytest.mark.parametrize("graphs", ["on", "off"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_update_waits_for_the_card(
    graphs: str,
    precision: str,
    train: Callable[..., tuple[Training, Weights]],
    restored_debug_mode: None,
) -> None:
    """But where losses are looked at, every ten updates and at the end."""

    def watch(done: int, total: int) -> None:
        watched = done not in {9, total - 1}
        torch.cuda.set_sync_debug_mode("error" if watched else "default")

    train(card(precision, graphs), on_batch=watch, epochs=4)


def test_an_encoder_that_asks_is_trained_eagerly_as_if_nobody_had_tried(
    train: Callable[..., tuple[Training, Weights]], caplog: pytest.LogCaptureFixture
) -> None:
    """The generator of random numbers is what it was before the recording broke off."""

    def asks(model: torch.nn.Module) -> None:
        def ask(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            output.logits.sum().item()

        model.register_forward_hook(ask)

    eager, _ = train(card(graphs="off"), prepare=asks)
    say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        found, _ = train(card(graphs="auto"), prepare=asks)
    np.testing.assert_allclose(found.losses, eager.losses, rtol=1e-4)
    assert [x.getMessage()[:46] for x in caplog.records] == [
        "this encoder is trained without CUDA graphs: o"
    ]


def test_every_family_is_trained_with_graphs_or_without(
    any_backbone: Backbone, train: Callable[..., tuple[Training, Weights]]
) -> None:
    eager, _ = train(card(graphs="off"), backbone=any_backbone)
    found, _ = train(card(graphs="auto"), backbone=any_backbone)
    np.testing.assert_allclose(found.losses, eager.losses, rtol=1e-4)


def test_a_training_on_the_card_goes_on_from_its_state(
    train: Callable[..., tuple[Training, Weights]], bert: Backbone
) -> None:
    whole, _ = train(card(), epochs=3)
    short, weights = train(card(), epochs=1)
    encoder = {x.removeprefix("bert."): w for x, w in weights.items() if x.startswith("bert.")}
    rest, _ = train(card(), epochs=3, state=short.state, weights=encoder)
    np.testing.assert_allclose([*short.losses, *rest.losses], whole.losses, rtol=1e-3)


def test_a_stage_starts_and_is_saved_on_the_card_as_on_the_cpu(
    bert: Backbone, tmp_path: Path
) -> None:
    """From the pretrained encoder, then from the stage's."""
    files = []
    for device in (CPU.device, CARD):
        backbone, folder = bert.on(device), tmp_path / device.type
        model = build_model(backbone, backbone.weights, make_task("ner"), 3)
        with torch.no_grad():
            model.get_input_embeddings().weight[[3, 7]] += 1
            model.base_model.encoder.layer[1].output.dense.weight.mul_(2)
        folder.mkdir()
        save_stage(model, backbone.weights, backbone.weights, None, folder)
        files.append((folder / ENCODER_FILE).read_bytes())
        weights = load_encoder(Checkpoint("", folder, {}, {}, reused=True), backbone.weights)
        assert {weight.device.type for weight in weights.values()} == {device.type}
        after = build_model(backbone, weights, make_task("ner"), 3)
        for name, weight in model.state_dict().items():
            assert torch.equal(after.state_dict()[name], weight), name
    assert files[0] == files[1]


def test_graphs_go_on_after_a_pause(
    train: Callable[..., tuple[Training, Weights]], bert: Backbone
) -> None:
    """In which the model computes something else, and draws random numbers."""
    whole, _ = train(card("bfloat16"), epochs=4)
    split = toy_split("ner", 14, bert)
    model = build_model(bert, bert.weights, make_task("ner"), 3)
    stages = [make_stage(schedule=Schedule.CONSTANT, epochs=x) for x in (2, 3, 4)]
    runner = Runner(card("bfloat16"), Padding.of(bert.tokenizer))
    losses: list[float] = []
    for training in finetune_with_pauses([(model, split)], stages, 3, runner):
        losses += training.losses
        predict(model, split, runner)
        torch.rand(7, device=CARD)
    np.testing.assert_allclose(losses, whole.losses, rtol=1e-2)


def test_cpu_and_card_learn_the_same_but_for_rounding(
    train: Callable[..., tuple[Training, Weights]],
) -> None:
    def quiet(model: torch.nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0

    here, weights = train(CPU, prepare=quiet)
    there, found = train(card(), prepare=quiet)
    np.testing.assert_allclose(there.losses, here.losses, rtol=1e-3)
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-2, atol=1e-3)
