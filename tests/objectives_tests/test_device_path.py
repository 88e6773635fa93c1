"""What a card gains by, shown on a CPU: the same is learnt with it as without it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PretrainedConfig, PreTrainedModel

from objectives.backbone import Backbone
from objectives.data.batching import Padding, collate, widened
from objectives.data.encoding import IGNORED, EncodedSplit
from objectives.data.packing import ALIGNMENT, Layout, packed
from objectives.hardware import Hardware
from objectives.models.encoders import build_model, share_encoder
from objectives.models.methods import apply_method, merged
from objectives.runner import Runner
from objectives.training import graphs, updates
from objectives.training.device_path import DevicePath, path_of
from objectives.training.fine_tuning import Training, finetune
from objectives.training.graphs import RECORDED_AT, RecordedUpdates, Recording
from objectives.training.masters import bfloat16_leaves
from objectives.training.own_mask import unasked_masks
from spaces.errors import SpecError
from spaces.recipe import Method, Schedule
from spaces.task import TaskKind
from tests.objectives_tests.toy_encoders import FAMILIES, SIZES, encoder_parts
from tests.objectives_tests.toys import CPU, make_stage, make_task, toy_split
from tests.raising import raises

BFLOAT16 = Hardware(torch.device("cpu"), "bfloat16")
TRAINED_KINDS = [kind.value for kind in TaskKind if kind.is_trained]
KINDS_AND_FAMILIES = list(zip(TRAINED_KINDS, cycle(FAMILIES), strict=False))
# Of which transformers is asked for the attention mask; those of FAMILIES beside them.
FURTHER: dict[str, PretrainedConfig] = {
    "modernbert": transformers.ModernBertConfig(
        vocab_size=38,
        local_attention=8,
        global_attn_every_n_layers=2,
        **dict.fromkeys(("pad_token_id", "cls_token_id", "bos_token_id"), 0),
        **dict.fromkeys(("sep_token_id", "eos_token_id"), 1),
        **SIZES,
    ),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=38, n_layers=2, n_heads=2, dim=32, hidden_dim=48
    ),
    "albert": transformers.AlbertConfig(vocab_size=38, embedding_size=16, **SIZES),
    "electra": transformers.ElectraConfig(vocab_size=38, embedding_size=16, **SIZES),
}
ENCODERS = list(dict.fromkeys((*FAMILIES, *FURTHER)))
Weights = dict[str, torch.Tensor]


def config_of(family: str) -> PretrainedConfig:
    return FURTHER[family] if family in FURTHER else encoder_parts(family)[1]


def tagger(family: str) -> PreTrainedModel:
    """A tagger on a tiny encoder."""
    torch.manual_seed(0)
    model = transformers.AutoModelForTokenClassification.from_config(config_of(family))
    model.train()
    return model


def texts(seed: int = 0, *, padded: bool = True) -> dict[str, torch.Tensor]:
    """Four rows of random ids, [4, 24]."""
    draw = torch.Generator().manual_seed(seed)
    mask = torch.ones(4, 24, dtype=torch.int64)
    if padded:
        mask[1, 15:] = mask[2, 3:] = 0
    return {
        "input_ids": torch.randint(6, 36, (4, 24), generator=draw) * mask,
        "attention_mask": mask,
    }


def without_dropout(backbone: Backbone) -> Backbone:
    """The encoder without random numbers, whose order depends on the width."""
    config = backbone.config.__class__.from_dict(backbone.config.to_dict())
    for name, value in vars(config).items():
        if "dropout" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    return replace(backbone, config=config)


def trained(
    kind: str, backbone: Backbone, path: DevicePath, hardware: Hardware = CPU, **stage: Any
) -> tuple[Training, Weights]:
    """A model of a kind trained this way, and its weights."""
    task, split = make_task(kind), toy_split(kind, 14, backbone)
    model = build_model(backbone, backbone.weights, task, 3)
    runner = Runner(hardware, Padding.of(backbone.tokenizer))
    asked = make_stage(task.name, **{"epochs": 3} | stage)
    training = finetune([(model, split)], asked, 3, runner, path=path)
    return training, model.state_dict()


def equal(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- attention masks


class Questions(TorchDispatchMode):
    """Notes where Python looks at what a tensor holds: on a card it waits there."""

    ASKING = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select")

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        """Compute, and note the name of what asks."""
        name = func.overloadpacket.__name__
        if name in self.ASKING:
            self.asked.append(name)
        return func(*args, **(kwargs or {}))


# The first DeBERTa makes tensors of sizes on the CPU, and numbers of them, which no card is asked
# for but this test would count.
@pytest.mark.parametrize("family", [x for x in ENCODERS if x != "deberta"])
@pytest.mark.parametrize("padded", [True, False])
def test_a_forward_and_backward_pass_with_our_mask_asks_the_device_nothing(
    family: str, padded: bool
) -> None:
    model = tagger(family).eval()
    inputs = texts(padded=padded)
    expected = model(**inputs).logits
    before = model.config._attn_implementation
    with unasked_masks([model]), Questions() as questions:
        found = model(**inputs).logits
        found.square().sum().backward()
    assert questions.asked == []
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-5)
    assert model.config._attn_implementation == before, "put back"


def test_without_our_mask_transformers_asks() -> None:
    """Else this file would show nothing."""
    with Questions() as questions:
        tagger("xlm-roberta")(**texts())
    assert questions.asked == ["_local_scalar_dense"]


def test_a_window_of_attention_stays_narrow() -> None:
    """ModernBERT: in a local layer a sub-word does not see those beyond its window."""
    torch.manual_seed(0)
    local = transformers.AutoModel.from_config(config_of("modernbert")).eval()
    local.layers[0].attention_type = local.layers[1].attention_type = "sliding_attention"
    one, other = texts(padded=False), texts(padded=False)
    other["input_ids"][:, -1] = 5
    with unasked_masks([local]):
        difference = local(**one).last_hidden_state - local(**other).last_hidden_state
    assert difference[:, -1].abs().max() > 0
    assert difference[:, :8].abs().max() == 0, "two layers of four to each side"


# --- bfloat16 leaves beside float32 masters


def train_under_autocast(
    model: PreTrainedModel, *, leaves: bool, pieces: int = 1
) -> tuple[Weights, list[float]]:
    """Weights after 14 updates with dropout, and the losses."""
    torch.manual_seed(1)
    parameters = [x for x in model.parameters() if x.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0, fused=True)
    losses = []
    masters = bfloat16_leaves([model] if leaves else [])
    assert bool(masters.leaves) == leaves
    with masters.in_models():
        for update in range(14):
            for piece in range(pieces):
                rows = {name: x[piece::pieces] for name, x in texts(update).items()}
                with torch.autocast("cpu", torch.bfloat16):
                    logits = model(**rows).logits.float()
                loss = logits.square().mean() + logits.mean()
                loss.backward()
                masters.collect()
                losses.append(loss.item())
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            masters.publish()
    assert all(x.dtype == torch.float32 for x in model.state_dict().values())
    return model.state_dict(), losses


# The first DeBERTa cannot be computed under autocast to bfloat16, with leaves or without.
# How gradients of a second piece are added does not depend on the encoder.
@pytest.mark.parametrize(
    ("pieces", "family"), [(1, "bert"), *((2, x) for x in ENCODERS if x != "deberta")]
)
def test_masters_are_what_autocast_trains_to_the_last_bit(family: str, pieces: int) -> None:
    expected, losses = train_under_autocast(tagger(family), leaves=False, pieces=pieces)
    found, found_losses = train_under_autocast(tagger(family), leaves=True, pieces=pieces)
    assert losses == found_losses
    assert equal(expected, found)
    assert not equal(found, tagger(family).state_dict())


def test_weights_that_embeddings_share_are_not_kept_twice(bert: Backbone) -> None:
    model = build_model(bert, bert.weights, make_task("mlm"), 0)
    shared = model.get_input_embeddings().weight
    masters = bfloat16_leaves([model])
    with masters.in_models():
        assert all(x is not shared for x in masters.weights)
        assert model.get_output_embeddings().weight is shared
        kinds = {
            type(module)
            for module in model.modules()
            for weight in module.parameters(recurse=False)
            if weight.dtype is torch.bfloat16
        }
    assert kinds == {nn.Linear}


MASTERS = DevicePath(masters=True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"frozen_layers": 1},
        {"method": Method.LORA, "lora_rank": 4},
        {"method": Method.SOFT_PROMPT, "prompt_length": 5, "max_length": 32},
    ],
)
def test_masters_suit_every_method_and_a_mixture(changes: dict[str, Any], bert: Backbone) -> None:
    stage = make_stage(epochs=3, **changes)
    kinds = ("classification", "nli") if not changes else ("classification",)

    def run(path: DevicePath) -> Weights:
        models = [build_model(bert, bert.weights, make_task(kind), 0) for kind in kinds]
        owner = share_encoder(models) if len(models) > 1 else models[0]
        adapted = apply_method(owner, bert, stage)
        parts = [
            (adapted if model is owner else model, toy_split(kind, 10, bert))
            for model, kind in zip(models, kinds, strict=True)
        ]
        runner = Runner(BFLOAT16, Padding.of(bert.tokenizer))
        finetune(parts, stage, 0, runner, path=path)
        return merged(adapted).state_dict()

    assert equal(run(DevicePath()), run(MASTERS))


def test_a_training_with_masters_goes_on_from_its_state(bert: Backbone) -> None:
    task, split = make_task("ner"), toy_split("ner", 10, bert)
    runner = Runner(BFLOAT16, Padding.of(bert.tokenizer))
    stage = make_stage(schedule=Schedule.CONSTANT, epochs=1)

    def fresh() -> PreTrainedModel:
        return build_model(bert, bert.weights, task, 0)

    whole, part = fresh(), fresh()
    longer = replace(stage, epochs=2)
    finetune([(whole, split)], longer, 0, runner, path=MASTERS)
    short = finetune([(part, split)], stage, 0, runner, path=MASTERS)
    finetune([(part, split)], longer, 0, runner, state=short.state, path=MASTERS)
    assert equal(whole.state_dict(), part.state_dict())


# --- widths


@pytest.mark.parametrize(("kind", "any_backbone"), KINDS_AND_FAMILIES, indirect=["any_backbone"])
def test_rounded_widths_change_losses_by_rounding_only(kind: str, any_backbone: Backbone) -> None:
    quiet = without_dropout(any_backbone)
    plain, _ = trained(kind, quiet, DevicePath())
    wide, _ = trained(kind, quiet, DevicePath(width_multiple=16))
    np.testing.assert_allclose(wide.losses, plain.losses, rtol=1e-4, atol=1e-5)
    if kind == "qa":
        # Where an answer stands is a softmax over all places: more of them are another loss.
        assert wide.losses == plain.losses


@pytest.mark.parametrize("left", [True, False])
def test_a_wider_batch_is_padded_where_the_tokenizer_pads(left: bool) -> None:
    padding = Padding(7, 3, left=left, mask_id=None, special_ids=(), vocabulary=9)
    ids = [np.array([1, 2, 2]), np.array([1])]
    zeros = [row * 0 for row in ids]
    split = EncodedSplit(ids, zeros, zeros, zeros, ids)
    batch = collate(split, np.arange(2), padding)
    wide = widened(batch, 5, padding)
    by_hand = {
        "input_ids": ([7, 7, 1, 2, 2], [7, 7, 7, 7, 1]),
        "attention_mask": ([0, 0, 1, 1, 1], [0, 0, 0, 0, 1]),
        "token_type_ids": ([3, 3, 0, 0, 0], [3, 3, 3, 3, 0]),
        "labels": ([IGNORED, IGNORED, 0, 0, 0], [IGNORED] * 4 + [0]),
    }
    for name, rows in by_hand.items():
        expected = [row if left else row[::-1] for row in rows]
        if name == "input_ids" and not left:
            expected = [[1, 2, 2, 7, 7], [1, 7, 7, 7, 7]]
        assert wide[name].tolist() == [list(row) for row in expected], name
    assert widened(batch, 3, padding) is batch


@pytest.mark.parametrize(
    ("width", "longest", "expected"), [(1, 64, 16), (16, 64, 16), (17, 64, 32), (49, 50, 50)]
)
def test_a_width_is_rounded_up_within_what_the_encoder_has_places_for(
    width: int, longest: int, expected: int
) -> None:
    batch = {"input_ids": torch.zeros(2, width)}
    assert DevicePath(width_multiple=16).width(batch, longest) == expected
    assert DevicePath().width(batch, longest) == width
    answers = {**batch, "spans": torch.zeros(2, 2)}
    assert DevicePath(width_multiple=16).width(answers, longest) == width


# --- one block a batch


def test_a_batch_comes_out_of_its_block_as_it_went_in() -> None:
    batch = {
        "input_ids": torch.arange(15).view(3, 5),
        "counted": torch.tensor(7.0),
        "labels": torch.tensor([0.5, -1.0, 2.0]),
        "none": torch.zeros(0, 2, dtype=torch.int64),
    }
    layout = Layout.of(batch)
    block = packed(batch, layout, pinned=False)
    assert block.shape == (layout.size,)
    views = layout.views(block)
    assert list(views) == list(batch)
    for name, tensor in batch.items():
        assert torch.equal(views[name], tensor)
        assert views[name].dtype is tensor.dtype
        assert views[name].data_ptr() % ALIGNMENT == 0 or not tensor.numel()
    views["counted"].fill_(1.0)
    assert layout.views(block)["counted"].item() == 1, "views, not copies"
    assert Layout.of({**batch, "counted": torch.tensor(1.0)}) == layout
    assert Layout.of({**batch, "counted": torch.tensor(1)}) != layout


# --- recorded updates


class Recorder:
    """Records as a card does: nothing is computed until a launch, which reads fixed places."""

    def __init__(self, fails: RuntimeError | None = None) -> None:
        self.fails, self.recorded, self.launched = fails, 0, 0

    def __call__(self, compute: Callable[[], torch.Tensor]) -> Recording:
        """What computes the update anew at each launch."""
        if self.fails is not None:
            raise self.fails
        self.recorded += 1
        result = torch.full((2,), torch.nan)

        def launch() -> None:
            self.launched += 1
            result.copy_(compute())

        return Recording(launch, result)


def recorded_path(recorder: Recorder, **changes: Any) -> DevicePath:
    return DevicePath(width_multiple=16, capturable=True, recorder=lambda: recorder, **changes)


@pytest.mark.parametrize(("kind", "any_backbone"), KINDS_AND_FAMILIES, indirect=["any_backbone"])
def test_recorded_updates_learn_what_plain_ones_do(kind: str, any_backbone: Backbone) -> None:
    """With dropout: the random numbers are the same ones too."""
    recorder = Recorder()
    plain, weights = trained(kind, any_backbone, DevicePath(width_multiple=16, capturable=True))
    found, found_weights = trained(kind, any_backbone, recorded_path(recorder))
    assert recorder.recorded >= 1
    assert recorder.launched > recorder.recorded
    assert recorder.launched + (RECORDED_AT - 1) * recorder.recorded <= found.updates
    assert found.losses == plain.losses
    assert equal(weights, found_weights)


def test_everything_together_learns_what_autocast_does(bert: Backbone) -> None:
    wide = DevicePath(width_multiple=16, capturable=True)
    plain, weights = trained("ner", bert, wide, BFLOAT16)
    path = recorded_path(Recorder(), masters=True)
    found, found_weights = trained("ner", bert, path, BFLOAT16)
    assert found.losses == plain.losses
    assert equal(weights, found_weights)
    own = trained("ner", bert, replace(path, own_mask=True), BFLOAT16)[0]
    np.testing.assert_allclose(own.losses, plain.losses, rtol=0.02)


def shapes(*widths: int) -> list[dict[str, torch.Tensor]]:
    return [{"input_ids": torch.full((2, width), float(width))} for width in widths]


def run_all(
    updates: RecordedUpdates, batches: list[dict[str, torch.Tensor]]
) -> list[float | None]:
    def update(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.stack((inputs["input_ids"].mean(), inputs["input_ids"].sum()))

    results = [updates.run(0, batch, update) for batch in batches]
    return [None if result is None else result[0].item() for result in results]


def test_a_shape_is_recorded_when_it_comes_the_third_time() -> None:
    recorder = Recorder()
    updates = RecordedUpdates(recorder, CPU.device)
    found = run_all(updates, shapes(5, 5, 6, 5, 6, 5, 6))
    assert found == [None, None, None, 5.0, None, 5.0, 6.0]
    changed = [{"input_ids": torch.full((2, 5), 9.0)}]
    assert run_all(updates, changed) == [9.0], "it reads what this batch holds"
    assert recorder.recorded == 2


def test_results_of_earlier_updates_stay_what_they_were() -> None:
    updates = RecordedUpdates(Recorder(), CPU.device)
    batches = [{"input_ids": torch.full((2, 5), float(number))} for number in range(5)]
    results = [
        updates.run(0, batch, lambda inputs: inputs["input_ids"][0, :2].clone())
        for batch in batches
    ]
    assert [None if x is None else x.tolist() for x in results[2:]] == [[2, 2], [3, 3], [4, 4]]


def test_the_number_of_graphs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 2)
    recorder = Recorder()
    found = run_all(RecordedUpdates(recorder, CPU.device), shapes(*[3, 4, 5] * 4))
    assert recorder.recorded == 2
    assert found[-3:] == [3.0, 4.0, None]


def test_an_encoder_that_cannot_be_recorded_is_trained_plainly_and_that_is_said(
    bert: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    graphs.say_once.cache_clear()
    fails = Recorder(RuntimeError("operation not permitted when stream is capturing\nmore"))
    wide = DevicePath(width_multiple=16, capturable=True)
    with caplog.at_level(logging.WARNING):
        plain, weights = trained("ner", bert, wide)
        found, found_weights = trained("ner", bert, recorded_path(fails))
        trained("ner", bert, recorded_path(fails))
    assert (found.losses, equal(weights, found_weights)) == (plain.losses, True)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "this encoder is trained without CUDA graphs: operation not permitted when stream is "
        "capturing"
    ]
    with raises(SpecError, subject="--graphs on", found="not permitted"):
        trained("ner", bert, recorded_path(fails, graphs_required=True))


def test_a_shape_without_memory_for_a_graph_runs_plainly_and_the_others_are_recorded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB."))
    updates = RecordedUpdates(recorder, CPU.device, required=True)
    assert run_all(updates, shapes(5, 5, 5)) == [None] * 3
    recorder.fails = None
    assert run_all(updates, shapes(6, 6, 6, 5)) == [None, None, 6.0, None]
    assert not caplog.records


def test_batches_over_the_budget_are_cut_and_not_recorded(
    bert: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "TOKEN_BUDGET", 20)
    recorder = Recorder()
    trained("ner", bert, recorded_path(recorder))
    assert recorder.recorded == 0


# --- what is chosen


def test_a_cpu_keeps_to_the_plain_way() -> None:
    assert path_of(CPU) == path_of(BFLOAT16) == DevicePath()


def test_a_card_has_all_of_it() -> None:
    card = torch.device("cuda:0")
    path = path_of(Hardware(card, "bfloat16", "auto"))
    assert (path.width_multiple, path.masters, path.own_mask, path.capturable) == (
        16,
        True,
        True,
        True,
    )
    assert path.recorder is not None
    assert not path.graphs_required
    assert path_of(Hardware(card, "bfloat16", "on")).graphs_required
    off = path_of(Hardware(card, "float32", "off"))
    assert (off.recorder, off.masters) == (None, False)
    assert off.width_multiple == 16, "the same is computed without graphs"
