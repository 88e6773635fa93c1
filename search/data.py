"""`python -m search.data`: corpora and where they come from, getting them, checking a folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from search.command_line.catalogue_tables import print_backbones, print_grid, print_task
from search.command_line.corpora_tables import (
    print_corpora,
    print_got,
    print_json,
    print_report,
)
from search.command_line.next_commands import get_command
from search.command_line.options import (
    add_data,
    add_licences,
    add_overrides,
    fail_in_one_line,
)
from search.command_line.output import plain_console
from search.command_line.parser import CommandParser
from spaces.catalogue import load_catalogue
from spaces.task import Domain, TaskKind

DOES = {
    "ls": "list corpora: where each comes from, its size and licence, whether it is here",
    "get": "get all corpora and encoders of a study, which then runs offline",
    "check": "read a data folder, and show all that is wrong with it; exit code 1 if any",
    "show": "show one task of the catalogue whole",
    "grid": "show the intermediate tasks by kind and domain",
    "encoders": "show the encoders that have a short name",
}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.data", description=__doc__)
    commands = options.add_subparsers(dest="command", required=True)
    named = {x: commands.add_parser(x, help=does, description=does) for x, does in DOES.items()}
    for name in ("ls", "get", "check"):
        help_ = "a shipped study, or the path of a .toml file"
        named[name].add_argument("--study", required=name == "get", help=help_)
        add_overrides(named[name], 'target.languages=["swa"]')
    named["ls"].add_argument("--kind", default="", choices=list(TaskKind), metavar="KIND")
    named["ls"].add_argument("--domain", default="", choices=list(Domain), metavar="DOMAIN")
    named["ls"].add_argument("--language", default="", metavar="CODE", help="as in yor")
    named["ls"].add_argument("--json", action="store_true", help="print JSON, a corpus each")
    add_data(named["ls"])
    named["get"].add_argument(
        "--to", type=Path, metavar="DIR", help="folder for --data; default: the cache"
    )
    add_licences(named["get"])
    named["get"].add_argument("--backbone", metavar="NAME", help="encoder in place of the study's")
    named["check"].add_argument("folder", type=Path, metavar="DIR", help="as --data takes it")
    named["show"].add_argument("task", metavar="TASK")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    given = parser().parse_args(arguments)
    with fail_in_one_line():
        if given.command == "show":
            print_task(load_catalogue()[given.task])
        elif given.command == "grid":
            print_grid(load_catalogue())
        elif given.command == "encoders":
            print_backbones()
        else:
            return {"ls": _ls, "get": _get, "check": _check}[given.command](given)
    return 0


def _ls(given: argparse.Namespace) -> int:
    from search.studies.corpora import CorpusFilter, list_corpora
    from search.studies.study_file import read_study_file

    study = read_study_file(given.study, given.overrides) if given.study else None
    shown = CorpusFilter(given.kind, given.domain, given.language)
    corpora = list_corpora(study, given.data, shown)
    if given.json:
        print_json(corpora)
    else:
        title = f"study {study.spec.name}" if study else "the catalogue"
        get = get_command(study.study, None, study.overrides) if study else ""
        print_corpora(corpora, title, get)
    return 0


def _get(given: argparse.Namespace) -> int:
    from search.studies.corpora import GetRequest, get_study
    from search.studies.study_file import read_study_file

    study = read_study_file(given.study, given.overrides)
    request = GetRequest(given.to, given.backbone, given.accept_licences)
    return print_got(get_study(study, request, plain_console(soft_wrap=True)), given.to)


def _check(given: argparse.Namespace) -> int:
    from search.studies.corpora import check_corpora
    from search.studies.study_file import read_study_file

    study = read_study_file(given.study, given.overrides) if given.study else None
    report = check_corpora(given.folder, study)
    print_report(report, str(given.folder))
    return 1 if report.problems or report.missing else 0


if __name__ == "__main__":
    sys.exit(main())
