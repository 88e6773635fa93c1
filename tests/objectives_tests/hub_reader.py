"""Reads tasks and encoders of the Hub in a process of its own, whose HF_ENDPOINT is another's.

On standard input a list of `["task", kind, language, hub]` and `["encoder", name]`, as JSON; on
standard output a list of what came of each: columns, a folder's files, or an error in one line.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from objectives.data.data_source import DataSource, SourceKind
from objectives.data.sources import load_split
from objectives.models.backbone_files import find_backbone
from spaces.errors import TransferSearchError
from tests.objectives_tests.toy_tasks import make_task


def read(what: str, *rest: Any) -> object:
    """One case."""
    if what == "encoder":
        folder, revision = find_backbone(rest[0])
        return [revision, sorted(path.name for path in folder.iterdir())]
    kind, language, hub = rest
    codes = {"iso2": {"swa": "sw", "yor": "yo"}}
    used = "{iso2}" in json.dumps(hub)
    task = make_task(kind, hub=hub, **({"codes": codes} if used else {}))
    return load_split(task, language, "validation", DataSource(SourceKind.HUB))[:]


def answers(cases: list[list[Any]]) -> list[object]:
    """What came of all cases. What is no error of the program's own ends the process."""
    results: list[object] = []
    for case in cases:
        try:
            results.append(read(*case))
        except TransferSearchError as error:
            results.append(str(error))
    return results


if __name__ == "__main__":
    json.dump(answers(json.load(sys.stdin)), sys.stdout)
