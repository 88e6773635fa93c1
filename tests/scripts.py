"""Scripts in processes of their own, which find SQLAlchemy, Optuna and the storage loaded.

A process that loads them itself needs most of a second for it, and the tests start a hundred.
These are forked from one that has loaded them and does nothing else (`multiprocessing`'s fork
server); each may be stopped and killed as any other process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from multiprocessing.connection import Connection

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["storage.opening", "storage.checkpoints", "storage.ledger", "storage.slots"]
)


IMPORTS = """
import sys, time
from pathlib import Path
import optuna
import sqlalchemy as sa
from storage.checkpoints import CheckpointCache
from storage.leases import Leases
from storage.ledger import Ledger
from storage.opening import open_storage
from storage.processes import process_identity
from storage.schema import make_tables
from storage.slots import Slots
from storage.tables import PairedScore, Score, TrainedStage
from storage.workers import Activity, Workers
"""
"""What scripts of tests have at hand."""


class Script:
    """A script that runs; as `subprocess.Popen` with three pipes of text.

    Args:
        code: What it does. Warnings are errors, and the environment is as here now.
        arguments: It finds them in `sys.argv[1:]`.
    """

    def __init__(self, code: str, *arguments: str) -> None:
        to_read, stdin = _forks.Pipe(duplex=False)
        stdout, to_write = _forks.Pipe(duplex=False)
        stderr, to_complain = _forks.Pipe(duplex=False)
        theirs = (to_read, to_write, to_complain)
        self._process = _forks.Process(
            target=_run, args=(code, arguments, dict(os.environ), theirs), daemon=True
        )
        self._process.start()
        for end in theirs:
            end.close()
        self.stdin, self.stdout, self.stderr = (
            os.fdopen(os.dup(end.fileno()), mode)
            for end, mode in ((stdin, "w"), (stdout, "r"), (stderr, "r"))
        )
        for end in (stdin, stdout, stderr):
            end.close()

    @property
    def pid(self) -> int:
        """Its process number."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it has not."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """How it ended; None while it has not."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it (-9), and wait until it is gone."""
        self._process.kill()
        self._process.join()

    def tell(self, line: str) -> None:
        """Write a line for it to read."""
        self.stdin.write(f"{line}\n")
        self.stdin.flush()

    def end(self) -> tuple[str, str]:
        """What it still writes until it ends: to its output, and to its standard error."""
        self.stdin.close()
        self._process.join()
        return self.stdout.read(), self.stderr.read()

    def close(self) -> None:
        """Kill it if it is still there, and let go of its pipes."""
        self.kill()
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
        self._process.close()


def _run(
    code: str,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    pipes: tuple[Connection, Connection, Connection],
) -> None:
    for number, pipe in enumerate(pipes):
        os.dup2(pipe.fileno(), number)
    sys.stdin = os.fdopen(0)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    warnings.simplefilter("error")
    exec(compile(code, "<script>", "exec"), {"__name__": "__main__"})
