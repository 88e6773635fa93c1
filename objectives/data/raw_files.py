"""Raw files of public repositories as the splits of a task.

Published splits are kept whole. Where a corpus has none, each of its documents falls into one by
the SHA-256 of its text (of its name, where each document is a file): 70 % are for training, 10 %
for validation, 20 % for the test split. What stands in a document, as the sentences of a judgment,
stays together.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from objectives.data.file_formats import Columns
from objectives.data.raw_tagged import Sentence, bio_sentences, csv_documents, span_sentences
from spaces.errors import DataError
from spaces.raw_source import DRAWN, RawFile, RawFormat, RawSource
from spaces.task import Task, TaskKind

Row = dict[str, Any]
Contents = Sequence[tuple[RawFile, Mapping[str, bytes]]]
"""Each file of a source with its content by path; a folder has several."""
# What readers meet in files of any other format, an empty one and one nested too deep among them.
_NOT_THE_FORMAT = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, csv.Error)
_SHARES = (("train", 0.7), ("validation", 0.8), ("test", 1.0))


@dataclass(frozen=True)
class _Document:
    """What stays in one split.

    Attributes:
        key: Text or name that its split is drawn by.
        rows: Its examples, with the columns of the task's kind.
        split: Its split, where the corpus says it in another way than by a file for each.
    """

    key: str
    rows: list[Row]
    split: str = ""


def raw_splits(
    task: Task, language: str, source: RawSource, contents: Contents
) -> dict[str, Columns]:
    """All splits that raw files hold in a language.

    Args:
        task: Catalogue record of the task.
        language: ISO 639-3 code.
        source: Where the files are from, and how they are read.
        contents: The files of that language.

    Returns:
        Split -> the columns of the task's kind.

    Raises:
        DataError: A file is not of the format that the record says.
    """
    splits: dict[str, list[Row]] = {}
    for split in dict.fromkeys(file.split for file, _ in contents):
        of_split = [(file, content) for file, content in contents if file.split == split]
        try:
            documents = [*_READERS[source.format](task, source, of_split)]
            for row in (row for document in documents[:1] for row in document.rows[:1]):
                _columns(task, [row])  # a format that is not of the task's kind has others
        except _NOT_THE_FORMAT as error:
            names = ", ".join(file.path for file, _ in of_split)
            raise DataError(
                f"{source.repository}, {names}", f"the format {source.format}", repr(error)
            ) from error
        for document in documents:
            drawn = document.split or drawn_split(document.key)
            name = drawn if split == DRAWN else split
            splits.setdefault(name, []).extend(document.rows)
    return {split: _columns(task, rows) for split, rows in splits.items()}


def drawn_split(key: str) -> str:
    """The split of a document of a corpus that has none."""
    drawn = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
    return next(split for split, below in _SHARES if drawn < below)


def _columns(task: Task, rows: list[Row]) -> Columns:
    if task.kind is TaskKind.MLM:
        texts = (row["text"] if "text" in row else _joined(row["tokens"]) for row in rows)
        return {"text": [text for x in texts if (text := " ".join(x.split()))]}
    return {name: [row[name] for row in rows] for name in task.kind.columns}


def _joined(tokens: Sequence[str]) -> str:
    """Tokens as a text, with no space before closing punctuation and after opening one."""
    text = re.sub(r" ([,.;:?!%)\]}])", r"\1", " ".join(tokens))
    return re.sub(r"([(\[{]) ", r"\1", text)


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


# --- tagged


def _tagged(task: Task, source: RawSource, contents: Contents) -> Iterator[_Document]:
    for file, content in contents:
        for name, data in content.items():
            rows = _tagged_rows(task, source, bio_sentences(_text(data), source))
            if file.is_folder:
                yield _Document(name, rows)
            else:
                yield from (_Document(" ".join(row["tokens"]), [row]) for row in rows)


def _tagged_csv(task: Task, source: RawSource, contents: Contents) -> Iterator[_Document]:
    for _, content in contents:
        for data in content.values():
            for sentences in csv_documents(_text(data)):
                rows = _tagged_rows(task, source, sentences)
                yield _Document("\n".join(" ".join(row["tokens"]) for row in rows), rows)


def _spans(task: Task, source: RawSource, contents: Contents) -> Iterator[_Document]:
    for _, content in contents:
        for data in content.values():
            for example in json.loads(data):
                rows = _tagged_rows(task, source, span_sentences(example))
                yield _Document(example["data"]["text"], rows)


def _tagged_rows(task: Task, source: RawSource, sentences: Iterator[Sentence]) -> list[Row]:
    rows = []
    for tokens, theirs in sentences:
        tags = [source.labels.get(tag, tag) for tag in theirs]
        if task.kind is TaskKind.NER:
            tags = _as_iob2(tags)
        rows.append({"tokens": tokens, "tags": tags})
    return rows


def _as_iob2(tags: list[str]) -> list[str]:
    """Tags of IO or of broken IOB2: what goes on with no entity begins one."""
    before = ["O", *tags]
    return [
        f"B-{tag[2:]}" if tag.startswith("I-") and before[i][2:] != tag[2:] else tag
        for i, tag in enumerate(tags)
    ]


# --- tables and JSON


def _table(task: Task, source: RawSource, contents: Contents) -> Iterator[_Document]:
    for file, content in contents:
        for name, data in content.items():
            rows = [_named(task, source, x) for x in _table_rows(source, name, _text(data))]
            if file.is_folder:
                yield _Document(name, rows)
            else:
                yield from (_Document(json.dumps(row, ensure_ascii=False), [row]) for row in rows)


def _table_rows(source: RawSource, name: str, text: str) -> Iterator[Mapping[str, str]]:
    read = csv.reader(
        io.StringIO(text, newline=""),
        delimiter="," if name.endswith(".csv") else "\t",
        quoting=csv.QUOTE_MINIMAL if source.quoted else csv.QUOTE_NONE,
    )
    rows = (row for row in read if any(field.strip() for field in row))
    numbered = all(part.isdigit() for x in source.columns.values() for part in x.split())
    header = None if numbered else next(rows)
    for row in itertools.islice(rows, source.skip, None):
        yield dict(zip(header or map(str, range(len(row))), row, strict=False))


def _json_lines(task: Task, source: RawSource, contents: Contents) -> Iterator[_Document]:
    for _, content in contents:
        for data in content.values():
            for line in _text(data).split("\n"):
                if line.strip():
                    row = _named(task, source, json.loads(line))
                    yield _Document(json.dumps(row, ensure_ascii=False), [row])


def _named(task: Task, source: RawSource, theirs: Mapping[str, Any]) -> Row:
    """A row with our columns; several of theirs are joined by a space."""
    row: Row = {}
    for name in task.kind.columns:
        parts = source.columns.get(name, name).split()
        value = " ".join(filter(None, (str(theirs[part]).strip() for part in parts)))
        row[name] = source.labels.get(value, value) if name == "label" else value
        if name == "score":
            row[name] = float(value)
    return row


def _passages(task: Task, source: RawSource, contents: Contents) -> Iterator[_Document]:
    """Questions whose answer stands in the passage where it is said to."""
    for file, content in contents:
        question = "question_translated" if file.language == "eng" else "question_lang"
        for path, data in content.items():
            name = path.rsplit("/", 2)[-2]
            for line in _text(data).split("\n"):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not (row["context"] and row[question]):
                    continue
                pivot = row["answer_pivot"]
                answers = [
                    {"text": text, "start": start}
                    for text, start in zip(pivot["text"], pivot["answer_start"], strict=False)
                    if text and start >= 0 and row["context"].startswith(text, start)
                ]
                ours = {
                    "id": f"{name}-{row['id']}",
                    "question": row[question].strip(),
                    "context": row["context"],
                    "answers": answers,
                }
                yield _Document(row["context"], [ours] if answers else [])


def _abstracts(task: Task, source: RawSource, contents: Contents) -> Iterator[_Document]:
    """Questions of PubMedQA, whose test split is published as a file with the decision of each id.

    The other half is for training, but for what the draw gives to validation.
    """
    files = [json.loads(data) for _, content in contents for data in content.values()]
    questions = next(x for x in files if isinstance(next(iter(x.values())), dict))
    of_test = {name for x in files if x is not questions for name in x}
    for name, row in questions.items():
        title, passage = row["QUESTION"].strip(), " ".join(row["CONTEXTS"]).strip()
        ours = {"text_a": title, "text_b": passage, "label": row["final_decision"]}
        drawn = "validation" if drawn_split(title) == "validation" else "train"
        yield _Document(title, [ours], "test" if name in of_test else drawn)


def _contracts(task: Task, source: RawSource, contents: Contents) -> Iterator[_Document]:
    """The texts of contracts, a paragraph a row."""
    for _, content in contents:
        for data in content.values():
            for contract in json.loads(data)["documents"]:
                rows = [{"text": text} for text in contract["text"].split("\n")]
                yield _Document(contract["text"], rows)


# --- folders and pairs of files


def _label_folders(task: Task, source: RawSource, contents: Contents) -> Iterator[_Document]:
    """Sentences of `text/ID.txt`, a line each, with what `labels/ID.txt` has after each `<`.

    A sentence with several labels of the upper level has none here; one without a label is "none".
    A document whose labels are not as many as its lines is left out.
    """
    folders = {file.path: content for file, content in contents}
    texts = next(x for path, x in folders.items() if path.startswith("text"))
    labels = next((x for path, x in folders.items() if path.startswith("labels")), None)
    for name, data in texts.items():
        lines = [line.strip() for line in _text(data).split("\n") if line.strip()]
        if labels is None:
            yield _Document(name, [{"text": line} for line in lines])
            continue
        named = [_upper_labels(x) for x in _text(labels[name]).split("<")[1:]]
        if len(named) == len(lines):
            rows = [
                {"text": line, "label": found.pop() if found else "none"}
                for line, found in zip(lines, named, strict=True)
                if len(found) < 2
            ]
            yield _Document(name, rows)


def _upper_labels(text: str) -> set[str]:
    labels = {label.split("--")[0].strip() for label in re.split(r"\s+AND\s*", text)}
    return labels - {"", "NULL"}


def _parallel(task: Task, source: RawSource, contents: Contents) -> Iterator[_Document]:
    sides = {
        file.side: [line.strip() for line in _text(data).removesuffix("\n").split("\n")]
        for file, content in contents
        for data in content.values()
    }
    language, english = sides["language"], sides["english"]
    if len(language) != len(english):
        raise ValueError(f"{len(language)} and {len(english)} lines")
    rows = [
        {"id": str(i), "text": text, "side": "language", "match": str(i)}
        for i, text in enumerate(language)
    ]
    rows += [
        {"id": str(i), "text": text, "side": "english", "match": ""}
        for i, text in enumerate(english)
    ]
    yield _Document("", rows)


_READERS: dict[RawFormat, Callable[[Task, RawSource, Contents], Iterator[_Document]]] = {
    RawFormat.TAGGED: _tagged,
    RawFormat.TAGGED_CSV: _tagged_csv,
    RawFormat.TABLE: _table,
    RawFormat.JSON_LINES: _json_lines,
    RawFormat.SPANS: _spans,
    RawFormat.CONTRACTS: _contracts,
    RawFormat.PASSAGES: _passages,
    RawFormat.ABSTRACTS: _abstracts,
    RawFormat.LABEL_FOLDERS: _label_folders,
    RawFormat.PARALLEL: _parallel,
}
