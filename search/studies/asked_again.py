"""A stored study with its data and its encoder, checked before anything heavy is loaded."""

from __future__ import annotations

from contextlib import closing

from objectives.data.data_source import SourceKind
from search.command_line.next_commands import get_command
from search.command_line.requests import ReopenRequest
from search.studies.asked_study import AskedStudy, source_for
from search.studies.definition import check_source
from search.studies.stored_study import StoredStudy, open_stored_study
from spaces.errors import StorageError


def asked_again(study: StoredStudy, data: str) -> AskedStudy:
    """A stored study with its data and its encoder, to train what it found.

    Args:
        study: The study.
        data: Where corpora come from, as `--data` says it; auto takes the study's own source.

    Raises:
        StorageError: The data come from another kind of source now.
        DataError: The data are not there.
        BackboneError: The encoder is not there.
    """
    definition = study.definition
    # Of folders only their content is kept, so they are found as in any other command.
    is_kept = data == "auto" and definition.source != SourceKind.LOCAL
    named = definition.source if is_kept else data
    source = source_for(study.spec, study.catalogue, named)
    check_source(study.name, definition, source.kind, study.shown_url)
    if data == "auto" and definition.source == SourceKind.LOCAL and not source.folders:
        raise StorageError(
            f"study {study.name!r} in {study.shown_url}",
            expected="the folders with its corpora, of which only the content is kept",
            found="none",
            advice="name them with --data",
        )
    address = study.address
    get = get_command(address.file, source.folder, address.overrides)
    asked = AskedStudy(study.spec, study.catalogue, source, get)
    asked.check_files()
    return asked


def check_reopening(request: ReopenRequest) -> None:
    """Check what can be wrong with opening a study again before torch is loaded.

    Raises:
        UnknownNameError: The storage has no such study.
        StorageError: It was made by something else, or its data come from another source now.
        DataError: Its data are not there.
        BackboneError: Its encoder is not there.
    """
    study = open_stored_study(request.storage, request.study, backbone=request.backbone)
    with closing(study.storage):
        asked_again(study, request.data)
