"""The files of an encoder: where they lie, downloaded if need be, and whether all are there.

Nothing here loads torch, so that a wrong name is answered at once. What the files hold is read by
`objectives.models.encoders`.
"""

from __future__ import annotations

from pathlib import Path

import httpx2
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from spaces.backbones import known_backbones
from spaces.errors import BackboneError

POCKET_BACKBONE = "pocket"
"""The encoder that the project trains itself (`objectives.models.pocket_pretraining`)."""
# What makes an encoder: weights, configuration and tokenizer, of the formats without code.
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
BACKBONE_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


def find_backbone(name: str) -> tuple[Path, str]:
    """The folder of an encoder and its commit on the Hub, which is empty for a user's folder.

    Args:
        name: Name in `spaces.backbones`, a folder, or the name of a repository on the Hub.

    Raises:
        BackboneError: There is none, or it lacks its configuration, safetensors or a tokenizer.
    """
    folder = Path(name).expanduser()
    revision = ""
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
