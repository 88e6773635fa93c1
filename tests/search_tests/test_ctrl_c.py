"""Ctrl-C at a terminal: at random moments of a run, from its first import to its last line."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.processes import wait_until
from tests.search_tests.conftest import Workplace
from tests.terminal import Typist, at_a_terminal

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
    assert process.returncode == 128 + signal.SIGINT, shown
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


def test_no_library_that_is_imported_can_swallow_an_interrupt(tmp_path: Path) -> None:
    """Some take whatever goes wrong as they load for a part that is not installed."""
    (tmp_path / "greedy.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    sum(range(1000))\n"
        "except:\n    pass\n"
    )
    command = (
        "from search.command_line.options import fail_in_one_line\n"
        "from search.command_line.stop_signal import end_at_once_from_now\n"
        "end_at_once_from_now()\n"
        "with fail_in_one_line():\n    import greedy\nprint('goes on')"
    )
    paths = os.pathsep.join((str(tmp_path), *filter(None, sys.path)))
    ended = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGINT, "")
    assert "Traceback" not in ended.stderr


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
