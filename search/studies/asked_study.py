"""A study asked of a source of data and an encoder, checked before anything heavy is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass

from objectives.data.choosing import choose_source
from objectives.data.data_source import DataSource, SourceKind
from objectives.data.sources import check_folders
from objectives.models.backbone_files import POCKET_BACKBONE, find_backbone
from search.studies.study_file import StudyFile
from spaces.catalogue import Catalogue
from spaces.pocket_twin import pocket_twin
from spaces.studies import StudySpec
from spaces.study_checks import check_study


@dataclass(frozen=True)
class AskedStudy:
    """A study asked of a source of data.

    Attributes:
        spec: The study, with the encoder that was asked for; a pocket twin on pocket corpora.
        catalogue: All known tasks, the study's own among them.
        source: Where the corpora come from, and why.
    """

    spec: StudySpec
    catalogue: Catalogue
    source: DataSource

    @property
    def data(self) -> str:
        """The value of `--data` that names the same source wherever the command is run."""
        if self.source.kind is SourceKind.LOCAL:
            return os.pathsep.join(map(str, self.source.folders))
        return self.source.kind.value

    def check_files(self) -> None:
        """Check that folders have a file of each split, and that each encoder has its files.

        An encoder of the Hub is downloaded. Nothing is read: that takes torch and its kin.

        Raises:
            DataError: A folder lacks a split that the study needs.
            BackboneError: An encoder is not there, or not whole.
        """
        needed = self.spec.needed_splits(self.catalogue)
        check_folders(((self.catalogue[task], x, split) for task, x, split in needed), self.source)
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
    source = source_for(spec, catalogue, data, (backbone,) if backbone else spec.backbone)
    if source.kind is SourceKind.POCKET:
        spec = pocket_twin(spec, catalogue, file.overrides)
        check_study(spec, catalogue)
    if backbone:
        spec = spec.model_copy(update={"backbone": (backbone,)})
    asked = AskedStudy(spec, catalogue, source)
    asked.check_files()
    return asked


def source_for(
    spec: StudySpec, catalogue: Catalogue, data: str, backbones: tuple[str, ...]
) -> DataSource:
    """The source that a value of `--data` means for a study.

    Raises:
        DataError: It names a folder that is not there.
    """
    needed = [(catalogue[task], x) for task, x, _ in spec.needed_splits(catalogue)]
    return choose_source(data, needed, backbones)
