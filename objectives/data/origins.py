"""Where the corpus of a task comes from: folders, the cache, the Hub, raw files, pocket corpora.

Nothing is downloaded here, and the network is not asked. What a corpus was made from stands in a
file beside what the program wrote, `TASK/LANGUAGE/origin.json`, wherever that is copied to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from objectives.data.data_source import DataSource, SourceKind, cached_folder
from objectives.data.files import ROWS, SplitFiles, find_split, rows_name, write_whole
from objectives.data.hub import hub_place
from spaces.errors import DataError
from spaces.raw_source import Terms
from spaces.task import Task

ORIGIN_FILE = "origin.json"


class Place(StrEnum):
    """Where a corpus lies."""

    FOLDER = "folder"
    CACHE = "cache"
    HUB = "hub"
    RAW = "raw files"
    POCKET = "pocket"
    NOWHERE = "nowhere"

    @property
    def is_remote(self) -> bool:
        """Whether it has to be downloaded first."""
        return self in {Place.HUB, Place.RAW}


@dataclass(frozen=True)
class Origin:
    """Where a task's corpus in one language comes from.

    Attributes:
        task: Name of the task.
        language: ISO 639-3 code.
        place: Where it lies, or would be downloaded from.
        name: The folder, or OWNER/NAME on the Hub or of a public git repository.
        revision: Revision that it was or would be taken at; empty: the newest, or not known.
        size: Bytes of its files, or of its download; 0 where not known.
        licence: What the catalogue says of its licence.
        terms: What that says of passing it on.
        files: Names of raw files with the git ids that they must have; empty for other places.
        lacks: Splits that were looked for where it comes from, and that are not there.
    """

    task: str
    language: str
    place: Place
    name: str = ""
    revision: str = ""
    size: int = 0
    licence: str = ""
    terms: Terms = Terms.OPEN
    files: tuple[tuple[str, str], ...] = ()
    lacks: tuple[str, ...] = ()

    @property
    def is_here(self) -> bool:
        """Whether nothing has to be downloaded."""
        return self.place in {Place.FOLDER, Place.CACHE, Place.POCKET}

    @property
    def source(self) -> str:
        """The place and its name, without the revision."""
        hosts = {Place.HUB: "Hub", Place.RAW: "raw files of"}
        return f"{hosts.get(self.place, self.place)} {self.name}".strip()

    def __str__(self) -> str:
        return f"{self.source}@{self.revision[:12]}" if self.revision else self.source


def origin_of(task: Task, language: str, splits: Sequence[str], source: DataSource) -> Origin:
    """Where splits of a task would come from in one language.

    Args:
        task: Catalogue record of the task.
        language: ISO 639-3 code.
        splits: Names of the splits: train, validation or test. A folder that lacks one of them is
            passed over, where there is another place.
        source: Data source of the run.
    """
    unknown = Origin(task.name, language, Place.NOWHERE, licence=task.licence, terms=task.terms)
    if source.kind is SourceKind.POCKET:
        has = task.pocket and language in task.languages
        return replace(unknown, place=Place.POCKET) if has else unknown
    if source.kind is SourceKind.HUB:
        return _remote(task, language, unknown, raw=False)
    if task.name not in source.elsewhere and source.folders:
        found = [_found(task, language, x, source.folders) for x in splits]
        if all(found) and found:
            return _of_files([x for x in found if x], Place.FOLDER, unknown)
    if source.kind is SourceKind.LOCAL:
        return unknown
    cache = cached_folder(task)
    cached = [_found(task, language, x, [cache]) for x in splits]
    if all(cached) and cached:
        return _of_files([x for x in cached if x], Place.CACHE, unknown)
    written = read_origin((cache / rows_name(task, language, "train")).parent)
    if written and set(written.lacks) & set(splits):
        return replace(unknown, lacks=written.lacks)
    return _remote(task, language, unknown, raw=True)


def origins_of(needed: Iterable[tuple[Task, str, str]], source: DataSource) -> list[Origin]:
    """Where each task and language of a study comes from, in the order of what is needed.

    Args:
        needed: Task, language and split of each.
        source: Data source of the run.
    """
    return [
        origin_of(task, language, splits, source)
        for task, language, splits in splits_by_corpus(needed)
    ]


def splits_by_corpus(
    needed: Iterable[tuple[Task, str, str]],
) -> list[tuple[Task, str, tuple[str, ...]]]:
    """The splits that are needed of each task and language."""
    tasks: dict[str, Task] = {}
    splits: dict[tuple[str, str], dict[str, None]] = {}
    for task, language, split in needed:
        tasks[task.name] = task
        splits.setdefault((task.name, language), {})[split] = None
    return [(tasks[name], language, tuple(of)) for (name, language), of in splits.items()]


def remote_origin(task: Task, language: str) -> Origin:
    """Where a corpus would be downloaded from: the Hub, else raw files, else nowhere."""
    unknown = Origin(task.name, language, Place.NOWHERE, licence=task.licence, terms=task.terms)
    return _remote(task, language, unknown, raw=True)


def write_origin(origin: Origin, folder: Path) -> None:
    """Write what a corpus was made from beside it, in the folder of its language."""
    write_whole(folder / ORIGIN_FILE, [json.dumps(asdict(origin), indent=1) + "\n"])


def _found(task: Task, language: str, split: str, folders: Sequence[Path]) -> SplitFiles | None:
    try:
        return find_split(task, language, split, folders)[0]
    except DataError:
        return None


def _of_files(found: list[SplitFiles], place: Place, unknown: Origin) -> Origin:
    paths = {path for files in found for path in files.paths}
    size = sum(path.stat().st_size for path in paths)
    folder = found[0].paths[0].parent
    written = read_origin(folder) if found[0].template == ROWS else None
    if written is None:
        return replace(unknown, place=place, name=str(folder), size=size)
    name = f"{folder}, from {written.source}" if place is Place.FOLDER else written.source
    return replace(
        unknown,
        place=place,
        name=name,
        revision=written.revision,
        size=size,
        files=written.files,
        lacks=written.lacks,
    )


def read_origin(folder: Path) -> Origin | None:
    """What the corpus of a language was made from, where that was written beside it."""
    try:
        fields = json.loads((folder / ORIGIN_FILE).read_text("utf-8"))
        files = tuple((path, blob) for path, blob in fields.pop("files"))
        place, terms = Place(fields.pop("place")), Terms(fields.pop("terms"))
        lacks = tuple(fields.pop("lacks"))
        return Origin(**fields, place=place, terms=terms, files=files, lacks=lacks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # a copy without it is still a corpus


def _remote(task: Task, language: str, unknown: Origin, *, raw: bool) -> Origin:
    if place := hub_place(task, language):
        return replace(unknown, place=Place.HUB, name=place.repository, revision=place.revision)
    files = task.raw.of_language(language) if raw and task.raw else ()
    if task.raw and files:
        sizes = [file.size for file in files]
        return replace(
            unknown,
            place=Place.RAW,
            name=task.raw.repository,
            revision=task.raw.commit,
            size=sum(sizes) if all(sizes) else 0,
            files=tuple((file.path, file.blob) for file in files),
        )
    return unknown
