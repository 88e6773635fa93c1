"""`python -m search.dashboard`: a study in optuna-dashboard, with its note, figures and files.

The note and the figures are written before the first page is served, and again while pages are
served, as trials come in.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from search.command_line.options import add_cache, add_storage, default_cache, fail_in_one_line

if TYPE_CHECKING:
    from threading import Event, Lock
    from wsgiref.simple_server import WSGIServer

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from search.studies.stored_study import StudyResults

LOOPBACK = "127.0.0.1"
# Seconds between looks for new trials; and, as a share of all time, how much goes into figures.
LOOK_EVERY, LARGEST_SHARE = 20.0, 0.1

BUTTONS = ["zoom", "pan", "select", "lasso", "zoomIn", "zoomOut", "autoScale"]


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(prog="python -m search.dashboard", description=__doc__)
    options.add_argument("--study", required=True, help="a study's name in the storage")
    add_storage(options)
    add_cache(options, limit=False)
    options.add_argument(
        "--port", type=int, default=8080, help="default: 8080; 0 takes a free one"
    )
    options.add_argument(
        "--host",
        default=LOOPBACK,
        help=f"address to listen on; default: {LOOPBACK}, which this machine alone reaches. Any "
        f"other needs --auth, and should be behind a proxy that speaks HTTPS: the password "
        f"travels in clear",
    )
    options.add_argument(
        "--auth",
        metavar="USER:FILE",
        help="ask visitors for this name and the password that FILE holds (mode 600)",
    )
    options.add_argument(
        "--read-only", action="store_true", help="let visitors look, and change nothing"
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C; returns the exit code."""
    options = parser().parse_args(arguments)
    with fail_in_one_line():
        from threading import Event, Lock, Thread

        import optuna
        from optuna_dashboard import wsgi

        from search.reporting.dashboard_access import Guard, is_loopback, read_credentials
        from search.studies.stored_study import open_results
        from search.workers.trial_files import ArtifactFolder
        from spaces.errors import SpecError
        from storage.optuna_internals import study_id_of

        credentials = read_credentials(options.auth) if options.auth else None
        if credentials is None and not is_loopback(options.host):
            raise SpecError(
                f"--host: {options.host} is reached from other machines, and optuna-dashboard "
                f"asks nobody for a password: add --auth USER:FILE"
            )
        results = open_results(options)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # get_storage adds the cache without which every poll reads every trial again.
        app = wsgi(
            optuna.storages.get_storage(results.storage),
            ArtifactFolder(options.cache or default_cache(options.storage)),
        )
        writing, ended = Lock(), Event()
        guard = Guard(_Between(app, writing), credentials, options.read_only)
        server = _listen(options.host, options.port, guard)
        write_pages(results, writing)
    renewal = Thread(target=_renew_pages, args=(results, writing, ended))
    with server:
        renewal.start()
        shown = f"[{options.host}]" if ":" in options.host else options.host
        study = study_id_of(results.study)
        url = f"http://{shown}:{server.server_port}/dashboard/studies/{study}"
        print(f"{url}  (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
        finally:
            ended.set()
            renewal.join()
    return 0


def write_pages(results: StudyResults, writing: Lock) -> None:
    """Write a study's note and figures as they are now to where optuna-dashboard has them.

    Args:
        results: The study.
        writing: Held while something is half written.
    """
    from dataclasses import replace

    from optuna_dashboard import save_plotly_graph_object

    from search.findings.landscape import read_landscape
    from search.reporting.figures import build_figures
    from search.reporting.terminal import write_note

    results = replace(results)  # which forgets what it has read
    looks = [look.result["verdicts"] for look in results.confirmations if look.result]
    landscape = read_landscape(results)
    figures = build_figures(landscape, looks[-1] if looks else (), results.is_pocket)
    with writing:
        write_note(results)
        for name, figure in figures.items():
            # Its cards are 450 pixels high and half a page wide; dragging zooms all the same.
            figure.update_layout(height=None, modebar={"remove": BUTTONS})
            save_plotly_graph_object(results.study, figure, graph_object_id=name)


def _renew_pages(results: StudyResults, writing: Lock, ended: Event) -> None:
    """Write the pages again as trials and confirmations come in, until `ended`."""
    import time

    shown, pause = _state(results), LOOK_EVERY
    while not ended.wait(pause):
        found, started = _state(results), time.monotonic()
        if found != shown:
            write_pages(results, writing)
            shown = found
        pause = max(LOOK_EVERY, (time.monotonic() - started) / LARGEST_SHARE)


def _state(results: StudyResults) -> tuple[int, int]:
    """What changes when there is something new to show."""
    trials = results.study.get_trials(deepcopy=False)
    done = sum(trial.state.is_finished() for trial in trials)
    return done, sum(look.result is not None for look in results.confirmations)


class _Between:
    """A WSGI application that is asked between two writings, and never sees half a figure.

    Args:
        app: The application.
        writing: Held while something is half written.
    """

    def __init__(self, app: WSGIApplication, writing: Lock) -> None:
        self._app, self._writing = app, writing

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        with self._writing:
            return self._app(environ, start_response)


def _listen(host: str, port: int, app: WSGIApplication) -> WSGIServer:
    """A server with a thread for each request: an idle connection of one browser blocks nobody.

    Raises:
        SpecError: The address or port cannot be used.
    """
    import socket
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    from spaces.errors import SpecError

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """One line per poll helps nobody."""

    class Threads(ThreadingMixIn, WSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    try:
        return make_server(host, port, app, server_class=Threads, handler_class=Quiet)
    except (OSError, OverflowError) as error:
        raise SpecError(f"--port: {port} cannot be used here: {host}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
