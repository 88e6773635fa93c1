"""Records read from TOML strictly, and the errors for wrong ones.

An unknown or missing field or a wrong type is an error that names the record and the field. The
records of tasks, studies and backbones are made of these.
"""

from __future__ import annotations

import codecs
import re
import stat
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator

from spaces.errors import SeveralErrors, SpecError, nearest_name, shortened, spelled


def as_tuple(value: object) -> object:
    """TOML has lists only; the records are frozen, so they hold tuples."""
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


class StrictRecord(BaseModel):
    """A frozen record read from TOML in which every key must be known and of the right type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @field_validator("*", mode="before")
    @classmethod
    def _obeyed_by_nothing(cls, value: object) -> object:
        """Text of a stranger's file moves no cursor, titles no window and turns no line around."""
        parts = value if isinstance(value, list | tuple) else (value,)
        for part in parts:
            if isinstance(part, str) and (mark := _COMMANDS.search(part)):
                wanted = "text without control characters"
                raise SpecError("", wanted, f"{shortened(ascii(part), 60)}, with {mark[0]!a}")
        return value


# What terminals obey, but for line ends and tabs; and what reverses the text behind it, as in
# https://trojansource.codes. Joiners belong to words of many languages and stay.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LARGEST_FILE = 10_000_000
"""Bytes of a file of records; a study has some thousand."""

R = TypeVar("R", bound=StrictRecord)


# pydantic's names of wrong types, in the words of a TOML file.
_TYPES = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables.

    Raises:
        SpecError: The file cannot be read or is no TOML (which also forbids a name used twice).
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
            expected = f"a file of at most {LARGEST_FILE:,} bytes"
            raise SpecError(str(path), expected, "another kind, or a larger one")
        # With or without the byte order mark that editors of Windows begin a file with.
        return parse_toml(decoded(path.read_bytes()))
    except OSError as error:
        raise SpecError(str(path), "a readable file", str(error.strerror)) from error
    except SpecError:
        raise
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise SpecError(str(path), "TOML in UTF-8", str(error)) from error


def expanded(name: str | Path) -> Path:
    """The path, with the user's home for `~`; as it is where there is no such home."""
    path = Path(name)
    with suppress(RuntimeError, ValueError):  # ... or where the name has a NUL, which no path has
        path = path.expanduser()
    return path


def decoded(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 with the byte order mark that PowerShell writes.

    Raises:
        UnicodeDecodeError: It is neither.
    """
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_wide else "utf-8-sig")


def parse_toml(text: str) -> dict[str, Any]:
    """TOML's tables.

    Raises:
        ValueError: It is no TOML, nested deeper than Python reads, or has a number of thousands
            of digits.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("values nested too deep") from error


def parse(record_type: type[R], value: object, where: str) -> R:
    """A table as a record.

    A record's own checks raise a `SpecError` whose subject is the field, or empty.

    Args:
        record_type: The record's type.
        value: The table as TOML has it.
        where: The table's name in errors, as in `task 'x' (my.toml)`; may be empty.

    Raises:
        SpecError: Each wrong field, what it must be and what was found.
    """
    try:
        return record_type.model_validate(value)
    except pydantic.ValidationError as error:
        wrong = [in_record(where, each) for each in _problems(error, record_type)]
        raise (wrong[0] if len(wrong) == 1 else SeveralErrors(wrong)) from error


def in_record(where: str, error: SpecError) -> SpecError:
    """An error whose subject is a field, as one that also names the record.

    Args:
        where: The record's name in errors; may be empty.
        error: An error about one field, or about the whole record if its subject is empty.
    """
    field = f"field {error.subject!r}" if where and error.subject else error.subject
    subject = ", ".join(filter(None, (where, field)))
    return SpecError(subject, error.expected, error.found, error.advice)


def _problems(error: pydantic.ValidationError, record_type: type[BaseModel]) -> list[SpecError]:
    """What is wrong with each field, in order."""
    problems = error.errors(include_url=False)
    # Where a field takes a string or a record, the one that was written.
    fitting = [
        p for p in problems if not (p["type"] == "string_type" and type(p["input"]) is dict)
    ]
    forms = {"str", *(record.__name__ for record in _nested_records(record_type))}
    by_field: dict[str, SpecError] = {}
    for problem in fitting or problems:
        field = ".".join(str(part) for part in problem["loc"] if part not in forms)
        by_field.setdefault(field, _problem(problem, field, record_type))
    return list(by_field.values())


def _problem(problem: Any, field: str, record_type: type[BaseModel]) -> SpecError:
    kind, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    if kind == "extra_forbidden":
        known = _fields_at(record_type, problem["loc"][:-1])
        advice = nearest_name(str(problem["loc"][-1]), known)
        return SpecError(field, found="unknown", advice=advice)
    if kind == "missing":
        return SpecError(field, found="missing", advice="add it")
    if kind == "value_error":
        own = context["error"]
        assert isinstance(own, SpecError), "checks of records raise nothing else"
        inner = ".".join(filter(None, (field, own.subject)))
        return SpecError(inner, own.expected, own.found, own.advice)
    found = spelled(list(value) if isinstance(value, tuple) else value)
    if kind == "string_pattern_mismatch":
        return SpecError(field, f"a string that matches {context['pattern']}", found)
    if kind == "too_short":
        return SpecError(field, f"at least {context['min_length']} value", found)
    expected = _TYPES.get(kind, problem["msg"].removeprefix("Input should be "))
    return SpecError(field, expected, found)


def _fields_at(record_type: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The field names of the (nested) record in which an unknown field was found."""
    for part in location:
        field = record_type.model_fields.get(str(part))
        nested = _records_in(field.annotation) if field else []
        if nested:
            record_type = nested[0]
    return list(record_type.model_fields)


def _nested_records(record_type: type[BaseModel]) -> list[type[BaseModel]]:
    fields = record_type.model_fields.values()
    return [record for field in fields for record in _records_in(field.annotation)]


def _records_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [record for part in get_args(annotation) for record in _records_in(part)]
