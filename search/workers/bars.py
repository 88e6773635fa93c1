"""Bars of a run on a terminal: three lines that fit any width from 40 columns on.

What a line has no room for is left out, the least needed first; the bar takes what remains. Only
the name is ever cut, and ends in an ellipsis then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from search.command_line.words import in_about

NARROWEST_BAR, WIDEST_BAR = 10, 60
_DONE, _TO_COME, _FAINT = Style(color="green"), Style(dim=True), Style(dim=True)


@dataclass(frozen=True)
class Bar:
    """One line: what it is of, and how far that is.

    Attributes:
        name: What it is of.
        done: How much of it is done.
        total: How much there is in all; 0 while unknown.
        unit: What is counted, for the speed.
        speed: Of these in a second; None while unknown.
        seconds_left: Until it is done; None while unknown.
        short: A shorter name, for terminals that have no room for the other.
    """

    name: str
    done: int
    total: int
    unit: str = ""
    speed: float | None = None
    seconds_left: float | None = None
    short: str = ""

    @property
    def count(self) -> str:
        """Done of total, as in `12/40`."""
        return f"{self.done}/{self.total}" if self.total else f"{self.done} {self.unit}"

    @property
    def pace(self) -> str:
        """As in `4.2 updates/s`; of slow ones the time of each."""
        if not self.speed or not self.unit:
            return ""
        if self.speed < 0.5:
            return f"{1 / self.speed:.1f} s/{self.unit.removesuffix('s')}"
        return f"{self.speed:.1f} {self.unit}/s"

    @property
    def left(self) -> str:
        """As in `12 min left`."""
        return "" if self.seconds_left is None else f"{in_about(self.seconds_left)} left"


@dataclass(frozen=True)
class Bars:
    """Lines of bars under each other, and the answer of the moment below them.

    Attributes:
        bars: The bars now; asked whenever the lines are drawn.
        answer: The answer of the moment in one line; empty while there is none.
    """

    bars: Callable[[], list[Bar]]
    answer: Callable[[], str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the lines, each of at most the width of the terminal."""
        # In the last column some terminals wrap, and so would the ^C that a terminal echoes: the
        # lines could not be taken back then.
        width = options.max_width - 3
        for text in self.lines(width, utf8=options.encoding.startswith("utf")):
            yield from text.render(console)
            yield Segment.line()

    def lines(self, width: int, *, utf8: bool = True) -> list[Text]:
        """The lines for a width in columns.

        Args:
            width: Columns.
            utf8: Whether the terminal has more than ASCII.
        """
        bars = self.bars()
        if not bars:
            return []
        counts, paces = [bar.count for bar in bars], [bar.pace for bar in bars]
        left = [bar.left for bar in bars]
        full, short = [bar.name for bar in bars], [bar.short or bar.name for bar in bars]
        # Without room a short name comes first, then the pace goes, then some of the bar.
        ways = ((full, [counts, paces, left]), (short, [counts, paces, left]))
        for names, columns in (*ways, (short, [counts, left])):
            room = width - sum(2 + _widest(column) for column in columns)
            if _widest(names) + 2 + NARROWEST_BAR <= room:
                break
        of_name = max(min(_widest(names), room - 2 - NARROWEST_BAR), min(_widest(names), 8))
        of_bar = max(0, min(WIDEST_BAR, room - of_name - 2))
        lines = []
        for place, bar in enumerate(bars):
            line = Text(_cut(names[place], of_name, utf8=utf8).ljust(of_name), no_wrap=True)
            if of_bar >= 4:
                line.append("  ").append_text(_drawn(bar, of_bar, utf8=utf8))
            for number, column in enumerate(columns):
                style = Style() if number == 0 else _FAINT
                line.append("  " + column[place].rjust(_widest(column)), style)
            line.truncate(width)
            lines.append(line)
        if answer := self.answer():
            lines.append(Text(_cut(answer, width, utf8=utf8), no_wrap=True))
        return lines


def _widest(column: list[str]) -> int:
    return max(map(cell_len, column))


def _drawn(bar: Bar, width: int, *, utf8: bool) -> Text:
    share = min(1.0, bar.done / bar.total) if bar.total else 0.0
    full = int(share * width)
    mark, rest = ("━", "─") if utf8 else ("#", "-")
    return Text.assemble((mark * full, _DONE), (rest * (width - full), _TO_COME))


def _cut(text: str, width: int, *, utf8: bool) -> str:
    """A text of at most so many columns, cut between words where it is too long."""
    if cell_len(text) <= width:
        return text
    mark = "…" if utf8 else "..."
    room = max(0, width - len(mark))
    kept = text[:room]
    while cell_len(kept) > room:
        kept = kept[:-1]
    if " " in kept.strip() and text[len(kept) : len(kept) + 1] not in {" ", ""}:
        kept = kept.rpartition(" ")[0]
    return kept.rstrip(" ,;:(") + mark
