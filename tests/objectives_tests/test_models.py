"""Encoders of every family: loaded, given a fresh head, trained, saved; or refused."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pytest
import sentencepiece
import torch
import transformers
from safetensors.torch import load_file, save_file

from objectives.backbone import Backbone
from objectives.data.encoding import encode
from objectives.models.encoders import (
    ENCODER_FILE,
    TRAINING_FILE,
    build_model,
    load_backbone,
    load_encoder,
    load_state,
    save_stage,
)
from objectives.scores.metrics import predict, predicted_labels
from objectives.training.fine_tuning import TrainingState, finetune
from spaces.errors import BackboneError, UnknownNameError
from storage.checkpoints import Checkpoint
from tests.objectives_tests.toy_encoders import louder
from tests.objectives_tests.toys import (
    CPU,
    make_stage,
    make_task,
    runner_for,
    toy_columns,
    toy_split,
)
from tests.raising import raises

KINDS = ("ner", "classification", "similarity")


def problem_of(name: str) -> BackboneError:
    """The line that a user sees."""
    with pytest.raises(BackboneError) as caught:
        load_backbone(name)
    assert "\n" not in str(caught.value)
    assert caught.value.subject.startswith(f"backbone {name!r}")
    return caught.value


def head_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What the model has beside its encoder."""
    prefix = f"{model.base_model_prefix}."
    return {n: w for n, w in model.state_dict().items() if not n.startswith(prefix)}


@pytest.fixture
def copied_bert(encoder_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A BERT's folder that a test may break."""
    return shutil.copytree(encoder_folder("bert"), tmp_path / "encoder")


# --- every family


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_learns_and_predicts_every_kind_of_task(
    any_backbone: Backbone, kind: str
) -> None:
    task = make_task(kind)
    columns = toy_columns(kind, 8)
    runner = runner_for(any_backbone)
    split = toy_split(kind, 8, any_backbone)
    model = build_model(any_backbone, any_backbone.weights, task, seed=0)
    before = {name: w.clone() for name, w in model.base_model.state_dict().items()}
    training = finetune([(model, split)], make_stage(), 0, runner)
    assert training.updates == len(training.losses) == 2
    assert np.isfinite(training.losses).all()
    after = model.base_model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    logits = predict(model, split, runner)
    assert split.lost_words == 0
    assert all(np.isfinite(values).all() for values in logits)
    predicted = predicted_labels(logits, split, task)
    if kind == "ner":
        assert [len(tags) for tags in predicted] == [len(words) for words in columns["tokens"]]
        assert {tag for tags in predicted for tag in tags} <= set(task.tags)
    elif kind == "classification":
        assert [values.shape for values in logits] == [(3,)] * 8
        assert set(predicted) <= set(task.labels)
    else:
        assert [values.shape for values in logits] == [(1,)] * 8
        assert all(isinstance(value, float) for value in predicted)


def test_padding_does_not_change_what_any_family_predicts(any_backbone: Backbone) -> None:
    """Alone, an example has no padding."""
    task = make_task("pos")
    model = build_model(any_backbone, louder(any_backbone.weights), task, seed=0)
    runner = runner_for(any_backbone)
    rows = datasets.Dataset.from_dict(toy_columns("pos", 6))
    split = encode(rows, task, any_backbone.tokenizer, 64)
    assert len(set(split.lengths)) > 1
    together = predict(model, split, runner)
    assert np.ptp(np.concatenate(together), axis=0).max() > 0.05, (
        "words differ by more than rounding"
    )
    for number, logits in enumerate(together):
        alone = encode(rows.select([number]), task, any_backbone.tokenizer, 64)
        np.testing.assert_allclose(logits, predict(model, alone, runner)[0], atol=1e-5)


def test_the_first_subword_of_every_word_is_where_the_word_begins(any_backbone: Backbone) -> None:
    columns = toy_columns("pos", 6)
    split = toy_split("pos", 6, any_backbone)
    assert split.word_positions is not None
    for ids, positions, words in zip(
        split.input_ids, split.word_positions, columns["tokens"], strict=True
    ):
        ends = [*positions[1:], None]
        spelt = [
            any_backbone.tokenizer.decode(ids[a:b], skip_special_tokens=True).strip()
            for a, b in zip(positions, ends, strict=True)
        ]
        assert spelt == words


def test_words_apart_begin_with_a_space_to_a_tokenizer_that_puts_none_before(
    encoder_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """As mmBERT's: else the words of a sentence would be one long word to it."""
    backbone = load_backbone(str(encoder_folder("mmbert")))
    assert backbone.config.model_type == "modernbert"
    tokenizer = backbone.tokenizer
    apart = tokenizer(["juma", "juma", "."], is_split_into_words=True)
    assert apart.word_ids() == [None, 0, 1, 2, 2, None]
    assert tokenizer.convert_ids_to_tokens(apart["input_ids"])[1:4] == ["▁juma", "▁juma", "▁"]
    whole = tokenizer("juma juma", return_offsets_mapping=True)
    assert whole["input_ids"][1:3] == apart["input_ids"][1:3]
    assert whole["offset_mapping"][1:3] == [(0, 4), (4, 9)]
    split = toy_split("ner", 6, backbone)
    assert split.word_positions is not None
    assert min(map(min, split.word_positions)) > 0
    tokenizer.save_pretrained(tmp_path)  # as an exported model's folder has it
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert again(["juma", "juma", "."], is_split_into_words=True) == apart


@pytest.mark.parametrize(
    ("family", "file", "offset"),
    [("xlm-roberta", "sentencepiece.bpe.model", 1), ("deberta-v2", "spm.model", 0)],
)
def test_a_tokenizer_that_is_a_sentencepiece_model_alone_is_read(
    family: str, file: str, offset: int, encoder_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """As glot500's and mDeBERTa's. XLM-R's numbers are one higher than the model's."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["juma anaenda lagos", "asha anasoma sheria"] * 50),
        model_writer=model,
        vocab_size=22,
        minloglevel=2,
    )
    folder = shutil.copytree(encoder_folder(family), tmp_path / "encoder")
    for old in folder.glob("tokenizer*"):
        old.unlink()
    (folder / file).write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    tokenizer = load_backbone(str(folder)).tokenizer
    expected = [x + offset for x in pieces.encode("juma anaenda")]
    assert tokenizer("juma anaenda")["input_ids"][1:-1] == expected


def test_masked_language_modelling_trains_the_encoder(bert: Backbone) -> None:
    task = make_task("mlm")
    split = toy_split("mlm", 64, bert)
    model = build_model(bert, bert.weights, task, seed=0)
    stage = make_stage(epochs=4, batch_size=8, learning_rate=1e-2)
    losses = finetune([(model, split)], stage, 0, runner_for(bert)).losses
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])


def test_a_family_without_a_head_for_a_task_is_named(
    encoder_folder: Callable[[str], Path],
) -> None:
    backbone = load_backbone(str(encoder_folder("xlnet")))
    with raises(BackboneError, expected="an architecture with a head for mlm"):
        build_model(backbone, backbone.weights, make_task("mlm"), seed=0)


# --- a stage takes the encoder from its parent, and nothing else


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_is_the_parents_and_the_head_is_the_seeds(
    any_backbone: Backbone, kind: str
) -> None:
    task = make_task(kind)
    parent = {name: torch.randn_like(w) for name, w in any_backbone.weights.items()}
    first, same, other = (build_model(any_backbone, parent, task, seed) for seed in (3, 3, 4))
    assert first.training
    for name, weight in first.base_model.state_dict().items():
        if name in parent:
            assert torch.equal(weight, parent[name]), name
    heads = head_weights(first), head_weights(same), head_weights(other)
    assert heads[0], "there is a head"
    assert all(torch.equal(w, heads[1][name]) for name, w in heads[0].items())
    assert any(not torch.equal(w, heads[2][name]) for name, w in heads[0].items())


def test_a_stage_starts_with_a_copy_where_its_encoder_is_resident(any_backbone: Backbone) -> None:
    """The head is drawn on the CPU, so that it is the same one wherever the encoder is."""
    meta = torch.device("meta")
    here = any_backbone.on(CPU.device)
    assert all(here.weights[name] is w for name, w in any_backbone.weights.items()), "for nothing"
    there = any_backbone.on(meta)
    task = make_task("ner")
    models = [build_model(x, x.weights, task, seed=3) for x in (here, there)]
    for name, weight in models[1].base_model.state_dict().items():
        assert weight.device == meta or name not in any_backbone.weights
    first, second = map(head_weights, models)
    assert first.keys() == second.keys()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    before = {name: w.clone() for name, w in any_backbone.weights.items()}
    with torch.no_grad():
        for weight in models[0].parameters():
            weight.add_(1)
    assert all(torch.equal(w, before[name]) for name, w in any_backbone.weights.items())


def test_the_output_matrix_of_masked_language_modelling_is_not_drawn(
    bert: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is that of the embeddings; at XLM-R's size drawing it took longer than all the rest."""
    drawn: list[torch.Size] = []
    normal = torch.Tensor.normal_

    def note(tensor: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        drawn.append(tensor.shape)
        return normal(tensor, *arguments, **named)

    monkeypatch.setattr(torch.Tensor, "normal_", note)
    model = build_model(bert, bert.weights, make_task("mlm"), seed=0)
    matrix = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is matrix
    assert torch.equal(matrix, bert.weights["embeddings.word_embeddings.weight"])
    assert drawn, "the rest of the head is"
    assert matrix.shape not in drawn


def test_a_trained_encoder_comes_back_exactly_and_without_its_head(
    bert: Backbone, tmp_path: Path
) -> None:
    """A tagging model has no pooler: the parent's is kept for a classification that follows."""
    model = build_model(bert, bert.weights, make_task("ner"), seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    state = TrainingState(3, {"weight.head": torch.arange(3.0), "step.head": torch.tensor(7.0)})
    save_stage(model, bert.weights, bert.weights, state, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {ENCODER_FILE, TRAINING_FILE}
    checkpoint = Checkpoint("key", tmp_path, {}, {}, reused=True)
    read = load_state(checkpoint, 3)
    assert read.tensors.keys() == state.tensors.keys()
    assert all(torch.equal(read.tensors[name], x) for name, x in state.tensors.items())
    found = load_encoder(checkpoint, bert.weights)
    assert found.keys() == bert.weights.keys()
    for name, weight in found.items():
        pooler = name.startswith("pooler.")
        floating = weight.dtype.is_floating_point
        expected = bert.weights[name] + (0 if pooler or not floating else 1)
        assert torch.equal(weight, expected), name
    after = build_model(bert, found, make_task("sentiment"), seed=0)
    pooler = bert.weights["pooler.dense.weight"]
    assert torch.equal(after.base_model.state_dict()["pooler.dense.weight"], pooler)


def test_of_an_encoder_only_what_changed_is_written(bert: Backbone, tmp_path: Path) -> None:
    """Two rows of the embeddings, a bias, a layer; the parent differs from the root as well."""
    parent = dict(bert.weights)
    parent["pooler.dense.bias"] = parent["pooler.dense.bias"] + 1
    model = build_model(bert, parent, make_task("ner"), seed=0)
    matrix, layer = "embeddings.word_embeddings.weight", "encoder.layer.0.output.dense"
    changed = model.base_model.state_dict(keep_vars=True)
    with torch.no_grad():
        changed[matrix][[3, 7]] += 1
        changed[f"{layer}.weight"] *= 2
        changed[f"{layer}.bias"][0] = 9
    expected = {name: w.detach().clone() for name, w in changed.items()}
    save_stage(model, parent, bert.weights, None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [ENCODER_FILE]
    written = load_file(tmp_path / ENCODER_FILE)
    assert written.keys() == {
        *(f"{matrix}:rows", f"{matrix}:values", f"{layer}.weight"),
        *(f"{layer}.bias:rows", f"{layer}.bias:values", "pooler.dense.bias"),
    }
    assert written[f"{matrix}:rows"].tolist() == [3, 7]
    found = load_encoder(Checkpoint("key", tmp_path, {}, {}, reused=True), bert.weights)
    assert found.keys() == parent.keys()
    for name, weight in found.items():
        assert torch.equal(weight, expected.get(name, parent[name])), name


def test_a_parent_without_some_of_the_encoder_is_refused(bert: Backbone) -> None:
    parent = {name: w for name, w in bert.weights.items() if "layer.1." not in name}
    with raises(BackboneError, expected="a parent checkpoint", found="without encoder.layer.1."):
        build_model(bert, parent, make_task("ner"), seed=0)


def test_weights_that_a_backbone_lacks_are_drawn_by_each_stage_from_its_seed(
    copied_bert: Path,
) -> None:
    weights = load_file(copied_bert / "model.safetensors")
    kept = {name: w for name, w in weights.items() if "pooler" not in name}
    save_file(kept, copied_bert / "model.safetensors", metadata={"format": "pt"})
    backbone = load_backbone(str(copied_bert))
    assert not any("pooler" in name for name in backbone.weights)
    poolers = [
        build_model(backbone, backbone.weights, make_task("sentiment"), seed).base_model
        .state_dict()["pooler.dense.weight"]
        for seed in (0, 0, 1)
    ]  # fmt: skip
    assert torch.equal(poolers[0], poolers[1])
    assert not torch.equal(poolers[0], poolers[2])


# --- what a backbone is, and what is none


@pytest.mark.parametrize("prefix", ["", "roberta."])
def test_an_encoder_in_xlm_rs_shape_loads_from_a_folder(
    prefix: str, encoder_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """As VECO plugged out (Luo et al. 2021): XLM-R's weights, with or without their model's name.

    What else is in the file, here a head and an attention across languages, is left out; the
    pooler, which is not, is drawn by each stage.
    """
    folder = shutil.copytree(encoder_folder("xlm-roberta"), tmp_path / "veco")
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(3)
    own = {
        name: torch.randn(weight.shape, generator=generator)
        for name, weight in weights.items()
        if not name.startswith("pooler.")
    }
    crossed = {
        f"{prefix}{name.replace('.attention.', '.crossattention.')}": torch.ones_like(weight)
        for name, weight in own.items()
        if ".attention." in name
    }
    head = {"lm_head.bias": torch.ones(len(own["embeddings.word_embeddings.weight"]))}
    written = {f"{prefix}{name}": weight for name, weight in own.items()}
    save_file(written | crossed | head, folder / "model.safetensors", metadata={"format": "pt"})
    backbone = load_backbone(str(folder))
    assert backbone.config.model_type == "xlm-roberta"
    assert backbone.weights.keys() == own.keys()
    assert all(torch.equal(backbone.weights[name], weight) for name, weight in own.items())


def test_weights_of_another_shape_are_not_taken_for_an_encoders(copied_bert: Path) -> None:
    weights = load_file(copied_bert / "model.safetensors")
    other = {f"decoder.{name}": weight for name, weight in weights.items()}
    save_file(other, copied_bert / "model.safetensors", metadata={"format": "pt"})
    assert "config.json" in problem_of(str(copied_bert)).expected


def test_a_backbone_is_named_by_the_content_of_its_files(
    bert: Backbone, copied_bert: Path
) -> None:
    assert load_backbone(str(copied_bert)).key == bert.key
    (copied_bert / "README.md").write_text("What it is.")
    assert load_backbone(str(copied_bert)).key == bert.key
    config = json.loads((copied_bert / "config.json").read_text()) | {"layer_norm_eps": 1e-5}
    (copied_bert / "config.json").write_text(json.dumps(config))
    assert load_backbone(str(copied_bert)).key != bert.key


def test_weights_of_half_precision_become_float32(
    encoder_folder: Callable[[str], Path], copied_bert: Path
) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(encoder_folder("bert")).half().save_pretrained(copied_bert)
    weights = load_backbone(str(copied_bert)).weights.values()
    assert {w.dtype for w in weights if w.dtype.is_floating_point} == {torch.float32}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in (f"{tmp_path}/nosuch", "./nosuch", "~/nosuch", "a/b/c"):
        assert problem_of(name).expected == "a folder"
    assert problem_of(str(tmp_path)).expected == f"config.json in {tmp_path}"
    assert problem_of("two words/of it").found == "neither"


def test_weights_that_could_run_code_are_refused(copied_bert: Path) -> None:
    (copied_bert / "model.safetensors").unlink()
    (copied_bert / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    problem = problem_of(str(copied_bert))
    assert problem.expected.startswith("weights as .safetensors")
    assert problem.found == "pytorch_model.bin alone, which can run code when it is read"
    assert "docs/safetensors/convert-weights" in problem.advice


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("xlmr", "did you mean 'xlm-r'?"),
        ("mmBERT", "did you mean 'mmbert'?"),
        ("bert-base-uncased", "did you mean 'bert'?"),
        ("xlm-roberta-base", "did you mean 'xlm-r'?"),
        ("two words", "known: "),
    ],
)
def test_a_name_without_an_owner_is_answered_with_the_nearest_one(name: str, advice: str) -> None:
    """Nothing is asked of the Hub."""
    with raises(UnknownNameError, subject="Backbone", found=name, advice=advice):
        load_backbone(name)


def test_code_that_comes_with_a_model_is_not_run(copied_bert: Path, tmp_path: Path) -> None:
    pwned = tmp_path / "pwned"
    (copied_bert / "modeling_evil.py").write_text(
        f"from pathlib import Path\nPath({str(pwned)!r}).touch()\n"
        "from transformers import BertConfig as EvilConfig, BertModel as EvilModel\n"
    )
    config = json.loads((copied_bert / "config.json").read_text())
    config["model_type"] = "evil"
    config["auto_map"] = {
        "AutoConfig": "modeling_evil.EvilConfig",
        "AutoModel": "modeling_evil.EvilModel",
    }
    (copied_bert / "config.json").write_text(json.dumps(config))
    assert problem_of(str(copied_bert)).subject.endswith("cannot be loaded")
    assert not pwned.exists()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param("config.json", lambda old: b"{", id="config cut"),
        pytest.param("config.json", lambda old: b"{}", id="config empty"),
        pytest.param("config.json", lambda old: b'{"model_type": "nosuch"}', id="other type"),
        pytest.param("model.safetensors", lambda old: b"\x10" + b"\0" * 20, id="weights broken"),
        pytest.param("model.safetensors", lambda old: old[:-100], id="weights cut"),
        pytest.param(
            "config.json",
            lambda old: old.replace(b'"hidden_size": 32', b'"hidden_size": 64'),
            id="weights of another size",
        ),
        pytest.param("tokenizer*", None, id="no tokenizer"),
        pytest.param("tokenizer.json", lambda old: b"{", id="tokenizer cut"),
    ],
)
def test_a_broken_encoder_is_answered_in_one_line(
    name: str, damage: Callable[[bytes], bytes] | None, copied_bert: Path
) -> None:
    for file in copied_bert.glob(name):
        if damage:
            file.write_bytes(damage(file.read_bytes()))
        else:
            file.unlink()
    assert problem_of(str(copied_bert))


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_that_cannot_be_had_is_named(offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    problem = problem_of("nosuch/encoder")
    said = "the Hub is switched off (HF_HUB_OFFLINE)" if offline else "the Hub does not answer"
    assert said in problem.found
    assert problem.advice.endswith("or name a folder with --backbone")
