"""The pocket encoder's weights: a masked-language-modelling stage on pocket text.

An ordinary cached stage: made once per cache, then found. Its folder is what any other encoder's
folder is, so nothing downstream knows that it is special.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForMaskedLM

from objectives.batching import Padding
from objectives.corpora import DataSource, SourceKind, corpus_key, load_split
from objectives.encoding import encode
from objectives.hardware import Hardware
from objectives.pocket import POCKET_VERSION, pocket_config, pocket_tokenizer
from objectives.training import TRAINING_VERSION, OnUpdate, finetune
from spaces.catalogue import Task
from spaces.recipe import Schedule, Stage
from storage.checkpoints import CheckpointCache

POCKET_BACKBONE = "pocket"
SEED = 0


def pocket_encoder(
    text: Task, cache: CheckpointCache, hardware: Hardware, on_update: OnUpdate
) -> Path:
    """The folder of the pretrained pocket encoder, trained now if the cache lacks it.

    Args:
        text: The catalogue's task of pocket text (kind mlm).
        cache: Where it is kept.
        hardware: Where it is trained, if need be.
        on_update: As in `finetune`.
    """
    source = DataSource(SourceKind.POCKET)
    split = load_split(text, "qas", "train", source)
    stage = Stage(text.name, PRETRAINING_EPOCHS, 2e-3, 64, len(split), 0.1, 64, Schedule.LINEAR)
    inputs = {
        "pocket_version": POCKET_VERSION,
        "training_version": TRAINING_VERSION,
        "torch": torch.__version__,
        "corpus": corpus_key(split),
        "stage": {**vars(stage)},
        "seed": SEED,
        "hardware": hardware.kind,
    }

    def train(folder: Path) -> Mapping[str, Any]:
        tokenizer = pocket_tokenizer()
        torch.manual_seed(SEED)
        model = AutoModelForMaskedLM.from_config(pocket_config())
        encoded = encode(split, text, tokenizer, stage.max_length)
        training = finetune(
            model, encoded, stage, Padding.of(tokenizer), SEED, hardware, on_update
        )
        model.to("cpu").save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {"updates": training.updates, "seconds": training.seconds}

    return cache.get_or_create(inputs, train).folder


PRETRAINING_EPOCHS = 4
