"""The files of an encoder: where they lie, downloaded if need be, and whether all are there.

Nothing here loads torch, so that a wrong name is answered at once. What the files hold is read by
`objectives.models.encoders`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx2
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from spaces.backbones import known_backbones
from spaces.errors import BackboneError, first_line, spelled

POCKET_BACKBONE = "pocket"
"""The encoder that the project trains itself (`objectives.models.pocket_pretraining`)."""
# What makes an encoder: weights, configuration and tokenizer, of the formats without code.
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
BACKBONE_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")

# Sizes beyond which a configuration is none of an encoder, whatever its weights; the largest known
# ones have about 100 layers, 12,288 wide, and a million sub-words.
_LARGEST: Mapping[str, int] = {
    "num_hidden_layers": 1000,
    "n_layer": 1000,
    "num_attention_heads": 1000,
    "hidden_size": 100_000,
    "d_model": 100_000,
    "intermediate_size": 1_000_000,
    "d_inner": 1_000_000,
    "vocab_size": 10_000_000,
    "max_position_embeddings": 100_000_000,
    "type_vocab_size": 100_000,
}
# XLNet says -1 where it has no such number; some have no segments.
_LEAST: Mapping[str, int] = {"max_position_embeddings": -1, "type_vocab_size": 0}
_LARGEST_CONFIG = 10_000_000


def find_backbone(name: str) -> tuple[Path, str]:
    """The folder of an encoder and its commit on the Hub, which is empty for a user's folder.

    Args:
        name: Name in `spaces.backbones`, a folder, or the name of a repository on the Hub.

    Raises:
        BackboneError: There is none, or it lacks its configuration, safetensors or a tokenizer, or
            its configuration is of no encoder.
    """
    folder, revision = Path(name), ""
    with suppress(RuntimeError):  # a user who has no home here
        folder = folder.expanduser()
    if (record := known_backbones().get(name)) is not None:
        folder = _download(record.repository, record.revision)
        revision = folder.name
    elif not folder.is_dir():
        if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            raise BackboneError(f"backbone {name!r}", "a folder", "none there")
        folder = _download(name)
        revision = folder.name
    if not (folder / "config.json").is_file():
        raise BackboneError(f"backbone {name!r}", f"config.json in {folder}", "none")
    check_config(folder, name)
    if not list(folder.glob("*.safetensors")):
        raise BackboneError(
            f"backbone {name!r}",
            f"weights as .safetensors in {folder}",
            "none",
            "convert them first, as other formats can run code when read",
        )
    if not any(path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)):
        # transformers would make a tokenizer that knows its special tokens only.
        raise BackboneError(
            f"backbone {name!r}", f"a tokenizer ({', '.join(TOKENIZER_FILES)}) in {folder}", "none"
        )
    return folder, revision


def check_config(folder: Path, name: str) -> None:
    """Check the sizes of a configuration, before a model of these sizes is made.

    Args:
        folder: Folder of the encoder.
        name: Name of the encoder in the study.

    Raises:
        BackboneError: It is no JSON object, or has a size that no encoder has.
    """
    file = folder / "config.json"
    where = f"backbone {name!r}: config.json"
    try:
        if file.stat().st_size > _LARGEST_CONFIG:
            raise BackboneError(where, f"at most {_LARGEST_CONFIG:,} bytes", "more")
        config = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(where, "a JSON object", first_line(error)) from error
    if not isinstance(config, dict):
        raise BackboneError(where, "a JSON object", "other JSON")
    for field, most in _LARGEST.items():
        value = config.get(field, 1)
        least = _LEAST.get(field, 1)
        is_size = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        if not is_size and value is not None:
            raise BackboneError(where, f"{field} from {least} to {most:,}", spelled(value))


def check_trained_folder(folder: Path) -> None:
    """Check that a trained model's folder is there.

    Raises:
        BackboneError: It is not.
    """
    if not folder.is_dir():
        raise BackboneError(f"checkpoint {str(folder)!r}", "a folder", "none there")


def _download(name: str, revision: str = "") -> Path:
    try:
        snapshot = huggingface_hub.snapshot_download(
            name,
            revision=revision or None,
            allow_patterns=list(BACKBONE_FILES),
            ignore_patterns=["*/*"],
        )
    except (httpx2.HTTPError, HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        raise BackboneError(
            f"backbone {name!r}",
            "a folder or a model of the Hugging Face hub",
            f"no folder, and the hub does not answer ({type(error).__name__})",
            "name a folder with --backbone",
        ) from error
    except HFValidationError as error:
        raise BackboneError(
            f"backbone {name!r}",
            "a folder or the name of a model on the Hugging Face hub",
            "neither",
        ) from error
    return Path(snapshot)
