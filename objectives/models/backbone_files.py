"""The files of an encoder: where they lie, downloaded if need be, and whether all are there.

Nothing here loads torch, so that a wrong name is answered at once. What the files hold is read by
`objectives.models.encoders`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import httpx2
import huggingface_hub
from huggingface_hub.errors import HFValidationError

from objectives.hub_problems import HubRepository, hub_problem_with
from spaces.backbones import known_backbones
from spaces.errors import BackboneError, UnknownNameError, first_line, nearest_name, spelled
from spaces.records import expanded

POCKET_BACKBONE = "pocket"
"""The encoder that the project makes itself (`objectives.pocket.weights`)."""
# What makes an encoder: weights, configuration and tokenizer, of the formats without code.
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
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
        UnknownNameError: It is no folder, no short name, and no OWNER/NAME of the Hub.
    """
    folder = expanded(name)
    repository: HubRepository | None = None
    if (record := known_backbones().get(name)) is not None:
        repository = HubRepository("model", record.repository, record.revision)
    elif not folder.is_dir():
        if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            raise BackboneError(f"backbone {name!r}", "a folder", "none there")
        if "/" not in name:
            raise _unknown(name)
        repository = HubRepository("model", name)
    if repository is not None:
        folder = _download(name, repository)
    if not (folder / "config.json").is_file():
        raise BackboneError(f"backbone {name!r}", f"config.json in {folder}", "none")
    check_config(folder, name)
    if not list(folder.glob("*.safetensors")):
        raise _without_safetensors(name, folder, repository)
    if not any(path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)):
        # transformers would make a tokenizer that knows its special tokens only.
        raise BackboneError(
            f"backbone {name!r}", f"a tokenizer ({', '.join(TOKENIZER_FILES)}) in {folder}", "none"
        )
    return folder, folder.name if repository else ""


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


def _unknown(name: str) -> UnknownNameError:
    """The error for a name that is neither a folder nor known: repositories have an owner."""
    records = known_backbones().values()
    short = {record.repository.split("/")[1].lower(): record.name for record in records}
    where = "a folder, a known name or OWNER/NAME of the Hugging Face hub"
    near = short.get(name.lower())
    advice = f"did you mean {near!r}?" if near else nearest_name(name.lower(), known_backbones())
    return UnknownNameError("Backbone", where, name, advice)


def _without_safetensors(
    name: str, folder: Path, repository: HubRepository | None
) -> BackboneError:
    """The error for an encoder of other formats, which can run code when they are read."""
    if repository is None:
        there = [path.name for path in folder.iterdir()]
        advice = (
            "https://huggingface.co/docs/safetensors/convert-weights says how to write them anew"
        )
    else:
        there = _listed(repository)
        advice = (
            f"pull requests of {repository.page}/discussions often add them (else "
            f"https://huggingface.co/spaces/safetensors/convert makes one): `hf download "
            f"{repository.name} --revision refs/pr/N --local-dir DIR`, then --backbone DIR"
        )
    pickles = sorted(file for file in there if file.endswith(PICKLES))
    found = f"{pickles[0]} alone, which can run code when it is read" if pickles else "none"
    expected = f"weights as .safetensors in {repository.name if repository else folder}"
    return BackboneError(f"backbone {name!r}", expected, found, advice)


def _listed(repository: HubRepository) -> list[str]:
    """The files of a repository; none where the Hub does not say."""
    try:
        return huggingface_hub.HfApi().list_repo_files(
            repository.name, revision=repository.revision or None
        )
    except (httpx2.HTTPError, OSError):
        return []


def _download(name: str, repository: HubRepository) -> Path:
    try:
        snapshot = huggingface_hub.snapshot_download(
            repository.name,
            revision=repository.revision or None,
            allow_patterns=list(BACKBONE_FILES),
            ignore_patterns=["*/*"],
        )
    except (httpx2.HTTPError, OSError) as error:
        problem = hub_problem_with(repository, error)
        shown = "" if name == repository.name else f" ({repository.name})"
        raise BackboneError(
            f"backbone {name!r}{shown}",
            "a folder or a model of the Hugging Face hub",
            f"no folder, and of the hub: {problem.found}",
            ", or ".join(filter(None, (problem.advice, "name a folder with --backbone"))),
        ) from error
    except HFValidationError as error:
        raise BackboneError(
            f"backbone {name!r}",
            "a folder or the name of a model on the Hugging Face hub",
            "neither",
        ) from error
    return Path(snapshot)
