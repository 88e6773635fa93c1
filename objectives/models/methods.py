"""Which weights a stage trains: all, all but the lower layers, low-rank changes, or a prompt.

LoRA and soft prompts are peft's. Whatever the method, what the backbone lacks (the head, often
the pooler) is trained, and `merged` gives back a model of the shape that came in.
"""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from objectives.backbone import Backbone
from spaces.errors import SpecError
from spaces.recipe import Method, Stage

if TYPE_CHECKING:  # most recipes train all weights, and a study's first update waits for no more
    import peft

# XLNet keeps its attention's weights outside of linear layers, where peft finds nothing.
_XLNET_LINEAR = ["layer_1", "layer_2"]


def apply_method(model: PreTrainedModel, backbone: Backbone, stage: Stage) -> nn.Module:
    """The model as `finetune` takes it; only what the stage trains requires a gradient.

    Args:
        model: Model that `build_model` made; changed in place. Of models that share an encoder
            only the one that `share_encoder` returns: what becomes of the encoder holds for all.
        backbone: Encoder whose weights are the pretrained ones.
        stage: Stage with its method, frozen layers, rank and prompt length.

    Raises:
        SpecError: The backbone has too few layers, or places for the prompt, or is of a kind that
            the method does not know.
    """
    if stage.method is Method.FULL:
        if stage.frozen_layers:
            _freeze(model, backbone, stage.frozen_layers)
        return model
    import peft

    pretrained = {f"{model.base_model_prefix}.{name}" for name in backbone.weights}
    fresh = {p for name, p in model.named_parameters() if name not in pretrained}
    config = _adapter(model, backbone, stage)
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5 by the old name.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        try:
            adapted = peft.get_peft_model(model, config)
        except ValueError as error:  # peft has no list of this architecture's attention weights
            raise SpecError(
                "method",
                f"an encoder that {stage.method} knows",
                f"{model.config.model_type} ({backbone.name!r})",
                f"use {Method.FULL}",
            ) from error
    for name, parameter in adapted.named_parameters():
        # Where peft trains a copy of the head, what it copied is in no forward pass.
        if parameter in fresh and "original_module" not in name.split("."):
            parameter.requires_grad_(True)
    if stage.method is Method.SOFT_PROMPT and model.config.model_type == "xlnet":
        model.register_forward_pre_hook(_prompt_beside_text, with_kwargs=True)
    return adapted


def merged(model: nn.Module, *, goes_on: bool = False) -> PreTrainedModel:
    """The trained model without adapters: LoRA's changes become part of the weights.

    A soft prompt has no place in the weights; its model stays as it is.

    Args:
        model: The trained model.
        goes_on: Whether its training goes on, so that adapters are merged into a copy.
    """
    if isinstance(model, PreTrainedModel):  # nothing is around it
        return model
    import peft

    if isinstance(model, peft.PeftModel) and not model.active_peft_config.is_prompt_learning:
        model = (copy.deepcopy(model) if goes_on else model).merge_and_unload()
    return cast(PreTrainedModel, model)


def _adapter(model: PreTrainedModel, backbone: Backbone, stage: Stage) -> peft.PeftConfig:
    import peft

    if stage.method is Method.LORA:
        xlnet = model.config.model_type == "xlnet"
        return peft.LoraConfig(
            r=stage.lora_rank,
            lora_alpha=2 * stage.lora_rank,
            lora_dropout=0.0,
            target_modules=_XLNET_LINEAR if xlnet else None,
        )
    places = getattr(model.config, "max_position_embeddings", None) or -1
    # RoBERTa counts positions from the padding's id on.
    lost = model.config.pad_token_id + 1 if "roberta" in model.config.model_type else 0
    # XLNet, which counts no positions, says -1.
    if places > 0 and stage.prompt_length + stage.max_length > places - lost:
        raise SpecError(
            "target.prompt_length",
            f"at most {places - lost - stage.max_length} beside max_length {stage.max_length} on "
            f"{backbone.name!r}",
            str(stage.prompt_length),
        )
    return peft.PromptTuningConfig(
        task_type=peft.TaskType.SEQ_CLS, num_virtual_tokens=stage.prompt_length
    )


def _prompt_beside_text(
    model: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the prompt between the padding, which XLNet has on the left, and the text.

    peft puts it first; how far from the text it stood would depend on the rest of the batch.
    """
    order = inputs["attention_mask"].argsort(dim=1, stable=True)  # padding first, else as it is
    moved = {
        name: torch.take_along_dim(
            inputs[name], order[..., None] if name == "inputs_embeds" else order, 1
        )
        for name in ("inputs_embeds", "attention_mask", "token_type_ids")
    }
    return args, inputs | moved


def _freeze(model: PreTrainedModel, backbone: Backbone, layers: int) -> None:
    """Keep the embeddings and the lower layers as they are."""
    count = model.config.num_hidden_layers
    if layers > count:
        raise SpecError(
            "frozen_layers", f"at most the {count} layers of {backbone.name!r}", str(layers)
        )
    encoder = model.base_model
    holder, stack = next(
        (
            (holder, module)
            for holder in encoder.modules()
            for module in holder.children()
            if isinstance(module, nn.ModuleList) and len(module) == count
        ),
        (None, ()),
    )
    if holder is None:
        raise SpecError(
            "frozen_layers",
            "an encoder with layers of their own",
            f"{model.config.model_type} ({backbone.name!r}), which shares one",
            "use 0",
        )
    model.get_input_embeddings().requires_grad_(False)
    if hasattr(encoder, "embeddings"):
        encoder.embeddings.requires_grad_(False)
    # Beside the layers stand the relative positions of DeBERTa, which the lower ones use too.
    holder.requires_grad_(False)
    for layer in stack[layers:]:
        layer.requires_grad_(True)
