"""Ctrl-C and SIGTERM: noted when they come, raised where it is safe to end."""

from __future__ import annotations

import signal
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from spaces.errors import Interrupted


@dataclass
class StopSignal:
    """Whether the run was asked to end, by Ctrl-C or SIGTERM.

    Attributes:
        number: Number of the signal; 0 while there was none.
    """

    number: int = 0

    def ask(self) -> None:
        """Ask the run to end, as SIGTERM does."""
        self.number = signal.SIGTERM

    def check(self) -> None:
        """Raise where it is safe to end.

        Raises:
            Interrupted: The run was asked to end.
        """
        if self.number:
            raise Interrupted(f"interrupted by {signal.Signals(self.number).name}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the first signal; let the second one end the process at once.

        In a thread of another program's process (`search.launch.hosted_worker`), signals are its
        owner's.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.getsignal(number) for number in wanted}

        def on_signal(number: int, frame: types.FrameType | None) -> None:
            self.number = number
            for each in wanted:
                signal.signal(each, signal.SIG_DFL)

        for number in wanted:
            signal.signal(number, on_signal)
        try:
            yield
        finally:
            for number in wanted:
                signal.signal(number, previous[number])
