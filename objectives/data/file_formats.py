"""Readers of the line formats that a data folder may have.

Questions are read by `question_files`, sentences with their translations by `sentence_files`,
rows, which `search.data get` and the cache write, by `row_files`.

- Tagging: token TAB tag, a blank line after each sentence; IOB2 for NER.
- Tables: fields between TABs, with a header line, or without one where the template names the
  columns; quoted where the whole file is as the csv module and pandas write it. Commas for TABs
  in files named .csv.
"""

from __future__ import annotations

import gzip
import logging
import lzma
import math
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from objectives.data.written_tables import comma_rows, unquoted, written_rows
from spaces.errors import DataError
from spaces.records import decoded
from spaces.task import FileTemplate, Task, by_unicode_form

_log = logging.getLogger(__name__)

Columns = dict[str, list[Any]]
Lines = Iterable[tuple[int, str]]
Rows = Sequence[tuple[int, list[str]]]


# --- text


def read_text(file: Path) -> str:
    """The file's text, unpacked where it is compressed.

    Raises:
        DataError: It cannot be read, or is no UTF-8; with the line.
    """
    try:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        elif file.suffix == ".xz":
            data = lzma.decompress(data)
        return decoded(data)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}:{line}", "UTF-8", error.reason) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:  # BadGzipFile is an OSError
        raise DataError(f"{file}: cannot be read", found=str(error)) from error


def numbered_lines(file: Path) -> Lines:
    """Numbered lines without their ends; universal newlines only, so U+2028 stays in its line."""
    return _numbered(read_text(file).replace("\r\n", "\n"))


def _numbered(text: str) -> Lines:
    return enumerate(text.removesuffix("\n").split("\n"), start=1)


def _unknown_label(label: str, task: Task, file: Path, line: int) -> DataError:
    return DataError(
        f"{file}:{line}", f"a label of {task.name} ({', '.join(task.labels)})", f"{label!r}"
    )


# --- tagging


def tagged_lines(file: Path) -> Lines:
    """Numbered lines of a tagging task's file, as `read_tagged` takes them."""
    text = read_text(file).replace("\r\n", "\n")
    if (written := written_rows(text, of_one_line=True)) is None:
        return _numbered(text)
    return [(number, "\t".join(fields)) for number, fields in written]


def read_tagged(
    lines: Lines, file: Path, task: Task, template: FileTemplate, *, hidden_allowed: bool
) -> Columns:
    """Sentences of a tagging task; tags of a test split may all be missing."""
    known = set(task.tags)
    # What may stand behind the TAB -> our tag.
    ours = by_unicode_form({tag: template.labels.get(tag, tag) for tag in known} | template.labels)
    empty = 0
    has_outside = "O" in known
    columns: Columns = {"tokens": [], "tags": []}
    words: list[str] = []
    tags: list[str] = []
    hidden = False
    for number, line in lines:
        token, _, theirs = line.partition("\t")
        tag = ours.get(theirs)
        if tag is not None and not token.strip():
            # XTREME's script writes a word that is white space so. No sub-word stands for it.
            empty += 1
        elif tag is None:  # not the line that nearly all are
            if not line.strip():
                _end_sentence(columns, words, tags)
                words, tags = [], []
                continue
            token, *rest = line.split("\t")
            tagged = bool(rest and rest[0])
            if len(rest) > 1 or not token.strip() or not (tagged or hidden_allowed):
                raise DataError(f"{file}:{number}", "token TAB tag", f"{line[:60]!r}")
            if not tagged:
                words.append(token)
                hidden = True
                continue
            theirs = rest[0].strip()
            tag = ours.get(unicodedata.normalize("NFC", theirs), theirs)
        if tag not in known:
            raise _unknown_label(tag, task, file, number)
        if has_outside and tag.startswith("I-"):
            before = tags[-1] if tags else "O"
            if before[2:] != tag[2:]:
                raise DataError(
                    f"{file}:{number}",
                    f"IOB2, where {tag} follows B-{tag[2:]} or {tag}",
                    f"it after {before}",
                )
        words.append(token)
        tags.append(tag)
    _end_sentence(columns, words, tags)
    if empty:
        _log.warning("%s: %d words are white space, for which a model sees nothing", file, empty)
    if hidden and any(columns["tags"]):
        raise DataError(str(file), "all tags or none", "some words without a tag")
    if hidden:
        columns["tags"] = [None] * len(columns["tokens"])
    return columns


def _end_sentence(columns: Columns, words: list[str], tags: list[str]) -> None:
    if words:
        columns["tokens"].append(words)
        columns["tags"].append(tags)


# --- tables


def table_rows(file: Path, template: FileTemplate) -> Rows:
    """Numbered rows of a table, its header among them, as `read_table` takes them."""
    text = read_text(file).replace("\r\n", "\n")
    if ".csv" in file.suffixes[-2:]:
        try:
            return comma_rows(text)
        except ValueError as error:
            raise DataError(str(file), "a table with commas", str(error)) from error
    rows = None if template.columns else written_rows(text)
    return rows or [(number, line.split("\t")) for number, line in _numbered(text)]


def read_table(
    rows: Rows, file: Path, task: Task, template: FileTemplate, *, hidden_allowed: bool
) -> Columns:
    """Columns of a table, which may have others too; a hidden test split may lack the last one."""
    rows = list(rows)
    wanted = task.kind.columns
    if template.columns and ".csv" not in file.suffixes[-2:]:
        # What writes tables without a header, XTREME's script for one, uses Python's csv module.
        rows = [(number, [unquoted(x) for x in fields]) for number, fields in rows]
        rows = [] if rows == [(1, [""])] else rows
    if template.columns:
        header = list(template.columns)
        narrow = bool(rows) and len(rows[0][1]) == len(header) - 1
        if hidden_allowed and narrow and wanted[-1] in header:
            header.remove(wanted[-1])
    else:
        header = rows.pop(0)[1]
    hidden = hidden_allowed and wanted[-1] not in header
    read = wanted[:-1] if hidden else wanted
    if missing := [name for name in read if name not in header]:
        raise DataError(f"{file}:1", f"the columns {', '.join(wanted)}", f"no {missing[0]}")
    places = [(name, header.index(name)) for name in read]
    columns: Columns = {name: [] for name in wanted}
    known = {*task.labels, *task.unscored_labels}
    ours = by_unicode_form({label: label for label in known} | template.labels)
    for number, fields in rows:
        if len(fields) != len(header):
            raise DataError(f"{file}:{number}", f"{len(header)} columns", str(len(fields)))
        for name, place in places:
            value: str | float | None = fields[place].strip()
            if hidden_allowed and name == wanted[-1] and not value:
                value = None
            elif name == "label":
                value = ours.get(unicodedata.normalize("NFC", str(value)), str(value))
                if value not in known:
                    raise _unknown_label(value, task, file, number)
            elif name == "score":
                value = _number(fields[place], file, number)
            columns[name].append(value)
    if hidden:
        columns[wanted[-1]] = [None] * len(rows)
    return columns


def _number(text: str, file: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{file}:{line}", "a number in column score", f"{text!r}")
    return value
