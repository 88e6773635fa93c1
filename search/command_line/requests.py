"""From a command line to a request: the frozen value that a command's one function takes."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from search.command_line.options import add_cache, add_data, add_hardware, add_storage

T = TypeVar("T")


def add_reopening(options: argparse.ArgumentParser, precision: str) -> None:
    """Add the options that a `ReopenRequest` is made from, but for `--study`."""
    add_data(options)
    add_hardware(options, precision)
    options.add_argument(
        "--backbone", metavar="NAME", help="where the encoder lies now, if it was moved"
    )
    add_storage(options)
    add_cache(options, limit=False)


def request_from(options: Mapping[str, object], kind: Callable[..., T], **further: object) -> T:
    """A request, each field from the option of its name.

    Args:
        options: Parsed options, with one for every field that is not in `further`.
        kind: Frozen dataclass of the request.
        further: Values of fields that are no option, or of another type than the option's.
    """
    names = inspect.signature(kind).parameters.keys() - further.keys()
    return kind(**{name: options[name] for name in names}, **further)


@dataclass(frozen=True)
class ReopenRequest:
    """Which study to open again for training, and with what.

    Attributes:
        study: Name of the study in its storage, or path of its file.
        storage: URL of the storage.
        data: Where corpora come from, as `--data` says it; auto takes the study's own source.
        backbone: Where the encoder lies now; None where the study names it.
        cache: Folder or URL of checkpoints; None for the place beside the storage.
        device: auto, cpu, cuda or cuda:N.
        precision: auto (the study's own), float32 or bfloat16.
    """

    study: str
    storage: str
    data: str = "auto"
    backbone: str | None = None
    cache: str | None = None
    device: str = "auto"
    precision: str = "auto"
