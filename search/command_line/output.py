"""What a command prints: output that cannot be written is dropped, and never an error of the work.

A pipe may have no reader any more, a terminal may be gone, a log's disk may be full, and a
terminal's encoding may lack a character. None of that has to do with what is trained, so a
command writes through `PatientStream`s, which raise nothing.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console


class PatientStream:
    """A text stream on which nothing fails: what cannot be written is dropped.

    Args:
        stream: The stream to write to; whatever else is asked of this one is asked of it.
        name: Its name for people, as in `standard output`.
        other: Where to say, once, that output is lost.
    """

    def __init__(self, stream: TextIO, name: str, other: TextIO | None) -> None:
        self._stream, self._name, self._other = stream, name, other
        self.failure: Exception | None = None

    def write(self, text: str) -> int:
        """Write as far as that can be; the number of characters that were given."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:  # ValueError: it is closed, or an odd encoding
            self._lost(error)
            return len(text)

    def flush(self) -> None:
        """Flush as far as that can be."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lost(error)

    def writelines(self, lines: Any) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lost(self, error: Exception) -> None:
        is_first, self.failure = self.failure is None, error
        if is_first and self._other is not None:
            reason = getattr(error, "strerror", None) or str(error)
            with suppress(OSError, ValueError):
                # Of a pipe's reader that left on purpose, as `head` does, nothing need be said.
                if not isinstance(error, BrokenPipeError):
                    self._other.write(f"note: {self._name} cannot be written: {reason}\n")
                    self._other.flush()

    def put_aside(self) -> None:
        """Let what is still in its buffer go nowhere, so that the end of Python meets no error."""
        with suppress(OSError, ValueError):
            target = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, target)
            os.close(nowhere)


@contextmanager
def patient_output() -> Iterator[PatientStream]:
    """Write standard output and error through streams that do not fail; yields the former.

    In a thread of another program's process (`search.launch.hosted_worker`) they are its owner's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield PatientStream(sys.stdout, "standard output", None)
        return
    _open_closed_descriptors()
    kept = sys.stdout, sys.stderr
    streams = list[PatientStream]()
    for stream, name in zip(kept, ("standard output", "standard error"), strict=True):
        opened = stream or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115, as it is the output until the process ends
        # A character that the terminal lacks is spelled out.
        if reconfigure := getattr(opened, "reconfigure", None):
            with suppress(OSError, ValueError):
                reconfigure(errors="backslashreplace")
        other = kept[1 - len(streams)]
        streams.append(PatientStream(opened, name, other))
    out, err = streams
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out
    finally:
        for each in streams:
            each.flush()
            if each.failure is not None:
                each.put_aside()
        sys.stdout, sys.stderr = kept


def _open_closed_descriptors() -> None:
    """Have descriptors 0 to 2 open: else the next file that is opened is what prints go to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError as error:
            if error.errno == errno.EBADF:
                os.open(os.devnull, os.O_RDWR)


def plain_console(
    *, file: Any = None, stderr: bool = False, width: int | None = None, **more: bool
) -> Console:
    """A console that takes all text as it is: brackets and colons of users are no markup.

    Args:
        file: Where to write; None: standard output or error, whatever they are at that moment.
        stderr: Whether that is standard error.
        width: Columns; None: the terminal's.
        more: Further options of `rich.console.Console`.
    """
    # Named, so that rich knows its encoding, and draws tables in ASCII where it has no lines.
    file = file or (sys.stderr if stderr else sys.stdout)
    options: dict[str, Any] = {"file": file, "width": width, **more}
    return Console(markup=False, highlight=False, emoji=False, **options)
