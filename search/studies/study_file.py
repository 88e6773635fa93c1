"""A study's file, read and checked with its tasks, before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spaces.catalogue import Catalogue, load_catalogue
from spaces.studies import StudySpec, load_study
from spaces.study_checks import check_study


@dataclass(frozen=True)
class StudyFile:
    """A checked study as its file and the command line say it.

    Attributes:
        study: Name of a shipped study, or path of the file.
        spec: The study, not yet asked of a source of data.
        catalogue: All known tasks, the study's own among them.
        overrides: Changes to the file that `spec` has already, `KEY=VALUE` each.
    """

    study: str
    spec: StudySpec
    catalogue: Catalogue
    overrides: tuple[str, ...] = ()


def read_study_file(study: str, overrides: Sequence[str] = ()) -> StudyFile:
    """Read a shipped study, or one from the path of its file.

    Raises:
        UnknownNameError: No shipped study has that name, or the study names an unknown task.
        SpecError: The file or an override is wrong.
    """
    spec = load_study(study, overrides)
    catalogue = load_catalogue().extended(spec.tasks, f"study {spec.name!r}")
    check_study(spec, catalogue)
    return StudyFile(study, spec, catalogue, tuple(overrides))
