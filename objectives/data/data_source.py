"""Where the corpora of a run come from: folders, the cache, the network, or the pocket corpora."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from objectives.pocket import POCKET_VERSION
from spaces.errors import DataError
from spaces.records import expanded
from spaces.task import Task
from storage.fingerprint import fingerprint

DATA_VARIABLE = "TRANSFER_SEARCH_DATA"
CORPORA_VARIABLE = "TRANSFER_SEARCH_CORPORA"
# A part of the cache's keys: raised where readers of raw files or of the Hub make something else.
_READERS = 1


class SourceKind(StrEnum):
    """Where corpora come from."""

    REAL = "real"
    """Each from the first of: folders, the cache, the Hub, raw files of a public repository."""
    HUB = "hub"
    LOCAL = "local"
    POCKET = "pocket"


@dataclass(frozen=True)
class DataSource:
    """Where the corpora of a run come from, and why.

    Attributes:
        kind: Each from where it can be had, the Hub alone, folders alone, or the pocket corpora.
        folder: First folder that corpora are looked for in.
        reason: Reason for the choice, for the first line of a run.
        further: Folders that are tried in turn after `folder`.
        elsewhere: Names of tasks that do not come from the folders, as these lack a split of them.
    """

    kind: SourceKind
    folder: Path | None = None
    reason: str = ""
    further: tuple[Path, ...] = ()
    elsewhere: frozenset[str] = frozenset()

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders, in the order in which they are tried."""
        return (self.folder, *self.further) if self.folder else ()

    def __str__(self) -> str:
        if self.kind is SourceKind.POCKET:
            return f"pocket corpora (generated, version {POCKET_VERSION})"
        if self.kind is SourceKind.HUB:
            return "Hugging Face hub"
        folders = f"folder{'s' * bool(self.further)} {', '.join(map(str, self.folders))}"
        if self.kind is SourceKind.LOCAL:
            return f"local {folders}"
        return f"real corpora ({f'{folders}, ' * bool(self.folder)}cache, Hub, raw files)"


def check_named(option: str) -> None:
    """Check a value of `--data` as far as that takes neither the network nor a study.

    Raises:
        DataError: It names a folder that does not exist.
    """
    if option not in ("auto", *SourceKind):
        local_source(option, "--data")


def local_source(names: str, option: str) -> DataSource:
    """The folders that an option names, joined by `os.pathsep`.

    Raises:
        DataError: One of them does not exist.
    """
    folders = list[Path]()
    parts = [part for part in names.strip("\ufeff \t\r\n").split(os.pathsep) if part]
    expected = "auto, real, hub, pocket or a folder"
    while parts:
        # A folder's own name may hold what joins folders: the longest that is there is one.
        for length in range(len(parts), 0, -1):
            folder = expanded(os.pathsep.join(parts[:length]))
            if folder.is_dir():
                break
        else:
            raise DataError(option, expected, f"{parts[0]!r}")
        folders.append(folder)
        parts = parts[length:]
    if not folders:
        raise DataError(option, expected, repr(names))
    first, *further = [folder.resolve() for folder in folders]
    return DataSource(SourceKind.LOCAL, first, f"named by {option}", tuple(further))


def corpora_folder() -> Path:
    """Where downloads and what was made from them are kept, which may be removed at any time."""
    if named := os.environ.get(CORPORA_VARIABLE):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "transfer-search"


def cached_folder(task: Task) -> Path:
    """The data folder of a task in the cache; another one where its record says another place."""
    record = task.model_dump(mode="json", include={"kind", "labels", "hub", "raw", "codes"})
    key = fingerprint({"readers": _READERS, **record})
    return corpora_folder() / "corpora" / key[:16]
