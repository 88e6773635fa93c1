"""What the commands share: options for data, storage and cache, and errors in one line."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from spaces.errors import TransferSearchError

if TYPE_CHECKING:
    from storage.patient_storage import SharedStorage
DEFAULT_STORAGE = "sqlite:///transfer-search.sqlite"
STORAGE_VARIABLE = "TRANSFER_SEARCH_STORAGE"
_UNITS = ("B", "kB", "MB", "GB", "TB")


def count(text: str) -> int:
    """The `type` of an option that counts something.

    Raises:
        ArgumentTypeError: It is no whole number from 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return int(text)


def add_data(options: argparse.ArgumentParser) -> None:
    """Add `--data`."""
    options.add_argument(
        "--data",
        default="auto",
        metavar="SOURCE",
        help=f"auto, hub, pocket or a folder; several folders are joined by {os.pathsep!r} and "
        f"searched in that order. auto: the folders of TRANSFER_SEARCH_DATA, else the Hugging "
        f"Face hub if it answers, else the pocket corpora",
    )


def add_storage(options: argparse.ArgumentParser) -> None:
    """Add `--storage`."""
    options.add_argument(
        "--storage",
        action=_Storage,
        default=os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE,
        metavar="URL",
        help=f"database of studies and scores: sqlite:///FILE, "
        f"postgresql+psycopg://USER@HOST/NAME, or embedded, a PostgreSQL "
        f"that is started here; default: {STORAGE_VARIABLE}, which keeps a password out of the "
        f"process list, else {DEFAULT_STORAGE}",
    )


def add_cache(options: argparse.ArgumentParser, *, limit: bool) -> None:
    """Add `--cache` and, with `limit`, `--cache-limit`."""
    options.add_argument(
        "--cache",
        metavar="DIR_OR_URL",
        help="checkpoints: a folder, or a URL of fsspec (s3://, gs://); default: beside the "
        "SQLite file",
    )
    if limit:
        options.add_argument(
            "--cache-limit",
            type=_size,
            metavar="SIZE",
            help="as in 20GB: above it the least recently used checkpoints go, but for those "
            "that running trials need",
        )


def add_threads(options: argparse.ArgumentParser, same: str) -> None:
    """Add `--threads`, of a command that trains or scores a study's models again.

    Args:
        options: Of the command.
        same: What is exactly as before with as many threads as the run had.
    """
    options.add_argument(
        "--threads",
        type=count,
        metavar="N",
        help=f"CPU threads; with as many as its run had, {same}",
    )


def start_torch(threads: int | None) -> None:
    """Load torch as every command that trains or scores wants it; call it before any import of it.

    Args:
        threads: None leaves torch its default.
    """
    # Read when torch is loaded: threads that spin while they wait take cores from other workers.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    import torch

    from objectives.hardware import keep_freed_memory
    from objectives.models.encoders import quiet_libraries

    quiet_libraries()
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)


def default_cache(storage_url: str) -> str:
    """Where checkpoints lie: beside the SQLite file, else in the current folder."""
    from storage.urls import journal_folder, sqlite_file

    if (folder := journal_folder(storage_url)) is not None:
        return str(folder / "transfer-search.cache")
    file = sqlite_file(storage_url)
    return str(file.with_suffix(".cache")) if file else "transfer-search.cache"


def existing_study(options: argparse.Namespace, storage: SharedStorage) -> str:
    """The name of the study that `--study` means, which may be the path of its file.

    Raises:
        UnknownNameError: The storage has no such study.
    """
    import optuna

    from spaces.errors import unknown_name
    from storage.urls import redacted

    name: str = options.study.rpartition("/")[2].removesuffix(".toml")
    found = newest_version(name, storage)
    names = optuna.get_all_study_names(storage)
    if found not in names:
        raise unknown_name("Study", name, names, f"in {redacted(options.storage)}")
    return found


def newest_version(name: str, storage: SharedStorage) -> str:
    """The study that a name means in a storage: its newest version, where it has several."""
    import optuna

    from search.studies.versions import resolved, version_of
    from storage.ledger import Ledger

    names = optuna.get_all_study_names(storage)
    if not any(version_of(known)[1] > 1 for known in names):
        return resolved(name, names)
    ledger = Ledger(storage.engine)
    return resolved(name, [x for x in names if ledger.frozen_study(x) is not None])


def study_words(command: str, options: argparse.Namespace, *more: str) -> str:
    """A command about the study of a run, as people type it; no password.

    Args:
        command: Of `search`, as in `status`.
        options: `study`, `name` and `storage` of the run.
        more: Further words.
    """
    from storage.urls import redacted

    words = ["python", "-m", f"search.{command}", "--study"]
    if command == "run":
        words += [options.study, *(["--name", options.name] if options.name else [])]
    else:
        words += [options.name or options.study.rpartition("/")[2].removesuffix(".toml")]
    if options.storage not in {os.environ.get(STORAGE_VARIABLE), DEFAULT_STORAGE}:
        words += ["--storage", redacted(options.storage)]
    return shlex.join([*words, *more])


def in_bytes(size: int) -> str:
    """A size for people, as in `1.2 GB`."""
    value = float(size)
    for unit in _UNITS[:-1]:
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} {_UNITS[-1]}"


class _Storage(argparse.Action):
    """Keeps the URL, and says where its password can be read by others."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """As argparse wants it: for an option that is on the command line."""
        setattr(namespace, self.dest, values)
        if re.match(r"[^/]+://[^/@:]*:[^@]+@|.*[?&]password=", values):
            print(
                f"note: --storage shows its password in the process list of this machine; "
                f"{STORAGE_VARIABLE} keeps it out",
                file=sys.stderr,
            )


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmgt]?)b?", text.strip(), re.IGNORECASE)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected a size as in 20GB, found {text!r}")
    return int(float(found[1]) * 1000 ** " kmgt".index(found[2].lower() or " "))


@contextmanager
def fail_in_one_line() -> Iterator[None]:
    """Turn an error that a user can cause into one line and exit code 2."""
    try:
        yield
    except TransferSearchError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from error
    except BrokenPipeError as error:  # `... | head`: nobody reads on, which is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from error
