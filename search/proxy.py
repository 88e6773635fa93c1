"""`python -m search.proxy`: Optuna's gRPC proxy in front of a database.

Many workers then share its few connections for what Optuna asks. It keeps nothing: a proxy that is
killed and started again is the same. Workers use it with `--proxy HOST:PORT`.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import socket
import sys

from search.command_line.options import add_storage, fail_in_one_line


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m search.proxy",
        description="Optuna's gRPC proxy in front of a database, for workers with --proxy.",
    )
    add_storage(options)
    options.add_argument("--host", default="localhost", help="to listen at; default: localhost")
    options.add_argument(
        "--port", type=int, default=13000, metavar="N", help="default: 13000; 0: any that is free"
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command until SIGINT or SIGTERM; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        return _serve(options)


def _serve(options: argparse.Namespace) -> int:
    # Read when gRPC is loaded: what goes wrong is said here, in one line.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")

    import optuna

    from storage.opening import open_storage, redacted
    from storage.proxy import start_proxy

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(options.storage)
    # Not an Event: a signal that comes while its `wait` holds its lock would wait for ever.
    asked_to_end, ask_to_end = os.pipe()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os.write(ask_to_end, b"."))
    server, port = start_proxy(storage, options.host, options.port)
    if not _is_loopback(options.host):
        print(
            f"note: {options.host} is not this machine alone; the proxy has no password, whoever "
            f"reaches it can change and delete studies: use it within a network that you trust",
            file=sys.stderr,
        )
    everywhere = options.host in {"0.0.0.0", "[::]", "::"}
    reached_at = socket.gethostname() if everywhere else options.host
    print(
        f"proxy of {redacted(options.storage)} at {options.host}:{port}; "
        f"workers: --proxy {reached_at}:{port}",
        file=sys.stderr,
        flush=True,
    )
    os.read(asked_to_end, 1)
    server.stop(grace=2.0).wait()
    storage.close()
    return 0


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
