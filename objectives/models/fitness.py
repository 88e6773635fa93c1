"""Whether an encoder can be trained at all, asked before the first trial and not in each of them.

Its files may be of different encoders, its tokenizer larger than its embeddings, its weights not
numbers, its positions fewer than a study's inputs are long.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from objectives.backbone import Backbone
from objectives.models.encoders import build_model
from spaces.errors import BackboneError, TransferSearchError, first_line
from spaces.task import Task, TaskKind

# Words of a probe, and how many sub-words of it a model sees.
_PROBE, _PROBE_LENGTH = ("a", "b"), 8


def check_fits(
    backbone: Backbone,
    tasks: Iterable[Task],
    lengths: Mapping[str, int],
) -> None:
    """Check that an encoder can be trained on tasks; each kind of head is made and run once.

    Args:
        backbone: The encoder.
        tasks: Tasks of a study.
        lengths: Field of the study -> longest input that it asks for, in sub-words.

    Raises:
        BackboneError: The tokenizer has ids without embeddings or lacks a token, an architecture
            has no such head, or its outputs are no numbers.
    """
    where = f"backbone {backbone.name!r}"
    by_kind = {task.kind: task for task in tasks}
    _check_tokens(backbone, by_kind.keys(), where)
    for number, task in enumerate(by_kind.values()):
        try:
            model = build_model(backbone, backbone.weights, task, seed=0).eval()
            if number == 0:
                _check_sizes(model, backbone, lengths)
            output = _probed(model, backbone)
        except TransferSearchError:
            raise
        except Exception as error:  # an architecture fails in code of its own, by any error
            raise BackboneError(
                where,
                f"an encoder with a head for {task.kind} ({task.name}) that can be run",
                f"{type(error).__name__}: {first_line(error)}",
            ) from error
        if not bool(torch.isfinite(output).all()):
            raise BackboneError(where, "outputs that are numbers", "others, on two words")


def _check_tokens(backbone: Backbone, kinds: Collection[TaskKind], where: str) -> None:
    tokenizer = backbone.tokenizer
    wanted = {"pad_token": None, "mask_token": TaskKind.MLM, "cls_token": TaskKind.QA}
    for token, kind in wanted.items():
        if (kind is None or kind in kinds) and getattr(tokenizer, f"{token}_id") is None:
            reason = f" for kind {kind}" if kind else ""
            raise BackboneError(where, f"a tokenizer with a {token}{reason}", "one without")


def _check_sizes(model: PreTrainedModel, backbone: Backbone, lengths: Mapping[str, int]) -> None:
    where = f"backbone {backbone.name!r}"
    embeddings: Any = model.get_input_embeddings()
    rows = int(embeddings.weight.shape[0])
    ids = 1 + max(backbone.tokenizer.get_vocab().values(), default=-1)
    if ids > rows:
        raise BackboneError(
            where,
            f"embeddings for the {ids:,} ids of its tokenizer",
            f"{rows:,} rows",
            "call resize_token_embeddings(len(tokenizer)), and save the encoder again",
        )
    places = input_places(model)
    for field, length in lengths.items():
        if places is not None and length > places:
            raise BackboneError(
                where,
                f"places for {length:,} sub-words ({field})",
                f"{places:,} position embeddings",
                "set it lower with --set",
            )


def input_places(model: PreTrainedModel) -> int | None:
    """Sub-words that a model has places for; None where positions are not learned one by one."""
    for name, module in model.base_model.named_modules():
        if name.endswith(("position_embeddings", "wpe")) and isinstance(module, nn.Embedding):
            # RoBERTa and its kin count positions from the padding's id on.
            lost = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - lost
    return None


def _probed(model: PreTrainedModel, backbone: Backbone) -> torch.Tensor:
    encoded: Any = backbone.tokenizer(
        [_PROBE[0]],
        [_PROBE[1]],
        truncation=True,
        max_length=_PROBE_LENGTH,
        return_tensors="pt",
    )
    device = next(iter(backbone.weights.values())).device
    cast(nn.Module, model).to(device)
    with torch.no_grad():
        made = model(**{name: value.to(device) for name, value in encoded.items()})
    output: torch.Tensor = made[0]
    return output
