"""Whether the process that ran a trial is still there, as far as this machine can tell."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import psutil


def process_identity(pid: int | None = None) -> str:
    """A name for a process that no other process, here or elsewhere, has.

    Process numbers are reused and differ between containers, so the host, the container's
    namespace and the time of the start belong to the name.
    """
    process = psutil.Process(pid)
    return f"{_machine()}/{process.pid}/{process.create_time():.2f}"


def is_dead(identity: str) -> bool:
    """Whether the process of that identity ran on this machine and is gone.

    False for processes of other machines, which only their heartbeat tells about.
    """
    machine, pid, _ = identity.rsplit("/", 2)
    if machine != _machine():
        return False
    try:
        ended = psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
        return ended or process_identity(int(pid)) != identity
    except psutil.NoSuchProcess:
        return True


def _machine() -> str:
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{namespace.readlink() if namespace.exists() else ''}"


def awake_seconds() -> float:
    """A clock that nobody sets, and that goes on while this process is stopped.

    On Linux it counts a suspended machine's time as well, which `time.monotonic` does not.
    """
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)
