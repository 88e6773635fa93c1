"""`python -m search.evaluate`: score predictions that are in XTREME's submission format."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.command_line.options import add_data, fail_in_one_line

if TYPE_CHECKING:
    from objectives.data.sources import DataSource
    from objectives.xtreme.benchmark import TaskScores
    from spaces.catalogue import Catalogue, Task

EPILOG = """\
PATH is the file of one language (test-sw.tsv), the folder of a task, or a folder with one per task
(panx/test-sw.tsv). The files are those of an XTREME submission, for other tasks too; `predict`
writes them. A task's score is the mean over its languages, English included, and XTREME's is the
mean over its nine tasks; neither is given where some are missing.
"""
PARTS = ("score", "em", "f1")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.evaluate", description=__doc__, epilog=EPILOG
    )
    options.add_argument("--predictions", required=True, type=Path, metavar="PATH")
    options.add_argument("--task", help="a task of the catalogue; default: one per folder in PATH")
    options.add_argument(
        "--language", metavar="CODE", help="ISO 639-3; default: by the names of the files"
    )
    options.add_argument(
        "--split",
        choices=("test", "validation"),
        help="which examples were predicted; default: by the name of the file, else test",
    )
    options.add_argument(
        "--study", help="a study file or the name of a shipped one, for tasks of its own"
    )
    add_data(options)
    options.add_argument("--json", action="store_true", help="print JSON, scores in [0, 1]")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        from spaces.catalogue import load_catalogue
        from spaces.studies import load_study

        catalogue = load_catalogue()
        if options.study:
            own = load_study(options.study).tasks
            catalogue = catalogue.extended(own, f"study {options.study!r}")
        tasks = [catalogue[options.task]] if options.task else None

        from objectives.data.sources import choose_source
        from objectives.models.encoders import quiet_libraries

        quiet_libraries()
        split, files = _find(options, tasks, catalogue)
        needed = [(task, language) for task, found in files for language in found]
        source = choose_source(options.data, needed)
        scores = {task.name: _score(task, found, split, source) for task, found in files}
        if options.json:
            print(json.dumps(_as_json(scores, split, source), ensure_ascii=False, indent=2))
        elif options.task:
            _show_languages(scores[options.task], split, source)
        else:
            _show_tasks(scores, split, source)
    return 0


def _find(
    options: argparse.Namespace, tasks: list[Task] | None, catalogue: Catalogue
) -> tuple[str, list[tuple[Task, dict[str, Path]]]]:
    """The split, and each task with the files of its languages."""
    from objectives.xtreme.submission import file_language, file_split, find_predictions
    from spaces.errors import DataError, SpecError, unknown_name

    path: Path = options.predictions
    if not path.exists():
        raise DataError(f"--predictions: expected a file or a folder, found nothing at {path}")
    if path.is_dir():
        split: str = options.split or "test"
        folders = {task.name: path for task in tasks or []}
        if tasks is None:
            folders = {x.name: x for x in sorted(path.iterdir()) if _is_task_folder(x)}
        elif (path / tasks[0].name).is_dir():
            folders = {tasks[0].name: path / tasks[0].name}
        if not folders:
            raise DataError(f"{path}: expected a folder per task in it, or its task with --task")
        files = []
        for name, folder in folders.items():
            task = catalogue[name]
            found = find_predictions(folder, task, split)
            if options.language:
                if options.language not in found:
                    raise unknown_name("Language", options.language, found, f"in {folder}")
                found = {options.language: found[options.language]}
            files.append((task, found))
        return split, files
    if tasks is None:
        raise SpecError(f"--task: expected the task of {path}, found none")
    said = file_split(path)
    if options.split and said and said != options.split:
        raise SpecError(f"--split: expected {said}, as {path} says, found {options.split}")
    language = options.language or file_language(tasks[0], path)
    return options.split or said or "test", [(tasks[0], {language: path})]


def _is_task_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _score(task: Task, files: Mapping[str, Path], split: str, source: DataSource) -> TaskScores:
    from objectives.xtreme.benchmark import TaskScores, benchmark_split, score_predictions
    from objectives.xtreme.submission import read_predictions

    scores = {}
    for language, file in files.items():
        examples = benchmark_split(task, language, split, source)
        predictions = read_predictions(file, task, examples)
        scores[language] = score_predictions(task, language, examples, predictions)
    return TaskScores(task, scores)


# --- what is shown


def _as_json(scores: Mapping[str, TaskScores], split: str, source: DataSource) -> dict[str, Any]:
    from objectives.xtreme.benchmark import group_means, overall_mean

    tasks = {
        name: {
            "metric": str(found.task.metric),
            "languages": found.languages,
            "mean": found.mean,
            "languages_wanted": len(found.wanted),
            "languages_missing": found.missing,
        }
        for name, found in scores.items()
    }
    return {
        "split": split,
        "data": str(source),
        "tasks": tasks,
        "groups": group_means(scores),
        "overall": overall_mean(scores),
    }


def _show_languages(scores: TaskScores, split: str, source: DataSource) -> None:
    from rich.table import Table

    table = Table(title=f"{scores.task.name}, {split}: {scores.task.metric}; data: {source}")
    parts = [part for part in PARTS if part in next(iter(scores.languages.values()))]
    table.add_column("language")
    for part in parts:
        table.add_column(part.upper() if part != "score" else part, justify="right")
    for language, found in scores.languages.items():
        outside = "" if language in scores.wanted else " (not in the mean)"
        table.add_row(language + outside, *(_points(found[part]) for part in parts))
    if scores.mean:
        table.add_section()
        table.add_row(_mean_of(scores), *(_points(scores.mean[part]) for part in parts))
    if scores.missing:
        table.caption = f"not the task's score; missing: {' '.join(scores.missing)}"
    _print(table)


def _show_tasks(scores: Mapping[str, TaskScores], split: str, source: DataSource) -> None:
    from rich.table import Table

    from objectives.xtreme.benchmark import GROUPS, group_means, overall_mean

    table = Table(title=f"{split}; data: {source}")
    table.add_column("task")
    table.add_column("metric")
    for header in ("score", "EM", "F1"):
        table.add_column(header, justify="right")
    table.add_column("mean over", overflow="fold")
    for name, found in scores.items():
        parts = [_points(found.mean[part]) if part in found.mean else "" for part in PARTS]
        missing = f"; missing: {' '.join(found.missing)}" if found.missing else ""
        note = f"{_counted(found)}{missing}"
        table.add_row(name, found.task.metric, *parts, note)
    table.add_section()
    means = {**group_means(scores), "overall": overall_mean(scores)}
    members = {**GROUPS, "overall": [task for tasks in GROUPS.values() for task in tasks]}
    for group, mean in means.items():
        if not set(members[group]) & scores.keys():
            continue
        complete = [x for x in members[group] if x in scores and not scores[x].missing]
        lacking = [x for x in members[group] if x not in complete]
        note = f"{len(complete)} of {len(members[group])} tasks"
        note += f"; missing or incomplete: {' '.join(lacking)}" if lacking else ""
        table.add_row(group, "", "-" if mean is None else _points(mean), "", "", note)
    _print(table)


def _mean_of(scores: TaskScores) -> str:
    return f"mean over {_counted(scores)}"


def _counted(scores: TaskScores) -> str:
    count = len(scores.wanted)
    return f"{count - len(scores.missing)} of {count} languages"


def _points(score: float) -> str:
    return f"{100 * score:.2f}"


def _print(table: object) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    sys.exit(main())
