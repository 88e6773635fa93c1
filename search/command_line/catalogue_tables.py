"""The catalogue as tables: its tasks and where their data are, its grid, its encoders."""

from __future__ import annotations

import shutil
import textwrap

from rich.table import Table

from objectives.data.data_source import DataSource, SourceKind
from objectives.data.sources import has_split
from search.command_line.words import console_for
from spaces.backbones import BackboneRecord, known_backbones
from spaces.catalogue import Catalogue
from spaces.task import Domain, Task

# Columns of a table that goes into a file.
WIDTH = 180
# Codes of languages that a row shows; of more it shows the first.
SHOWN_LANGUAGES = 8


def print_task(task: Task) -> None:
    """Print one record whole."""
    for name, value in task.model_dump(mode="json", exclude_defaults=True).items():
        shown = ", ".join(value) if isinstance(value, list) else value
        print(f"{name:<14} {shown}")


def print_tasks(catalogue: Catalogue, source: DataSource) -> None:
    """Print a row for each task, and where its data would come from."""
    table = _table(
        f"{len(catalogue.tasks)} tasks; data now: {source}, {source.reason}",
        *("task", "kind", "domain", "role", "languages", "licence", "data now"),
    )
    for task in sorted(catalogue, key=lambda task: (task.kind, task.domain, task.name)):
        languages = " ".join(task.languages)
        if len(task.languages) > SHOWN_LANGUAGES:
            languages = f"{len(task.languages)}: {' '.join(task.languages[:6])} ..."
        table.add_row(
            *(task.name, task.kind, task.domain, task.role, languages, task.licence),
            _whence(task, catalogue, source),
        )
    console_for(WIDTH).print(table)


def print_grid(catalogue: Catalogue) -> None:
    """Print how many tasks each cell has, then which: their names are wider than three columns."""
    grid = catalogue.grid()
    counts = _table("intermediate tasks by kind and domain", "kind")
    names = _table("which they are", "kind", "domain", "tasks")
    for domain in Domain:
        counts.add_column(domain, justify="right")
    for kind in dict.fromkeys(kind for kind, _ in grid):
        cells = {domain: grid[kind, domain] for domain in Domain}
        counts.add_row(kind, *(str(len(tasks) or "none") for tasks in cells.values()))
        for domain, tasks in cells.items():
            if tasks:
                names.add_row(kind, domain, " ".join(tasks))
    empty = [f"{kind} {domain}" for (kind, domain), tasks in grid.items() if not tasks]
    counts.caption = (
        f"empty: {', '.join(empty) or 'none'}. Domains cannot be compared in a kind that one of "
        f"them lacks. Nothing is trained on retrieval."
    )
    console_for(WIDTH).print(counts, names)


def print_backbones() -> None:
    """Print the encoders that have a short name, with what is known of them."""
    records = known_backbones()
    indent = 2 + max(map(len, records))
    width = min(100, shutil.get_terminal_size((100, 0)).columns)
    for name, record in records.items():
        shown = (
            textwrap.fill(
                line,
                width,
                initial_indent=" " * indent,
                subsequent_indent=" " * indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            for line in _facts(record)
            if line
        )
        print(name.ljust(indent) + "\n".join(shown).lstrip())


def _facts(record: BackboneRecord) -> list[str]:
    languages = "many languages" if record.multilingual else "English"
    facts = f"{languages}, at most {record.max_length} sub-words, licence {record.licence}"
    lines = [f"{record.repository}, {record.revision[:12] or 'unpinned'}", facts, record.notes]
    if not record.safetensors:
        lines.append("not known to have safetensors, without which it is not loaded")
    return lines


def _table(title: str, *headers: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for header in headers:
        table.add_column(header, overflow="fold", no_wrap=header in {"kind", "domain"})
    return table


def _whence(task: Task, catalogue: Catalogue, source: DataSource) -> str:
    """Where the training split would come from, and how many languages could be scored."""
    if task.pocket:
        return "pocket (generated)"
    if source.kind is SourceKind.POCKET:
        return f"nowhere; Hub: {task.hub.repository}" if task.hub else "nowhere"
    train = catalogue.training_task(task)
    trained = task.kind.is_trained and any(
        has_split(train, x, "train", source) for x in train.languages
    )
    scored = sum(has_split(task, x, "validation", source) for x in task.languages)
    if not trained and not scored:
        return "nowhere"
    return f"{source.kind}: {'train, ' if trained else ''}validation in {scored} languages"
