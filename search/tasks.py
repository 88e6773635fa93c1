"""`python -m search.tasks`: the catalogue, and where each task's data would come from now."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from search.arguments import add_data, fail_in_one_line

if TYPE_CHECKING:
    from objectives.corpora import DataSource
    from spaces.catalogue import Catalogue, Task


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(prog="python -m search.tasks", description=__doc__)
    options.add_argument("task", nargs="?", help="show one task whole")
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

        from objectives.corpora import choose_source

        _show_table(catalogue, choose_source(options.data))
    return 0


def _show_task(task: Task) -> None:
    for name, value in task.model_dump(mode="json", exclude_defaults=True).items():
        shown = ", ".join(value) if isinstance(value, list) else value
        print(f"{name:<14} {shown}")


def _show_table(catalogue: Catalogue, source: DataSource) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(catalogue.tasks)} tasks; data now: {source}, {source.reason}")
    for header in ("task", "kind", "domain", "role", "languages", "licence", "data now"):
        table.add_column(header, overflow="fold")
    for task in sorted(catalogue, key=lambda task: (task.kind, task.domain, task.name)):
        languages = " ".join(task.languages)
        if len(task.languages) > 8:
            languages = f"{len(task.languages)}: {' '.join(task.languages[:6])} ..."
        table.add_row(
            *(task.name, task.kind, task.domain, task.role, languages, task.licence),
            _whence(task, catalogue, source),
        )
    Console(width=None if sys.stdout.isatty() else 180).print(table)


def _whence(task: Task, catalogue: Catalogue, source: DataSource) -> str:
    """Where the training split would come from, and how many languages could be scored."""
    from objectives.corpora import SourceKind, has_split

    if task.pocket:
        return "pocket (generated)"
    if source.kind is SourceKind.POCKET:
        return f"nowhere; Hub: {task.hub.repository}" if task.hub else "nowhere"
    train = catalogue.training_task(task)
    trained = any(has_split(train, x, "train", source) for x in train.languages)
    scored = sum(has_split(task, x, "validation", source) for x in task.languages)
    if not trained and not scored:
        return "nowhere"
    return f"{source.kind}: {'train, ' if trained else ''}validation in {scored} languages"


if __name__ == "__main__":
    sys.exit(main())
