"""Processes that tests start, and waiting for what they do.

No wait has a bound of its own: a slow machine is no failure, and pytest-timeout ends a test that
hangs. Whatever a test started is killed when it ends, whether it passed or not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import pytest

T = TypeVar("T")


class Process(Protocol):
    """A process of another's that may end."""

    def poll(self) -> int | None:
        """How it ended; None while it has not."""


def wait_until(is_so: Callable[[], T], *processes: Process) -> T:
    """Ask again and again until the answer is true, and return that.

    Args:
        is_so: The question.
        processes: Those that bring it about; the test fails once one of them has ended in vain.
    """
    while True:
        codes = [process.poll() for process in processes]
        if answer := is_so():
            return answer
        for process, code in zip(processes, codes, strict=True):
            if code is not None:
                output = getattr(process, "stdout", None)
                pytest.fail(f"ended with code {code} before:\n{output.read() if output else ''}")
        time.sleep(0.02)


@contextmanager
def started(words: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process of text, killed at the end together with those that it started.

    Args:
        words: The command.
        options: Those of `subprocess.Popen`.
    """
    with subprocess.Popen(words, text=True, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
