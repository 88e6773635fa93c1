"""optuna-dashboard on a study: a server behind the guard, and the thread that renews its pages."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna_dashboard import wsgi

from search.reporting.dashboard_access import Guard, is_loopback, read_credentials
from search.reporting.dashboard_pages import Between, renew_pages, write_pages
from search.studies.stored_study import open_stored_study
from spaces.errors import SpecError
from storage.optuna_internals import study_id_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class DashboardRequest:
    """Which study to serve, where and to whom.

    Attributes:
        study: Name of the study in its storage.
        storage: URL of the storage.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        auth: `USER:FILE`, the name and the password's file that visitors are asked for; None asks
            nobody, on the loopback address alone.
        read_only: Whether visitors may only look.
    """

    study: str
    storage: str
    host: str = LOOPBACK
    port: int = 8080
    auth: str | None = None
    read_only: bool = False


def serve_dashboard(
    request: DashboardRequest, artifacts: object, on_ready: Callable[[str], None]
) -> None:
    """Serve a study's dashboard until Ctrl-C.

    Args:
        request: Which study, where and to whom.
        artifacts: Artifact store of Optuna's protocol with the files of the study's trials.
        on_ready: Called with the address of the study's page, once it answers.

    Raises:
        SpecError: The address cannot be used, or other machines reach it and no password is
            asked for.
        UnknownNameError: The storage has no such study.
        StorageError: The study was not made by this version.
    """
    credentials = read_credentials(request.auth) if request.auth else None
    if credentials is None and not is_loopback(request.host):
        raise SpecError(
            "--host",
            found=f"{request.host} is reached from other machines, and optuna-dashboard asks "
            f"nobody for a password",
            advice="add --auth USER:FILE",
        )
    study = open_stored_study(request.storage, request.study)
    # get_storage adds the cache without which every poll reads every trial again.
    app = wsgi(optuna.storages.get_storage(study.storage), artifacts)
    writing, ended = Lock(), Event()
    guard = Guard(Between(app, writing), credentials, request.read_only)
    renewal = Thread(target=renew_pages, args=(study, writing, ended))
    with closing(study.storage), _listen(request.host, request.port, guard) as server:
        write_pages(study, writing)
        renewal.start()
        try:
            host = f"[{request.host}]" if ":" in request.host else request.host
            site = f"http://{host}:{server.server_port}"
            on_ready(f"{site}/dashboard/studies/{study_id_of(study.study)}")
            server.serve_forever()
        except KeyboardInterrupt:
            return
        finally:
            ended.set()
            renewal.join()


def _listen(host: str, port: int, app: WSGIApplication) -> WSGIServer:
    """A server with a thread for each request: an idle connection of one browser blocks nobody.

    Raises:
        SpecError: The address or port cannot be used.
    """

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """One line per poll helps nobody."""

    class Threads(ThreadingMixIn, WSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    try:
        return make_server(host, port, app, server_class=Threads, handler_class=Quiet)
    except (OSError, OverflowError) as error:
        raise SpecError("--port", found=f"{port} cannot be used here: {host}: {error}") from error
