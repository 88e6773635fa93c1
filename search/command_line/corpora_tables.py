"""Corpora as tables: where each comes from, what came of getting them, what a folder lacks."""

from __future__ import annotations

import json
import shlex
import shutil
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from objectives.data.folder_check import FolderReport
from objectives.data.origins import Origin, Place, remote_origin
from search.command_line.words import in_bytes
from spaces.task import Task

# Columns of a wide terminal, or of a file, that lines are filled to.
MOST_WIDTH = 110
# Codes of languages that a row shows; of more it shows the number.
SHOWN_LANGUAGES = 6
SHOWN_FILES = 10


@dataclass(frozen=True)
class TaskCorpora:
    """A task and where it comes from in each of its languages.

    Attributes:
        task: Catalogue record of the task.
        origins: Origin of each language's corpus.
    """

    task: Task
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class Got:
    """What is here after a study's corpora were got.

    Attributes:
        corpora: Number of corpora, a task in a language each.
        copied: Number of files that were copied from the cache or other folders.
        encoders: Name of each encoder -> why it is not here, or "".
    """

    corpora: int
    copied: int
    encoders: Mapping[str, str]


def print_corpora(corpora: Sequence[TaskCorpora], title: str, advice: str) -> None:
    """Print a few lines for each task: languages, size, where it is from under which licence.

    Args:
        corpora: Tasks with their origins, sorted by kind and domain.
        title: Whose corpora these are.
        advice: Command that gets what is not here; empty for none.
    """
    width = min(MOST_WIDTH, shutil.get_terminal_size((MOST_WIDTH, 0)).columns)
    print(_filled(f"{title}: {_summary(corpora)}", width, ""))
    name_width = 2 + max((len(one.task.name) for one in corpora), default=0)
    heading = ""
    for one in corpora:
        task = one.task
        if heading != (heading := f"{task.kind}, {task.domain}"):
            print(f"\n{heading}")
        facts = f"{_size(one.origins):>9}  {_here(one.origins):<12}"
        left = f"  {task.name:<{name_width}}{_languages([x.language for x in one.origins])}"
        print(f"{left:<{width - len(facts) - 1}} {facts}".rstrip())
        print(_filled(f"{_places(one)}; {task.licence}", width, " " * 6))
    if advice and any(x.place.is_remote for one in corpora for x in one.origins):
        print(f"\n{advice} gets what is not here")


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


def print_got(got: Got, to: Path | None) -> int:
    """Print what is here now of what a study needs.

    Args:
        got: What came of it.
        to: Folder that corpora were put into; None for the cache.

    Returns:
        Exit code, 1 where an encoder is missing.
    """
    copied = f", {got.copied} files of them copied" if got.copied else ""
    print(f"{got.corpora} corpora are here{copied}")
    for name, problem in got.encoders.items():
        print(f"encoder {name}: {f'missing: {problem}' if problem else 'here'}")
    if to:
        print(f"--data {shlex.quote(str(to))} reads them, without a network too")
    return 1 if any(got.encoders.values()) else 0


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
        f"{len(report.missing)} missing"
    )


def _filled(text: str, width: int, indent: str) -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
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


def _places(one: TaskCorpora) -> str:
    """Each place once, with its number of languages where there are several."""
    origins = [x for x in one.origins if x.place is not Place.NOWHERE]
    places = Counter(map(_place, origins))
    if len(places) > 3:  # a folder for each language
        places = Counter(x.place.value for x in origins)
    shown = [f"{place} ({count})" for place, count in places.items()]
    if len(origins) < len(one.origins):
        lacking = [x.language for x in one.origins if x.place is Place.NOWHERE]
        shown.append(_no_copy(one.task, lacking if origins else []))
    elif len(places) == 1:
        return next(iter(places))
    return "; ".join(shown)


def _no_copy(task: Task, languages: list[str]) -> str:
    """That none can be downloaded, and which file of the user's own is read."""
    if any(remote_origin(task, x).place.is_remote for x in languages or task.languages):
        return f"not in the folder{f' ({len(languages)})' if languages else ''}"
    of = f" of {' '.join(languages)}" if languages else ""
    own = f": a folder for --data with {task.layouts[0].path}" if task.layouts else ""
    return f"no copy{of} is known{own}"


def _place(origin: Origin) -> str:
    """A place with the first digits of its commit; other revisions are names."""
    return str(replace(origin, revision=origin.revision[:7]))


def _size(origins: Sequence[Origin]) -> str:
    known = sum(x.size for x in origins)
    is_partly = known and not all(x.size for x in origins)
    return f"{'> ' * bool(is_partly)}{in_bytes(known)}" if known else ""


def _here(origins: Sequence[Origin]) -> str:
    here = sum(x.is_here for x in origins)
    if all(x.place is Place.NOWHERE for x in origins):
        return "nowhere"
    if here and here < len(origins):
        return f"{here} of {len(origins)} here"
    return "here" if here else "not here"
