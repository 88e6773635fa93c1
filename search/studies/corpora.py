"""The corpora of a study, or of the catalogue: where each comes from, and getting all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from objectives.data.choosing import choose_source
from objectives.data.data_source import DataSource, SourceKind, cached_folder
from objectives.data.downloads import OnBytes
from objectives.data.fetching import fetch_corpus
from objectives.data.files import ROWS, SplitFiles, find_split
from objectives.data.origins import ORIGIN_FILE, Origin, origin_of, splits_by_corpus
from search.studies.study_file import StudyFile
from spaces.catalogue import Catalogue, load_catalogue
from spaces.errors import DataError
from spaces.studies import SplitName
from spaces.task import Role, Task

# Corpora in a row that cannot be had, after which the others are not tried: there is no network.
_MOST_FAILURES = 3

Needed = list[tuple[Task, str, str]]


@dataclass(frozen=True)
class CorpusFilter:
    """Which corpora are shown; an empty field stands for all.

    Attributes:
        kind: Kind of the task, as in `ner`.
        domain: Domain of the task, as in `legal`.
        language: ISO 639-3 code.
    """

    kind: str = ""
    domain: str = ""
    language: str = ""

    def __call__(self, task: Task, language: str) -> bool:
        """Whether a corpus is shown."""
        asked = ((self.kind, task.kind), (self.domain, task.domain), (self.language, language))
        return all(not wanted or wanted == has for wanted, has in asked)


@dataclass(frozen=True)
class TaskCorpora:
    """A task and where it comes from in each of its languages.

    Attributes:
        task: Catalogue record of the task.
        origins: Origin of each language's corpus.
    """

    task: Task
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class GotCorpus:
    """What came of getting one corpus.

    Attributes:
        origin: Where it was, or came from.
        problem: Why it is not there; empty if it is.
        without_test: Why its test split is not there; empty if it is, or is not used.
    """

    origin: Origin
    problem: str = ""
    without_test: str = ""


OnCorpus = Callable[[GotCorpus, int, int], None]
"""Called with what came of a corpus, its number from 1, and how many there are."""


def list_corpora(study: StudyFile | None, data: str, shown: CorpusFilter) -> list[TaskCorpora]:
    """Where corpora come from, by task; the network is not asked.

    Args:
        study: Study whose corpora are listed; None for all of the catalogue.
        data: Value of `--data`; auto is read as real.
        shown: Which of them are listed.

    Raises:
        DataError: `data` names a folder that is not there.
    """
    needed = needed_by(study) if study else _whole(load_catalogue())
    source = real_source(data, needed)
    pocket = DataSource(SourceKind.POCKET)
    by_task: dict[str, TaskCorpora] = {}
    for task, language, splits in splits_by_corpus(needed):
        if shown(task, language):
            origin = origin_of(task, language, splits, pocket if task.pocket else source)
            before = by_task[task.name].origins if task.name in by_task else ()
            by_task[task.name] = TaskCorpora(task, (*before, origin))
    return sorted(by_task.values(), key=lambda x: (x.task.kind, x.task.domain, x.task.name))


def needed_by(study: StudyFile) -> Needed:
    """Task, language and split of what a search reads."""
    return _with_tasks(study.spec.needed_splits(study.catalogue), study.catalogue)


def tests_of(study: StudyFile) -> Needed:
    """What a search does not read: for overlaps and for `search.confirm`."""
    spec, catalogue = study.spec, study.catalogue
    searched = set(spec.needed_splits(catalogue))
    further = [x for x in spec.evaluation_splits(catalogue) if x not in searched]
    return _with_tasks(further, catalogue)


def real_source(data: str, needed: Iterable[tuple[Task, str, str]]) -> DataSource:
    """The source for a value of `--data`, where auto does not ask the network."""
    real = [x for x in needed if not x[0].pocket]
    return choose_source(SourceKind.REAL if data == "auto" else data, real)


def get_corpora(
    study: StudyFile, to: Path | None, on_corpus: OnCorpus, on_bytes: OnBytes | None = None
) -> list[GotCorpus]:
    """Get all that a study reads, test splits too, where these are to be had.

    Args:
        study: The study.
        to: Data folder that it is put into; None for the cache.
        on_corpus: Told of each corpus as it is there, or cannot be had.
        on_bytes: Told of downloads as they go on.

    Returns:
        What came of each corpus. After three in a row that cannot be had the rest is not tried.
    """
    needed = needed_by(study)
    source = real_source("auto", needed)
    tests = {(x.name, y, z) for x, y, z in tests_of(study)}
    corpora = splits_by_corpus([*needed, *tests_of(study)])
    results: list[GotCorpus] = []
    for number, (task, language, splits) in enumerate(corpora, start=1):
        must = [x for x in splits if (task.name, language, x) not in tests]
        may = [x for x in splits if x not in must]
        got = _get(task, language, (must, may), source, to, on_bytes)
        results.append(got)
        on_corpus(got, number, len(corpora))
        if len(results) >= _MOST_FAILURES and all(x.problem for x in results[-_MOST_FAILURES:]):
            break
    return results


def _get(
    task: Task,
    language: str,
    splits: tuple[Sequence[str], Sequence[str]],
    source: DataSource,
    to: Path | None,
    on_bytes: OnBytes | None,
) -> GotCorpus:
    """Get one corpus: the splits that there must be, and those that there may be."""
    must, may = splits
    origin = origin_of(task, language, must or may, source)
    try:
        for split in must:
            origin = _get_split(task, language, split, source, to, on_bytes)
    except DataError as error:
        return GotCorpus(origin, problem=str(error))
    try:
        for split in may:
            found = _get_split(task, language, split, source, to, on_bytes)
            origin = origin if must else found
    except DataError as error:
        return GotCorpus(origin, without_test=str(error))
    return GotCorpus(origin)


def _get_split(
    task: Task,
    language: str,
    split: str,
    source: DataSource,
    to: Path | None,
    on_bytes: OnBytes | None,
) -> Origin:
    origin = origin_of(task, language, [split], source)
    cache = cached_folder(task)
    if not origin.is_here:
        return fetch_corpus(task, language, [split], to or cache, on_bytes)
    if to is not None:
        for folder in (*source.folders, cache):
            try:
                files, _ = find_split(task, language, split, [folder])
            except DataError:
                continue
            _copy(files, folder, to)
            break
    return origin


def _copy(files: SplitFiles, folder: Path, to: Path) -> None:
    """Copy a split's files to the same place below another folder, each whole or not at all."""
    paths = [*files.paths, *([files.pairs] if files.pairs else [])]
    if files.template == ROWS:
        paths.append(files.paths[0].with_name(ORIGIN_FILE))
    for path in paths:
        target = to / path.relative_to(folder)
        if path.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.part")
            shutil.copyfile(path, part)
            part.replace(target)


def _whole(catalogue: Catalogue) -> Needed:
    """Each task in each language, by the split that says whether it is there."""
    return [
        (task, language, "train" if task.role is Role.INTERMEDIATE else "validation")
        for task in catalogue
        for language in task.languages
    ]


def _with_tasks(splits: Iterable[SplitName], catalogue: Catalogue) -> Needed:
    return [(catalogue[task], language, split) for task, language, split in splits]
