"""What a command waits for at its start, by name: a spinner on a terminal, a line in a log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

SILENCE_SECONDS = 2.0
"""Of a log, after which it says what is waited for."""


@contextmanager
def waiting(console: Console, what: str) -> Iterator[Callable[[str], None]]:
    """Say what is waited for, within.

    On a terminal it is gone afterwards. In a log it is said only where it takes long.

    Args:
        console: Where to say it; a quiet one says nothing.
        what: What is waited for, as in `loading torch`.

    Yields:
        Takes another name for it.
    """
    if console.quiet:
        yield lambda line: None
    elif console.is_terminal:
        kind = "dots" if console.encoding.startswith("utf") else "line"
        spinner = Spinner(kind, _one_line(what))
        with Live(
            spinner,
            console=console,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield lambda line: spinner.update(text=_one_line(line))
    else:
        late = threading.Timer(
            SILENCE_SECONDS, console.print, (f"{what} ...",), {"soft_wrap": True}
        )
        late.daemon = True
        late.start()
        try:
            yield lambda line: console.print(f"{line} ...", soft_wrap=True)
        finally:
            late.cancel()


def _one_line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
