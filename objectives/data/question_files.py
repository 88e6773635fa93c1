"""Questions with their passages and answers, as in a data folder: SQuAD JSON, 1.1 or 2.0.

The format is https://rajpurkar.github.io/SQuAD-explorer/'s.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel

from objectives.data.file_formats import Columns, read_text
from spaces.errors import DataError
from storage.fingerprint import fingerprint

_log = logging.getLogger(__name__)


class _Answer(BaseModel):
    text: str
    answer_start: int


class _Question(BaseModel):
    id: str | int
    question: str
    answers: list[_Answer] | None = None
    is_impossible: bool = False


class _Paragraph(BaseModel):
    context: str
    qas: list[_Question]


class _Article(BaseModel):
    paragraphs: list[_Paragraph]


class _Squad(BaseModel):
    data: list[_Article]


def read_questions(file: Path, *, hidden_allowed: bool) -> Columns:
    """Questions with their passages and answers, as in SQuAD."""
    try:
        squad = _Squad.model_validate_json(read_text(file))
    except (pydantic.ValidationError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise DataError(str(file), "SQuAD JSON", "values nested too deep") from error
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise DataError(
            str(file), "SQuAD JSON", f"{place + ': ' if place else ''}{problem['msg']}"
        ) from error
    columns: Columns = {"id": [], "question": [], "context": [], "answers": []}
    for paragraph in (paragraph for article in squad.data for paragraph in article.paragraphs):
        for question in paragraph.qas:
            answers = _answers(question)
            if answers is None and not hidden_allowed:
                raise DataError(
                    f"{file}: question {question.id}", "answers or is_impossible", "neither"
                )
            columns["id"].append(str(question.id))
            columns["question"].append(question.question.strip())
            columns["context"].append(paragraph.context)
            columns["answers"].append(answers)
    columns["id"] = _distinct_ids(columns, file)
    return columns


def _distinct_ids(columns: Columns, file: Path) -> list[str]:
    """Ids as they are, but for those of several questions: these are told apart by their text.

    XTREME's script cuts TyDiQA's ids to their last number, which questions of a language share.
    """
    counts = Counter(columns["id"])
    if len(counts) == len(columns["id"]):
        return columns["id"]
    ids: list[str] = []
    places = Counter[str]()
    for name, question, context in zip(
        columns["id"], columns["question"], columns["context"], strict=True
    ):
        own = name
        if counts[name] > 1:
            own = f"{name}-{fingerprint([context, question])[:12]}"
            places[own] += 1
            own += f"-{places[own]}" if places[own] > 1 else ""
        ids.append(own)
    shared = sum(count for count in counts.values() if count > 1)
    _log.warning(
        "%s: %d of %d questions share their id with others; they are told apart by their text",
        *(file, shared, len(ids)),
    )
    return ids


def _answers(question: _Question) -> list[dict[str, Any]] | None:
    """The answers; None if hidden, which XTREME's files show by one answer without text."""
    if question.is_impossible:
        return []
    answers = [{"text": x.text, "start": x.answer_start} for x in question.answers or []]
    return answers if any(x["text"] for x in answers) else None
