"""Workers that are there at once: processes of `search.run`, forked from one with torch loaded.

For whoever starts dozens of them, as `search.checks.chaos` does: loading torch, transformers and
SciPy takes longer than a trial of its study. Each is a process of its own, with the options and
the exit code that it has from a shell; only its imports were made before.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

# Sent by the other side, one a line: {"start": WORDS, "log": FILE} or {"ended": null}.
Order = dict[str, Any]
_PROGRAM = "import sys; from search.checks.fork_server import serve; sys.exit(serve())"


class ForkServer:
    """Starts workers, and knows how each ended. Leaving its context kills those still there.

    Args:
        environment: Of the workers; the rest is as here.
        encoder: Where an untrained encoder is written before the first worker starts.
        warm_up: Pocket corpora to generate by then: name -> languages, of which the first has a
            training split.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        encoder: Path,
        warm_up: Mapping[str, Sequence[str]],
    ) -> None:
        self._exit_codes: dict[int, int] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(encoder), json.dumps(warm_up)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._process:  # closes its stdin, at which it ends
            pass

    def start(self, words: Sequence[str], log: Path) -> int:
        """Start `python -m search.run WORDS`; returns its process number.

        Args:
            words: Options.
            log: What it writes is added to this file.
        """
        return int(self._ask({"start": list(words), "log": str(log)}))

    def exit_code(self, pid: int) -> int | None:
        """How a worker ended, as `subprocess` tells it; None while it has not."""
        if pid not in self._exit_codes:
            ended = self._ask({"ended": None})
            self._exit_codes |= {int(key): code for key, code in ended.items()}
        return self._exit_codes.get(pid)

    def _ask(self, order: Order) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the fork server ended with code {self._process.wait()}")
        return json.loads(answer)


def serve() -> int:
    """Be the fork server; in a worker, what `search.run` returns."""
    # Before torch is loaded, as in `search.run`.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Loaded for what is forked from here, not for this process.
    import transformers.models.auto.modeling_auto
    import transformers.models.bert.modeling_bert  # noqa: F401  (for the workers)

    import search.workers.session  # noqa: F401  (for the workers)
    from objectives.data.sources import DataSource, SourceKind, load_split
    from objectives.models.encoders import quiet_libraries
    from objectives.pocket import save_untrained_encoder
    from search.run import main as run
    from spaces.catalogue import load_catalogue

    quiet_libraries()
    encoder, warm_up = sys.argv[1:]
    save_untrained_encoder(Path(encoder))
    pocket, catalogue = DataSource(SourceKind.POCKET), load_catalogue()
    for name, languages in json.loads(warm_up).items():
        task = catalogue[f"pocket_{name}"]
        load_split(task, languages[0], "train", pocket)
        for language in languages:
            load_split(task, language, "validation", pocket)
    running: set[int] = set()
    for line in sys.stdin:
        order: Order = json.loads(line)
        if "start" in order:
            pid = os.fork()
            if pid == 0:
                _write_to(order["log"])
                return run(order["start"])
            running.add(pid)
            _answer(sys.stdout, pid)
        else:
            _answer(sys.stdout, _ended(running))
    for pid in running:
        # A process that is stopped ends by this, too.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return 0


def _answer(out: IO[str], value: object) -> None:
    out.write(json.dumps(value) + "\n")
    out.flush()


def _ended(running: set[int]) -> dict[int, int]:
    """Exit codes of those that ended since it was asked last."""
    ended = {}
    for pid in list(running):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
            running.remove(pid)
    return ended


def _write_to(log: str) -> None:
    """Let this process write to a file and read nothing."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
