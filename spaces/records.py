"""Records read from TOML strictly, and what is said of a wrong one.

An unknown or missing field or a wrong type is an error that names the record and the field. The
records of tasks, studies and backbones are made of these.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict

from spaces.errors import SpecError, unknown_name


def as_tuple(value: object) -> object:
    """TOML has lists only; the records are frozen, so they hold tuples."""
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


class StrictRecord(BaseModel):
    """A frozen record read from TOML in which every key must be known and of the right type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


R = TypeVar("R", bound=StrictRecord)


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables.

    Raises:
        SpecError: The file cannot be read or is no TOML (which also forbids a name used twice).
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: expected a readable file, found {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise SpecError(f"{path}: expected TOML in UTF-8, found: {error}") from error


def parse(record_type: type[R], value: object, where: str) -> R:
    """`value` as a record.

    Raises:
        SpecError: One line that names the field, what it must be and what was found.
    """
    try:
        return record_type.model_validate(value)
    except pydantic.ValidationError as error:
        raise SpecError(f"{where}: {_first_problem(error, record_type)}") from error


def _first_problem(error: pydantic.ValidationError, record_type: type[BaseModel]) -> str:
    problems = error.errors(include_url=False)
    # Where a field takes a string or a record, the one that was written.
    fitting = [
        p for p in problems if not (p["type"] == "string_type" and type(p["input"]) is dict)
    ]
    problem = (fitting or problems)[0]
    forms = {"str", *(record.__name__ for record in _nested_records(record_type))}
    field = ".".join(str(part) for part in problem["loc"] if part not in forms)
    if problem["type"] == "extra_forbidden":
        known = _fields_at(record_type, problem["loc"][:-1])
        hint = unknown_name("field", str(problem["loc"][-1]), known, "x").args[0]
        return f"unknown field {field!r}. {hint.partition('is not x. ')[2]}"
    if problem["type"] == "missing":
        return f"field {field!r} is missing"
    if problem["type"] == "value_error":
        prefix = f"{field}: " if field else ""
        return prefix + problem["msg"].removeprefix("Value error, ")
    return f"field {field!r}: {problem['msg']}, found {problem['input']!r}"


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
