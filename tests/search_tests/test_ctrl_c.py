"""Ctrl-C at a terminal: at random moments of a run, from its first import to its last line."""

from __future__ import annotations

import random
import re
import signal
import sys
import time
from typing import Any

import psutil
import pytest

from tests.processes import wait_until
from tests.search_tests.conftest import Workplace
from tests.terminal import Typist, at_a_terminal

# A shell shows 130 of both. Where a library ran text as code (`exec`, as dataclasses do) when the
# interrupt came, the interpreter remembers it, and ends by the signal whatever was made of it.
SIGINT_CODES = {128 + signal.SIGINT, -signal.SIGINT}
# A run of the study that takes as long as a person watches.
ENDLESS = ("--trials", "500")


def _moments(count: int) -> list[float]:
    """Seconds of CPU after the start, most in the first few, where a command imports.

    The first twentieth of a second is the interpreter's own, which has read no line of this
    program by then; on a busy machine a second of CPU does less, down to a half and below.
    """
    dice = random.Random(16)
    return [round(0.25 + dice.uniform(0.0, 2.7) ** 2, 2) for _ in range(count)]


def _run(workplace: Workplace, *options: str, columns: int = 80) -> Any:
    environment = workplace.environment(PYTHONWARNINGS="default")
    words = workplace.command(*options)
    return at_a_terminal(words, workplace.folder, environment, columns)


def _press(typist: Typist, process: Any) -> float:
    """Press Ctrl-C; seconds of CPU are not asked for, but those until it is over."""
    pressed = time.monotonic()
    typist.press_ctrl_c()
    process.wait()
    typist.join()
    return time.monotonic() - pressed


def _assert_quiet_end(typist: Typist, process: Any) -> None:
    shown = "\n".join(typist.terminal.lines)
    assert process.returncode in SIGINT_CODES, shown
    assert "Traceback" not in shown, shown
    assert "Exception ignored" not in shown, shown
    assert not typist.terminal.is_cursor_hidden, shown


@pytest.mark.slow
@pytest.mark.parametrize("moment", _moments(10))
def test_whenever_ctrl_c_is_pressed_there_is_no_traceback(
    workplace: Workplace, moment: float
) -> None:
    with _run(workplace, *ENDLESS) as (typist, process):
        used = psutil.Process(process.pid)
        wait_until(lambda: used.cpu_times().user >= moment, process)
        took = _press(typist, process)
        _assert_quiet_end(typist, process)
        # On a machine with nothing else to do it is 3 s; here others may be at work.
        assert took < 60


@pytest.mark.slow
def test_an_interrupted_run_says_what_is_kept_and_goes_on(workplace: Workplace) -> None:
    with _run(workplace, *ENDLESS) as (typist, process):
        wait_until(lambda: any("trials" in x and "1/500" in x for x in typist.terminal.lines))
        _press(typist, process)
        _assert_quiet_end(typist, process)
        shown = typist.terminal.lines
    (place,) = (i for i, line in enumerate(shown) if line.startswith("interrupted: "))
    assert re.match(r"interrupted: \d+ of 500 trials are kept", shown[place])
    command = " ".join(shown[place + 1 :]).replace("\\", "")
    assert command.startswith("go on with")
    assert "python -m search.run --study tiny.toml" in command
    done = workplace.run(
        sys.executable, *command.partition(" python ")[2].replace("500", "3").split()
    )
    assert done.returncode == 0, done.stderr
    assert "are done already" in done.stderr
