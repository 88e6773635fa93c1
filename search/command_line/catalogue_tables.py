"""The catalogue as tables: a task, the grid of intermediate tasks, the encoders."""

from __future__ import annotations

import shutil
import textwrap

from rich.table import Table

from search.command_line.words import console_for
from spaces.backbones import BackboneRecord, known_backbones
from spaces.catalogue import Catalogue
from spaces.task import Domain, Task

# Columns of a table that goes into a file.
WIDTH = 180


def print_task(task: Task) -> None:
    """Print one record whole."""
    for name, value in task.model_dump(mode="json", exclude_defaults=True).items():
        shown = ", ".join(value) if isinstance(value, list) else value
        print(f"{name:<14} {shown}")


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
