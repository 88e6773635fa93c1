"""An encoder that cannot be trained is told before the first trial."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from objectives.models.backbone_files import find_backbone
from objectives.models.encoders import load_backbone
from objectives.models.fitness import check_fits
from spaces.errors import BackboneError
from tests.objectives_tests.toy_encoders import FAMILIES
from tests.objectives_tests.toys import make_task
from tests.raising import raises

KINDS = ("ner", "classification", "similarity", "qa", "mlm", "retrieval")
TASKS = [make_task(kind) for kind in KINDS]


@pytest.fixture
def folder(encoder_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A BERT's folder of one's own."""
    return Path(shutil.copytree(encoder_folder("bert"), tmp_path / "own"))


def configure(folder: Path, **changes: Any) -> None:
    """Change fields of a configuration."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_encoder_fits_every_kind_of_task(
    family: str, encoder_folder: Callable[[str], Path]
) -> None:
    backbone = load_backbone(str(encoder_folder(family)))
    masked = [task for task in TASKS if task.name == "toy_mlm"]
    others = [task for task in TASKS if task not in masked]
    check_fits(backbone, others, {"target.max_length": 64})
    if family == "xlnet":  # which masks nothing
        with raises(BackboneError, expected="a head for mlm"):
            check_fits(backbone, masked, {})
    else:
        check_fits(backbone, masked, {})


def test_inputs_are_no_longer_than_there_are_places(
    encoder_folder: Callable[[str], Path],
) -> None:
    for family, places in (("bert", 66), ("roberta", 64)):
        backbone = load_backbone(str(encoder_folder(family)))
        check_fits(backbone, TASKS[:1], {"target.max_length": places})
        with raises(BackboneError, expected=f"places for {places + 1} sub-words"):
            check_fits(backbone, TASKS[:1], {"target.max_length": places + 1})
    relative = load_backbone(str(encoder_folder("deberta-v2")))
    check_fits(relative, TASKS[:1], {"target.max_length": 10**6})


def test_a_tokenizer_may_not_be_larger_than_the_embeddings(folder: Path) -> None:
    tokenizer = load_backbone(str(folder)).tokenizer
    tokenizer.add_tokens(["lamu2", "asha2"])
    tokenizer.save_pretrained(folder)
    with raises(BackboneError, expected="ids of its tokenizer", advice="resize_token_embeddings"):
        check_fits(load_backbone(str(folder)), TASKS, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_are_numbers(folder: Path, value: float) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    key = next(x for x in weights if "layer.1" in x)
    weights[key].view(-1)[3] = value
    save_file(weights, file, metadata={"format": "pt"})
    with raises(BackboneError, expected="weights that are numbers", found="layer.1"):
        load_backbone(str(folder))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_hidden_layers", 10**6),
        ("num_hidden_layers", 10**400),
        ("num_hidden_layers", -1),
        ("num_hidden_layers", "two"),
        ("num_hidden_layers", True),
        ("hidden_size", 10**9),
        ("vocab_size", 10**12),
        ("num_attention_heads", 0),
        ("intermediate_size", 0.5),
    ],
)
def test_sizes_of_no_encoder_are_told_without_making_one(
    folder: Path, field: str, value: object
) -> None:
    configure(folder, **{field: value})
    with raises(BackboneError, subject="config.json", expected=field):
        find_backbone(str(folder))


@pytest.mark.parametrize("content", ["", "[", "[]", "null", "[" * 100_000, "\ufffe"])
def test_a_configuration_is_a_json_object(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with raises(BackboneError, subject="config.json", expected="a JSON object"):
        find_backbone(str(folder))


def test_a_home_that_is_not_there_holds_no_encoder() -> None:
    with raises(BackboneError, expected="a folder"):
        find_backbone("~nobody-of-that-name/encoder")


@pytest.mark.parametrize(
    "changes",
    [{"num_hidden_layers": 3}, {"num_attention_heads": 7}, {"vocab_size": 5}, {"model_type": "x"}],
)
def test_files_are_of_one_encoder(folder: Path, changes: dict[str, Any]) -> None:
    configure(folder, **changes)
    with raises(BackboneError, subject="backbone"):
        check_fits(load_backbone(str(folder)), TASKS, {})


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": {"type": "x"}}'])
def test_a_broken_tokenizer_is_told(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    with raises(BackboneError, subject="backbone"):
        check_fits(load_backbone(str(folder)), TASKS, {})


def test_a_tokenizer_s_settings_of_another_type_are_told(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "model_max_length": "many"}))
    with raises(BackboneError, subject="cannot be loaded"):
        load_backbone(str(folder))
