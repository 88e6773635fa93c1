"""`python -m search.tasks`: the catalogue, and where each task's data would come from now."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from search.command_line.options import add_data, fail_in_one_line

if TYPE_CHECKING:
    from rich.table import Table

    from objectives.data.sources import DataSource
    from spaces.catalogue import Catalogue, Task


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(prog="python -m search.tasks", description=__doc__)
    options.add_argument("task", nargs="?", help="show one task whole")
    options.add_argument(
        "--grid", action="store_true", help="intermediate tasks by kind and domain"
    )
    options.add_argument(
        "--backbones", action="store_true", help="the encoders that have a short name"
    )
    add_data(options)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        from spaces.catalogue import load_catalogue

        catalogue = load_catalogue()
        if options.task:
            _show_task(catalogue[options.task])
            return 0
        if options.grid:
            _show_grid(catalogue)
            return 0
        if options.backbones:
            _show_backbones()
            return 0

        from objectives.data.sources import choose_source

        _show_table(catalogue, choose_source(options.data))
    return 0


def _show_task(task: Task) -> None:
    for name, value in task.model_dump(mode="json", exclude_defaults=True).items():
        shown = ", ".join(value) if isinstance(value, list) else value
        print(f"{name:<14} {shown}")


def _show_grid(catalogue: Catalogue) -> None:
    """How many tasks each cell has, then which: their names are wider than three columns."""
    from spaces.catalogue import Domain

    grid = catalogue.grid()
    counts = _table("intermediate tasks by kind and domain", "kind")
    names = _table("which they are", "kind", "domain", "tasks")
    for domain in Domain:
        counts.add_column(domain, justify="right")
    for kind in dict.fromkeys(kind for kind, _ in grid):
        cells = {domain: grid[kind, domain] for domain in Domain}
        counts.add_row(kind, *(str(len(found) or "none") for found in cells.values()))
        for domain, found in cells.items():
            if found:
                names.add_row(kind, domain, " ".join(found))
    empty = [f"{kind} {domain}" for (kind, domain), found in grid.items() if not found]
    counts.caption = (
        f"empty: {', '.join(empty) or 'none'}. Domains cannot be compared in a kind that one of "
        f"them lacks. Nothing is trained on retrieval."
    )
    _print(counts)
    _print(names)


def _show_backbones() -> None:
    import shutil
    import textwrap

    from spaces.backbones import known_backbones

    records = known_backbones()
    indent = 2 + max(map(len, records))
    for name, record in records.items():
        languages = "many languages" if record.multilingual else "English"
        facts = f"{languages}, at most {record.max_length} sub-words, licence {record.licence}"
        lines = [f"{record.repository}, {record.revision[:12] or 'unpinned'}", facts, record.notes]
        if not record.safetensors:
            lines.append("not known to have safetensors, without which it is not loaded")
        shown = (
            textwrap.fill(
                line,
                min(100, shutil.get_terminal_size((100, 0)).columns),
                initial_indent=" " * indent,
                subsequent_indent=" " * indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            for line in lines
            if line
        )
        print(name.ljust(indent) + "\n".join(shown).lstrip())


def _table(title: str, *headers: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", caption_justify="left")
    for header in headers:
        table.add_column(header, overflow="fold", no_wrap=header in {"kind", "domain"})
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 180).print(table)


def _show_table(catalogue: Catalogue, source: DataSource) -> None:
    table = _table(
        f"{len(catalogue.tasks)} tasks; data now: {source}, {source.reason}",
        *("task", "kind", "domain", "role", "languages", "licence", "data now"),
    )
    for task in sorted(catalogue, key=lambda task: (task.kind, task.domain, task.name)):
        languages = " ".join(task.languages)
        if len(task.languages) > 8:
            languages = f"{len(task.languages)}: {' '.join(task.languages[:6])} ..."
        table.add_row(
            *(task.name, task.kind, task.domain, task.role, languages, task.licence),
            _whence(task, catalogue, source),
        )
    _print(table)


def _whence(task: Task, catalogue: Catalogue, source: DataSource) -> str:
    """Where the training split would come from, and how many languages could be scored."""
    from objectives.data.sources import SourceKind, has_split

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


if __name__ == "__main__":
    sys.exit(main())
