"""Terminals that tests look at: what a person would see after all control characters."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyte
from rich.console import Console

from tests.processes import started


class Terminal:
    """A terminal of so many columns, whose lines scroll into a history.

    Args:
        columns: Columns.
        lines: Lines.
    """

    def __init__(self, columns: int, lines: int = 40) -> None:
        self.columns = columns
        self._screen = pyte.HistoryScreen(columns, lines, history=2000)
        self._stream = pyte.Stream(self._screen)

    def write(self, text: str) -> int:
        """Show a text, line ends as a terminal's driver makes them."""
        self._stream.feed(text.replace("\n", "\r\n"))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def feed(self, data: bytes) -> None:
        """Show what came out of a process."""
        self._stream.feed(data.decode(errors="replace"))

    @property
    def is_cursor_hidden(self) -> bool:
        """Whether no cursor is shown."""
        return bool(self._screen.cursor.hidden)

    @property
    def lines(self) -> list[str]:
        """What is on it now, with what has left at the top; no empty lines at the end."""
        rows = [
            "".join(row[column].data for column in range(self.columns))
            for row in self._screen.history.top
        ]
        shown = [line.rstrip() for line in (*rows, *self._screen.display)]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    def console(self) -> Console:
        """A console that writes to it."""
        return Console(
            file=self,  # type: ignore[arg-type]
            width=self.columns,
            force_terminal=True,
            color_system="256",
            legacy_windows=False,
            markup=False,
            highlight=False,
            emoji=False,
            _environ={},
        )


class Typist:
    """A person at a terminal in which a command runs."""

    def __init__(self, terminal: Terminal, master: int) -> None:
        self.terminal, self._master = terminal, master
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def press_ctrl_c(self) -> None:
        """Press Ctrl-C: the terminal sends SIGINT to what runs in it."""
        os.write(self._master, b"\x03")

    def join(self) -> None:
        """Wait until all that was written is on the terminal."""
        self._reader.join()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            self.terminal.feed(data)


@contextmanager
def at_a_terminal(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], columns: int
) -> Iterator[tuple[Typist, object]]:
    """A command in a terminal of its own; yields who sits there, and the process."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def controlling() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with started(
        words,
        cwd=folder,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=controlling,
    ) as process:
        os.close(slave)
        typist = Typist(Terminal(columns), master)
        try:
            yield typist, process
        finally:
            process.poll() is not None and typist.join()
            os.close(master)
    time.sleep(0)
