"""Corpora and an encoder that the project generates itself, so that it runs anywhere.

Six invented target languages and their source, and tasks with planted effects (`PLANTED`); the
small encoder's tokenizer and configuration are in `encoder`, which loads torch. Everything is
fixed by names: no network, no files, the same on every machine.
"""

from objectives.pocket.corpora import POCKET_VERSION, pocket_split
from objectives.pocket.effects import PLANTED, PlantedEffect

__all__ = [
    "PLANTED",
    "POCKET_VERSION",
    "PlantedEffect",
    "pocket_split",
]
