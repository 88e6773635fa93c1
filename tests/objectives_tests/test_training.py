"""Fine-tuning: the same weights from the same arguments, whatever memory there is."""

from __future__ import annotations

import copy
import inspect
import math
import subprocess
import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers.modeling_outputs import TokenClassifierOutput

from objectives.backbone import Backbone
from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit
from objectives.models.encoders import (
    ENCODER_FILE,
    TRAINING_FILE,
    build_model,
    load_encoder,
    load_state,
    save_stage,
)
from objectives.runner import Runner
from objectives.training import updates
from objectives.training.fine_tuning import (
    Training,
    TrainingState,
    finetune,
    rate_factor,
)
from objectives.training.updates import batch_loss
from spaces.errors import DeviceMemoryError, DivergedError, Interrupted
from spaces.recipe import Schedule
from spaces.task import TaskKind
from storage.checkpoints import Checkpoint
from tests.objectives_tests.toy_encoders import FAMILIES
from tests.objectives_tests.toys import CPU, make_stage, make_task, runner_for, toy_split
from tests.raising import raises

PADDING = Padding(0, 0, left=False, mask_id=None, special_ids=(0,), vocabulary=50)
TRAINED_KINDS = [kind.value for kind in TaskKind if kind.is_trained]
Weights = dict[str, torch.Tensor]


class Tagger(nn.Module):
    """A tiny tagger without dropout; may run out of memory, or give NaN from some update on."""

    def __init__(self, *, fits: int = 999, broken_at: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 3)
        self.fits, self.broken_at = fits, broken_at
        self.seen: list[int] = []

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> TokenClassifierOutput:
        """Logits [b, s, 3]."""
        self.seen.append(len(input_ids))
        if len(input_ids) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        logits = self.head(self.embedding(input_ids))
        if len(self.seen) == self.broken_at:
            logits = logits * math.nan
        return TokenClassifierOutput(logits=logits)


def tagged(examples: int, seed: int = 0) -> EncodedSplit:
    """Random examples of 2 to 9 sub-words for the tagger."""
    draw = np.random.default_rng(seed)
    ids = [draw.integers(1, 50, length) for length in draw.integers(2, 10, examples)]
    labels = [x % 3 for x in ids]
    return EncodedSplit(ids, None, labels, [np.arange(len(x)) for x in ids], [None] * examples)


@pytest.fixture
def train_tagger() -> Callable[..., Training]:
    """Train a tagger in place on 22 examples: 6 updates of 4 an epoch."""

    def train(
        model: nn.Module, seed: int = 0, state: TrainingState | None = None, **stage: Any
    ) -> Training:
        return finetune(
            [(model, tagged(22))], make_stage(**stage), seed, Runner(CPU, PADDING), state=state
        )

    return train


@pytest.fixture
def train_bert(bert: Backbone) -> Callable[..., list[Weights]]:
    """Train a tiny BERT, with its dropout; the weights after each of 3 updates an epoch."""
    task, split = make_task("ner"), toy_split("ner", 12, bert)

    def train(seed: int = 0, **stage: Any) -> list[Weights]:
        model = build_model(bert, bert.weights, task, seed=0)
        after: list[Weights] = []

        def keep(done: int, total: int) -> None:
            after.append({name: w.clone() for name, w in model.state_dict().items()})

        runner = runner_for(bert, keep)
        finetune([(model, split)], make_stage(**stage), seed, runner)
        return after

    return train


def equal(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- the same arguments give the same weights


def test_the_same_arguments_give_the_same_weights_bit_for_bit(
    train_bert: Callable[..., list[Weights]],
) -> None:
    first = train_bert()
    torch.manual_seed(99)
    torch.rand(7)  # what went on before in this process has no say
    assert all(equal(a, b) for a, b in zip(first, train_bert(), strict=True))
    assert not equal(train_bert(seed=1)[-1], first[-1])


def trained_digest(folder: str) -> str:
    """SHA-256 of weights trained from a fixed start. Its source also runs in another process."""
    import hashlib

    import datasets
    import torch

    from objectives.data.batching import Padding
    from objectives.data.encoding import encode
    from objectives.hardware import Hardware
    from objectives.models.encoders import build_model, load_backbone, quiet_libraries
    from objectives.runner import Runner
    from objectives.training.fine_tuning import finetune
    from spaces.catalogue import load_catalogue
    from spaces.recipe import Schedule, Stage

    quiet_libraries()
    torch.set_num_threads(1)
    task, bert = load_catalogue()["panx"], load_backbone(folder)
    tokens = [["juma", "analala"], ["asha", "na", "bola"]] * 3
    tags = [["B-PER", "O"], ["B-PER", "O", "B-PER"]] * 3
    rows = datasets.Dataset.from_dict({"tokens": tokens, "tags": tags})
    split = encode(rows, task, bert.tokenizer, 64)
    stage = Stage("panx", 2, 1e-3, 2, 6, 0.1, 64, Schedule.LINEAR)
    model = build_model(bert, bert.weights, task, 7)
    cpu = Hardware(torch.device("cpu"), "float32")
    finetune([(model, split)], stage, 7, Runner(cpu, Padding.of(bert.tokenizer)))
    digest = hashlib.sha256()
    for weight in model.state_dict().values():
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.slow
def test_another_process_gives_the_same_weights(encoder_folder: Callable[[str], Path]) -> None:
    folder = str(encoder_folder("bert"))
    script = f"{inspect.getsource(trained_digest)}\nprint(trained_digest({folder!r}))"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == trained_digest(folder)


# Every kind and every family; heads do not know what they stand on.
@pytest.mark.parametrize(
    ("kind", "any_backbone"),
    list(zip(TRAINED_KINDS, cycle(FAMILIES), strict=False)),
    indirect=["any_backbone"],
)
def test_a_saved_stage_goes_on_to_the_bits_of_one_that_never_stopped(
    kind: str, any_backbone: Backbone, tmp_path: Path
) -> None:
    """Through the files, with dropout, and a warm-up that the first part ends in the middle of."""
    task, split = make_task(kind), toy_split(kind, 10, any_backbone)

    def train(epochs: int, folder: Path, before: Checkpoint | None = None) -> Checkpoint:
        stage = make_stage(task.name, schedule=Schedule.CONSTANT, epochs=epochs, warmup_ratio=0.5)
        weights, state = any_backbone.weights, None
        if before is not None:
            weights = load_encoder(before, any_backbone.weights)
            state = load_state(before, epochs - 2)
        model = build_model(any_backbone, weights, task, seed=3)
        training = finetune([(model, split)], stage, 3, runner_for(any_backbone), state=state)
        folder.mkdir()
        save_stage(model, weights, any_backbone.weights, training.state, folder)
        return Checkpoint("", folder, {}, {}, reused=False)

    resumed = train(3, tmp_path / "resumed", train(1, tmp_path / "short"))
    scratch = train(3, tmp_path / "scratch")
    for file in (ENCODER_FILE, TRAINING_FILE):
        assert (resumed.folder / file).read_bytes() == (scratch.folder / file).read_bytes()
    short = (tmp_path / "short" / ENCODER_FILE).read_bytes()
    assert short != (scratch.folder / ENCODER_FILE).read_bytes()


def test_a_stage_whose_rate_falls_cannot_go_on(train_tagger: Callable[..., Training]) -> None:
    trained = train_tagger(Tagger(), schedule=Schedule.CONSTANT)
    with pytest.raises(ValueError, match="schedule linear has no shorter prefix"):
        train_tagger(Tagger(), schedule=Schedule.LINEAR, epochs=2, state=trained.state)
    constant: dict[str, Any] = {"schedule": Schedule.CONSTANT, "epochs": 2}
    with raises(DivergedError, subject="at update 9"):  # counted from the stage's beginning
        train_tagger(Tagger(broken_at=3), **constant, state=trained.state)


def test_the_optimizer_of_a_stage_starts_fresh(train_tagger: Callable[..., Training]) -> None:
    """Nothing of the stage before goes on but the weights."""
    trained = Tagger()
    train_tagger(trained)
    fresh = Tagger()
    fresh.load_state_dict(copy.deepcopy(trained.state_dict()))
    train_tagger(trained, seed=1)
    train_tagger(fresh, seed=1)
    assert equal(trained.state_dict(), fresh.state_dict())


def test_training_lowers_the_loss_and_counts_its_updates(
    train_tagger: Callable[..., Training],
) -> None:
    found = train_tagger(Tagger(), epochs=10, learning_rate=3e-2)
    assert found.updates == len(found.losses) == 60
    assert found.seconds > 0
    assert np.mean(found.losses[-6:]) < 0.5 * np.mean(found.losses[:6])


# --- the learning rate


@pytest.mark.parametrize(
    ("schedule", "warmup_ratio", "expected"),
    [
        # 2 epochs of 5 updates.
        (Schedule.LINEAR, 0.0, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (Schedule.LINEAR, 0.2, [1 / 3, 2 / 3, *(n / 8 for n in range(8, 0, -1))]),
        (Schedule.CONSTANT, 0.0, [1] * 10),
        (Schedule.CONSTANT, 0.4, [1 / 3, 2 / 3, *[1] * 8]),
        (Schedule.CONSTANT, 0.1, [0.5, *[1] * 9]),
    ],
)
def test_the_rate_warms_up_and_then_falls_or_stays(
    schedule: Schedule, warmup_ratio: float, expected: list[float]
) -> None:
    stage = make_stage(schedule=schedule, warmup_ratio=warmup_ratio, epochs=2)
    assert [rate_factor(done, 10, 5, stage) for done in range(10)] == pytest.approx(expected)


# --- memory


@pytest.mark.parametrize("fits", [1, 2, 3])
def test_a_batch_that_does_not_fit_is_cut_until_it_does(
    fits: int, train_tagger: Callable[..., Training]
) -> None:
    whole, cut = Tagger(), Tagger(fits=fits)
    expected, found = (train_tagger(model, epochs=2) for model in (whole, cut))
    assert found.updates == expected.updates
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(cut.state_dict()[name], weight, rtol=1e-4, atol=1e-5)
    too_large = [size for size in cut.seen if size > fits]
    assert 1 <= len(too_large) <= 4, "it remembers what fits"
    with raises(DeviceMemoryError, subject="out of memory on cpu with one example of "):
        train_tagger(Tagger(fits=0))


def test_batches_beyond_the_token_budget_are_accumulated(
    train_tagger: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = Tagger(), Tagger()
    expected = train_tagger(whole, batch_size=11)
    monkeypatch.setattr(updates, "TOKEN_BUDGET", 20)
    found = train_tagger(cut, batch_size=11)
    assert max(whole.seen) == 11
    assert max(cut.seen) < 8
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(cut.state_dict()[name], weight, rtol=1e-4, atol=1e-5)


def test_another_error_of_the_device_is_not_taken_for_a_lack_of_memory(
    train_tagger: Callable[..., Training],
) -> None:
    class Broken(Tagger):
        def forward(self, *arguments: torch.Tensor, **_: torch.Tensor) -> TokenClassifierOutput:
            """Fail."""
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        train_tagger(Broken())


# --- loss and divergence


def test_losses_worked_by_hand() -> None:
    logits = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)]]])
    found = batch_loss(logits, torch.tensor([[0, 1]]))
    assert found.item() == pytest.approx(math.log(2) + math.log(4 / 3))
    assert batch_loss(logits, torch.tensor([[0, -100]])).item() == pytest.approx(math.log(2))
    assert batch_loss(logits[0], torch.tensor([-100, 1])).item() == pytest.approx(math.log(4 / 3))
    squared = batch_loss(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0]))
    assert squared.item() == pytest.approx(5.0)


@pytest.mark.parametrize("update", [1, 9, 10, 11, 20, 24])
def test_a_loss_that_is_not_finite_ends_the_stage_and_is_named(
    update: int, train_tagger: Callable[..., Training]
) -> None:
    with raises(DivergedError, subject=f"diverged at update {update}", found="loss nan, "):
        train_tagger(Tagger(broken_at=update), epochs=4)


def test_an_absurd_learning_rate_diverges(train_bert: Callable[..., list[Weights]]) -> None:
    with raises(DivergedError, subject="diverged at update 2"):
        train_bert(learning_rate=1e38, warmup_ratio=0.0)


def test_weights_that_the_last_update_broke_are_not_taken_for_trained(
    train_tagger: Callable[..., Training],
) -> None:
    """The loss is looked at before the update, so that the last one needs a look of its own."""

    class BrokenGradient(Tagger):
        def forward(
            self, *arguments: torch.Tensor, **named: torch.Tensor
        ) -> TokenClassifierOutput:
            """A finite loss with a gradient that is not, in the last update."""
            found = super().forward(*arguments, **named)
            if len(self.seen) == 6:
                found.logits.register_hook(lambda gradient: gradient * math.nan)
            return found

    with pytest.raises(DivergedError):
        train_tagger(BrokenGradient())


# --- progress


def test_every_update_is_told_and_what_listening_raises_ends_the_stage() -> None:
    told: list[tuple[int, int]] = []

    def listen(done: int, total: int) -> None:
        told.append((done, total))
        if done == 8:
            raise Interrupted("asked to stop")

    model = Tagger()
    with pytest.raises(Interrupted, match="asked to stop"):
        finetune([(model, tagged(22))], make_stage(epochs=2), 0, Runner(CPU, PADDING, listen))
    assert told == [(done, 12) for done in range(1, 9)]
    assert len(model.seen) == 8
