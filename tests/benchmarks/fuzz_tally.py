"""What comes of one broken input: taken, refused in one line, or a fault that is counted."""

from __future__ import annotations

import contextlib
import io
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from spaces.errors import LONGEST_LINE, TransferSearchError, one_line

CPU_SECONDS, WALL_SECONDS = 10.0, 240.0


class Silent(Exception):
    """An input that is taken though it must not be, or a part of which is lost."""


class Hung(BaseException):
    """An input that takes too long."""


@dataclass
class Tally:
    """What came of the inputs.

    Attributes:
        counts: Outcome -> number, by part.
        faults: Number of outcomes that were not clean.
        shows: Whether each of these is printed.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: int = 0
    shows: bool = False

    def take(self, part: str, shown: str, use: Callable[[], None]) -> None:
        """Use one input and count what comes of it."""
        outcome, why = _outcome(use)
        self.counts.setdefault(part, Counter())[outcome] += 1
        if outcome not in {"taken", "refused"}:
            self.faults += 1
            if self.shows:
                print(f"--- {part}: {shown[:300]}\n{outcome}: {why}", flush=True)

    def total(self, *outcomes: str) -> int:
        """Number of inputs with these outcomes, of all parts."""
        return sum(count[x] for count in self.counts.values() for x in outcomes)


def _outcome(use: Callable[[], None]) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        with _limited(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            use()
    except Hung as error:
        return "hangs", "".join(traceback.format_exception(error)[-3:])
    except Silent as error:
        return "silent", str(error)
    except TransferSearchError as error:
        line = one_line(str(error))
        is_short = len(line) < LONGEST_LINE + 60 and line.isprintable()
        return ("refused", line) if is_short else ("silent", f"no short line: {line[:300]}")
    except SystemExit as ended:
        lines = [x for x in err.getvalue().splitlines() if not x.startswith("note: ")]
        if ended.code in {0, None}:
            return "taken", ""
        if ended.code != 2 or len(lines) != 1 or len(lines[0]) > LONGEST_LINE + 60:
            return "silent", f"exit {ended.code}, {len(lines)} lines: {lines[:3]}"[:400]
        return "refused", lines[0]
    except BaseException as error:  # noqa: BLE001 (all of them are what is looked for)
        return "tracebacks", "".join(traceback.format_exception(error)[-4:])
    return "taken", ""


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise after too much CPU time, or too long a wait."""

    def on_signal(number: int, frame: object) -> None:
        raise Hung(signal.Signals(number).name)

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, CPU_SECONDS),)
    timers += ((signal.ITIMER_REAL, signal.SIGALRM, WALL_SECONDS),)  # type: ignore[assignment]
    for timer, number, seconds in timers:
        signal.signal(number, on_signal)
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)


def must_be_taken(use: Callable[[], None]) -> None:
    try:
        use()
    except TransferSearchError as error:
        raise Silent(f"refused: {error}") from error
