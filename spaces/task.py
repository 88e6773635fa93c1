"""One task of the catalogue: its corpus, where the data lies, and the page of each fact.

`spaces.catalogue` reads the records, and `spaces.task_rules` has the rules that they must keep.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from spaces.raw_source import RawSource, Terms, terms_of
from spaces.records import Names, StrictRecord, as_tuple


class TaskKind(StrEnum):
    """What a model predicts; fixes the head, the loss and the columns of the data."""

    NER = "ner"
    POS = "pos"
    CLASSIFICATION = "classification"
    SENTIMENT = "sentiment"
    NLI = "nli"
    PAIR_CLASSIFICATION = "pair_classification"
    SIMILARITY = "similarity"
    QA = "qa"
    RETRIEVAL = "retrieval"
    MLM = "mlm"

    @property
    def is_tagging(self) -> bool:
        """One label per word (columns `tokens`, `tags`)."""
        return self in {TaskKind.NER, TaskKind.POS}

    @property
    def is_classification(self) -> bool:
        """One label per text or pair of texts (last column `label`)."""
        return self in {TaskKind.CLASSIFICATION, TaskKind.SENTIMENT} or self.is_labelled_pair

    @property
    def is_labelled_pair(self) -> bool:
        """One label per pair of texts (columns `text_a`, `text_b`, `label`)."""
        return self in {TaskKind.NLI, TaskKind.PAIR_CLASSIFICATION}

    @property
    def is_trained(self) -> bool:
        """Whether a target of this kind is trained; sentences are retrieved as they are."""
        return self is not TaskKind.RETRIEVAL

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a split of this kind; the last one may be hidden in a test split.

        Tagging: `tags` has one tag per token. QA: `answers` is a list of `{text, start}`, with
        `start` in characters of the context, empty where there is no answer. Retrieval: a row
        per sentence, on the `side` "language" or "english"; `match` is the `id` of its
        translation on the English side, empty where there is none and on the English side.
        """
        if self.is_tagging:
            return ("tokens", "tags")
        if self.is_labelled_pair:
            return ("text_a", "text_b", "label")
        if self.is_classification:
            return ("text", "label")
        return {
            TaskKind.SIMILARITY: ("text_a", "text_b", "score"),
            TaskKind.QA: ("id", "question", "context", "answers"),
            TaskKind.RETRIEVAL: ("id", "text", "side", "match"),
            TaskKind.MLM: ("text",),
        }[self]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that can score this kind; empty for MLM, which is never a target."""
        if self.is_classification:
            return (Metric.ACCURACY, Metric.MACRO_F1)
        return {
            TaskKind.NER: (Metric.SPAN_F1,),
            TaskKind.POS: (Metric.SPAN_F1, Metric.ACCURACY),
            TaskKind.SIMILARITY: (Metric.SPEARMAN,),
            TaskKind.QA: (Metric.EM_F1,),
            TaskKind.RETRIEVAL: (Metric.ACCURACY, Metric.BUCC_F1),
            TaskKind.MLM: (),
        }[self]


class Domain(StrEnum):
    """The subject that a corpus is about."""

    GENERAL = "general"
    BIOMEDICAL = "biomedical"
    LEGAL = "legal"


class Role(StrEnum):
    """Whether a task may stand before the target, be the target, or either."""

    INTERMEDIATE = "intermediate"
    TARGET = "target"
    BOTH = "both"


class Metric(StrEnum):
    """How predictions are scored; `objectives.scores.metrics` computes them."""

    SPAN_F1 = "span_f1"
    ACCURACY = "accuracy"
    MACRO_F1 = "macro_f1"
    SPEARMAN = "spearman"
    EM_F1 = "em_f1"
    """The mean of exact match and token F1 of answers, by the corpus's own normalisation."""
    BUCC_F1 = "bucc_f1"
    """F1 of the sentence pairs found, above a threshold chosen on the validation split."""


class AnswerNormalisation(StrEnum):
    """How answers are made comparable before they are: `objectives.scores.answers`."""

    SQUAD = "squad"
    MLQA = "mlqa"


SHORTEST_WINDOW = 32
"""Sub-words of the shortest window of question answering."""


def by_unicode_form(labels: Mapping[str, str]) -> dict[str, str]:
    """A corpus's label -> ours, with the labels in Unicode's composed form (NFC) too.

    A disk, a keyboard and a corpus may each spell the same letters in another form.
    """
    return {**{unicodedata.normalize("NFC", x): y for x, y in labels.items()}, **labels}


class HubSource(StrictRecord):
    """Where a task lies on the Hugging Face hub.

    `repository`, `config`, `revision` and `folder` may hold `{language}` (ISO 639-3) and any name
    of the record's `codes`, as in `PAN-X.{iso2}`.
    """

    repository: str
    config: str = ""
    revision: str = ""
    """Git revision: a full commit hash, a tag, or the branch that the Hub's bot keeps with tables
    in place of a script (`refs/convert/parquet`); empty where none could be checked yet, which the
    provenance then says."""
    folder: str = ""
    """Folder of the tables, for a converted branch of several configurations: these have no names
    there, and without it all of them are read as one."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column -> the corpus's column, where the names differ."""
    splits: dict[str, str] = Field(default_factory=dict)
    """Our split -> the corpus's split, where the names differ."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The corpus's label -> ours, where the names differ."""
    choices: bool = False
    """Pairs: `text_b` is a list of choices and the label the number of the right one. Each example
    makes two pairs: the right one, "1", and a wrong one drawn by its text, "0"."""
    filter_column: str = ""
    """Column that names the language of a row; rows of other languages are left out."""
    filter_value: str = ""
    """Value of `filter_column` in rows of a language, with `{language}` and codes filled in; a `*`
    at its end stands for any rest."""

    @property
    def templates(self) -> tuple[str, str, str, str, str]:
        """What is to be filled in for a language, in the order of the fields."""
        return self.repository, self.config, self.revision, self.filter_value, self.folder


class FileTemplate(StrictRecord):
    """Files of one layout, where the path alone does not say it all."""

    path: str
    """Path template as the strings of `Task.files`; for retrieval `{side}` is the language or
    `eng`."""
    columns: Names = ()
    """The columns of a table without a header line; names outside of the kind's are skipped."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The file's label (or whole tag, as in B-DATE) -> ours, where the names differ."""
    sides: Names = ()
    """Retrieval: templates of `{side}` for the language and for English."""
    pairs: str = ""
    """Retrieval: path template of the file with the gold pairs of ids; without one, line n of
    one side is the translation of line n of the other. Where the file is missing, the pairs are
    hidden."""


class Task(StrictRecord):
    """One record of the catalogue: a corpus seen as a task.

    Languages are ISO 639-3 codes, or the private-use codes qaa-qtz of the pocket corpora.
    """

    name: str
    kind: Annotated[TaskKind, Field(strict=False)]
    domain: Annotated[Domain, Field(strict=False)]
    role: Annotated[Role, Field(strict=False)]
    title: str
    languages: Names
    labels: Names = ()
    """Entity types for NER, tags for POS, classes for classification; empty for the rest."""
    parallel: bool = False
    """Evaluation splits are translations of the same examples, which statistics must know."""
    unscored_labels: Names = ()
    """Labels that languages other than the source have: left out of scoring, and counted."""
    metric: Annotated[Metric, Field(strict=False)] | None = None
    source_task: str = ""
    """The task whose source-language splits train this one, if it has none of its own."""
    train_examples: int = Field(default=0, ge=0)
    """Examples of the English training split as published; 0 where not known or not split. Local
    files may be cut-down copies. For raw text from files, their lines."""
    licence: str
    urls: dict[str, str]
    """Fact -> the page it was taken from; `data` and `licence` at least."""
    codes: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Name -> {language: the corpus's own code}, for the templates of `hub` and `files`."""
    hub: HubSource | None = None
    raw: RawSource | None = None
    """Raw files of a public repository, for languages that `hub` does not have."""
    files: Annotated[tuple[str | FileTemplate, ...], BeforeValidator(as_tuple)] = ()
    """Path templates below the data folder, tried in turn, each with `.gz` and `.xz` too. One
    without `{split}` holds all that a halved corpus evaluates on, or else all there is to train
    on."""
    answers: Annotated[AnswerNormalisation, Field(strict=False)] | None = None
    """QA: how answers are made comparable; None for other kinds."""
    unanswerable: bool = False
    """QA: whether "no answer" can be right."""
    halved: bool = False
    """The corpus has one evaluation split only: one half, drawn by content, is our validation
    split, and the other our test split."""
    pocket: str = ""
    """The name of the embedded corpus, for a pocket task."""

    @property
    def terms(self) -> Terms:
        """What the licence says of passing the corpus on."""
        return terms_of(self.licence)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tag set of a tagging task: IOB2 over the entity types, or the POS tags."""
        if self.kind is TaskKind.NER:
            return ("O", *(f"{p}-{label}" for label in self.labels for p in "BI"))
        return self.labels

    @property
    def layouts(self) -> tuple[FileTemplate, ...]:
        """The templates of `files`, those that are a path alone too."""
        return tuple(FileTemplate(path=x) if isinstance(x, str) else x for x in self.files)

    def file_names(self, layout: FileTemplate, language: str, split: str) -> tuple[str, ...]:
        """The paths of a split below the data folder, in one of the task's layouts.

        Args:
            layout: One of `layouts`.
            language: ISO 639-3 code.
            split: The split's name in file names: train, dev or test.

        Returns:
            One path, or for retrieval that of the language and that of English. Empty where the
            layout does not apply to the language.
        """
        sides = (layout.sides or ("{language}", "eng")) if "{side}" in layout.path else ("",)
        # `{side}` goes first, because a side may hold codes of the record.
        paths = [layout.path.replace("{side}", side) for side in sides]
        filled = [self.fill(path, language, split) for path in paths]
        return tuple(name for name in filled if name) if all(filled) else ()

    def fill(self, template: str, language: str, split: str = "") -> str | None:
        """`template` with `{language}`, `{split}` and the record's codes filled in.

        Returns:
            None where the template asks for a code that this language does not have.
        """
        fields = {name: table[language] for name, table in self.codes.items() if language in table}
        try:
            return template.format(language=language, split=split, **fields)
        except KeyError:
            return None
