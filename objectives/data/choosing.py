"""The data source for a value of `--data`, and whether the network that it needs is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from objectives.data.data_source import (
    DATA_VARIABLE,
    DataSource,
    SourceKind,
    check_named,
    local_source,
)
from objectives.data.downloads import raw_problem
from objectives.data.files import find_split
from objectives.data.hub import hub_problem
from objectives.data.origins import Place, origins_of
from spaces.errors import DataError
from spaces.task import Task

Needed = Sequence[tuple[Task, str, str]]
"""Task, language and split of each."""


def choose_source(option: str, needed: Needed = ()) -> DataSource:
    """The data source for `--data OPTION`.

    The pocket corpora are taken where they are asked for, and by `auto` where something has to be
    downloaded and no host answers; never because a real corpus is missing somewhere.

    Args:
        option: Value of the option: auto, real, hub, pocket, or a folder; several folders are
            joined by `os.pathsep`.
        needed: What a study needs, for `auto` and `real`.

    Raises:
        DataError: A folder that does not exist, or real tasks beside pocket ones.
    """
    check_named(option)
    if option == SourceKind.POCKET:
        return DataSource(SourceKind.POCKET, reason="asked for with --data pocket")
    if option == SourceKind.HUB:
        return DataSource(SourceKind.HUB, reason="asked for with --data hub")
    if option not in {"auto", SourceKind.REAL}:
        return local_source(option, "--data")
    pocket = [task.name for task, _, _ in needed if task.pocket]
    if needed and len(pocket) == len(needed):
        return DataSource(SourceKind.POCKET, reason="the study names pocket tasks only")
    if pocket:
        raise DataError(
            "the study's tasks",
            "all of them real, or all of them pocket tasks",
            f"{pocket[0]!r} beside real ones",
            "a study never mixes real corpora with invented ones",
        )
    source = _real_source(option, needed)
    missing = {x.place for x in origins_of(needed, source) if x.place.is_remote}
    if option != "auto" or source.folders or not missing:
        return source
    hosts = {Place.HUB: hub_problem, Place.RAW: raw_problem}
    problems = []
    for place in sorted(missing):
        if not (problem := hosts[place]()):
            return source
        problems.append(problem)
    reason = (
        f"{DATA_VARIABLE} is not set, {problems[0]}, and not all of its real corpora are here: "
        f"get them where there is a network with `python -m search.data get`"
    )
    return DataSource(SourceKind.POCKET, reason=reason)


def _real_source(option: str, needed: Needed) -> DataSource:
    named = os.environ.get(DATA_VARIABLE)
    reason = "asked for with --data real" if option == SourceKind.REAL else ""
    if not named:
        reason = reason or "each can be had: from the cache, the Hub or a public repository"
        return DataSource(SourceKind.REAL, reason=reason)
    local = local_source(named, DATA_VARIABLE)
    lacking = set()
    for task, language, split in needed:
        try:
            find_split(task, language, split, local.folders)
        except DataError:
            lacking.add(task.name)
    reason = reason or f"{DATA_VARIABLE} names folders"
    return replace(local, kind=SourceKind.REAL, reason=reason, elsewhere=frozenset(lacking))
