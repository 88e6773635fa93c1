"""The parser of every command, and the types of its options: a wrong value is one short line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from spaces.errors import one_line, shortened

MOST = 1_000_000
"""Largest number of anything that an option counts."""
MOST_THREADS = 4096
MOST_WORKERS = 1000
LONGEST_SECONDS = 10 * 365 * 86400.0
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_SHOWN = 60


class CommandParser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line.

    A study needs no option: `search.run xtreme_legal` is `search.run --study xtreme_legal`.

    Words that are no text, which files' names may be on some machines, are refused: they would
    be in the study, and no database takes them.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's."""
        words: Sequence[str] = sys.argv[1:] if args is None else args
        for word in words:
            try:
                is_text = "\0" not in word and bool(word.encode() or True)
            except UnicodeEncodeError:
                is_text = False
            if not is_text:
                self.error(f"expected text in UTF-8, found {_shown(word)}")
        return super().parse_known_args(self._with_study(words), namespace)

    def _with_study(self, words: Sequence[str]) -> list[str]:
        """The words, a bare one as the value of `--study` where the command has that option."""
        options = self._option_string_actions
        takes_none = "--study" not in options or self._get_positional_actions()
        if takes_none or any(x.partition("=")[0] == "--study" for x in words):
            return list(words)
        place = 0
        while place < len(words):
            word = words[place]
            if not word.startswith("-"):
                return ["--study", word, *words[:place], *words[place + 1 :]]
            found = options.get(word) or next(
                (option for name, option in options.items() if name.startswith(word)), None
            )
            place += 1
            if found is None or "=" in word or found.nargs == 0:
                continue
            most = 1 if found.nargs in (None, "?") else len(words)
            while most and place < len(words) and not words[place].startswith("-"):
                place, most = place + 1, most - 1
        return list(words)

    def error(self, message: str) -> NoReturn:
        """End with one line and exit code 2."""
        if not message.startswith("expected"):
            message = f"{message}; see `{self.prog} --help`"
        self.exit(2, f"error: {one_line(message)}\n")


def count(text: str) -> int:
    """The `type` of an option that counts something.

    Raises:
        ArgumentTypeError: It is no whole number from 1 to a million.
    """
    return count_to(MOST)(text)


def count_to(most: int) -> Callable[[str], int]:
    """The `type` of an option that counts up to a number; it raises an `ArgumentTypeError`."""
    return whole(1, most)


def whole(least: int, most: int) -> Callable[[str], int]:
    """The `type` of a whole number from one to another; it raises an `ArgumentTypeError`."""

    def read(text: str) -> int:
        value = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {least} to {most:,}, found {_shown(text)}"
            )
        return value

    return read


def number_of(text: str) -> int:
    """The `type` of an option that is a trial's number, a seed or the like, from 0."""
    return whole(0, 2**31 - 1)(text)


def positive(text: str) -> float:
    """The `type` of a number above 0.

    Raises:
        ArgumentTypeError: It is none, or beyond a thousand million.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9:
        raise argparse.ArgumentTypeError(
            f"expected a number above 0, to 1,000,000,000, found {_shown(text)}"
        )
    return value


def duration(text: str) -> float:
    """The `type` of a time; seconds.

    Raises:
        ArgumentTypeError: It is none, or beyond ten years.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s|min|h|d)", text.replace(" ", ""))
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(
            f"expected a time as in 12h, 30min or 90s, to ten years, found {_shown(text)}"
        )
    return seconds


def size(text: str) -> int:
    """The `type` of a size; bytes.

    Raises:
        ArgumentTypeError: It is none, or beyond a million terabytes.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([kmgt]?)b?", text.strip(), re.IGNORECASE)
    value = float(match[1]) * 1000 ** " kmgt".index(match[2].lower() or " ") if match else -1.0
    if not 0 <= value <= 1e18:
        raise argparse.ArgumentTypeError(f"expected a size as in 20GB, found {_shown(text)}")
    return int(value)


def _shown(text: str) -> str:
    return shortened(repr(text), _SHOWN)
