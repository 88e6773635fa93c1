"""Output is no part of the work: lost readers, full disks, odd encodings, text of users."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TextIO, cast

import pytest
from rich.console import Console

from search import status
from search.command_line.options import default_storage, fail_in_one_line
from search.command_line.output import PatientStream, patient_output, plain_console
from search.command_line.stop_signal import StopSignal
from search.workers.progress import RunProgress
from spaces.errors import LONGEST_LINE, DataError, Interrupted, SpecError
from tests.raising import raises
from tests.studies import PLANS, write_study

HOSTILE = ["Does [law] help [PER/LOC] [/swa]?", "[link=x]", "[/]", ":smile: → ∆ \udcff", "[red]x"]


class _Gone(io.StringIO):
    """A stream that cannot be written."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BrokenPipeError(32, "Broken pipe"), ""),
        (OSError(28, "No space left on device"), "note: standard output cannot be written: No s"),
        (OSError(5, "Input/output error"), "note: standard output cannot be written: Input/ou"),
        (ValueError("I/O operation on closed file"), "note: standard output cannot be written"),
    ],
)
def test_output_that_cannot_be_written_is_dropped_and_said_once(
    error: Exception, said: str
) -> None:
    other = io.StringIO()
    stream = PatientStream(_Gone(error), "standard output", other)
    console = Console(file=cast(TextIO, stream))
    for _ in range(3):
        console.print("x")
        print("x", file=cast(TextIO, stream), flush=True)
    assert other.getvalue().startswith(said)
    assert other.getvalue().count("note:") == bool(said)
    assert stream.failure is error


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_users_is_shown_as_it_is_on_any_terminal(text: str) -> None:
    for encoding in ("utf-8", "latin-1", "ascii"):
        raw = io.BytesIO()
        written = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
        progress = RunProgress(
            plain_console(file=written, force_terminal=True, width=200), frozenset()
        )
        with progress.showing():
            progress.begin(text, 1, 2)
            progress.say(text)
        written.flush()
        shown = raw.getvalue().decode(encoding)
        assert text.encode(encoding, "backslashreplace").decode(encoding) in shown


def test_streams_are_those_of_before_when_a_command_has_ended() -> None:
    before = sys.stdout, sys.stderr
    with patient_output():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(("device", "code"), [("/dev/full", 1), ("a pipe", 141)])
def test_a_command_whose_output_nobody_gets_says_so_by_its_code(
    device: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_study("sqlite:///s.db", PLANS)
    if device == "a pipe":
        reads, writes = os.pipe()
        os.close(reads)
        stream = os.fdopen(writes, "w")
    else:
        stream = Path(device).open("w", encoding="utf-8")  # noqa: SIM115
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended:
            status.main(["--study", "synthetic", "--storage", "sqlite:///s.db"])
    stream.close()
    assert ended.value.code == code


@pytest.mark.parametrize("works", [True, False])
def test_work_ends_as_it_ends_whoever_reads(works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", _Gone(BrokenPipeError()))
        code = 0
        try:
            with fail_in_one_line(works=works):
                sys.stdout.write("x")
        except SystemExit as ended:
            code = int(str(ended.code))
    assert code == (0 if works else 141)


def test_a_process_without_descriptors_opens_no_file_as_its_output(tmp_path: Path) -> None:
    code = (
        "from search.command_line.output import patient_output\n"
        "import sys\n"
        "with patient_output():\n"
        f"    file = open({str(tmp_path / 'x')!r}, 'w')\n"
        "    print('lost'); print('lost', file=sys.stderr)\n"
        "    sys.exit(0 if file.fileno() > 2 else 3)\n"
    )
    command = f'exec {sys.executable} -c "$CODE" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", command], env={**os.environ, "CODE": code}, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_terminal_that_goes_asks_once_however_often_it_says_so(first: signal.Signals) -> None:
    stop = StopSignal()
    # What runs the tests may have been started with nohup.
    outside = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with stop.listening():
            signal.raise_signal(first)
            for _ in range(2):
                signal.raise_signal(signal.SIGHUP)
            with raises(Interrupted, subject=f"interrupted by {first.name}"):
                stop.check()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, outside)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = StopSignal()
        with stop.listening():
            signal.raise_signal(signal.SIGHUP)
            stop.check()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "error",
    [
        SpecError("x" * 10**7, "y", "z" * 10**7),
        DataError("f.tsv", "a" * 10**6, repr("\x1b[2J\n\r" * 10**6)),
        DataError("\x1b[31m\x07a\nb", "", "\udcff"),
    ],
)
def test_an_error_is_one_short_line_of_characters_that_can_be_printed(
    error: SpecError, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, fail_in_one_line():
        raise error
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert len(line) < LONGEST_LINE + 60
    assert line.isprintable()


@pytest.mark.parametrize("around", ["\n", "\r\n", " ", "\ufeff", "\t"])
def test_white_space_around_the_storage_is_no_part_of_it(
    around: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFER_SEARCH_STORAGE", f"sqlite:///a b.db{around}")
    assert default_storage() == "sqlite:///a b.db"


@pytest.mark.parametrize(
    "words",
    [
        ["--study", "\udcff"],
        ["--study", "a\0b"],
        ["--study", "x", "--sampl"],
        ["--" + "x" * 10**6],
    ],
)
def test_wrong_words_are_told_in_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        status.main(words)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < LONGEST_LINE + 60
