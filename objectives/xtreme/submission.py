"""Predictions as XTREME wants them submitted: written and read.

One folder per task, and in it one file per language, `test-LG.tsv` or, for question answering,
`test-LG.json` (https://github.com/google-research/xtreme, README.md, "Leaderboard Submission").
LG is the corpus's `iso2` code in the catalogue, or our ISO 639-3 one where it has none. In a file

- tagging has a tag a line, and a blank line after each sentence;
- classification has a label a line, similarity a number a line;
- question answering is a JSON object, question id -> answer;
- mining (BUCC) has `id TAB English id` for each pair found, in any order;
- retrieval (Tatoeba) has, for each English sentence in the order of their sorted texts, the
  number of its translation among the sentences of the language, counted from 0.

What is written is read back to the same values, which are those of `predict_languages`. Tags are
read as XTREME's evaluate.py (at 0918248) reads them, with a sentence per blank line and an unended
last one. It scores files that it should not: with missing or surplus answers, unknown ids and
unknown labels, which count as wrong or not at all. Here each is refused, with file and line: a
score of half a file is no score. What it reads otherwise than we do, `reading_note` says.
"""

from __future__ import annotations

import codecs
import json
import math
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets

from objectives.scores.metrics import NO_PREDICTION
from spaces.errors import DataError, SpecError
from spaces.records import decoded
from spaces.task import Metric, Task, TaskKind, by_unicode_form

SPLITS = ("test", "validation")
"""What predictions are made for."""


# --- names


def predictions_file(task: Task, language: str, split: str) -> str:
    """The name of a file of predictions, as in `test-sw.tsv`."""
    ending = "json" if task.kind is TaskKind.QA else "tsv"
    return f"{split}-{_code(task, language)}.{ending}"


def file_split(file: Path) -> str:
    """The split that a file's name says; empty if it says none."""
    split = file.name.partition("-")[0]
    return split if split in SPLITS else ""


def file_language(task: Task, file: Path) -> str:
    """The language that a file's name says, as an ISO 639-3 code.

    Raises:
        DataError: None of the task's languages.
    """
    for language in task.languages:
        if file.name in {predictions_file(task, language, split) for split in SPLITS}:
            return language
    raise DataError(
        str(file),
        f"a name as in {predictions_file(task, task.languages[0], 'test')}, with a language of "
        f"{task.name} ({', '.join(_code(task, x) for x in task.languages)})",
        f"{file.name!r}",
        "name the language with --language",
    )


def find_predictions(folder: Path, task: Task, split: str) -> dict[str, Path]:
    """Language -> its file in a folder; files of other splits and other endings are left alone.

    Raises:
        DataError: There are none, or one of an unknown language.
    """
    ending = Path(predictions_file(task, task.languages[0], split)).suffix
    files = sorted(folder.glob(f"{split}-*{ending}"))
    if not files:
        example = predictions_file(task, task.languages[0], split)
        raise DataError(
            str(folder),
            f"predictions of {task.name} as in {example}",
            "none",
        )
    return {file_language(task, file): file for file in files}


def _code(task: Task, language: str) -> str:
    return task.codes.get("iso2", {}).get(language, language)


def _sentences(split: datasets.Dataset) -> tuple[list[str], list[str]]:
    """Retrieval: ids of the language's sentences, and English ids in the order of their texts."""
    rows = list(zip(split["id"][:], split["text"][:], split["side"][:], strict=True))
    english = [(text.strip(), name) for name, text, side in rows if side == "english"]
    ordered = sorted(english, key=lambda pair: pair[0])
    return (
        [name for name, _, side in rows if side != "english"],
        [name for _, name in ordered],
    )


def _english_rows(split: datasets.Dataset) -> list[str]:
    """Retrieval: English ids in the order of the split, which is that of predictions."""
    sides = zip(split["id"][:], split["side"][:], strict=True)
    return [name for name, side in sides if side == "english"]


# --- writing


def write_predictions(
    folder: Path,
    task: Task,
    language: str,
    split_name: str,
    split: datasets.Dataset,
    predictions: Sequence[Any],
) -> Path:
    """Write the predictions for one language; a file of that name is replaced, whole.

    Args:
        folder: Folder of all tasks; the file is written to its folder `task.name`.
        task: Catalogue record of the task.
        language: ISO 639-3 code.
        split_name: One of `SPLITS`.
        split: The examples.
        predictions: Predictions in the form of `predict_languages`; for mining the pairs that
            `above` returns.

    Returns:
        The file.

    Raises:
        DataError: Not as many predictions as examples, or the file cannot be written.
        SpecError: Nothing can be predicted for this kind of task.
    """
    file = folder / task.name / predictions_file(task, language, split_name)
    if task.metric is not Metric.BUCC_F1:
        expected = len(_english_rows(split) if task.kind is TaskKind.RETRIEVAL else split)
        _check_count(file, "predictions", expected, len(predictions))
    written = file.with_name(f".{file.name}.{os.getpid()}")
    text = _as_text(task, split, predictions)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            written.write_text(text, encoding="utf-8", newline="\n")
            written.replace(file)
        finally:
            written.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{file}: cannot be written", found=str(error.strerror)) from error
    return file


def _as_text(task: Task, split: datasets.Dataset, predictions: Sequence[Any]) -> str:
    if task.kind.is_tagging:
        return "".join("".join(f"{tag}\n" for tag in tags) + "\n" for tags in predictions)
    if task.kind is TaskKind.QA:
        answers = dict(zip(split["id"][:], predictions, strict=True))
        return json.dumps(answers, ensure_ascii=False, indent=1) + "\n"
    if task.metric is Metric.BUCC_F1:
        return "".join(f"{ours}\t{english}\n" for ours, english in predictions)
    if task.kind is TaskKind.RETRIEVAL:
        ours, english = _sentences(split)
        number = {name: place for place, name in enumerate(ours)}
        by_sentence = dict(zip(_english_rows(split), predictions, strict=True))
        return "".join(f"{number[by_sentence[name]]}\n" for name in english)
    if task.kind is TaskKind.SIMILARITY:
        return "".join(f"{score!r}\n" for score in predictions)
    if task.kind.is_classification:
        return "".join(f"{label}\n" for label in predictions)
    raise SpecError(f"task {task.name!r}", "a kind that is predicted", str(task.kind))


# --- reading


def reading_note(file: Path, task: Task) -> str:
    """What of a file is read here and counted as wrong by XTREME's evaluate.py; empty if nothing.

    Args:
        file: File of predictions that `read_predictions` has read.
        task: Catalogue record of the task.
    """
    data, odd = file.read_bytes(), []
    if data.startswith(codecs.BOM_UTF8):
        odd.append("a byte order mark")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        odd.append("UTF-16 in the place of UTF-8")
    if task.metric is Metric.BUCC_F1:
        lines = decoded(data).removesuffix("\n").split("\n")
        if any(not line.strip() for line in lines):
            odd.append("blank lines")
        if any(part != part.strip(" ") for line in lines for part in line.strip().split("\t")):
            odd.append("spaces around ids")
    if not odd:
        return ""
    return (
        f"{file} has {' and '.join(odd)}: skipped here, while XTREME's evaluate.py counts such "
        f"lines as wrong"
    )


def read_predictions(file: Path, task: Task, split: datasets.Dataset) -> list[Any]:
    """The predictions for one language, as `predict_languages` has them.

    Args:
        file: File of predictions, of any name.
        task: Catalogue record of the task.
        split: The examples; for mining the result is the pairs that the file has.

    Raises:
        DataError: The file cannot be read, has another number of predictions than there are
            examples, or a prediction that is none; with the file, and the line.
        SpecError: Nothing can be predicted for this kind of task.
    """
    try:
        text = decoded(file.read_bytes())
    except UnicodeDecodeError as error:
        raise DataError(str(file), "UTF-8", error.reason) from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read", found=str(error.strerror)) from error
    if task.kind is TaskKind.QA:
        return _answers(text, file, split)
    lines = [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []
    if task.kind.is_tagging:
        return _tags(lines, file, task, split)
    if task.metric is Metric.BUCC_F1:
        return _pairs(lines, file, split)
    if task.kind is TaskKind.RETRIEVAL:
        return _neighbours(lines, file, split)
    if task.kind is TaskKind.MLM:
        raise SpecError(f"task {task.name!r}", "a kind that is predicted", "mlm")
    _check_count(file, "predictions", len(split), len(lines))
    if task.kind is TaskKind.SIMILARITY:
        return _each(lines, file, _number, "a number")
    known = by_unicode_form({label: label for label in task.labels})
    expected = f"a label of {task.name} ({', '.join(task.labels)})"
    return _each([unicodedata.normalize("NFC", x) for x in lines], file, known.get, expected)


def _check_count(where: object, what: str, expected: int, found: int) -> None:
    if expected != found:
        raise DataError(str(where), f"{expected} {what}", str(found))


def _each(
    lines: Sequence[str], file: Path, read: Callable[[str], Any], expected: str
) -> list[Any]:
    """Every line as `read` understands it; `read` returns None for what it does not."""
    values = [read(line) for line in lines]
    if None in values:
        row = values.index(None)
        raise DataError(f"{file}:{row + 1}", expected, f"{lines[row][:60]!r}")
    return values


def _number(line: str) -> float | None:
    try:
        value = float(line)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _tags(lines: list[str], file: Path, task: Task, split: datasets.Dataset) -> list[list[str]]:
    known = by_unicode_form({tag: tag for tag in (*task.tags, NO_PREDICTION, "")})
    lines = [unicodedata.normalize("NFC", line) for line in lines]
    sentences: list[list[str]] = [[]]
    starts = [1]
    expected = f"a tag of {task.name} ({', '.join(task.tags)})"
    for row, tag in enumerate(_each(lines, file, known.get, expected)):
        if tag:
            sentences[-1].append(tag)
        else:
            sentences.append([])
            starts.append(row + 2)
    if not sentences[-1]:
        sentences.pop()
    _check_count(file, "sentences", len(split), len(sentences))
    for tokens, tags, start in zip(split["tokens"][:], sentences, starts, strict=False):
        _check_count(f"{file}:{start}", "tags for this sentence", len(tokens), len(tags))
    return sentences


def _answers(text: str, file: Path, split: datasets.Dataset) -> list[str]:
    try:
        answers = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{file}:{error.lineno}", "JSON", error.msg) from error
    except (ValueError, RecursionError) as error:  # thousands of digits, or nested too deep
        raise DataError(str(file), "a JSON object of question id: answer", str(error)) from error
    if not isinstance(answers, dict) or not all(isinstance(x, str) for x in answers.values()):
        raise DataError(
            str(file),
            "a JSON object of question id: answer",
            "other JSON",
        )
    questions: list[str] = split["id"][:]
    of_ours = sum(name in answers for name in questions)
    if of_ours != len(questions) or len(answers) != len(questions):
        lost = next((name for name in questions if name not in answers), None)
        strange = next((name for name in answers if name not in set(questions)), None)
        example = f"no answer to {lost!r}" if lost is not None else f"one to {strange!r} too"
        raise DataError(
            str(file),
            f"answers to {len(questions)} questions",
            f"{len(answers)} answers, {of_ours} of them to these questions",
            example,
        )
    return [answers[name] for name in questions]


def _pairs(lines: list[str], file: Path, split: datasets.Dataset) -> list[tuple[str, str]]:
    ours, english = map(set, _sentences(split))
    pairs = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        left, _, right = (part.strip() for part in line.partition("\t"))
        if left not in ours or right not in english:
            raise DataError(
                f"{file}:{number}",
                "the id of a sentence TAB that of an English one",
                f"{line[:60]!r}",
            )
        pairs.append((left, right))
    return pairs


def _neighbours(lines: list[str], file: Path, split: datasets.Dataset) -> list[str]:
    ours, english = _sentences(split)
    _check_count(file, "sentence numbers", len(english), len(lines))
    names = {str(number): name for number, name in enumerate(ours)}
    if lines and lines[0].startswith("["):
        raise DataError(
            f"{file}:1",
            "the number of a sentence",
            f"{lines[0][:60]!r}",
            "take the brackets off: XTREME's script for Tatoeba writes them, and its evaluate.py "
            "counts such lines as wrong",
        )
    predicted = _each(lines, file, names.get, f"the number of a sentence, 0 to {len(ours) - 1}")
    of_english = dict(zip(english, predicted, strict=True))
    return [of_english[name] for name in _english_rows(split)]
