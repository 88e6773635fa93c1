"""Encoders and heads: any folder that `AutoModel` loads becomes a model for any task.

Only safetensors are read and remote code is never run. A stage takes the encoder's weights
from its parent and nothing else: the head is always fresh, drawn from the stage's seed.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import normalizers
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.initialization import no_init_weights

from objectives.backbone import Backbone, Weights
from objectives.models.backbone_files import BACKBONE_FILES, find_backbone
from objectives.training.fine_tuning import TrainingState
from spaces.errors import BackboneError, first_line
from spaces.task import Task, TaskKind
from storage.fingerprint import file_sha256, fingerprint

if TYPE_CHECKING:  # a machine that only trains needs no database
    from storage.checkpoints import Checkpoint

ENCODER_FILE = "encoder.safetensors"
TRAINING_FILE = "training.safetensors"
# Between a weight's name and `rows` or `values`, where only some rows of it are written.
_PART = ":"
# The number of a layer within a weight's name.
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def quiet_libraries() -> None:
    """Stop transformers and datasets from writing between our own lines of progress.

    What they would say about weights that are missing or left over, `load_backbone` and
    `build_model` decide on themselves.
    """
    import datasets  # not where models are only trained

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def load_backbone(name: str) -> Backbone:
    """Load an encoder by its name in `spaces.backbones`, from a folder, or from the Hub by name.

    Raises:
        BackboneError: There is none, it has no safetensors, needs remote code or has no fast
            tokenizer.
    """
    folder, revision = find_backbone(name)
    files = sorted(path for pattern in BACKBONE_FILES for path in folder.glob(pattern))
    key = fingerprint({path.name: file_sha256(path) for path in files})
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, add_prefix_space=True
        )
        model, report = AutoModel.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        is_marked = tokenizer.is_fast and _mark_words(tokenizer)
    except Exception as error:  # what broken files raise in transformers is of no one kind
        reason = first_line(error)
        raise BackboneError(f"backbone {name!r}: cannot be loaded", found=reason) from error
    if not tokenizer.is_fast:
        raise BackboneError(f"backbone {name!r}", "a fast tokenizer", "a slow one")
    if is_marked:
        key = fingerprint({"files": key, "words": "begin with a space"})
    if model.config.model_type == "xlnet":
        # Without them the two texts of a pair are one to it; transformers 5 makes them, and
        # leaves them out of what its tokenizer returns unless asked.
        names = dict.fromkeys([*tokenizer.model_input_names, "token_type_ids"])
        tokenizer.model_input_names = list(names)
    # Weights that the files lack (often the pooler) are drawn fresh by each stage, from its
    # seed; what from_pretrained drew for them just now is thrown away.
    drawn = set(report["missing_keys"])
    weights = {name: w for name, w in model.state_dict().items() if name not in drawn}
    if not weights:
        raise BackboneError(
            f"backbone {name!r}", "the weights that its config.json describes", "others"
        )
    _check_weights(name, weights, drawn)
    return Backbone(name, key, revision, model.config, tokenizer, weights)


def _mark_words(tokenizer: Any) -> bool:
    """Let words that are given one by one begin with a space, as they do in a text.

    A tokenizer without an own class (mmBERT's, which is Gemma's) leaves `add_prefix_space` aside:
    the words of a sentence would be one long word to it.

    Returns:
        Whether that took a change.
    """
    apart = tokenizer(["a", "a"], is_split_into_words=True)["input_ids"]
    if apart == tokenizer("a a")["input_ids"]:
        return False
    backend = tokenizer.backend_tokenizer
    own = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(" "), *own])
    return True


def _check_weights(
    name: str, weights: Mapping[str, torch.Tensor], missing: Collection[str]
) -> None:
    """Check that the weights are numbers, and of all layers that the configuration has.

    Args:
        name: Name of the encoder in the study.
        weights: Its weights.
        missing: Names of weights that its files lack.

    Raises:
        BackboneError: One is not a number, or a layer is not there though others are.
    """
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BackboneError(
                f"backbone {name!r}", "weights that are numbers", f"others in {key}"
            )
    there = {_NUMBER.sub("N", key) for key in weights if _NUMBER.search(key)}
    lost = [x for x in missing if _NUMBER.search(x) and _NUMBER.sub("N", x) in there]
    if lost:
        raise BackboneError(
            f"backbone {name!r}",
            "weights of all layers that its config.json describes",
            f"none for {lost[0]} and {len(lost) - 1} more",
        )


def build_model(backbone: Backbone, parent: Weights, task: Task, seed: int) -> PreTrainedModel:
    """The model of one stage, in training mode, float32, its encoder where the parent is.

    At XLM-R base's size that is a copy of 1.1 GB and 0.01 s for the rest: the modules are made
    without weights of their own, and nothing is read.

    Args:
        backbone: Encoder that fixes the architecture.
        parent: The encoder's weights: the backbone's own or `load_encoder` of a checkpoint.
        task: Fixes the head: [b, s, c] logits for tagging and MLM, [b, c] for classification,
            [b, 1] for similarity, starts and ends [b, s] for QA; none for retrieval.
        seed: Draws the head, and what the parent lacks.

    Raises:
        BackboneError: The parent lacks weights that the backbone has.
    """
    torch.manual_seed(seed)
    try:
        config = copy.deepcopy(backbone.config)
        for name, value in _head_options(task).items():
            setattr(config, name, value)
        with no_init_weights():
            model: PreTrainedModel = _head_class(task).from_config(config, dtype=torch.float32)
    except ValueError as error:  # an architecture that has no such head
        reason = first_line(error)
        raise BackboneError(
            f"backbone {backbone.name!r}", f"an architecture with a head for {task.kind}", reason
        ) from error
    own = {name: tensor.clone() for name, tensor in parent.items()}
    missing, _ = model.base_model.load_state_dict(own, strict=False, assign=True)
    # Drawing what the parent brings anyway takes longer than all the rest; of a masked language
    # model also the output matrix, which is that of the embeddings.
    for name, tensor in model.base_model.state_dict(keep_vars=True).items():
        if name in parent:
            tensor._is_hf_initialized = True
    model.tie_weights()
    model.init_weights()
    if lost := set(missing) & backbone.weights.keys():
        raise BackboneError(
            f"backbone {backbone.name!r}",
            "a parent checkpoint with all of its weights",
            f"one without {sorted(lost)[0]} and {len(lost) - 1} more",
        )
    model.train()
    return model


def share_encoder(models: Sequence[PreTrainedModel]) -> PreTrainedModel:
    """Let several models have one encoder, that of the fullest; returns the model it was in.

    Heads differ in whether their encoder has a pooler; a head that has no use for one ignores it.
    """
    owner = max(models, key=lambda model: len(model.base_model.state_dict()))
    for model in models:
        setattr(model, model.base_model_prefix, owner.base_model)
        model.tie_weights()  # the head of masked language modelling shares the embeddings
    return owner


def save_stage(
    model: PreTrainedModel,
    parent: Weights,
    root: Weights,
    state: TrainingState | None,
    folder: Path,
) -> None:
    """Write the encoder's weights and what a longer training needs to go on from here.

    Of the encoder only what differs from `root` is written: most rows of a multilingual
    embedding matrix, two thirds of the bytes of XLM-R base, are as they were.

    Args:
        model: Trained model of the stage.
        parent: Weights that the stage started from; parts that its head did not use stay so.
        root: Weights of the backbone.
        state: State of the training; None where no longer training will go on from it.
        folder: An empty folder.

    Raises:
        SafetensorError: The disk is full, or the like.
    """
    encoder = {name: _plain(w) for name, w in model.base_model.state_dict().items()}
    files = {ENCODER_FILE: _difference({**parent, **encoder}, root)}
    if state is not None:
        files[TRAINING_FILE] = dict(state.tensors)
    for file, tensors in files.items():
        here = {name: _plain(tensor).to("cpu") for name, tensor in tensors.items()}
        save_file(here, folder / file)


def load_encoder(checkpoint: Checkpoint, root: Weights) -> Weights:
    """The encoder's weights of a trained stage, where the backbone's are; float32.

    Args:
        checkpoint: Checkpoint that `save_stage` wrote.
        root: Weights of the backbone that the checkpoint was written with.
    """
    weights = dict(root)
    device = next(iter(root.values())).device
    saved = load_file(checkpoint.folder / ENCODER_FILE, str(device))
    for place, tensor in saved.items():
        name, _, part = place.partition(_PART)
        if not part:
            weights[name] = tensor
        elif part == "rows":
            weights[name] = root[name].index_copy(0, tensor, saved[f"{name}{_PART}values"])
    return weights


def _difference(weights: Weights, root: Weights) -> dict[str, torch.Tensor]:
    """Whole tensors, or of matrices that changed in fewer than half of their rows, these rows."""
    changed = {}
    for name, tensor in weights.items():
        if name not in root:
            changed[name] = tensor
            continue
        rows = (tensor != root[name]).reshape(len(tensor), -1).any(1) if tensor.dim() else None
        if rows is None or rows.sum() * 2 >= len(rows):
            changed[name] = tensor
        elif rows.any():
            places = rows.nonzero().squeeze(1)
            changed[f"{name}{_PART}rows"] = places
            changed[f"{name}{_PART}values"] = tensor[places]
    return changed


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """Contiguous, and float32 unless of integers."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(dtype).contiguous()


def has_state(checkpoint: Checkpoint) -> bool:
    """Whether a longer training can go on from the stage."""
    return (checkpoint.folder / TRAINING_FILE).exists()


def load_state(checkpoint: Checkpoint, epochs: int) -> TrainingState:
    """The state that `save_stage` kept of a training, on the CPU.

    Args:
        checkpoint: Checkpoint that `save_stage` wrote.
        epochs: Number of epochs of that training.
    """
    return TrainingState(epochs, load_file(checkpoint.folder / TRAINING_FILE))


def _head_class(task: Task) -> Any:
    if task.kind is TaskKind.RETRIEVAL:
        return AutoModel
    if task.kind is TaskKind.MLM:
        return AutoModelForMaskedLM
    if task.kind is TaskKind.QA:
        return AutoModelForQuestionAnswering
    if task.kind.is_tagging:
        return AutoModelForTokenClassification
    return AutoModelForSequenceClassification


def _head_options(task: Task) -> dict[str, Any]:
    if task.kind in {TaskKind.MLM, TaskKind.RETRIEVAL}:
        return {}
    if task.kind is TaskKind.QA:
        return {"num_labels": 2}
    if task.kind is TaskKind.SIMILARITY:
        return {"num_labels": 1}
    names = dict(enumerate(task.tags))
    return {"id2label": names, "label2id": {name: number for number, name in names.items()}}
