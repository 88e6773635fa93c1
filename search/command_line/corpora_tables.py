"""Corpora as tables: where each comes from, what came of getting them, what a folder lacks."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from objectives.data.folder_check import FolderReport
from objectives.data.origins import Origin, Place
from search.command_line.words import console_for, in_bytes
from spaces.raw_source import Terms

if TYPE_CHECKING:
    from search.studies.corpora import GotCorpus, TaskCorpora

# Columns of a table that goes into a file.
WIDTH = 120
# Codes of languages that a row shows; of more it shows the number.
SHOWN_LANGUAGES = 6
SHOWN_FILES = 10


def print_corpora(corpora: Sequence[TaskCorpora], title: str, advice: str) -> None:
    """Print two lines for each task: what it is, and where it comes from under which licence.

    Args:
        corpora: Tasks with their origins.
        title: Whose corpora these are.
        advice: Command that gets what is not here; empty for none.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("task", overflow="fold", min_width=14)
    table.add_column("languages", overflow="fold", max_width=24)
    table.add_column("from, and its licence", overflow="fold", ratio=1)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    for one in corpora:
        task = one.task
        table.add_row(
            f"{task.name}\n{task.kind} {task.domain}",
            _languages([x.language for x in one.origins]),
            Text(f"{_places(one.origins)}\n").append(task.licence, style="dim"),
            _size(one.origins),
            _here(one.origins),
        )
    console = console_for(WIDTH)
    console.print(f"{title}: {_summary(corpora)}", highlight=False, soft_wrap=True)
    console.print(table)
    missing = [x for one in corpora for x in one.origins if x.place.is_remote]
    if missing and advice:
        console.print(f"{advice} gets what is not here", highlight=False, soft_wrap=True)


def print_json(corpora: Sequence[TaskCorpora]) -> None:
    """Print a list of corpora, one for each task and language, as JSON."""
    rows = [
        {
            "task": one.task.name,
            "language": origin.language,
            "kind": one.task.kind,
            "domain": one.task.domain,
            "role": one.task.role,
            "title": one.task.title,
            "place": origin.place,
            "name": origin.name,
            "revision": origin.revision,
            "bytes": origin.size or None,
            "here": origin.is_here,
            "licence": one.task.licence,
            "terms": one.task.terms,
            "urls": one.task.urls,
        }
        for one in corpora
        for origin in one.origins
    ]
    print(json.dumps(rows, indent=1, ensure_ascii=False))


def print_got(got: GotCorpus, number: int, count: int) -> None:
    """Print what came of one corpus."""
    origin = got.origin
    size = f", {in_bytes(origin.size)}" if origin.size else ""
    terms = f" [{origin.terms}]" if origin.terms is not Terms.OPEN else ""
    line = f"{number}/{count} {origin.task} {origin.language}: {origin}{size}{terms}"
    if got.problem:
        line = f"{number}/{count} {origin.task} {origin.language}: MISSING: {got.problem}"
    print(line, flush=True)
    if got.without_test:
        print(f"    no test split: {got.without_test}", flush=True)


def print_report(report: FolderReport, folder: str) -> None:
    """Print what a folder lacks, and what is wrong in it."""
    for line in report.problems:
        print(line)
    for line in report.missing:
        print(f"missing: {line}")
    if report.unread:
        shown = ", ".join(report.unread[:SHOWN_FILES])
        more = ", ..." if len(report.unread) > SHOWN_FILES else ""
        print(f"note: {len(report.unread)} files are of no task: {shown}{more}")
    print(
        f"{folder}: {report.splits} splits read, {len(report.problems)} problems, "
        f"{len(report.missing)} missing",
        file=sys.stdout,
    )


def _summary(corpora: Sequence[TaskCorpora]) -> str:
    origins = [x for one in corpora for x in one.origins]
    here = [x for x in origins if x.is_here]
    remote = [x for x in origins if x.place.is_remote]
    parts = [f"{len(corpora)} tasks, {len(origins)} corpora", f"{len(here)} here"]
    if remote:
        known = sum(x.size for x in remote)
        unknown = sum(not x.size for x in remote)
        sizes = [f"{in_bytes(known)}"] if known else []
        sizes += [f"{unknown} of unknown size"] if unknown else []
        parts.append(f"{len(remote)} to be downloaded ({', '.join(sizes)})")
    nowhere = len(origins) - len(here) - len(remote)
    parts.append(f"{nowhere or 'none'} without a source")
    return ", ".join(parts)


def _languages(codes: list[str]) -> str:
    if len(codes) > SHOWN_LANGUAGES:
        return f"{len(codes)}: {' '.join(codes[: SHOWN_LANGUAGES - 1])} ..."
    return " ".join(codes)


def _places(origins: Sequence[Origin]) -> str:
    """Each place once, with its number of languages where there are several."""
    places = Counter(map(str, origins))
    if len(places) > 3:  # a folder for each language
        places = Counter(x.place.value for x in origins)
    if len(places) == 1:
        return next(iter(places))
    return "; ".join(f"{place} ({count})" for place, count in places.items())


def _size(origins: Sequence[Origin]) -> str:
    known = sum(x.size for x in origins)
    is_partly = known and not all(x.size for x in origins)
    return f"{'> ' * bool(is_partly)}{in_bytes(known)}" if known else ""


def _here(origins: Sequence[Origin]) -> str:
    here = sum(x.is_here for x in origins)
    if all(x.place is Place.NOWHERE for x in origins):
        return "nowhere"
    return "yes" if here == len(origins) else f"{here} of {len(origins)}" if here else "no"
