"""Which licences a user has accepted, kept beside the downloads.

A corpus without a licence, or with one that does not let it be passed on, is named before it is
first downloaded. A yes holds for what the catalogue says of the licence today.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import filelock

from objectives.data.data_source import CORPORA_VARIABLE, corpora_folder
from objectives.data.files import write_whole
from objectives.data.origins import Origin
from spaces.errors import DataError, first_line
from spaces.raw_source import Terms


def unaccepted(origins: Iterable[Origin]) -> dict[str, str]:
    """Task -> its licence, of corpora that have to be downloaded and want a yes first."""
    accepted = _read()
    return {
        origin.task: origin.licence
        for origin in origins
        if origin.place.is_remote
        and origin.terms is not Terms.OPEN
        and accepted.get(origin.task) != origin.licence
    }


def unaccepted_licences(licences: dict[str, str], command: str = "") -> DataError:
    """The error for corpora that want a yes before they are downloaded.

    Args:
        licences: Task -> its licence.
        command: Command that accepts them and gets the corpora, where it is known.
    """
    said = f"`{command}` accepts them and gets all" if command else "add --accept-licences"
    return DataError(
        "licences",
        f"a yes to those of {', '.join(licences)}, which are not stated or forbid passing them on",
        "none yet",
        f"read them below; {said}",
        tuple(f"{task}: {licence}" for task, licence in licences.items()),
    )


def accept(licences: dict[str, str]) -> None:
    """Remember the licences of tasks as accepted.

    Raises:
        DataError: The folder for downloads cannot be written.
    """
    if not licences:
        return
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(file.with_name(f".{file.name}.lock")):
            kept = json.dumps(_read() | licences, indent=1, sort_keys=True) + "\n"
            write_whole(file, [kept])
    except OSError as error:
        raise DataError(
            f"{file}: cannot be written",
            found=first_line(error),
            advice=f"name a folder that can be with {CORPORA_VARIABLE}",
        ) from error


def _file() -> Path:
    return corpora_folder() / "accepted-licences.json"


def _read() -> dict[str, str]:
    try:
        kept = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
