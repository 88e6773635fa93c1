"""`python -m search.init`: write a study file, by a few questions or by options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from search.command_line.options import fail_in_one_line
from search.command_line.parser import CommandParser, count
from spaces.catalogue import load_catalogue
from spaces.errors import SpecError, TransferSearchError
from spaces.languages import expand_languages
from spaces.new_study import NewStudy, study_text
from spaces.studies import check_study_name
from spaces.task import Domain, Role

EPILOG = """\
On a terminal what no option says is asked; elsewhere it has its default. The file is meant to be
read and edited; `search.run FILE --dry-run` says what the study would take.
"""
DEFAULTS = {
    "target": "panx",
    "languages": "swa,yor",
    "arms": "general,biomedical,legal",
    "backbone": "xlm-r",
    "trials": "40",
}
QUESTIONS = {
    "target": "Target tasks (see `python -m search.data`)",
    "languages": "Target languages (ISO 639-3, or a set as low-resource)",
    "arms": "Domains to compare (general, biomedical, legal)",
    "backbone": "Encoder (see `python -m search.data --backbones`, or a folder)",
    "trials": "Trials",
}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = CommandParser(prog="python -m search.init", description=__doc__, epilog=EPILOG)
    options.add_argument("file", nargs="?", default="my_study.toml", help="default: %(default)s")
    for name, question in QUESTIONS.items():
        options.add_argument(
            f"--{name}",
            metavar="N" if name == "trials" else "NAME[,NAME]",
            help=f"{question}; default: {DEFAULTS[name]}",
        )
    options.add_argument("--force", action="store_true", help="write over a file that is there")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line(works=True):
        file = Path(options.file)
        file = file if file.suffix == ".toml" else file.with_name(f"{file.name}.toml")
        check_study_name(file.stem, "FILE")
        if file.exists() and not options.force:
            raise SpecError(
                str(file), "a new file", "one that is there", "name another, or --force"
            )
        given = {name: getattr(options, name) for name in QUESTIONS}
        text = _asked(given, file.stem) if sys.stdin.isatty() else _written(given, file.stem)
        file.write_text(text, encoding="utf-8")
        print(f"wrote {file}\n\nnext:")
        print(f"  what it will take:  python -m search.run {file} --dry-run")
        print(f"  search:             python -m search.run {file}")
    return 0


def _written(given: dict[str, str | None], name: str) -> str:
    """The file with defaults where nothing is given."""
    words = {key: value or DEFAULTS[key] for key, value in given.items()}
    return study_text(_study(words, name), load_catalogue())


def _asked(given: dict[str, str | None], name: str, ask: Callable[[str], str] = input) -> str:
    """The same; what is not given is asked, and asked again while it is wrong."""
    answers = dict(given)
    for key, question in QUESTIONS.items():
        while answers[key] is None:
            word = ask(f"{question} [{DEFAULTS[key]}]: ").strip() or DEFAULTS[key]
            try:
                _check(key, word)
            except TransferSearchError as error:
                print(f"  {error}")
                continue
            answers[key] = word
    return _written(answers, name)


def _check(key: str, word: str) -> None:
    """Check one answer by itself.

    Raises:
        TransferSearchError: It is none.
    """
    catalogue = load_catalogue()
    if key == "target":
        for name in _names(word):
            if catalogue[name].role is Role.INTERMEDIATE:
                raise SpecError(name, "a task of role target or both", "intermediate")
    if key == "languages":
        expand_languages(_names(word), {x for task in catalogue for x in task.languages})
    if key == "arms" and (unknown := set(_names(word)) - set(Domain)):
        raise SpecError(min(unknown), f"some of {', '.join(Domain)}")
    if key == "trials" and not word.isdigit():
        raise SpecError(word, "a number")


def _study(words: dict[str, str], name: str) -> NewStudy:
    for key, word in words.items():
        _check(key, word)
    return NewStudy(
        name,
        _names(words["target"]),
        _names(words["languages"]),
        _names(words["arms"]),
        words["backbone"],
        count(words["trials"]),
    )


def _names(word: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(x for x in word.replace(",", " ").split()))


if __name__ == "__main__":
    sys.exit(main())
