"""The one speller of commands that are shown to people: what it prints can be pasted and runs.

Pages, cards, notes and the terminal all name the next command by it, so that no two of them
differ, none drops an option that the study needs, and none shows a password.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from search.command_line.options import DEFAULT_STORAGE, STORAGE_VARIABLE, holds_password
from spaces.errors import SpecError
from spaces.studies import check_study_name

BASELINE_SUFFIX = ".baseline"
"""What the direct trainings of a study are called by, behind its name."""
# Commands that read the study's file, and those that train a stored study's recipes again: these
# know its source and its encoder from the storage, but not where its folders of data lie.
_BY_FILE = frozenset({"run", "extend"})
_REOPENING = frozenset({"confirm", "export", "predict"})
_SOURCES_WITHOUT_FOLDER = frozenset({"auto", "real", "hub", "pocket"})


@dataclass(frozen=True)
class StudyAddress:
    """How a command line reaches a study.

    Attributes:
        file: Name of a shipped study or path of a .toml file, as `search.run --study` takes it.
        name: Name of the study in its storage, without a version.
        storage: URL of the storage, which may hold a password; left out of `repr`.
        data: Value of `--data` that names the study's source; `auto` is not spelled out.
        backbone: Value of `--backbone`; None where the study file names the encoder.
        overrides: Values of `--set`, in order.
        cache: Value of `--cache`; None for the place beside the storage.
    """

    file: str
    name: str
    storage: str = field(repr=False)
    data: str = "auto"
    backbone: str | None = None
    overrides: tuple[str, ...] = ()
    cache: str | None = None

    def kept(self) -> dict[str, Any]:
        """What of it is kept with the study, in JSON's types; all but the storage itself."""
        fields = asdict(self)
        del fields["storage"]
        return fields | {"overrides": list(self.overrides)}

    @classmethod
    def restored(cls, kept: Mapping[str, Any], storage: str) -> StudyAddress:
        """The address of a study that kept it, at the storage it was read from."""
        return cls(**{**kept, "overrides": tuple(kept["overrides"])}, storage=storage)


def next_command(command: str, address: StudyAddress, *more: str) -> str:
    """A command about a study, as a shell takes it.

    Args:
        command: Name of a module of `search`, as in `status`.
        address: How the study is reached.
        more: Further words, as in `--trials`, `40`.

    Returns:
        One line. A storage whose URL holds a password is named by the environment variable
        `TRANSFER_SEARCH_STORAGE`; an empty one is left to whoever pastes the command.
    """
    words = ["python", "-m", f"search.{command}", "--study"]
    if command in _BY_FILE:
        words.append(address.file)
        if address.name != file_stem(address.file):
            words += ["--name", address.name]
        words += [word for override in address.overrides for word in ("--set", override)]
        words += ["--data", address.data] if address.data != "auto" else []
        words += ["--backbone", address.backbone] if address.backbone else []
    else:
        words.append(address.name)
        if command in _REOPENING and address.data not in _SOURCES_WITHOUT_FOLDER:
            words += ["--data", address.data]
    if address.cache and command in _BY_FILE | _REOPENING | {"dashboard"}:
        words += ["--cache", address.cache]
    line = shlex.join(words)
    storage = address.storage
    is_default = storage == DEFAULT_STORAGE and not os.environ.get(STORAGE_VARIABLE)
    if storage and not is_default:
        spelled = f'"${STORAGE_VARIABLE}"' if holds_password(storage) else shlex.quote(storage)
        line += f" --storage {spelled}"
    return f"{line} {shlex.join(more)}" if more else line


def scoring_command(
    task: str, predictions: str, split: str, *, data: str = "auto", study_file: str | None = None
) -> str:
    """The command that scores predictions, as a shell takes it.

    Args:
        task: Name of the task.
        predictions: Folder of the predictions of all tasks.
        split: test or validation.
        data: Value of `--data`; `auto` is not spelled out.
        study_file: The study file, or shipped study, that defines the task; None for a task of
            the catalogue.
    """
    words = ["--task", task, "--predictions", predictions, "--split", split]
    words += ["--data", data] if data != "auto" else []
    words += ["--study", study_file] if study_file else []
    return shlex.join(["python", "-m", "search.evaluate", *words])


def get_command(study: str, to: Path | None = None, overrides: Sequence[str] = ()) -> str:
    """The command that gets the corpora of a study, as a shell takes it.

    Args:
        study: Name of a shipped study, or path of its file.
        to: Data folder that they are put into; None for the cache.
        overrides: Values of `--set`, in order.
    """
    words = ["--study", study, *(word for x in overrides for word in ("--set", x))]
    words += ["--to", str(to)] if to else []
    return shlex.join(["python", "-m", "search.data", "get", *words])


def check_new_name(name: str, subject: str) -> None:
    """Check that a new study's name can be one wherever it is used.

    Args:
        name: The name.
        subject: What it is in an error, as in `--name`.

    Raises:
        SpecError: It is none, or that of direct trainings.
    """
    check_study_name(name, subject)
    if name.endswith(BASELINE_SUFFIX):
        expected = f"a name without {BASELINE_SUFFIX}, which direct trainings have"
        raise SpecError(subject, expected, repr(name))


def folder_name(study: str) -> str:
    """What a folder that is named after a study is called: a name may hold what makes a path."""
    return re.sub(r"[/\\:]|^\.+", "_", study)


def file_stem(study: str) -> str:
    """The name in the storage that a study file or a shipped study has by default."""
    return study.rpartition("/")[2].removesuffix(".toml")
