"""The dashboard under idle connections, bodies that never come, and readers.

    python -m tests.benchmarks.dashboard_load [--idle 1000] [--slow 50] [--readers 20]

Starts `search.dashboard` on a synthetic study, opens the connections of strangers, and has readers
ask for the study's page and its trials at once, three rounds of them. Prints a JSON line; exits
with 1 where a reader waited longer than two seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import optuna

from tests.benchmarks.as_command import run_as_command
from tests.studies import PLANS, write_study

WANTED_SECONDS = 2.0
ROUNDS = 3


def main() -> int:
    """Measure; returns the exit code."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--idle", type=int, default=1000)
    options.add_argument("--slow", type=int, default=50)
    options.add_argument("--readers", type=int, default=20)
    asked = options.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'study.db'}"
        name = write_study(url, PLANS)
        words = ("-m", "search.dashboard", "--study", name, "--storage", url, "--port", "0")
        command = [sys.executable, *words]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
        try:
            assert server.stdout is not None
            page = server.stdout.readline().split()[0]
            seconds = _measured(page, asked)
            threads = len(list(Path(f"/proc/{server.pid}/task").iterdir()))
        finally:
            server.terminate()
            server.wait()
    result = {
        "idle": asked.idle,
        "slow": asked.slow,
        "readers": asked.readers,
        "answers": len(seconds),
        "median_seconds": round(sorted(seconds)[len(seconds) // 2], 3),
        "longest_seconds": round(max(seconds), 3),
        "server_threads": threads,
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))
    return int(max(seconds) > WANTED_SECONDS)


def _measured(page: str, asked: argparse.Namespace) -> list[float]:
    """Seconds that each answer took to a reader."""
    site, _, number = page.partition("/dashboard/studies/")
    host, _, port = site.removeprefix("http://").partition(":")
    place = host, int(port)
    pages = (page, f"{site}/api/studies", f"{site}/api/studies/{number}")

    def read(url: str) -> float:
        began = time.monotonic()
        with urllib.request.urlopen(url, timeout=60) as answer:
            answer.read()
        return time.monotonic() - began

    with ExitStack() as strangers:
        for _ in range(asked.idle):
            strangers.enter_context(closing(socket.create_connection(place)))
        for _ in range(asked.slow):
            slow = strangers.enter_context(closing(socket.create_connection(place)))
            slow.sendall(
                f"PUT /api/studies/1/note HTTP/1.1\r\nHost: {host}:{port}\r\n"
                "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{".encode()
            )
        with ThreadPoolExecutor(asked.readers) as readers:
            seconds = []
            for _ in range(ROUNDS):
                for url in pages:
                    seconds += readers.map(read, [url] * asked.readers)
    return seconds


if __name__ == "__main__":
    run_as_command(main)
