"""Ctrl-C, SIGTERM and SIGHUP: noted when they come, raised where it is safe to end."""

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
    """Whether the run was asked to end, by Ctrl-C, SIGTERM, or SIGHUP as a terminal goes.

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
        """Note the first signal; let a second one of its kind end the process at once.

        Of one that goes away, a terminal sends more than one SIGHUP, and so does whoever ends a
        session beside SIGTERM: that ends nothing at once. Where it is ignored, as after `nohup`,
        it stays so.

        In a thread of another program's process (`search.launch.hosted_worker`), signals are its
        owner's.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            wanted.append(signal.SIGHUP)
        previous = {number: signal.getsignal(number) for number in wanted}

        def on_signal(number: int, frame: types.FrameType | None) -> None:
            self.number = self.number or number
            again = signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL
            signal.signal(number, again)

        for number in wanted:
            signal.signal(number, on_signal)
        try:
            yield
        finally:
            for number in wanted:
                signal.signal(number, previous[number])
