"""Sentences of tagged words out of raw files: lines of fields, CSV, and texts with spans."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

from objectives.data.written_tables import unquoted
from spaces.raw_source import RawSource

Sentence = tuple[list[str], list[str]]
"""Words, and the tag of each as the file has it."""
_DOCUMENT = "-DOCSTART-"
# CoNLL-U has lines of words that are written as one, and of words that are not written.
_NO_WORD = re.compile(r"\d+[-.]\d+")
_WORD = re.compile(r"\w+|[^\w\s]")


def bio_sentences(text: str, source: RawSource) -> Iterator[Sentence]:
    """Sentences of lines with fields between TABs, or spaces where a line has no TAB.

    Where the word is not the first field, lines that begin with `#` are comments, and the first
    field numbers the words. A line without enough fields has no word, as a few have in MasakhaNER.
    """
    token_at, tag_at = int(source.columns["tokens"]), int(source.columns.get("tags", -1))
    words: list[str] = []
    tags: list[str] = []
    wanted = True
    for line in [*text.split("\n"), ""]:
        if not line.strip():
            if words and wanted:
                yield words, tags
            words, tags, wanted = [], [], True
            continue
        if token_at and line.startswith("#"):
            name, _, value = line[1:].partition("=")
            if name.strip() == "sent_id":
                wanted = _is_wanted(value.strip(), source)
            continue
        fields = line.split("\t") if "\t" in line else line.split()
        if fields[0].startswith(_DOCUMENT) or (token_at and _NO_WORD.fullmatch(fields[0])):
            continue
        if len(fields) <= max(token_at, tag_at):
            continue
        word = unquoted(fields[token_at]) if source.quoted else fields[token_at]
        if _is_visible(word):
            words.append(word)
            tags.append(fields[tag_at].strip())


def _is_visible(word: str) -> bool:
    """Whether a word has more than white space and control characters, which nobody can tag."""
    return any(x.isprintable() and not x.isspace() for x in word)


def _is_wanted(sentence: str, source: RawSource) -> bool:
    if source.without and sentence.startswith(source.without):
        return False
    return sentence.startswith(source.only)


def csv_documents(text: str) -> Iterator[Iterator[Sentence]]:
    """Documents of `token,TAG` rows; a row without a token parts sentences."""
    document: list[Sentence] = []
    words: list[str] = []
    tags: list[str] = []
    for row in [*csv.reader(io.StringIO(text, newline="")), [_DOCUMENT, "O"]]:
        token, tag = (row[0], row[-1].strip()) if row else ("", "")
        if token.strip() and token != _DOCUMENT:
            if _is_visible(token):
                words.append(token)
                tags.append(tag)
            continue
        if words:
            document.append((words, tags))
            words, tags = [], []
        if token == _DOCUMENT and document:
            yield iter(document)
            document = []


def span_sentences(example: Mapping[str, Any]) -> Iterator[Sentence]:
    """A text with spans of characters: words and marks of punctuation, tagged by IOB2."""
    text: str = example["data"]["text"]
    spans = sorted(
        (x["value"]["start"], x["value"]["end"], x["value"]["labels"][0])
        for x in example["annotations"][0]["result"]
    )
    words, tags, before = [], [], None
    for match in _WORD.finditer(text):
        of = next((x for x in spans if x[0] < match.end() and match.start() < x[1]), None)
        words.append(match.group())
        tags.append("O" if of is None else f"{'I' if of == before else 'B'}-{of[2]}")
        before = of
    if words:
        yield words, tags
