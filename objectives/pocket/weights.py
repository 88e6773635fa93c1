"""The pocket encoder's weights, which nothing has to train.

What a pretrained encoder knows of its languages is written into them by rule:

- Sub-words that mean the same begin nearly alike in all languages, as they do in a multilingual
  encoder (https://arxiv.org/abs/1906.01502), and those of one kind have something in common.
- In each layer one head looks at the sub-word before, sharply, and one at the sub-word after,
  dimly (BERT has such heads: https://arxiv.org/abs/1906.04341, section 3.1). A word's ending says
  what kind of name it is, and the name's label stands at its first sub-word: to look there is what
  a target of few examples does not learn, and a large intermediate corpus teaches.
- One head takes in the mean of the text.

The rest is drawn by NumPy, whose random numbers do not depend on the machine, from names as seeds.
So the encoder is the same everywhere, and so are the effects that are planted in the corpora
(`objectives.pocket.effects`), but for rounding.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from transformers import BertConfig, BertModel

from objectives.backbone import Backbone
from objectives.models.backbone_files import POCKET_BACKBONE
from objectives.pocket.corpora import POCKET_VERSION
from objectives.pocket.encoder import (
    MAX_LENGTH,
    pocket_config,
    pocket_morphemes,
    pocket_tokenizer,
    pocket_vocabulary,
)
from storage.fingerprint import fingerprint

Floats = npt.NDArray[np.float64]

# What the 128 numbers of a place are for: what stands there, where it is, what stands around it.
MEANING, PLACE = slice(0, 64), slice(64, 80)
AFTER, BEFORE = slice(80, 104), slice(104, 128)
SHARE_OF_KIND, SHARE_OF_ITS_OWN = 0.2, 0.1
"""Of the variance of a sub-word: what all of its kind share, and what it has to itself."""
SHARE_OF_PLACE = 0.3
"""Of the variance of what goes into the first layer."""
LOOKS_AFTER, LOOKS_BEFORE = 2.0, 6.0
"""By how much a neighbour's attention logit is above that of a far sub-word."""
MEAN_OF_TEXT = 0.3
"""Scale of what the head of the mean adds."""


def pocket_backbone() -> Backbone:
    """The pocket encoder."""
    return Backbone(
        name=POCKET_BACKBONE,
        key=fingerprint({"pocket_version": POCKET_VERSION}),
        revision="",
        config=pocket_config(),
        tokenizer=pocket_tokenizer(),
        weights=pocket_weights(),
    )


def pocket_weights() -> dict[str, torch.Tensor]:
    """Name -> weight of a BERT of `pocket_config`, without a pooler; the same at each call."""
    config = pocket_config()
    with torch.device("meta"):
        shapes = BertModel(config, add_pooling_layer=False).state_dict()
    weights = {name: _plain(name, tuple(x.shape), config) for name, x in shapes.items()}
    weights["embeddings.word_embeddings.weight"] = _meanings(config)
    weights["embeddings.position_embeddings.weight"] = _places(config)
    weights["embeddings.token_type_embeddings.weight"][:] = 0.0
    for number in range(config.num_hidden_layers):
        layer = f"encoder.layer.{number}.attention"
        names = [*(f"self.{name}" for name in ("query", "key", "value")), "output.dense"]
        _look_around(layer, *(weights[f"{layer}.{name}.weight"] for name in names))
    return {name: torch.from_numpy(x.astype(np.float32)) for name, x in weights.items()}


def _drawn(name: str, *shape: int) -> Floats:
    """Standard normal numbers that the name fixes, whatever else is drawn."""
    return np.random.default_rng(list(name.encode())).standard_normal(shape)


def _plain(name: str, shape: tuple[int, ...], config: BertConfig) -> Floats:
    """A parameter as BERT begins with it."""
    if len(shape) == 1:
        return np.full(shape, float(name.endswith("LayerNorm.weight")))
    return config.initializer_range * _drawn(name, *shape)


def _meanings(config: BertConfig) -> Floats:
    """The sub-words' embeddings, [vocabulary, width]."""
    size, morphemes = MEANING.stop - MEANING.start, pocket_morphemes()
    drawn = cache(_drawn)  # meanings and kinds come again and again
    embeddings = np.zeros((config.vocab_size, config.hidden_size))
    for i, piece in enumerate(pocket_vocabulary()):
        vector = _drawn(f"sub-word {piece}", size)
        if piece in morphemes:
            meaning = drawn(f"meaning {morphemes[piece].meaning}", size)
            kinds = [drawn(f"kind {kind}", size) for kind in morphemes[piece].kinds]
            vector = (
                math.sqrt(SHARE_OF_ITS_OWN) * vector
                + math.sqrt(SHARE_OF_KIND / len(kinds)) * np.sum(kinds, axis=0)
                + math.sqrt(1.0 - SHARE_OF_KIND - SHARE_OF_ITS_OWN) * meaning
            )
        embeddings[i, MEANING] = config.initializer_range * vector
    embeddings[config.pad_token_id] = 0.0
    return embeddings


def _places(config: BertConfig) -> Floats:
    """The position embeddings, [positions, width]: points on circles, one a frequency."""
    phases = np.arange(MAX_LENGTH)[:, None] * _frequencies()
    meaning = config.initializer_range**2 * (MEANING.stop - MEANING.start)
    radius = math.sqrt(meaning * SHARE_OF_PLACE / (1 - SHARE_OF_PLACE) / len(_frequencies()))
    embeddings = np.zeros((MAX_LENGTH, config.hidden_size))
    embeddings[:, PLACE] = radius * np.concatenate((np.cos(phases), np.sin(phases)), axis=1)
    return embeddings


def _frequencies() -> Floats:
    """Angles from a place to the next, one of each circle: [8]."""
    count = (PLACE.stop - PLACE.start) // 2
    return math.pi * (np.arange(count) + 0.5) / count


def _look_around(layer: str, query: Floats, key: Floats, value: Floats, output: Floats) -> None:
    """Let three of a layer's four heads look after, before and at all of the text.

    Args:
        layer: Name of the layer's attention.
        query: Matrix of the layer, [width, width]; changed in place, as the other three.
        key: Likewise.
        value: Likewise.
        output: Likewise; it has a head's numbers in its columns, the others in their rows.
    """
    width, size = len(query), len(query) // 4
    after, before, mean, _ = (slice(i * size, (i + 1) * size) for i in range(4))
    for head in (after, before, mean):
        query[head], key[head], output[:, head] = 0.0, 0.0, 0.0
        value[head] = _drawn(f"{layer} value {head.start}", size, width) / math.sqrt(width)
    for head, step, logit, into in (
        (after, 1, LOOKS_AFTER, AFTER),
        (before, -1, LOOKS_BEFORE, BEFORE),
    ):
        scale = math.sqrt(logit * math.sqrt(size) / (SHARE_OF_PLACE * width))
        _look_a_step_away(query[head], key[head], step, scale)
        value[head, PLACE] = 0.0
        rows = into.stop - into.start
        output[into, head] = _drawn(f"{layer} output {head.start}", rows, size) / math.sqrt(size)
    everywhere = _drawn(f"{layer} output {mean.start}", width, size) / math.sqrt(size)
    output[:, mean] = MEAN_OF_TEXT * everywhere
    output[PLACE] = 0.0  # places stay known in the second layer


def _look_a_step_away(query: Floats, key: Floats, step: int, scale: float) -> None:
    """Turn a head's queries by a step on every circle: they agree best with the key there.

    That any step is a turn is why places are encoded by sines and cosines
    (https://arxiv.org/abs/1706.03762, section 3.5).
    """
    angles = step * _frequencies()
    cosine, sine = np.diag(np.cos(angles)), np.diag(np.sin(angles))
    turn = np.block([[cosine, -sine], [sine, cosine]])
    query[: len(turn), PLACE], key[: len(turn), PLACE] = scale * turn, scale * np.eye(len(turn))
