"""Corpora and an encoder that the project generates itself, so that it runs anywhere.

Six invented target languages and their source, tasks with planted effects (`PLANTED`), and a
tokenizer and configuration for the small encoder. Everything is fixed by names: no network, no
files, the same on every machine.
"""

from objectives.pocket.corpora import POCKET_VERSION, pocket_split
from objectives.pocket.effects import PLANTED, PlantedEffect
from objectives.pocket.encoder import pocket_config, pocket_tokenizer, save_untrained_encoder

__all__ = [
    "PLANTED",
    "POCKET_VERSION",
    "PlantedEffect",
    "pocket_config",
    "pocket_split",
    "pocket_tokenizer",
    "save_untrained_encoder",
]
