"""Where the raw files of a corpus lie: a public repository at one commit, and how they are read.

A file is known by git's own blob id, so that what is downloaded is what was pinned, whoever serves
it. `objectives.data.downloads` gets the files, and `objectives.data.raw_files` reads them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from spaces.records import Names, StrictRecord, as_tuple

FILE_ADDRESS = "https://raw.githubusercontent.com/{repository}/{commit}/{path}"
ARCHIVE_ADDRESS = "https://codeload.github.com/{repository}/tar.gz/{commit}"

DRAWN = "drawn"
"""The split of a file whose corpus has none: each document falls into one by its SHA-256."""


class RawFormat(StrEnum):
    """How raw files are written; `columns` of the source says which fields are ours."""

    TAGGED = "tagged"
    """Fields between TABs or spaces, a blank line after each sentence, comments after `#`: token
    and tag files, CoNLL-X and CoNLL-U, by the numbers of the fields."""
    TAGGED_CSV = "tagged-csv"
    """`token,TAG`, where a row without a token parts sentences and `-DOCSTART-` documents."""
    TABLE = "table"
    """Fields between TABs, or commas where the file ends in .csv; with a header line if the
    columns are names, without one if they are numbers."""
    JSON_LINES = "json-lines"
    """An object a line."""
    SPANS = "spans"
    """A JSON list of texts with labelled spans of characters (Label Studio's)."""
    CONTRACTS = "contracts"
    """The JSON of ContractNLI: documents, and the label of each hypothesis."""
    PASSAGES = "passages"
    """A JSON list or lines of questions with a passage and answers (AfriQA's)."""
    ABSTRACTS = "abstracts"
    """The JSON of PubMedQA: question, contexts and decision by id."""
    LABEL_FOLDERS = "label-folders"
    """A folder of texts and one of labels, with files of the same names."""
    PARALLEL = "parallel"
    """Two files, where line n of one translates line n of the other."""


class RawFile(StrictRecord):
    """One file, or one folder, of the repository."""

    path: str
    """Path in the repository; that of a folder ends in a slash."""
    blob: str
    """Git's id: of the file, `sha1(b"blob %d\\0" % size + content)`; of a folder, its tree's."""
    size: int = Field(default=0, ge=0)
    """Bytes; 0 where the file was not at hand to be measured, and for folders."""
    split: str = DRAWN
    """The split whose examples it holds: train, validation or test; or `drawn`."""
    language: str = "eng"
    """ISO 639-3 code of the language whose examples it holds."""
    side: str = ""
    """Retrieval: `language` or `english`."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, which is downloaded as a part of the repository's archive."""
        return self.path.endswith("/")


class RawSource(StrictRecord):
    """Raw files at one commit of a public repository."""

    repository: str
    """OWNER/NAME."""
    commit: str
    """Full commit hash."""
    format: Annotated[RawFormat, Field(strict=False)]
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column -> the file's, by name or by number from 0; several of the file's, between
    spaces, are joined to one."""
    quoted: bool = False
    """Tables and tagged lines: fields may be in quotes, as the csv module writes them."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The file's label (or whole tag, as in B-DATE) -> ours, where the names differ."""
    skip: int = Field(default=0, ge=0)
    """Tables without a usable header line: rows before the first example."""
    only: str = ""
    """CoNLL-U: the beginning of `sent_id` of the sentences that are taken; empty: all."""
    without: str = ""
    """CoNLL-U: the beginning of `sent_id` of those that are left out; empty: none."""
    files: Annotated[tuple[RawFile, ...], BeforeValidator(as_tuple)]
    address: str = FILE_ADDRESS
    """Address of a file, with {repository}, {commit} and {path} to be filled in."""
    archive: str = ARCHIVE_ADDRESS
    """Address of the repository as a .tar.gz, for folders."""

    def of_language(self, language: str) -> tuple[RawFile, ...]:
        """The files with examples of a language."""
        return tuple(file for file in self.files if file.language == language)

    @property
    def languages(self) -> Names:
        """The languages that it has, each once."""
        return tuple(dict.fromkeys(file.language for file in self.files))


class Terms(StrEnum):
    """What a licence says of passing a corpus on, as far as a user must know before a download."""

    OPEN = "open"
    NONE_STATED = "none stated"
    RESTRICTED = "research or non-commercial use only, not to be passed on"


# What the licence texts of the catalogue say where a corpus must not be passed on.
_RESTRICTING = ("research use", "research and teaching use", "non-commercial use")


def terms_of(licence: str) -> Terms:
    """The terms that a record's `licence` states, read off its words."""
    if licence.startswith(("none", "unknown")):
        return Terms.NONE_STATED
    if any(words in licence for words in _RESTRICTING):
        return Terms.RESTRICTED
    return Terms.OPEN
