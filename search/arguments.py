"""What the commands share: the storage option, and errors in one line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from spaces.errors import TransferSearchError

DEFAULT_STORAGE = "sqlite:///transfer-search.sqlite"
STORAGE_VARIABLE = "TRANSFER_SEARCH_STORAGE"


def add_data(options: argparse.ArgumentParser) -> None:
    """Add `--data`."""
    options.add_argument(
        "--data",
        default="auto",
        metavar="SOURCE",
        help="auto, hub, pocket or a folder; auto: the folder named by TRANSFER_SEARCH_DATA, "
        "else the Hugging Face hub if it answers, else the pocket corpora",
    )


def add_storage(options: argparse.ArgumentParser) -> None:
    """Add `--storage`."""
    options.add_argument(
        "--storage",
        default=os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE),
        metavar="URL",
        help=f"database of studies and scores; default: {STORAGE_VARIABLE}, which keeps a "
        f"password out of the process list, else {DEFAULT_STORAGE}",
    )


@contextmanager
def fail_in_one_line() -> Iterator[None]:
    """Turn an error that a user can cause into one line and exit code 2."""
    try:
        yield
    except TransferSearchError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from error
