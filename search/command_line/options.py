"""What the commands share: options for data, storage and cache, and errors in one line."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from search.command_line.output import patient_output
from search.command_line.parser import MOST_THREADS, count_to, size
from search.command_line.stop_signal import ending_at_once, unwinding
from spaces.errors import SeveralErrors, TransferSearchError, one_line

if TYPE_CHECKING:
    from objectives.stages.stage import StageProgress

DEFAULT_STORAGE = "sqlite:///transfer-search.sqlite"
STORAGE_VARIABLE = "TRANSFER_SEARCH_STORAGE"
# Recipes that a confirmation retrains by default, fresh seeds of each at most, and the percentage
# points below which a gain is as good as none.
CONFIRMED_RECIPES, CONFIRMED_SEEDS, CONFIRMED_MARGIN = 3, 12, 1.0


def add_data(options: argparse.ArgumentParser) -> None:
    """Add `--data`."""
    options.add_argument(
        "--data",
        default="auto",
        metavar="SOURCE",
        help=f"auto, real, hub, pocket or a folder; several folders are joined by {os.pathsep!r} "
        f"and searched in that order. real: each corpus from the folders of "
        f"TRANSFER_SEARCH_DATA, else the cache, else the Hugging Face hub, else a public "
        f"repository. auto: the same, or the pocket corpora where something is missing and "
        f"there is no network",
    )


def add_licences(options: argparse.ArgumentParser) -> None:
    """Add `--accept-licences`."""
    options.add_argument(
        "--accept-licences",
        action="store_true",
        help="download corpora whose licence is not stated or forbids passing them on; remembered",
    )


def add_study(options: argparse.ArgumentParser) -> None:
    """Add `--study`, of a command about a study of the storage, and `--storage`."""
    options.add_argument(
        "--study",
        required=True,
        help="a study's name in the storage; the option's name may be left out",
    )
    add_storage(options)


def add_storage(options: argparse.ArgumentParser) -> None:
    """Add `--storage`."""
    options.add_argument(
        "--storage",
        action=_Storage,
        default=default_storage(),
        metavar="URL",
        help=f"database of studies and scores: sqlite:///FILE, "
        f"postgresql+psycopg://USER@HOST/NAME, or embedded, a PostgreSQL "
        f"that is started here; default: {STORAGE_VARIABLE}, which keeps a password out of the "
        f"process list, else {DEFAULT_STORAGE}",
    )


def default_storage() -> str:
    """URL of the storage that commands use without `--storage`."""
    return trimmed(os.environ.get(STORAGE_VARIABLE, "")) or DEFAULT_STORAGE


def trimmed(text: str) -> str:
    """A value without the white space around it that files and secrets of a cluster end with."""
    return text.strip("\ufeff \t\r\n\f\v")


def holds_password(storage: str) -> bool:
    """Whether a storage's URL has a password in it."""
    return re.match(r"[^/]+://[^/@:]*:[^@]+@|.*[?&]password=", storage) is not None


def add_overrides(options: argparse.ArgumentParser, example: str) -> None:
    """Add `--set`, into `overrides`."""
    options.add_argument(
        "--set",
        action="append",
        dest="overrides",
        default=[],
        metavar="KEY=VALUE",
        help=f"override a field of the study file, as in {example}",
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
            type=size,
            metavar="SIZE",
            help="as in 20GB: above it the least recently used checkpoints go, but for those "
            "that running trials need",
        )


def add_hardware(options: argparse.ArgumentParser, precision: str) -> None:
    """Add `--device` and `--precision`."""
    options.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options.add_argument("--precision", default="auto", help=precision)


def add_graphs(options: argparse.ArgumentParser) -> None:
    """Add `--graphs`."""
    options.add_argument(
        "--graphs",
        choices=("auto", "on", "off"),
        default="auto",
        help="updates as CUDA graphs: auto (default: where the encoder allows it), on or off",
    )


def add_threads(options: argparse.ArgumentParser, same: str) -> None:
    """Add `--threads`, of a command that trains or scores a study's models again."""
    options.add_argument(
        "--threads",
        type=count_to(MOST_THREADS),
        metavar="N",
        help=f"CPU threads; with as many as its run had, {same}",
    )


@contextmanager
def loading_torch(threads: int | None) -> Iterator[None]:
    """Load torch as commands that train or score want it, and within it what needs torch.

    What can be wrong without torch is found before: loading takes seconds.
    """
    with loading("torch"), ending_at_once("interrupted"):
        _start_torch(threads)
        yield


@contextmanager
def loading(library: str) -> Iterator[None]:
    """Load a large library, unless it is there, and what needs it.

    The hunt for garbage rests meanwhile, as it would walk again and again through the objects of
    all modules, none of which is garbage; later it leaves them alone.
    """
    hunts = gc.isenabled() and library not in sys.modules
    if hunts:
        gc.disable()
    try:
        yield
    finally:
        if hunts:
            gc.freeze()
            gc.enable()


def _start_torch(threads: int | None) -> None:
    # Read when torch is loaded: threads that spin while they wait take cores from other workers.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    import torch

    from objectives.hardware import keep_freed_memory
    from objectives.models.encoders import quiet_libraries

    quiet_libraries()
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)


def quiet_optuna() -> None:
    """Let Optuna log errors only."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def default_cache(storage_url: str) -> str:
    """Where checkpoints lie: beside the SQLite file, else in the current folder."""
    from storage.urls import journal_folder, sqlite_file

    if (folder := journal_folder(storage_url)) is not None:
        return str(folder / "transfer-search.cache")
    file = sqlite_file(storage_url)
    return str(file.with_suffix(".cache")) if file else "transfer-search.cache"


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
        values = trimmed(values)
        setattr(namespace, self.dest, values)
        if holds_password(values):
            print(
                f"note: --storage shows its password in the process list of this machine; "
                f"{STORAGE_VARIABLE} keeps it out",
                file=sys.stderr,
            )


# A folder's owner, its disk or its quota says no: nothing that a traceback would explain.
_OF_THE_PLACE = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.ENOTDIR),
    }
)


def _in_words(error: OSError) -> str:
    return (
        f"{os.fspath(error.filename)}: expected a place that may be read and written, found: "
        f"{error.strerror}; see its permissions, or name another place"
    )


@contextmanager
def fail_in_one_line(*, works: bool = False, storage: str = "") -> Iterator[None]:
    """Turn an error that a user can cause into one line, with its details below, and code 2.

    Output that cannot be written is dropped.

    Args:
        works: Whether the command does more than to show something: then output that nobody
            reads changes nothing about how it ends.
        storage: URL of the storage that is read. Where something else goes wrong and a value in
            its tables is damaged, that is what is said.
    """
    with patient_output() as out:
        try:
            with unwinding():
                yield
        except TransferSearchError as error:
            for each in error.errors if isinstance(error, SeveralErrors) else [error]:
                print(f"error: {one_line(str(each))}", file=sys.stderr)
                for line in each.details:
                    print(f"  {one_line(line)}", file=sys.stderr)
            raise SystemExit(2) from error
        except KeyboardInterrupt as error:
            raise SystemExit(128 + signal.SIGINT) from error
        except Exception as error:  # of these only what has a cause to name is not passed on
            if isinstance(error, OSError) and error.errno in _OF_THE_PLACE and error.filename:
                told = _in_words(error)
            elif (damage := _damage_of(storage)) is not None:
                told = str(damage)
            else:
                raise
            print(f"error: {one_line(told)}", file=sys.stderr)
            raise SystemExit(2) from error
        out.flush()
        if out.failure is not None and not works:
            closed = isinstance(out.failure, BrokenPipeError)  # `... | head`, which is no fault
            raise SystemExit(128 + signal.SIGPIPE if closed else 1)


def _damage_of(storage: str) -> TransferSearchError | None:
    if not storage:
        return None
    from storage.damage import damage_of

    try:
        return damage_of(storage)
    except TransferSearchError:
        return None


def print_stage(stage: StageProgress) -> None:
    """Print a line on standard error as a stage begins; nothing at its other updates."""
    if stage.done == 1:
        print(f"{stage.position} {stage.task}: {stage.total} updates", file=sys.stderr)
