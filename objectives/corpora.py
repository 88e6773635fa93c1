"""Reading a split of a task: from the Hub, from a local folder, or from the pocket corpora.

All three give the same columns (`TaskKind.columns`) with labels as text, checked against the
catalogue record. A label that a test split hides is None, never a placeholder.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import datasets
import httpx2
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from objectives.pocket import POCKET_VERSION, pocket_split
from spaces.catalogue import Task
from spaces.errors import DataError
from storage.fingerprint import fingerprint

FILE_SPLITS = {"train": "train", "validation": "dev", "test": "test"}
DATA_VARIABLE = "TRANSFER_SEARCH_DATA"
# The Hub is asked once per run; a machine without a route to it should not wait long.
HUB_TIMEOUT = 5.0


class SourceKind(StrEnum):
    """Where corpora come from."""

    HUB = "hub"
    LOCAL = "local"
    POCKET = "pocket"


@dataclass(frozen=True)
class DataSource:
    """Where the corpora of a run come from, and why.

    Attributes:
        kind: The Hub, a folder, or the pocket corpora.
        folder: For a local source.
        reason: Why this one, for the first line of a run.
    """

    kind: SourceKind
    folder: Path | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.kind is SourceKind.POCKET:
            return f"pocket corpora (generated, version {POCKET_VERSION})"
        return f"local folder {self.folder}" if self.folder else "Hugging Face hub"


def choose_source(
    option: str, needed: Sequence[tuple[Task, str]] = (), backbones: Sequence[str] = ()
) -> DataSource:
    """The data source for `--data OPTION`.

    Args:
        option: auto, hub, pocket, or a folder.
        needed: The tasks and languages of a study, for `auto`.
        backbones: Its encoders, for `auto`.

    Raises:
        DataError: A folder that does not exist.
    """
    if option == SourceKind.POCKET:
        return DataSource(SourceKind.POCKET, reason="asked for with --data pocket")
    if option == SourceKind.HUB:
        return DataSource(SourceKind.HUB, reason="asked for with --data hub")
    if option != "auto":
        return _local(option, "--data")
    if needed and all(task.pocket for task, _ in needed):
        return DataSource(SourceKind.POCKET, reason="the study names pocket tasks only")
    if named := os.environ.get(DATA_VARIABLE):
        return _local(named, DATA_VARIABLE)
    unset = f"{DATA_VARIABLE} is not set"
    if elsewhere := sorted({task.name for task, x in needed if _hub_config(task, x) is None}):
        reason = f"{unset} and the catalogue knows no Hub copy of {', '.join(elsewhere)}"
        return DataSource(SourceKind.POCKET, reason=reason)
    problem = _hub_problem()
    if not problem:
        return DataSource(SourceKind.HUB, reason=f"{unset} and the Hub answers")
    if needed and _in_hub_cache(needed, backbones):
        reason = f"{unset}, {problem}, but its cache holds what the study needs"
        return DataSource(SourceKind.HUB, reason=reason)
    return DataSource(SourceKind.POCKET, reason=f"{unset} and {problem}")


def load_split(task: Task, language: str, split: str, source: DataSource) -> datasets.Dataset:
    """One split of a task in one language.

    Args:
        task: Its catalogue record.
        language: ISO 639-3 code.
        split: train, validation or test.
        source: Where to read.

    Returns:
        The columns of `task.kind`, labels as text. The last column is None in every row of a
        test split whose labels are hidden.

    Raises:
        DataError: The source has no such split, or it is broken; with file and line.
    """
    if source.kind is SourceKind.POCKET:
        columns = _pocket_columns(task, language, split)
        where = f"pocket corpora, {task.name} {language} {split}"
    elif source.kind is SourceKind.LOCAL:
        file = _find_file(task, language, split, source)
        columns = _read_file(file, task, split)
        where = str(file)
    else:
        columns = _hub_columns(task, language, split)
        where = f"Hugging Face hub, {task.name} {language} {split}"
    if not columns[task.kind.columns[0]]:
        raise DataError(f"{where}: expected examples, found none")
    return datasets.Dataset.from_dict(columns)


def has_split(task: Task, language: str, split: str, source: DataSource) -> bool:
    """Whether a local folder or the pocket corpora have a split; True for the Hub, unasked."""
    try:
        if source.kind is SourceKind.LOCAL:
            _find_file(task, language, split, source)
        elif source.kind is SourceKind.POCKET:
            _pocket_columns(task, language, split)
    except DataError:
        return False
    return source.kind is not SourceKind.HUB or _hub_config(task, language) is not None


def corpus_key(dataset: datasets.Dataset) -> str:
    """Fingerprint of a split's content.

    Not the one of `datasets`, which names the way a table was made (and is random where that
    way cannot be hashed): equal rows must have equal keys on every machine.
    """
    return fingerprint({name: dataset[name][:] for name in dataset.column_names})


# --- the Hub


def _hub_problem() -> str:
    """Why the Hub cannot be used; empty if it answers."""
    try:
        huggingface_hub.HfApi().dataset_info("google/xtreme", timeout=HUB_TIMEOUT)
    except OfflineModeIsEnabled:
        return "the Hub is switched off (HF_HUB_OFFLINE)"
    except (httpx2.HTTPError, HfHubHTTPError) as error:
        return f"the Hub does not answer ({type(error).__name__})"
    return ""


def _hub_config(task: Task, language: str) -> str | None:
    """The configuration of a task in a language on the Hub; None where it is not there."""
    return None if task.hub is None else task.fill(task.hub.config, language)


def _in_hub_cache(needed: Sequence[tuple[Task, str]], backbones: Sequence[str]) -> bool:
    """Whether earlier runs left all of it in the caches of datasets and huggingface_hub."""
    for name in backbones:
        if not Path(name).is_dir() and not isinstance(
            huggingface_hub.try_to_load_from_cache(name, "config.json"), str
        ):
            return False
    for task, language in needed:
        config = _hub_config(task, language)
        if task.hub is None or config is None:
            return False
        *owner, name = task.hub.repository.split("/")
        folder = "___".join((*owner, datasets.naming.camelcase_to_snakecase(name)))
        cache = Path(datasets.config.HF_DATASETS_CACHE)
        if not any((cache / folder / (config or "default")).glob("*/*/dataset_info.json")):
            return False
    return True


def _hub_columns(task: Task, language: str, split: str) -> dict[str, list[Any]]:
    hub = task.hub
    config = _hub_config(task, language)
    if hub is None or config is None:
        raise DataError(
            f"task {task.name!r}: the catalogue knows no {language} {split} split on the Hub; "
            f"name a folder with --data"
        )
    theirs = hub.splits.get(split, split)
    where = f"Hugging Face hub, {hub.repository} {config} {theirs}".replace("  ", " ")
    try:
        rows = datasets.load_dataset(
            hub.repository, config or None, split=theirs, revision=hub.revision or None
        )
    except (httpx2.HTTPError, HfHubHTTPError, OSError, ValueError) as error:
        # datasets raises ValueError for an unknown config or split, OSError kin for the rest.
        raise DataError(f"{where}: cannot be read: {str(error).splitlines()[0]}") from error
    columns: dict[str, list[Any]] = {}
    for ours in task.kind.columns:
        name = hub.columns.get(ours, ours)
        if name not in rows.column_names:
            raise DataError(
                f"{where}: expected the column {name!r}, found {', '.join(rows.column_names)}"
            )
        columns[ours] = _named(rows[name][:], rows.features[name], hub.labels)
    _check_labels(columns, task, split, where)
    return columns


def _named(values: list[Any], feature: object, rename: dict[str, str]) -> list[Any]:
    """Labels as the catalogue has them; None where the Hub hides them (-1, or no name).

    Class numbers get their names; plain numbers are looked up in the catalogue by their digits.
    """
    names = getattr(feature, "names", None) or getattr(
        getattr(feature, "feature", None), "names", None
    )

    def name(value: object) -> object:
        if isinstance(value, list):
            found = [name(item) for item in value]
            return None if found and all(item is None for item in found) else found
        if isinstance(value, int):
            if value == -1:
                return None
            value = names[value] if names is not None else rename.get(str(value), value)
        return rename.get(value, value) if isinstance(value, str) else value

    return [name(value) for value in values]


def _check_labels(columns: dict[str, list[Any]], task: Task, split: str, where: str) -> None:
    if not (task.kind.is_tagging or task.kind.is_classification):
        return
    known = {*task.tags, *task.unscored_labels, *([None] if split == "test" else [])}
    for number, value in enumerate(columns[task.kind.columns[-1]]):
        for label in value if isinstance(value, list) else [value]:
            if label not in known:
                raise DataError(
                    f"{where}: example {number}: expected a label of {task.name} "
                    f"({', '.join(task.tags)}), found {label!r}"
                )


# --- the pocket corpora


def _pocket_columns(task: Task, language: str, split: str) -> dict[str, list[Any]]:
    missing = f"pocket corpora: task {task.name!r} has no {language} {split} split"
    if not task.pocket or language not in task.languages:
        raise DataError(missing)
    try:
        return pocket_split(task.pocket, language, split)
    except KeyError as error:
        raise DataError(missing) from error


# --- a local folder


def _local(name: str, option: str) -> DataSource:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise DataError(f"{option}: expected auto, hub, pocket or a folder, found {name!r}")
    return DataSource(SourceKind.LOCAL, folder.resolve(), f"named by {option}")


def _find_file(task: Task, language: str, split: str, source: DataSource) -> Path:
    folder = source.folder
    assert folder is not None
    filled = [task.fill(template, language, FILE_SPLITS[split]) for template in task.files]
    names = [name + ending for name in filled if name for ending in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    expected = " or ".join(names[::2]) or "a file of that language"
    raise DataError(
        f"{folder}: task {task.name!r} has no {language} {split} split; expected {expected}"
    )


def _read_file(file: Path, task: Task, split: str) -> dict[str, list[Any]]:
    lines = _lines(file)
    if task.kind.is_tagging:
        return _read_tagged(lines, file, task, hidden_allowed=split == "test")
    return _read_table(lines, file, task, hidden_allowed=split == "test")


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends; universal newlines only, so U+2028 stays in its line."""
    try:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}:{line}: expected UTF-8, found {error.reason}") from error
    except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
        raise DataError(f"{file}: cannot be read: {error}") from error
    return enumerate(text.replace("\r\n", "\n").removesuffix("\n").split("\n"), start=1)


def _read_tagged(
    lines: Iterator[tuple[int, str]], file: Path, task: Task, *, hidden_allowed: bool
) -> dict[str, list[Any]]:
    """Token TAB tag, a blank line after each sentence; IOB2 for NER."""
    known = set(task.tags)
    sentences: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    hidden = False
    for number, line in lines:
        if not line.strip():
            if sentences[-1]:
                sentences.append([])
                tags.append([])
            continue
        token, *rest = line.split("\t")
        if len(rest) > 1 or not token.strip():
            raise DataError(f"{file}:{number}: expected token TAB tag, found {line[:60]!r}")
        sentences[-1].append(token)
        if not rest or not rest[0]:
            if not hidden_allowed:
                raise DataError(f"{file}:{number}: expected token TAB tag, found {line[:60]!r}")
            hidden = True
            continue
        tag = rest[0].strip()
        if tag not in known:
            raise DataError(
                f"{file}:{number}: expected a label of {task.name} "
                f"({', '.join(task.labels)}), found {tag!r}"
            )
        before = tags[-1][-1] if tags[-1] else "O"
        if tag.startswith("I-") and "O" in known and before[2:] != tag[2:]:
            raise DataError(
                f"{file}:{number}: expected IOB2, where {tag} follows B-{tag[2:]} or {tag}, "
                f"found it after {before}"
            )
        tags[-1].append(tag)
    if not sentences[-1]:
        sentences.pop()
        tags.pop()
    if hidden and any(tags):
        raise DataError(f"{file}: expected all tags or none, found some words without a tag")
    return {"tokens": sentences, "tags": [None] * len(sentences) if hidden else tags}


def _number(text: str, file: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{file}:{line}: expected a number in column score, found {text!r}")
    return value


def _read_table(
    lines: Iterator[tuple[int, str]], file: Path, task: Task, *, hidden_allowed: bool
) -> dict[str, list[Any]]:
    """Tab-separated with a header line, unquoted; may have more columns than the kind needs."""
    _, head = next(lines)
    header = head.split("\t")
    wanted = task.kind.columns
    if missing := [name for name in wanted if name not in header]:
        raise DataError(
            f"{file}:1: expected the columns {', '.join(wanted)}, found no {missing[0]}"
        )
    places = [header.index(name) for name in wanted]
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    known = {*task.labels, *task.unscored_labels}
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) != len(header):
            raise DataError(
                f"{file}:{number}: expected {len(header)} columns, found {len(fields)}"
            )
        for name, place in zip(wanted, places, strict=True):
            value: object = fields[place].strip()
            if hidden_allowed and name == wanted[-1] and not value:
                columns[name].append(None)
                continue
            if name == "label" and value not in known:
                raise DataError(
                    f"{file}:{number}: expected a label of {task.name} "
                    f"({', '.join(task.labels)}), found {value!r}"
                )
            if name == "score":
                value = _number(fields[place], file, number)
            columns[name].append(value)
    return columns
