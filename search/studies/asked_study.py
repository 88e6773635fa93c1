"""A study asked of a source of data and an encoder, checked before anything heavy is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from objectives.data.choosing import choose_source
from objectives.data.data_source import DataSource, SourceKind
from objectives.data.files import missing_splits
from objectives.models.backbone_files import POCKET_BACKBONE, find_backbone
from search.command_line.next_commands import get_command
from search.studies.study_file import StudyFile
from spaces.catalogue import Catalogue
from spaces.errors import DataError
from spaces.pocket_twin import pocket_twin
from spaces.studies import SplitName, StudySpec
from spaces.study_checks import check_study
from spaces.task import Task


@dataclass(frozen=True)
class AskedStudy:
    """A study asked of a source of data.

    Attributes:
        spec: The study, with the encoder that was asked for; a pocket twin on pocket corpora.
        catalogue: All known tasks, the study's own among them.
        source: Where the corpora come from, and why.
        get: Command that gets the corpora into a folder.
    """

    spec: StudySpec
    catalogue: Catalogue
    source: DataSource
    get: str

    @property
    def data(self) -> str:
        """The value of `--data` that names the same source wherever the command is run."""
        is_whole = self.source.folder is not None and not self.source.elsewhere
        if self.source.kind is SourceKind.LOCAL or is_whole:
            return os.pathsep.join(map(str, self.source.folders))
        return self.source.kind.value

    @property
    def needed(self) -> list[tuple[Task, str, str]]:
        """Task, language and split of all that the search reads."""
        return _splits(self.spec.needed_splits(self.catalogue), self.catalogue)

    @property
    def wished(self) -> list[tuple[Task, str, str]]:
        """What is read where it exists: the splits that training examples are looked for in."""
        return _splits(self.spec.evaluation_splits(self.catalogue), self.catalogue)

    def check_files(self) -> None:
        """Check that folders have a file of each split, and that each encoder has its files.

        An encoder of the Hub is downloaded. Nothing is read: that takes torch and its kin.

        Raises:
            DataError: A folder lacks a split that the study needs.
            BackboneError: An encoder is not there, or not whole.
        """
        folders = self.source.folders
        local = self.source.kind is SourceKind.LOCAL
        if local and (missing := missing_splits(self.needed, folders)):
            raise DataError(
                f"study {self.spec.name!r}, {' and '.join(map(str, folders))}",
                "all splits that it reads",
                f"{len(missing)} of them lacking",
                f"`{self.get}` gets them",
                missing,
            )
        for name in self.spec.backbone:
            if name != POCKET_BACKBONE:
                find_backbone(name)


def as_asked(file: StudyFile, data: str, backbone: str | None) -> AskedStudy:
    """A study with the encoder and the data that were asked for.

    Raises:
        DataError: The data are not there.
        BackboneError: The encoder is not there.
    """
    spec, catalogue = file.spec, file.catalogue
    source = source_for(spec, catalogue, data)
    if source.kind is SourceKind.POCKET:
        spec = pocket_twin(spec, catalogue, file.overrides)
        check_study(spec, catalogue)
    if backbone:
        spec = spec.model_copy(update={"backbone": (backbone,)})
    get = get_command(file.study, source.folder, file.overrides)
    asked = AskedStudy(spec, catalogue, source, get)
    asked.check_files()
    return asked


def source_for(spec: StudySpec, catalogue: Catalogue, data: str) -> DataSource:
    """The source that a value of `--data` means for a study.

    Raises:
        DataError: It names a folder that is not there.
    """
    return choose_source(data, _splits(spec.needed_splits(catalogue), catalogue))


def _splits(names: Iterable[SplitName], catalogue: Catalogue) -> list[tuple[Task, str, str]]:
    return [(catalogue[task], language, split) for task, language, split in names]
