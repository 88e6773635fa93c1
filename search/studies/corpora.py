"""The corpora of a study, or of the catalogue: where each comes from, and a folder of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from objectives.data.choosing import choose_source
from objectives.data.data_source import DataSource, SourceKind, cached_folder
from objectives.data.files import ROWS, SplitFiles, find_split
from objectives.data.folder_check import FolderReport, check_folder
from objectives.data.origins import ORIGIN_FILE, Place, origin_of, splits_by_corpus
from objectives.models.backbone_files import POCKET_BACKBONE, find_backbone
from search.command_line.corpora import get_corpora
from search.command_line.corpora_tables import Got, TaskCorpora
from search.command_line.next_commands import get_command
from search.studies.study_file import StudyFile
from spaces.catalogue import Catalogue, load_catalogue
from spaces.errors import DataError, TransferSearchError
from spaces.studies import SplitName
from spaces.task import Role, Task

Needed = list[tuple[Task, str, str]]
"""Task, language and split of each."""


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
class GetRequest:
    """What a study's corpora are got for.

    Attributes:
        to: Data folder that they are put into; None for the cache.
        backbone: Encoder in place of the study's; None for these.
        accepts: Whether licences that want a yes are accepted.
    """

    to: Path | None = None
    backbone: str | None = None
    accepts: bool = False


def list_corpora(study: StudyFile | None, data: str, shown: CorpusFilter) -> list[TaskCorpora]:
    """Where corpora come from, by task, in the order of kinds; the network is not asked.

    Args:
        study: Study whose corpora are listed; None for all of the catalogue.
        data: Value of `--data`; auto is read as real.
        shown: Which of them are listed.

    Raises:
        DataError: `data` names a folder that is not there.
    """
    needed = needed_by(study) if study else _whole(load_catalogue())
    source = _real_source(data, needed if study else [x for x in needed if not x[0].pocket])
    pocket = DataSource(SourceKind.POCKET)
    by_task: dict[str, TaskCorpora] = {}
    for task, language, splits in splits_by_corpus(needed):
        if shown(task, language):
            origin = origin_of(task, language, splits, pocket if task.pocket else source)
            before = by_task[task.name].origins if task.name in by_task else ()
            by_task[task.name] = TaskCorpora(task, (*before, origin))
    return sorted(by_task.values(), key=lambda x: (x.task.kind, x.task.domain, x.task.name))


def needed_by(study: StudyFile) -> Needed:
    """What a search reads."""
    return _with_tasks(study.spec.needed_splits(study.catalogue), study.catalogue)


def wished_by(study: StudyFile) -> Needed:
    """What is read where it exists: for overlaps, and by `search.confirm`."""
    return _with_tasks(study.spec.evaluation_splits(study.catalogue), study.catalogue)


def get_study(study: StudyFile, request: GetRequest, console: Console) -> Got:
    """Get all that a study reads, test splits where there are any, and its encoders.

    Args:
        study: The study.
        request: Where to, and under which terms.
        console: Console that what comes from where is shown on.

    Raises:
        DataError: A corpus can be had nowhere, its licence is not accepted, or a download failed.
    """
    needed, wished, to = needed_by(study), wished_by(study), request.to
    source = _real_source("auto", needed)
    needed = [*needed, *_looked_into(needed, wished, source)]
    if to is not None:
        # What the folder has already is here; a task that it lacks in part is looked for in it.
        source = replace(source, folder=to, further=source.folders, elsewhere=frozenset())
    copied = _copied([*needed, *wished], source, to) if to else 0
    get_corpora(
        needed,
        wished,
        source,
        console,
        accepts=request.accepts,
        get=get_command(study.study, to, study.overrides),
        folder_of=cached_folder if to is None else lambda task: to,
    )
    encoders = {
        name: _encoder_problem(name)
        for name in ([request.backbone] if request.backbone else study.spec.backbone)
    }
    return Got(len(splits_by_corpus(needed)), copied, encoders)


def check_corpora(folder: Path, study: StudyFile | None) -> FolderReport:
    """Look through a data folder, for all tasks of the catalogue.

    Args:
        folder: The folder.
        study: Study whose splits have to be there; None for no study.

    Raises:
        DataError: There is no such folder.
    """
    if not folder.is_dir():
        raise DataError(str(folder), "a folder", "none there")
    catalogue = study.catalogue if study else load_catalogue()
    known = [(task, language) for task in catalogue for language in task.languages]
    return check_folder(folder, known, needed_by(study) if study else ())


def _real_source(data: str, needed: Needed) -> DataSource:
    """The source for a value of `--data`, where auto does not ask the network."""
    return choose_source(SourceKind.REAL if data == "auto" else data, needed)


def _looked_into(needed: Needed, wished: Needed, source: DataSource) -> Needed:
    """Corpora that a search does not read, where training examples are looked for all the same."""
    read = {(task.name, language) for task, language, _ in needed}
    return [
        (task, language, split)
        for task, language, split in wished
        if (task.name, language) not in read
        and split == "validation"
        and origin_of(task, language, [split], source).place is not Place.NOWHERE
    ]


def _encoder_problem(name: str) -> str:
    """Why an encoder is not in the Hub's cache, where it is downloaded to; empty if it is."""
    try:
        if name != POCKET_BACKBONE:
            find_backbone(name)
    except TransferSearchError as error:
        return str(error)
    return ""


def _copied(needed: Needed, source: DataSource, to: Path) -> int:
    """Copy what other folders or the cache have into a data folder; the number of files."""
    copied = 0
    for task, language, split in needed:
        for folder in (to, *source.folders, cached_folder(task)):
            try:
                files, _ = find_split(task, language, split, [folder])
            except DataError:
                continue
            copied += _copy(files, folder, to) if folder != to else 0
            break
    return copied


def _copy(files: SplitFiles, folder: Path, to: Path) -> int:
    """Copy a split's files to the same place below another folder, each whole or not at all."""
    paths = [*files.paths, *([files.pairs] if files.pairs else [])]
    if files.template == ROWS:
        paths.append(files.paths[0].with_name(ORIGIN_FILE))
    copied = 0
    for path in paths:
        target = to / path.relative_to(folder)
        if path.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.part")
            shutil.copyfile(path, part)
            part.replace(target)
            copied += 1
    return copied


def _whole(catalogue: Catalogue) -> Needed:
    """Each task in each language, by the split that says whether it is there."""
    return [
        (task, language, "train" if task.role is Role.INTERMEDIATE else "validation")
        for task in catalogue
        for language in task.languages
    ]


def _with_tasks(splits: Iterable[SplitName], catalogue: Catalogue) -> Needed:
    return [(catalogue[task], language, split) for task, language, split in splits]
