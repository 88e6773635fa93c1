"""Work of a command within somebody else's process, whose signals stay its owner's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from search.command_line.stop_signal import StopSignal
from spaces.errors import Interrupted

LOOK_EVERY = 0.2
"""Seconds between looks for an interrupt: while a thread is waited for, none is noticed."""


def hosted(work: Callable[[StopSignal], object]) -> None:
    """Do what a command does, in a thread.

    A command takes Ctrl-C for itself and may end its process by it. A notebook's kernel is to
    survive it: there the work is asked to end, and ends where nothing is lost.

    Args:
        work: The work. It asks its argument whether it is to end.

    Raises:
        KeyboardInterrupt: It was interrupted.
        BaseException: What the work raised.
    """
    stop, ended = StopSignal(), Future[object]()

    def run() -> None:
        try:
            ended.set_result(work(stop))
        except BaseException as error:  # noqa: BLE001, as whoever waits raises it
            ended.set_exception(error)

    thread = threading.Thread(target=run, name="transfer-search", daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(LOOK_EVERY)
    except KeyboardInterrupt:
        stop.ask()
        while thread.is_alive():  # a second Ctrl-C waits no longer
            thread.join(LOOK_EVERY)
        raise
    try:
        ended.result()
    except Interrupted as error:
        raise KeyboardInterrupt(str(error)) from error
