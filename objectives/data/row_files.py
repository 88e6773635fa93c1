"""Files of rows, as `search.data get` and the cache write them: an example a line, in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from objectives.data.file_formats import Columns, numbered_lines
from spaces.errors import DataError
from spaces.task import Task

_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _Answer(BaseModel):
    text: str
    start: _Whole


# Of the other columns each value is a text.
_VALUES = {
    "id": str | _Whole,
    "tokens": list[str],
    "tags": list[str] | None,
    "label": str | None,
    "score": Annotated[float, Field(allow_inf_nan=False)] | None,
    "answers": list[_Answer] | None,
    "match": str | None,
}


def read_rows(file: Path, task: Task) -> Columns:
    """The columns as they were written; retrieval, too, lies in one file.

    Raises:
        DataError: A line is no row of the task's kind; with the file and the line.
    """
    columns: Columns = {name: [] for name in task.kind.columns}
    fields: dict[str, Any] = {name: (_VALUES.get(name, str), ...) for name in columns}
    row_type = pydantic.create_model("Row", __config__=ConfigDict(strict=True), **fields)
    expected = f"a JSON object with {', '.join(columns)}"
    for number, line in numbered_lines(file):
        try:
            row = row_type.model_validate_json(line).model_dump()
        except ValueError as error:
            raise DataError(f"{file}:{number}", expected, repr(line[:60])) from error
        if row.get("tags") is not None and len(row["tags"]) != len(row["tokens"]):
            found = f"{len(row['tags'])} for {len(row['tokens'])}"
            raise DataError(f"{file}:{number}", "a tag for each token", found)
        for name, values in columns.items():
            values.append(row[name])
    return columns


def row_lines(columns: Columns) -> Iterator[str]:
    """The lines of the file that `read_rows` reads."""
    for values in zip(*columns.values(), strict=True):
        yield json.dumps(dict(zip(columns, values, strict=True)), ensure_ascii=False) + "\n"
