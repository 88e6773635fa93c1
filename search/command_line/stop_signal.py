"""Ctrl-C, SIGTERM and SIGHUP: noted when they come, raised where it is safe to end.

While a command starts there is nothing to keep, and no safe place either: an interrupt in the
middle of an import shows a library's traceback. There Ctrl-C ends the process at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from spaces.errors import Interrupted

GRACE_SECONDS = 2.0
"""After Ctrl-C, until a run that has come to no safe place ends all the same: its trial goes back
as that of a worker that was killed."""
_IMPORTING = "<frozen importlib._bootstrap>"
_SHOW_CURSOR = "\x1b[?25h"


@dataclass(frozen=True)
class EndAtOnce:
    """Ends the process when a signal comes, without a traceback and with what there is to say.

    Attributes:
        last_words: What is said then; nothing where it is empty.
    """

    last_words: Callable[[], str] = str

    def __call__(self, number: int, frame: types.FrameType | None = None) -> None:
        """End, as a signal's handler."""
        with suppress(Exception):  # a stream may be gone, or in the middle of a line
            if sys.stderr.isatty():
                sys.stderr.write(_SHOW_CURSOR)
            if line := self.last_words():
                sys.stderr.write(f"\n{line}\n")
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(128 + number)


def end_at_once_from_now() -> None:
    """Let Ctrl-C end the process at once, from a command's first moment to its last."""
    if _is_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, EndAtOnce())


@contextmanager
def ending_at_once(last_words: str) -> Iterator[None]:
    """Let Ctrl-C end the process at once within, and say something then."""
    if not _is_main_thread():
        yield
        return
    kept = signal.signal(signal.SIGINT, EndAtOnce(lambda: last_words))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, kept)


@contextmanager
def unwinding() -> Iterator[None]:
    """Let Ctrl-C raise a KeyboardInterrupt within, where there is something to clear away."""
    if not _is_main_thread() or not isinstance(signal.getsignal(signal.SIGINT), EndAtOnce):
        yield
        return
    kept = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, kept)


def _interrupt(number: int, frame: types.FrameType | None) -> None:
    """A KeyboardInterrupt, but within an import, where a library may take it for a failed one."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            EndAtOnce()(number)
        frame = frame.f_back
    raise KeyboardInterrupt


# A second signal of the kind.
_AGAIN: dict[int, signal.Handlers] = {
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_IGN,
}


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
    def listening(
        self, last_words: Callable[[], str] = str, grace: float | None = None
    ) -> Iterator[None]:
        """Note the first signal; let a second one of its kind end the process at once.

        Of one that goes away, a terminal sends more than one SIGHUP, and so does whoever ends a
        session beside SIGTERM: that ends nothing at once. Where it is ignored, as after `nohup`,
        it stays so.

        In a thread of another program's process (`search.launch.hosted_worker`), signals are its
        owner's.

        Args:
            last_words: What is said where the process is ended.
            grace: Seconds after Ctrl-C until a run that came to no safe place is ended; None: it
                is waited for.
        """
        if not _is_main_thread():
            yield
            return
        wanted = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            wanted.append(signal.SIGHUP)
        previous = {number: signal.getsignal(number) for number in wanted}
        end_at_once = EndAtOnce(last_words)
        impatience = threading.Timer(grace or 0.0, end_at_once, (signal.SIGINT,))
        impatience.daemon = True

        def on_signal(number: int, frame: types.FrameType | None) -> None:
            self.number = self.number or number
            if number == signal.SIGINT:
                signal.signal(number, end_at_once)
                if grace is not None:
                    impatience.start()
            else:
                signal.signal(number, _AGAIN[number])

        for number in wanted:
            signal.signal(number, on_signal)
        try:
            yield
        finally:
            impatience.cancel()
            for number in wanted:
                signal.signal(number, previous[number])


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
