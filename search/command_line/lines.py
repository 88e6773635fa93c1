"""Lines for people: wrapped at words on a terminal, whole in a file; commands stay commands.

A command that is wider than the terminal goes on behind a backslash, so that it can be pasted as
it stands. Nothing is broken within a word, however long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from textwrap import TextWrapper

from rich.console import Console

_COMMAND = re.compile(r"(?:^|(?<=\s))(?:python -m search\.|transfer-search )")
# Words of a shell: runs of quoted parts and of what is no space.
_WORD = re.compile(r"""(?:"[^"]*"|'[^']*'|\S)+""")
_INTERVAL = re.compile(r"\[[-+.\d]+, [-+.\d]+\]")
_INDENT = "  "


def print_lines(console: Console, *lines: str) -> None:
    """Print lines, each wrapped to the width of a terminal."""
    for line in lines:
        for part in wrapped(line, console.width) if console.is_terminal else [line]:
            console.print(part, soft_wrap=True, markup=False, highlight=False, emoji=False)


def wrapped(line: str, width: int) -> list[str]:
    """A line as the lines of a terminal.

    Args:
        line: One line; a command in it reaches to its end.
        width: Columns of the terminal.
    """
    if len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    command = _COMMAND.search(line)
    if command is None:
        return _prose(line, width, indent)
    prose, words = line[: command.start()].rstrip(), line[command.start() :]
    lines = _prose(prose, width, indent) if prose else []
    return [*lines, *_command(words, width, indent + _INDENT * bool(prose))]


def _prose(line: str, width: int, indent: str) -> list[str]:
    wrapper = TextWrapper(
        width,
        subsequent_indent=indent + _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    # White space that a wrapper leaves alone.
    whole = _INTERVAL.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), line)
    return [part.replace("\N{NO-BREAK SPACE}", " ") for part in wrapper.wrap(whole)]


def _command(command: str, width: int, indent: str) -> list[str]:
    """A command on as many lines as it needs, all but the last with a backslash at the end."""
    lines, room = [indent], width - 2
    for word in _units(_WORD.findall(command)):
        line = lines[-1]
        if line.strip() and len(line) + 1 + len(word) > room:
            lines.append(f"{indent}{_INDENT}{word}")
        else:
            lines[-1] = f"{line} {word}" if line.strip() else line + word
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]


def _units(words: list[str]) -> Iterable[str]:
    """The words, an option together with its value."""
    unit = ""
    for place, word in enumerate(words):
        unit = f"{unit} {word}".strip()
        following = words[place + 1] if place + 1 < len(words) else "-"
        if not (word.startswith("-") and not following.startswith("-")):
            yield unit
            unit = ""
