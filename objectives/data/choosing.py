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
from objectives.data.hub import hub_problem, in_hub_cache
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
    if option != "auto" or source.folders:
        return source
    problem = _network_problem(needed, source)
    if not problem:
        return source
    reason = (
        f"{DATA_VARIABLE} is not set, {problem}, and not all of its real corpora are here: "
        f"get them where there is a network with `python -m search.data get`"
    )
    return DataSource(SourceKind.POCKET, reason=reason)


def _network_problem(needed: Needed, source: DataSource) -> str:
    """Why nothing that is missing can be downloaded; empty where a host answers."""
    corpora = {(task.name, language): task for task, language, _ in needed}
    missing: dict[Place, list[tuple[Task, str]]] = {}
    for origin in origins_of(needed, source):
        if origin.place.is_remote:
            task = corpora[origin.task, origin.language]
            missing.setdefault(origin.place, []).append((task, origin.language))
    problems = []
    if hub := missing.get(Place.HUB):
        if not (problem := hub_problem()):
            return ""
        if not all(in_hub_cache(*corpus) for corpus in hub):
            problems.append(problem)
    if Place.RAW in missing:
        if not (problem := raw_problem()):
            return ""
        problems.append(problem)
    return problems[0] if problems else ""


def _real_source(option: str, needed: Needed) -> DataSource:
    named = os.environ.get(DATA_VARIABLE, "").strip()
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
