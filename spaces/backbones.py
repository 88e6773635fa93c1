"""The encoders with a name of their own: the repository of each, and its known properties.

`backbones.toml` holds one table per encoder, read strictly as the catalogue of tasks is. A study
may also name any other repository of the Hub, or a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from pydantic import Field

from spaces.errors import SpecError
from spaces.records import StrictRecord, parse, read_toml

BACKBONES_FILE = Path(__file__).with_name("backbones.toml")


class BackboneRecord(StrictRecord):
    """One encoder."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    """OWNER/NAME on the Hugging Face hub."""
    revision: str = Field(default="", pattern=r"^([0-9a-f]{40}|refs/pr/[0-9]+)?$")
    """Full commit hash, or a pull request where its hash could not be verified; empty: main."""
    family: str
    """`model_type` of the encoder's configuration."""
    licence: str
    url: str = Field(pattern=r"^https://")
    """Page that the facts of the record were taken from."""
    max_length: int = Field(gt=0)
    """Longest input in tokens, special ones included."""
    multilingual: bool
    safetensors: bool
    """Whether weights are known to lie there as safetensors, the only ones that are loaded."""
    notes: str = ""


def known_backbones() -> Mapping[str, BackboneRecord]:
    """The encoders with a name of their own, by name, in the order of the file."""
    return _read(BACKBONES_FILE)


def read_backbones(path: Path) -> Mapping[str, BackboneRecord]:
    """The encoders of a file, by name.

    Raises:
        SpecError: The file is no TOML, or a record is wrong; names the first wrong field.
    """
    records = {}
    for name, record in read_toml(path).items():
        where = f"backbone {name!r} ({path.name})"
        if not isinstance(record, dict):
            raise SpecError(path.name, "only tables of backbones", f"the field {name!r}")
        if "name" in record:
            raise SpecError(f"{where}, field 'name'", found="unknown", advice="the table names it")
        records[name] = parse(BackboneRecord, {"name": name, **record}, where)
    return MappingProxyType(records)


_read = cache(read_backbones)
