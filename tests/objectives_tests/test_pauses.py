"""A training that pauses: by each pause what a training that ends there makes, from one start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
import torch
from torch import nn

from objectives.backbone import Backbone
from objectives.data.batching import Padding
from objectives.hardware import Hardware
from objectives.models.encoders import build_model, share_encoder
from objectives.models.methods import apply_method, merged
from objectives.runner import OnBatch, Runner, ignore_batches
from objectives.training.device_path import DevicePath
from objectives.training.fine_tuning import (
    Training,
    TrainingState,
    finetune,
    finetune_with_pauses,
)
from spaces.errors import DivergedError, Interrupted
from spaces.recipe import Method, Schedule, Stage
from spaces.task import TaskKind
from tests.objectives_tests.test_device_path import Recorder, recorded_path
from tests.objectives_tests.test_training import PADDING, Tagger, tagged
from tests.objectives_tests.toy_encoders import FAMILIES
from tests.objectives_tests.toys import CPU, make_stage, make_task, toy_split
from tests.raising import raises

BFLOAT16 = Hardware(torch.device("cpu"), "bfloat16")
PAUSES = (1, 2, 4)
Weights = dict[str, torch.Tensor]
KINDS = [kind.value for kind in TaskKind if kind.is_trained]


class Trained:
    """A recipe's stage on an encoder, trained anew by each call."""

    def __init__(self, backbone: Backbone, *kinds: str, **stage: Any) -> None:
        self.backbone, self.kinds = backbone, kinds
        self.stage = make_stage(f"toy_{kinds[0]}", schedule=Schedule.CONSTANT, **stage)

    def through(
        self,
        *epochs: int,
        path: DevicePath | None = None,
        hardware: Hardware = CPU,
        on_batch: OnBatch = ignore_batches,
    ) -> list[tuple[Training, Weights]]:
        """What it came to by each pause, and the weights; scored, as it were, in between."""
        models = [
            build_model(self.backbone, self.backbone.weights, make_task(kind), 3)
            for kind in self.kinds
        ]
        owner = share_encoder(models) if len(models) > 1 else models[0]
        adapted = apply_method(owner, self.backbone, self.stage)
        parts = [
            (adapted if model is owner else model, toy_split(kind, 10, self.backbone))
            for model, kind in zip(models, self.kinds, strict=True)
        ]
        runner = Runner(hardware, Padding.of(self.backbone.tokenizer), on_batch)
        found = []
        stages = [replace(self.stage, epochs=reached) for reached in epochs]
        for stage, training in zip(
            stages, finetune_with_pauses(parts, stages, 3, runner, path=path), strict=True
        ):
            training = replace(training, state=_copied(training))
            model = merged(adapted, goes_on=stage is not stages[-1]).eval()
            assert model.get_input_embeddings().num_embeddings == model.config.vocab_size
            weights = {name: weight.clone() for name, weight in model.state_dict().items()}
            assert all(w.dtype == torch.float32 for w in weights.values() if w.is_floating_point())
            torch.manual_seed(99)  # whatever a scoring draws
            found.append((training, weights))
        return found


def _copied(training: Training) -> TrainingState:
    tensors = {name: tensor.clone() for name, tensor in training.state.tensors.items()}
    return replace(training.state, tensors=tensors)


def _equal(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _assert_pauses_are_ends(job: Trained, **how: Any) -> None:
    losses: tuple[float, ...] = ()
    for reached, (training, weights) in zip(PAUSES, job.through(*PAUSES, **how), strict=True):
        ((alone, expected),) = job.through(reached, **how)
        losses += training.losses
        assert losses == alone.losses
        assert training.updates == len(training.losses)
        assert _equal(weights, expected)
        assert training.state.epochs == reached
        assert _equal(dict(training.state.tensors), dict(alone.state.tensors))


@pytest.mark.parametrize(
    ("kind", "any_backbone"),
    list(zip(KINDS, cycle(FAMILIES), strict=False)),
    indirect=["any_backbone"],
)
def test_what_is_made_by_a_pause_is_what_a_training_makes_that_ends_there(
    kind: str, any_backbone: Backbone
) -> None:
    _assert_pauses_are_ends(Trained(any_backbone, kind))


@pytest.mark.parametrize(
    "changes",
    [
        {"frozen_layers": 1},
        {"method": Method.LORA, "lora_rank": 4},
        {"method": Method.SOFT_PROMPT, "prompt_length": 5, "max_length": 32},
    ],
)
def test_so_it_is_with_every_method(changes: dict[str, Any], bert: Backbone) -> None:
    _assert_pauses_are_ends(Trained(bert, "classification", **changes))


def test_so_it_is_with_a_mixture(bert: Backbone) -> None:
    _assert_pauses_are_ends(Trained(bert, "classification", "ner"))


def test_so_it_is_with_all_that_a_card_gains_by(bert: Backbone) -> None:
    path = DevicePath(16, masters=True, own_mask=True, capturable=True, recorder=Recorder)
    _assert_pauses_are_ends(Trained(bert, "ner"), path=path, hardware=BFLOAT16)


def test_updates_are_recorded_once_for_the_whole_training(bert: Backbone) -> None:
    with_pauses, without = Recorder(), Recorder()
    told: list[tuple[int, int]] = []
    job = Trained(bert, "ner")
    job.through(
        *PAUSES,
        path=recorded_path(with_pauses),
        on_batch=lambda done, total: told.append((done, total)),
    )
    job.through(PAUSES[-1], path=recorded_path(without))
    assert without.recorded > 0
    assert (with_pauses.recorded, with_pauses.launched) == (without.recorded, without.launched)
    assert told == [(done, 12) for done in range(1, 13)]


def _stages(*epochs: int, **changes: Any) -> list[Stage]:
    return [make_stage(**{"schedule": Schedule.CONSTANT} | changes, epochs=x) for x in epochs]


@pytest.fixture
def pausing() -> Callable[..., Any]:
    """A tagger's training of 6 updates an epoch that pauses."""

    def train(model: nn.Module, *epochs: int, on_batch: OnBatch = ignore_batches) -> Any:
        runner = Runner(CPU, PADDING, on_batch)
        return finetune_with_pauses([(model, tagged(22))], _stages(*epochs), 0, runner)

    return train


def test_what_fits_in_memory_is_found_out_once(pausing: Callable[..., Any]) -> None:
    """Else a pause would change how batches are cut, and with it the last bits."""
    with_pauses, without = Tagger(fits=2), Tagger(fits=2)
    for _ in pausing(with_pauses, 1, 3):
        pass
    finetune([(without, tagged(22))], _stages(3)[0], 0, Runner(CPU, PADDING))
    assert with_pauses.seen == without.seen
    assert _equal(with_pauses.state_dict(), without.state_dict())


def test_a_loss_that_is_not_finite_is_found_before_the_pause(pausing: Callable[..., Any]) -> None:
    trainings = pausing(Tagger(broken_at=5), 1, 2)
    with raises(DivergedError, subject="diverged at update 5", found="loss nan, "):
        next(trainings)
    trainings = pausing(Tagger(broken_at=9), 1, 2)
    next(trainings)
    with raises(DivergedError, subject="diverged at update 9", found="loss nan, "):
        next(trainings)


@pytest.mark.parametrize("in_pause", [True, False])
def test_a_training_that_is_stopped_leaves_a_whole_model(in_pause: bool, bert: Backbone) -> None:
    """Between updates, or by whoever looks at the model in a pause."""
    model = build_model(bert, bert.weights, make_task("ner"), 3)
    whole = model.get_input_embeddings()

    def stop(done: int, total: int) -> None:
        assert model.get_input_embeddings() is not whole
        if done == 4:
            raise Interrupted("asked to stop")

    runner = Runner(BFLOAT16, Padding.of(bert.tokenizer), stop)
    path, parts = DevicePath(masters=True), [(model, toy_split("ner", 10, bert))]
    trainings = finetune_with_pauses(parts, _stages(1, 2), 0, runner, path=path)
    next(trainings)
    if not in_pause:
        with pytest.raises(Interrupted):
            next(trainings)
    assert model.get_input_embeddings() is whole
    assert all(x.dtype == torch.float32 for x in model.parameters())


def test_a_stage_whose_rate_falls_cannot_pause() -> None:
    falling = _stages(1, 2, schedule=Schedule.LINEAR)
    trainings = finetune_with_pauses([(Tagger(), tagged(22))], falling, 0, Runner(CPU, PADDING))
    with pytest.raises(ValueError, match="schedule linear has no shorter prefix"):
        next(trainings)
