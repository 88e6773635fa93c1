"""The pocket encoder's weights: masked language modelling on pocket text of all its languages.

An ordinary cached stage: trained once per cache, then found. Its folder is what any other
encoder's folder is, so nothing downstream knows that it is special.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig, PreTrainedModel

from objectives.data.batching import Padding
from objectives.data.data_source import DataSource, SourceKind
from objectives.data.encoding import encode
from objectives.data.sources import corpus_key, load_split
from objectives.hardware import Hardware
from objectives.pocket import POCKET_VERSION
from objectives.pocket.encoder import pocket_config, pocket_tokenizer
from objectives.runner import OnBatch, Runner
from objectives.training.fine_tuning import TRAINING_VERSION, finetune
from spaces.recipe import Schedule, Stage
from spaces.task import Task
from storage.checkpoints import Checkpoint, CheckpointCache
from storage.leases import Lease

SEED = 0
# So small an encoder on so little text sees structure late, and the more that is hidden, the
# sooner; predicting it costs little, as only hidden places go through the head.
EPOCHS = 4
LEARNING_RATE = 2e-3
BATCH_SIZE = 32
MASK_SHARE = 0.5


def pocket_encoder(
    text: Task,
    cache: CheckpointCache,
    hardware: Hardware,
    on_update: OnBatch,
) -> Checkpoint:
    """The checkpoint of the pretrained pocket encoder, trained if the cache lacks it.

    Args:
        text: The catalogue's task of pocket text (kind mlm).
        cache: Checkpoint cache that the encoder is kept in.
        hardware: Device and precision of the training.
        on_update: Listener called after each update with updates done and in all, also while
            another process trains the encoder.
    """
    split, stage, inputs = _inputs(text, hardware)

    def train(folder: Path, lease: Lease) -> Mapping[str, Any]:
        def on_batch(done: int, total: int) -> None:
            lease.progress(done, total)
            on_update(done, total)

        tokenizer, config = pocket_tokenizer(), pocket_config()
        torch.manual_seed(SEED)
        model = _model_to_pretrain(config)
        training = finetune(
            [(model, encode(split, text, tokenizer, stage.max_length))],
            stage,
            SEED,
            Runner(hardware, Padding.of(tokenizer), on_batch),
            MASK_SHARE,
        )
        model.config = config
        with cache.writing():
            model.cpu().save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return {
            "task": text.name,
            "updates": training.updates,
            "training_seconds": training.seconds,
        }

    return cache.get_or_create(
        inputs, train, lambda holder: on_update(holder.done, max(1, holder.total))
    )


def _model_to_pretrain(config: BertConfig) -> PreTrainedModel:
    """A model without dropout, of which a model that underfits has no need.

    Nor of PyTorch's fused attention, which it would then use: on a CPU its gradient in bfloat16
    takes half of the training of sequences as short as these.
    """
    pretrained = copy.deepcopy(config)
    pretrained.hidden_dropout_prob = pretrained.attention_probs_dropout_prob = 0.0
    model: PreTrainedModel = AutoModelForMaskedLM.from_config(
        pretrained, attn_implementation="eager"
    )
    return model


def is_pretrained(text: Task, cache: CheckpointCache, hardware: Hardware) -> bool:
    """Whether a cache has the pretrained pocket encoder."""
    _, _, inputs = _inputs(text, hardware)
    return cache.find(inputs) is not None


def write_untrained_encoder(folder: Path) -> None:
    """Write an encoder that takes as long as the pocket encoder, and knows nothing."""
    torch.manual_seed(SEED)
    AutoModel.from_config(pocket_config()).save_pretrained(folder)
    pocket_tokenizer().save_pretrained(folder)


def _inputs(text: Task, hardware: Hardware) -> tuple[datasets.Dataset, Stage, dict[str, Any]]:
    """The text, the stage that is trained on it, and all that determines its weights."""
    source = DataSource(SourceKind.POCKET)
    split = datasets.concatenate_datasets(
        [load_split(text, language, "train", source) for language in text.languages]
    )
    stage = Stage(
        task=text.name,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        batch_size=BATCH_SIZE,
        examples=len(split),
        warmup_ratio=0.1,
        max_length=64,
        schedule=Schedule.LINEAR,
    )
    inputs = {
        "pocket_version": POCKET_VERSION,
        "training_version": TRAINING_VERSION,
        "torch": torch.__version__,
        "corpus": corpus_key(split),
        "stage": asdict(stage),
        "mask_share": MASK_SHARE,
        "seed": SEED,
        "hardware": hardware.kind,
    }
    return split, stage, inputs
