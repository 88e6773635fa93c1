"""Getting a corpus: from the Hub or from raw files into a folder that `--data` reads.

A split is written as `TASK/LANGUAGE/SPLIT.jsonl`, whole or not at all, with what it was made from
beside it. Two processes that want the same one wait for each other, and the second finds it there.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import filelock

from objectives.data.data_source import DataSource, cached_folder
from objectives.data.downloads import OnBytes, download_raw, raw_contents
from objectives.data.file_formats import Columns
from objectives.data.files import SplitFiles, find_split, rows_name, write_whole
from objectives.data.hub import read_hub, resolved_revision
from objectives.data.licences import unaccepted, unaccepted_licences
from objectives.data.origins import (
    Origin,
    Place,
    origin_of,
    read_origin,
    remote_origin,
    write_origin,
)
from objectives.data.raw_files import raw_splits
from objectives.data.row_checks import check_rows
from objectives.data.row_files import row_lines
from spaces.errors import DataError, first_line
from spaces.raw_source import RawFile, RawSource
from spaces.task import Task


def fetch_corpus(
    task: Task,
    language: str,
    splits: Sequence[str],
    folder: Path,
    *,
    wished: Sequence[str] = (),
    on_bytes: OnBytes | None = None,
) -> Origin:
    """Write splits of a task in one language below a folder, from the Hub or from raw files.

    Splits that are there already are left alone. Of raw files all splits are written, and of a
    halved task its one evaluation split.

    Args:
        task: Catalogue record of the task.
        language: ISO 639-3 code.
        splits: Names of the splits: train, validation or test.
        folder: Data folder, made where there is none.
        wished: Splits that are written too where they exist, as test splits may not.
        on_bytes: Told of downloads of raw files as they go on.

    Returns:
        Where it came from, with the revision that was taken.

    Raises:
        DataError: There is no such split, or it cannot be had, or it is not what was pinned.
    """
    origin = remote_origin(task, language)
    if origin.place is Place.NOWHERE:
        raise DataError(
            f"task {task.name!r}",
            f"a copy of its {language} corpus in the catalogue",
            "none",
            "name a folder with --data",
        )
    at = (folder / rows_name(task, language, "train")).parent
    try:
        at.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(at.with_name(f".{at.name}.lock")):
            missing = [x for x in splits if not _is_there(task, language, x, folder)]
            before = read_origin(at) if any(at.glob("*.jsonl")) else None
            _check_same(origin, before, at)
            looked_for = before.lacks if before else ()
            more = [
                x
                for x in wished
                if x not in (*splits, *looked_for) and not _is_there(task, language, x, folder)
            ]
            if not (missing or more):
                return before or origin
            if origin.place is Place.RAW:
                found = _from_raw(task, language, on_bytes)
            else:
                revision = before.revision if before else resolved_revision(task, language)
                origin = replace(origin, revision=revision)
                found = {x: _from_hub(task, language, x, revision) for x in missing}
                found |= _wished(task, language, more, revision)
            lacks = tuple(x for x in more if not any(_same(task, x, y) for y in found))
            origin = replace(origin, lacks=(*looked_for, *lacks))
            _check_found(task, language, missing, found, origin)
            # It comes first: where this ends in between, the rest is got of the same revision.
            write_origin(origin, at)
            for split, columns in found.items():
                name = rows_name(task, language, _written(task, split))
                write_whole(folder / name, row_lines(columns))
    except OSError as error:
        advice = "free some space" if error.errno == errno.ENOSPC else ""
        raise DataError(
            f"{at}: cannot be written", found=first_line(error), advice=advice
        ) from error
    return origin


def fetched_split(
    task: Task, language: str, split: str, source: DataSource
) -> tuple[SplitFiles, bool]:
    """The files of a split for a run, and whether they have to be halved; fetched where missing.

    Raises:
        DataError: As `fetch_corpus`; or a folder that the task comes from lacks the split.
    """
    origin = origin_of(task, language, (split,), source)
    if origin.place is Place.FOLDER:
        return find_split(task, language, split, source.folders)
    folder = cached_folder(task)
    if split in origin.lacks:
        raise DataError(f"task {task.name!r}", f"a {language} {split} split", "none")
    if licences := unaccepted([origin]):
        raise unaccepted_licences(licences)
    if origin.place is not Place.CACHE:
        fetch_corpus(task, language, (split,), folder)
    return find_split(task, language, split, [folder])


def fetch_all(
    corpora: Sequence[tuple[Task, str, Sequence[str], Sequence[str]]],
    folder_of: Callable[[Task], Path],
    on_bytes: OnBytes | None = None,
    on_corpus: Callable[[Origin], None] | None = None,
) -> None:
    """Fetch many corpora: first all raw files, at most four at a time, then one after another.

    Args:
        corpora: Task, language, splits, and splits that are wished for, of each.
        folder_of: The data folder that a task is written to.
        on_bytes: Told of downloads of raw files as they go on.
        on_corpus: Told of each corpus that is there now.

    Raises:
        DataError: As `fetch_corpus`.
    """
    download_raw(
        [x for task, language, _, _ in corpora for x in raw_files_of(task, language)], on_bytes
    )
    for task, language, splits, wished in corpora:
        origin = fetch_corpus(task, language, splits, folder_of(task), wished=wished)
        if on_corpus:
            on_corpus(origin)


def raw_files_of(task: Task, language: str) -> list[tuple[RawSource, RawFile]]:
    """The raw files that a corpus is made from; none where it comes from the Hub."""
    if task.raw is None or remote_origin(task, language).place is not Place.RAW:
        return []
    return [(task.raw, file) for file in task.raw.of_language(language)]


def _from_raw(task: Task, language: str, on_bytes: OnBytes | None) -> dict[str, Columns]:
    files = raw_files_of(task, language)
    download_raw(files, on_bytes)
    source, _ = files[0]
    return raw_splits(
        task, language, source, [(file, raw_contents(source, file)) for _, file in files]
    )


def _from_hub(task: Task, language: str, split: str, revision: str) -> Columns:
    return read_hub(task, language, split, revision)[0]


def _wished(task: Task, language: str, splits: Sequence[str], revision: str) -> dict[str, Columns]:
    found = {}
    for split in splits:
        try:
            found[split] = _from_hub(task, language, split, revision)
        except DataError as error:
            if not isinstance(error.__cause__, ValueError):  # what datasets says of no such split
                raise
    return found


def _check_same(origin: Origin, before: Origin | None, at: Path) -> None:
    """Check that splits which are there already are of the copy that others would come from."""
    if before is None:
        return
    pinned = {x.revision for x in (origin, before) if origin.revision}
    if (before.place, before.name) != (origin.place, origin.name) or len(pinned) > 1:
        raise DataError(str(at), f"splits of {origin}", f"some of {before}", "remove them first")


def _check_found(
    task: Task, language: str, missing: Sequence[str], found: dict[str, Columns], origin: Origin
) -> None:
    """Check the rows before anything is written, so that nothing wrong is kept."""
    for split, columns in found.items():
        where = f"{origin}, {task.name} {language} {split}"
        check_rows(columns, task, where, hidden_allowed=split == "test" or task.halved)
    for split in missing:
        if not any(_same(task, split, x) for x in found):
            raise DataError(
                f"task {task.name!r}, {origin}",
                f"a {language} {split} split",
                ", ".join(found) or "none",
            )


def _written(task: Task, split: str) -> str:
    """The split that rows are written as: a halved task has one that is evaluated on."""
    return "test" if task.halved and split != "train" else split


def _same(task: Task, one: str, other: str) -> bool:
    return _written(task, one) == _written(task, other)


def _is_there(task: Task, language: str, split: str, folder: Path) -> bool:
    return (folder / rows_name(task, language, _written(task, split))).exists()
