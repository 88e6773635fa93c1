"""Trained models with their heads, as folders, and what they predict.

What `save_pretrained` writes: a folder that the fitting `AutoModelFor...` loads. Only safetensors
are read and remote code is never run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.generic import ModelOutput

from objectives.data.batching import Padding
from objectives.data.encoding import EncodedSplit, encode
from objectives.hardware import Hardware
from objectives.models.backbone_files import check_trained_folder
from objectives.models.encoders import build_model, load_backbone
from objectives.runner import Runner
from objectives.scores.languages import predict_languages
from objectives.scores.sentences import above, gold_pairs, mining_threshold
from spaces.errors import BackboneError, first_line
from spaces.recipe import Stage
from spaces.task import Metric, Task, TaskKind


@dataclass(frozen=True)
class Predictor:
    """A trained model and how it is used.

    Attributes:
        model: A trained model with its head; for retrieval an encoder.
        tokenizer: Tokenizer of the model.
        stage: Longest input, and for retrieval the layer and the similarity.
        hardware: Device and precision of the predictions.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    stage: Stage
    hardware: Hardware


def load_trained(folder: Path, task: Task) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model for a task and its tokenizer; for retrieval any encoder.

    Its classes may be in any order: they are put into the task's.

    Raises:
        BackboneError: There is none, no head for this kind of task, or one with other labels.
    """
    check_trained_folder(folder)
    backbone = load_backbone(str(folder))
    # Which class a head is of, `build_model` knows; its weights are not wanted.
    model = build_model(backbone, backbone.weights, task, seed=0)
    if task.kind is TaskKind.RETRIEVAL:
        return model, backbone.tokenizer
    wanted: Any = type(model)
    where = f"checkpoint {str(folder)!r}"
    architectures = backbone.config.architectures or []
    if architectures and wanted.__name__ not in architectures:
        raise BackboneError(
            where, f"a {wanted.__name__} for {task.name} ({task.kind})", ", ".join(architectures)
        )
    order = _label_order(backbone.config, task, where)
    try:
        model, report = wanted.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = first_line(error)
        raise BackboneError(f"{where}: cannot be loaded", found=reason) from error
    if missing := sorted(report["missing_keys"]):
        raise BackboneError(where, f"a trained head for {task.kind}", f"no {missing[0]}")
    if order != sorted(order):
        _reorder_classes(model, order)
    return model, backbone.tokenizer


def longest_input(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """So many sub-words, special ones included, have places in the model."""
    config = model.config
    places = getattr(config, "max_position_embeddings", None) or 0
    if places <= 0:  # of relative positions there is no end
        return int(tokenizer.model_max_length)
    # RoBERTa counts positions from the padding's id on.
    lost = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(min(tokenizer.model_max_length, places - lost))


def predict_splits(
    predictor: Predictor,
    splits: Mapping[str, datasets.Dataset],
    task: Task,
    tuning: Mapping[str, datasets.Dataset],
) -> dict[str, list[Any]]:
    """Language -> predictions as they are submitted.

    Args:
        predictor: A trained model and how it is used.
        splits: Language -> examples, whose gold labels are not looked at.
        task: Catalogue record of the task that is predicted.
        tuning: Language -> validation examples, which the threshold of mining is chosen on.

    Raises:
        DeviceMemoryError: Not even one row fits on the device.
        SpecError: The stage asks for a layer that the model has not.
    """
    stage, tokenizer = predictor.stage, predictor.tokenizer
    runner = Runner(predictor.hardware, Padding.of(tokenizer))

    def encoded(examples: Mapping[str, datasets.Dataset]) -> dict[str, EncodedSplit]:
        return {
            language: encode(split, task, tokenizer, stage.max_length)
            for language, split in examples.items()
        }

    def predicted(examples: Mapping[str, EncodedSplit]) -> dict[str, list[Any]]:
        return predict_languages(predictor.model, examples, task, stage, runner)

    mined = predicted(encoded(splits))
    if task.metric is not Metric.BUCC_F1:
        return mined
    known = encoded(tuning)
    candidates = mined if tuning is splits else predicted(known)
    thresholds = {x: mining_threshold(candidates[x], gold_pairs(known[x])) for x in mined}
    return {language: above(pairs, thresholds[language]) for language, pairs in mined.items()}


def _label_order(config: PretrainedConfig, task: Task, where: str) -> list[int]:
    """Where each of the task's labels is among the checkpoint's classes.

    Raises:
        BackboneError: They are not the same labels.
    """
    if task.kind is TaskKind.SIMILARITY:
        if config.num_labels != 1:
            raise BackboneError(where, f"one output for {task.kind}", str(config.num_labels))
        return []
    if task.kind is TaskKind.QA:
        return []
    names = [str(name) for _, name in sorted(dict(config.id2label or {}).items())]
    if sorted(names) != sorted(task.tags):
        raise BackboneError(
            where,
            f"the labels of {task.name} ({', '.join(task.tags)}) as id2label in config.json",
            ", ".join(names),
        )
    return [names.index(label) for label in task.tags]


def _reorder_classes(model: nn.Module, order: list[int]) -> None:
    def reorder(module: nn.Module, inputs: object, output: ModelOutput) -> ModelOutput:
        output["logits"] = output["logits"][..., order]
        return output

    model.register_forward_hook(reorder)
